"""Fit by any optax optimiser, full batch, in one compiled loop."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from bcejax import _checks
from bcejax._sigmoid import sigmoid
from bcejax.logistic_regression._first_order import (
    descend,
    descend_in_batches,
    max_norm,
)
from bcejax.logistic_regression._newton import certificate, newton
from bcejax.logistic_regression._objective import (
    Params,
    linear,
    objective,
    on_each_device,
    problem,
    separated,
    table,
)


class Fit(NamedTuple):
    """A fitted model and how the search ended; a pytree, so it can be vmapped over.

    Attributes:
      weights: `(d,)`, coefficients β of the features.
      bias: `()`, the intercept b; 0 without one.
      loss: `()`, the minimised objective, penalty included, in nats a row.
      gradient_norm: `()`, largest absolute component of the gradient of `loss`.
      steps: `()`, how many steps were taken over all rows.
      converged: `()`, whether `gradient_norm` is within the tolerance, or the loss
        within its rounding of the least, and the data are not separated.
      newton_decrement: `()`, √(gᵀ H⁻¹ g). Half its square is what the loss still is
        above its least value, near it. H is that of a sample of very many rows.
      separated: `()`, whether there is a direction in which the weights can grow for
        ever, and no row's loss does: then there is no optimum.
    """

    weights: jax.Array
    bias: jax.Array
    loss: jax.Array
    gradient_norm: jax.Array
    steps: jax.Array
    converged: jax.Array
    newton_decrement: jax.Array
    separated: jax.Array


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
) -> Fit:
    """Fit a logistic regression: minimise Σ wᵢ ℓᵢ / Σ wᵢ + Σⱼ (l2ⱼ/2) βⱼ².

    Columns on one scale make every first-order solver faster: standardise first. Newton
    does not mind. Where columns are collinear, constant, or more than the rows, and
    there is no penalty, it returns one of the many optima, of moderate weights.

    Args:
      features: `(n, d)`, real. 16-bit and integers are computed in float32.
      labels: `(n,)`, real. Class 0 or 1, or a probability.
      l2: scalar or `(d,)`, not negative. Penalty of the weights, not of the bias; one
        for each column, or the same for all. `l2 * features.var(0)` penalises them as
        if the columns were standardised.
      sample_weight: `(n,)` or a scalar, not negative. 2 counts a row twice.
      offset: `(n,)` or a scalar. Added to the logits, with coefficient 1.
      fit_intercept: whether there is a bias.
      init: where to start: a `Fit` or (weights, bias). Zeros by default.
      solver: "newton", at home with columns of any scale; "lbfgs", or any optax
        optimiser of plain parameters, such as `optax.adam(0.1)`. Make it once: each new
        one compiles anew.
      tol: stop when no component of the gradient exceeds this; with "newton" none may
        exceed 100 tol per standard deviation of its column either.
      max_steps: stop after so many steps; with `batch_size`, after so many epochs.
      batch_size: rows a step, in a new order every epoch. For optax optimisers.
      key: of the randomness of the batches, such as `jax.random.key(0)`.
    Returns:
      A `Fit`. Look at `converged` before using it.
    Raises:
      TypeError: if an argument is not real, or `solver` is neither a name nor an optax
        optimiser.
      ValueError: if a shape does not fit that of `features`, for an unknown solver, or
        for a `batch_size` that is not in [1, n], comes without `key`, or for a solver
        of all rows.
    Example:
      >>> x = jnp.array([[0.0], [1.0], [2.0], [3.0]])
      >>> model = fit(x, jnp.array([0, 1, 0, 1]))
      >>> print(model.converged, model.weights)
      True [0.908]

    Reference:
      J. Nocedal and S. J. Wright, Numerical optimization, 2nd edition, Springer 2006:
      chapters 3, 6 and 7 on line searches, Newton's method and L-BFGS.
    """
    data = map(_checks.array, (features, labels, l2, sample_weight, offset))
    return _fit(*data, init, tol, max_steps, fit_intercept, solver, batch_size, key)


@partial(jax.jit, static_argnames=("fit_intercept", "solver", "batch_size"))
def _fit(
    features,
    labels,
    l2,
    sample_weight,
    offset,
    init,
    tol,
    max_steps,
    fit_intercept,
    solver,
    batch_size=None,
    key=None,
) -> Fit:
    data = problem(features, labels, l2, sample_weight, offset)
    start = _start(init, data.features, fit_intercept)

    if batch_size is not None:
        rows = _checked_batches(data, solver, batch_size, key)
        loss_of_rows = partial(_loss_of_rows, data, fit_intercept)
        state = descend_in_batches(
            solver, start, loss_of_rows, rows, batch_size, key, tol, max_steps
        )
        found = certificate(data, state, fit_intercept)
    elif solver == "newton":
        found = newton(data, start, fit_intercept, tol, max_steps)
    else:
        state = descend(solver, start, _free(data, fit_intercept), tol, max_steps)
        found = certificate(data, state, fit_intercept)
    norm = max_norm(found.gradient)
    apart = separated(found.params, found.step, data)
    # What the decrement has left to gain, and the loss as the dtype rounds it.
    rounding = 4 * jnp.finfo(found.loss.dtype).eps * found.loss
    settled = (norm <= tol) | (found.decrement**2 / 2 <= rounding)
    return Fit(
        *found.params,
        found.loss,
        norm,
        found.steps,
        settled & ~apart,
        found.decrement,
        apart,
    )


def _checked_batches(data, solver, batch_size, key) -> int:
    rows = len(data.features)
    if isinstance(solver, str):
        raise ValueError(
            f'solver "{solver}" takes all rows at once: batch_size is for an optax '
            "optimiser, such as optax.adam(0.01)."
        )
    if not 1 <= batch_size <= rows:
        raise ValueError(f"batch_size must be 1 to {rows}, the rows, got {batch_size}.")
    if key is None:
        raise ValueError("batch_size needs a key, such as jax.random.key(0).")
    return rows


def _loss_of_rows(data, fit_intercept, params, chosen):
    """The objective, estimated from the chosen rows."""
    if chosen is not None:
        every = len(data.features) / len(chosen)
        data = data.rows(lambda a: a[chosen])
        data = data._replace(share=data.share * every)
    return _free(data, fit_intercept)(params)


def _free(data, fit_intercept):
    """The objective of the parameters that are free to move."""
    if fit_intercept:
        return partial(objective, problem=data)
    return lambda params: objective((params[0], jnp.zeros_like(params[1])), data)


def predict_logits(fit: Fit, features: ArrayLike) -> jax.Array:
    """Logits x·β + b of new features; add the offset yourself if there was one.

    Args:
      fit: a fitted model of d features.
      features: `(n, d)`, real.
    Returns:
      `(n,)`, float32 or float64.
    Raises:
      TypeError: if `features` is not real.
      ValueError: if `features` has another number of columns, or `fit` holds several.
    Example:
      >>> model = fit(jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([0, 1, 0, 1]))
      >>> print(predict_logits(model, jnp.array([[1.5], [3.0]])))
      [0. 1.36]
    """
    features = table(features)
    if fit.weights.ndim != 1:
        raise ValueError(
            f"fit must hold one, got weights {fit.weights.shape}: vmap over fits."
        )
    if features.shape[1:] != fit.weights.shape:
        raise ValueError(
            f"features must have the {fit.weights.size} columns of the fit, "
            f"got shape {features.shape}."
        )
    return linear((fit.weights, fit.bias), features)


def predict_probs(fit: Fit, features: ArrayLike) -> jax.Array:
    """Probabilities of label 1, σ of `predict_logits`, whose arguments these are.

    Returns:
      `(n,)`, float32 or float64, in [0, 1].
    Example:
      >>> model = fit(jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([0, 1, 0, 1]))
      >>> print(predict_probs(model, jnp.array([[1.5], [3.0]])))
      [0.5 0.796]
    """
    return sigmoid(predict_logits(fit, features))


def _start(init: Fit | Params | None, features: jax.Array, fit_intercept) -> Params:
    columns, dtype = features.shape[1], features.dtype
    weights, bias = (jnp.zeros(columns), jnp.zeros(())) if init is None else init[:2]
    weights, bias = jnp.asarray(weights), jnp.asarray(bias)
    if weights.shape != (columns,) or bias.shape != ():
        raise ValueError(
            "init must hold weights of one value per column of features and a scalar "
            f"bias, got {weights.shape} and {bias.shape} for {columns} columns."
        )
    bias = bias if fit_intercept else jnp.zeros_like(bias)
    params = weights.astype(dtype), bias.astype(dtype)
    # On the mesh of sharded features, whole on each device: so is then the gradient.
    return on_each_device(params, features)
