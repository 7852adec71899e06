"""The fit of many classes: from checked data, by one of the solvers, to a verdict."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from bcejax._sharding import in_auto_axes, is_split, replicated
from bcejax.logistic_regression._class_newton import softmax_of
from bcejax.logistic_regression._class_objective import objective
from bcejax.logistic_regression._class_overlap import class_shown
from bcejax.logistic_regression._class_scaling import ClassScaling
from bcejax.logistic_regression._compiled import STILL_FAST, compiled
from bcejax.logistic_regression._first_order import (
    better_start,
    found_by_lbfgs,
    found_by_optax,
)
from bcejax.logistic_regression._fit import check_batches, chosen_rows_of
from bcejax.logistic_regression._given import is_sound, refuse
from bcejax.logistic_regression._large import Sample, sample_for_hessian
from bcejax.logistic_regression._many_classes import (
    checked_classes,
    is_there,
    read_classes,
)
from bcejax.logistic_regression._newton import from_point, minimise_by
from bcejax.logistic_regression._objective import stretch_at_zero
from bcejax.logistic_regression._outcome import (
    Found,
    MultinomialFit,
    Options,
    outcome,
)
from bcejax.logistic_regression._precision import precision_of, rounded
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._products import checked_precision


def fit_multinomial(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    classes: int | None = None,
    l2: ArrayLike = 0.0,
    sample_weight: ArrayLike | None = None,
    fit_intercept: bool = True,
    init: MultinomialFit | Params | None = None,
    solver: str | optax.GradientTransformation = "newton-cg",
    tol: ArrayLike = 1e-6,
    max_steps: ArrayLike = 100,
    batch_size: int | None = None,
    key: jax.Array | None = None,
    precision: str = "highest",
) -> MultinomialFit:
    """Fit a softmax regression: minimise Σ wᵢ ℓᵢ / Σ wᵢ + Σⱼ (l2ⱼ/2) Σₖ Bⱼₖ².

    ℓᵢ = −log softmax(xᵢ B + b)[yᵢ]. The biases have no penalty. scikit-learn's C is
    1 / (l2 Σw). Of two classes this is `fit` with half the penalty, and
    B₁ − B₀ are its weights. The logits are those of a block of rows at a time, and
    never stored for all rows.

    Args:
      features: `(n, d)`, as in `fit`. bfloat16 and float16 are read as they are, and
        multiplied and added up with the digits of float32.
      labels: `(n,)`, the classes 0 to classes − 1; or `(n, classes)`, not negative, the
        probability of each class.
      classes: how many classes there are; needed within jit and vmap. By default every
        class up to the largest label must have rows.
      l2: scalar or `(d,)`, not negative. Penalty of the weights of all classes; one for
        each column, or the same for all.
      sample_weight: `(n,)` or a scalar, not negative. 2 counts a row twice. A row of
        weight 0 does not count, whatever it holds.
      fit_intercept: whether there are biases.
      init: where to start: a `MultinomialFit` or (weights, bias). Zeros by default, and
        with "newton-cg" and "lbfgs" also if the loss of zeros is less.
      solver: "newton-cg", Newton's method by conjugate gradients, at home with columns
        of any scale and with correlated ones; "lbfgs", or any optax optimiser of plain
        parameters.
      tol: as in `fit`.
      max_steps: stop after so many steps; with `batch_size`, after so many epochs.
      batch_size: rows a step, in a new order every epoch. For optax optimisers.
      key: of the randomness of the batches, such as `jax.random.key(0)`.
      precision: "highest" multiplies float32 with all its digits, "high" and "default"
        with fewer where the device is faster then.
    Returns:
      A `MultinomialFit`. Look at `converged` before using it.
    Raises:
      TypeError: if an argument or a column is not real, or `solver` is neither a name
        nor an optax optimiser.
      ValueError: if a shape does not fit that of `features`, for an unknown solver or
        precision, for `classes` that are missing or do not fit, or a `batch_size` that
        `fit` refuses. Outside jit and vmap also for a value that cannot be meant: a
        label that is no class, a class without rows (but with `classes` and a penalty),
        and what `fit` refuses.
    Example:
      >>> x = jnp.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
      >>> model = fit_multinomial(x, jnp.array([0, 0, 1, 1, 2, 2]), l2=0.1)
      >>> print(model.converged, model.weights)
      True [[-1.218 -0.     1.218]]

    Reference:
      D. Böhning, Multinomial logistic regression algorithm, Ann. Inst. Statist. Math.
      44 (1992), 197-200. On conjugate gradients the book that `fit` names, chapter 5.
    """
    given, names, count = read_classes(features, labels, classes, l2, sample_weight)
    products = checked_precision(precision)
    with precision_of(given, init, tol, max_steps, key):
        model, sound = compiled_fit(
            given,
            init,
            tol,
            max_steps,
            key,
            count,
            fit_intercept,
            solver,
            batch_size,
            products,
        )
        refuse(sound, given._replace(labels=jnp.zeros(len(given.labels))), names)
    options = Options(
        fit_intercept=fit_intercept, weighted=sample_weight is not None, columns=names
    )
    return rounded(model)._replace(options=options)


STATIC = "classes", "fit_intercept", "solver", "batch_size", "products"


@compiled(STILL_FAST, static_argnames=STATIC)
def compiled_fit(
    given,
    init,
    tol,
    max_steps,
    key,
    classes,
    fit_intercept,
    solver,
    batch_size,
    products,
) -> tuple[MultinomialFit, jax.Array]:
    if is_split(jnp.asarray(given.features), 1):
        options = classes, fit_intercept, solver, batch_size, products

        def again(*data):
            return compiled_fit(*data, *options)

        return in_auto_axes(again, None, given, init, tol, max_steps, key)
    data = checked_classes(given, classes)
    start = checked_class_start(init, data, classes, fit_intercept)
    if batch_size is not None:
        check_batches(solver, batch_size, len(data.features), key)
    sample = sample_for_hessian(data, fit_intercept, False, classes)
    at = class_scaling(data, sample, classes, fit_intercept)
    if init is not None and isinstance(solver, str):
        loss_of = partial(floored_objective, products, data, at, fit_intercept)
        start = better_start(loss_of, start, max_steps)
    if solver in SEARCHES:
        search = SEARCHES[solver]
    else:
        batches = None if batch_size is None else (len(data.features), batch_size, key)
        search = partial(by_optax, solver, fit_intercept, batches)
    model = class_solved(search, products, data, sample, at, start, tol, max_steps)
    # The labels have been looked at, or nobody can be told.
    given = given._replace(labels=jnp.zeros(()))
    return model, is_sound(given, model.loss + model.gradient_norm)


def class_solved(
    search, products, data: Problem, sample: Sample, at: ClassScaling, start, tol, steps
) -> MultinomialFit:
    """Where a search ends, and the verdict."""
    found = search(products, data, sample, at, start, tol, steps)
    seen = class_shown(products, data, sample, at, found.params)
    return MultinomialFit(*outcome(found, seen, at, data.l2, tol))


def class_scaling(
    data: Problem, sample: Sample, classes: int, fit_intercept: bool
) -> ClassScaling:
    floor = jnp.zeros(classes, data.share.dtype)
    if fit_intercept:
        floor = jnp.where(is_there(data, classes), floor, -jnp.inf)
    return ClassScaling(sample.at, floor)


def floored(at: ClassScaling, params: Params) -> Params:
    return params._replace(bias=params.bias + at.floor)


def by_newton(
    products, data, sample, at, start: Params, tol, max_steps, held=None
) -> Found:
    softmax = softmax_of(products, data, sample.rows, at, held)
    state = minimise_by(softmax, from_point(at.point(start)), tol, max_steps).state
    return Found(at.params(state.point), state.loss, state.gradient, state.steps)


def by_lbfgs(products, data, sample, at, start: Params, tol, max_steps) -> Found:
    classes = len(at.floor)
    stretch = stretch_at_zero(data, at.columns, 1 / classes)
    return found_by_lbfgs(
        lambda p: objective(products, p, data),
        at,
        jnp.repeat(stretch, classes),
        start,
        tol,
        max_steps,
    )


def by_optax(
    solver, fit_intercept, batches, products, data, sample, at, start, tol, max_steps
) -> Found:
    loss_of = partial(floored_objective, products, data, at, fit_intercept)
    found = found_by_optax(solver, loss_of, at, batches, start, tol, max_steps)
    return found._replace(params=floored(at, found.params))


def floored_objective(
    products, data: Problem, at: ClassScaling, fit_intercept, params, chosen=None
):
    """The objective of the parameters that may move, of all rows or of chosen ones."""
    if not fit_intercept:
        params = params._replace(bias=jnp.zeros_like(params.bias))
    return objective(products, floored(at, params), chosen_rows_of(data, chosen))


SEARCHES = {"newton-cg": by_newton, "lbfgs": by_lbfgs}


def checked_class_start(
    init, data: Problem, classes: int, fit_intercept: bool
) -> Params:
    d = data.features.shape[1]
    zeros = jnp.zeros((d, classes)), jnp.zeros(classes)
    weights, bias = (jnp.asarray(a) for a in (zeros if init is None else init[:2]))
    if weights.shape != (d, classes) or bias.shape != (classes,):
        raise ValueError(
            "init must hold weights of one value per column of features and class, and "
            f"a bias for each class, got {weights.shape} and {bias.shape} for {d} "
            f"columns and {classes} classes."
        )
    # The bias of a class without rows is −∞.
    bias = jnp.where(jnp.isfinite(bias) & fit_intercept, bias, 0)
    # Logits are the same where all classes move alike; of these the optimum has sum 0.
    weights, bias = (a - jnp.mean(a, -1, keepdims=True) for a in (weights, bias))
    params = Params(*(a.astype(data.share.dtype) for a in (weights, bias)))
    # Replicated on the mesh of sharded features, so that the gradient is so as well.
    return replicated(params, data.features)
