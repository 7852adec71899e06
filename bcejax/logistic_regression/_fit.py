"""The fit: from checked data, by one of the solvers, to a verdict."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from bcejax._sharding import in_auto_axes, is_split, replicated
from bcejax.logistic_regression._classes import checked_class_weight
from bcejax.logistic_regression._compiled import STILL_FAST, compiled
from bcejax.logistic_regression._first_order import (
    better_start,
    found_by_lbfgs,
    found_by_optax,
)
from bcejax.logistic_regression._firth import check_firth, fit_with_firth
from bcejax.logistic_regression._given import is_sound, read, refuse
from bcejax.logistic_regression._large import Sample, sample_for_hessian, warm_start
from bcejax.logistic_regression._newton import from_point, from_state, minimise
from bcejax.logistic_regression._objective import objective, stretch_at_zero
from bcejax.logistic_regression._outcome import (
    Fit,
    Found,
    Options,
    outcome,
)
from bcejax.logistic_regression._overlap import shown
from bcejax.logistic_regression._precision import precision_of, rounded
from bcejax.logistic_regression._problem import (
    Params,
    Problem,
    checked_problem,
    total_weight,
)
from bcejax.logistic_regression._together import alone_or_together


def fit(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    l2: ArrayLike = 0.0,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool = True,
    init: Fit | Params | None = None,
    solver: str | optax.GradientTransformation = "newton",
    tol: ArrayLike = 1e-6,
    max_steps: ArrayLike = 100,
    batch_size: int | None = None,
    key: jax.Array | None = None,
    firth: bool = False,
    class_weight: str | Mapping | None = None,
) -> Fit:
    """Fit a logistic regression: minimise Σ wᵢ ℓᵢ / Σ wᵢ + Σⱼ (l2ⱼ/2) βⱼ².

    Columns on one scale make an optax optimiser faster: standardise first. "newton" and
    "lbfgs" do so themselves. Where columns are collinear, constant, or more than the
    rows, and there is no penalty, it returns one of many optima, of moderate weights.

    Args:
      features: `(n, d)`, real: an array, or a table of pandas, polars or Arrow, whose
        names of columns go into the `Fit`. Float64 and integers of 64 bits, from NumPy,
        a list or a table, are computed in float64 on a CPU and outside jit and vmap;
        the result is rounded to float32, unless JAX is in 64-bit mode. All others are
        computed in the dtype that JAX gives them, or float32 if it is narrower.
      labels: `(n,)`, real. Class 0 or 1, or a probability.
      l2: scalar or `(d,)`, not negative. Penalty of the weights, not of the bias; one
        for each column, or the same for all. `l2 * features.var(0)` penalises them as
        if the columns were standardised.
      sample_weight: `(n,)` or a scalar, not negative. 2 counts a row twice. A row of
        weight 0 does not count, whatever it holds.
      offset: `(n,)` or a scalar. Added to the logits, with coefficient 1.
      fit_intercept: whether there is a bias.
      init: where to start: a `Fit` or (weights, bias). Zeros by default, and with
        "newton" and "lbfgs" also if the loss of zeros is less.
      solver: "newton", at home with columns of any scale; "lbfgs", or any optax
        optimiser of plain parameters, such as `optax.adam(0.1)`. Make it once: each new
        one compiles anew.
      tol: stop when no component of the gradient exceeds this, and none exceeds 100 tol
        per standard deviation of its column.
      max_steps: stop after so many steps; with `batch_size`, after so many epochs.
      batch_size: rows a step, in a new order every epoch. For optax optimisers.
      key: of the randomness of the batches, such as `jax.random.key(0)`.
      firth: whether the penalty is Firth's, half the log-determinant of the information
        of all rows in the place of l2, which must be 0. The coefficients are then
        finite, of separated data too, and less biased where rows are few. A column that
        those before it span gets 0. For "newton".
      class_weight: what multiplies the weights of the rows by their class: a mapping,
        such as `{0: 1, 1: 10}`, or "balanced" for half of the weight to either class.
        `prior_shift` takes back what it does to the probabilities.
    Returns:
      A `Fit`. Look at `converged` before using it.
    Raises:
      TypeError: if an argument or a column is not real, or `solver` is neither a name
        nor an optax optimiser.
      ValueError: if a shape does not fit that of `features`, for an unknown solver, or
        for a `batch_size` that is not in [1, n], comes without `key`, or for a solver
        of all rows; with `firth`, for another solver or an l2; for a `class_weight`
        that is neither "balanced" nor positive for 0 and 1. Outside jit and vmap also
        for a value that cannot be meant: a label outside [0, 1], a negative weight or
        penalty, NaN or ∞ in a row that counts.
    Example:
      >>> x = jnp.array([[0.0], [1.0], [2.0], [3.0]])
      >>> model = fit(x, jnp.array([0, 1, 0, 1]))
      >>> print(model.converged, model.weights)
      True [0.908]

    Reference:
      J. Nocedal and S. J. Wright, Numerical optimization, 2nd edition, Springer 2006:
      chapters 3, 6 and 7 on line searches, Newton's method and L-BFGS. D. Firth, Bias
      reduction of maximum likelihood estimates, Biometrika 80 (1993), 27-38.
    """
    given, names = read(features, labels, l2, sample_weight, offset)
    by_class = checked_class_weight(class_weight)
    given = given.by_class(by_class)
    if firth:
        check_firth(solver, given)
    with precision_of(given, init, tol, max_steps, key):
        model, sound = compiled_fit(
            given, init, tol, max_steps, key, fit_intercept, solver, batch_size, firth
        )
        refuse(sound, given, names)
    options = Options(
        fit_intercept=fit_intercept,
        weighted=sample_weight is not None,
        shifted=offset is not None,
        columns=names,
        firth=firth,
        class_weight=by_class,
    )
    return rounded(model)._replace(options=options)


@compiled(
    STILL_FAST, static_argnames=("fit_intercept", "solver", "batch_size", "firth")
)
def compiled_fit(
    given,
    init,
    tol,
    max_steps,
    key,
    fit_intercept,
    solver,
    batch_size=None,
    firth=False,
) -> tuple[Fit, jax.Array]:
    if is_split(jnp.asarray(given.features), 1):
        options = fit_intercept, solver, batch_size, firth

        def again(*data):
            return compiled_fit(*data, *options)

        return in_auto_axes(again, None, given, init, tol, max_steps, key)
    data = checked_problem(*given)
    start = checked_start(init, data.features, fit_intercept)
    if batch_size is not None:
        check_batches(solver, batch_size, len(data.features), key)
    if firth:
        total, start = total_weight(given.sample_weight, data), init and start
        model = fit_with_firth(data, total, start, fit_intercept, tol, max_steps)
        return model, is_sound(given, model.loss + model.gradient_norm)
    if init is not None and isinstance(solver, str):
        start = better_start(lambda p: objective(p, data), start, max_steps)

    def fitted(together, data, start, tol, max_steps):
        sample = sample_for_hessian(data, fit_intercept, together)
        return solved(search, data, sample, start, tol, max_steps)

    if solver in SEARCHES:
        search = SEARCHES[solver]
        # Many fits share a table of the rows, which a single one need not compile.
        model = alone_or_together(fitted)(data, start, tol, max_steps)
    else:
        batches = None if batch_size is None else (len(data.features), batch_size, key)
        search = partial(by_optax, solver, fit_intercept, batches)
        # Not by `alone_or_together`, which must not close over a key that is traced.
        model = fitted(False, data, start, tol, max_steps)
    return model, is_sound(given, model.loss + model.gradient_norm)


def solved(search, data: Problem, sample: Sample, start: Params, tol, max_steps) -> Fit:
    """Where a search ends, and the verdict."""
    found = search(data, sample, start, tol, max_steps)
    seen = shown(data, sample, found)
    return outcome(found, seen, sample.at, data.l2, tol)


def by_newton(data: Problem, sample: Sample, start: Params, tol, max_steps) -> Found:
    at = sample.at
    if sample.rows is data:
        begin = from_point(at.point(start))
    else:
        state = warm_start(data, sample, start, tol, max_steps)
        begin = from_state(at, state, tol, max_steps)
    state = minimise(data, at, begin, tol, max_steps).state
    return Found(at.params(state.point), state.loss, state.gradient, state.steps)


def by_lbfgs(data: Problem, sample: Sample, start: Params, tol, max_steps) -> Found:
    at = sample.at
    return found_by_lbfgs(
        lambda p: objective(p, data),
        at,
        stretch_at_zero(data, at),
        start,
        tol,
        max_steps,
    )


def by_optax(
    solver, fit_intercept, batches, data: Problem, sample, start, tol, max_steps
) -> Found:
    loss_of = partial(free_objective, data, fit_intercept)
    return found_by_optax(solver, loss_of, sample.at, batches, start, tol, max_steps)


SEARCHES = {"newton": by_newton, "lbfgs": by_lbfgs}


def free_objective(data: Problem, fit_intercept, params: Params, chosen=None):
    """The objective of the parameters that may move, of all rows or of chosen ones."""
    if not fit_intercept:
        params = params._replace(bias=jnp.zeros_like(params.bias))
    return objective(params, chosen_rows_of(data, chosen))


def chosen_rows_of(data: Problem, chosen) -> Problem:
    """All rows for None; or some, each with the share of as many as it stands for."""
    if chosen is None:
        return data
    every = len(data.features) / len(chosen)
    data = data.rows(lambda a: a[chosen])
    return data._replace(share=data.share * every)


def check_batches(solver, batch_size: int, rows: int, key) -> None:
    if isinstance(solver, str):
        raise ValueError(
            f'solver "{solver}" takes all rows at once: batch_size is for an optax '
            "optimiser, such as optax.adam(0.01)."
        )
    if not 1 <= batch_size <= rows:
        raise ValueError(f"batch_size must be 1 to {rows}, the rows, got {batch_size}.")
    if key is None:
        raise ValueError("batch_size needs a key, such as jax.random.key(0).")


def checked_start(init: Fit | Params | None, features, fit_intercept) -> Params:
    columns, dtype = features.shape[1], features.dtype
    weights, bias = (jnp.zeros(columns), jnp.zeros(())) if init is None else init[:2]
    weights, bias = jnp.asarray(weights), jnp.asarray(bias)
    if weights.shape != (columns,) or bias.shape != ():
        raise ValueError(
            "init must hold weights of one value per column of features and a scalar "
            f"bias, got {weights.shape} and {bias.shape} for {columns} columns."
        )
    bias = bias if fit_intercept else jnp.zeros_like(bias)
    params = Params(weights.astype(dtype), bias.astype(dtype))
    # Replicated on the mesh of sharded features, so that the gradient is so as well.
    return replicated(params, features)
