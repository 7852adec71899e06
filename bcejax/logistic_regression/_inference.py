"""How far the coefficients of a fit can be trusted: their covariance.

With wᵢ the weight of a row, xᵢ its logit, W = Σ wᵢ, and H the Hessian of the objective

    W H = Σ wᵢ σ(xᵢ) σ(−xᵢ) zᵢ zᵢᵀ + W diag(l2),    zᵢ = (features, 1),

the penalty without its share in the bias, the covariance is

    fisher    (W H)⁻¹,
    sandwich  (W H)⁻¹ (Σ wᵢ gᵢ gᵢᵀ) (W H)⁻¹,    gᵢ = (σ(xᵢ) − yᵢ) zᵢ + l2 β.

Weights count rows: 2 counts a row twice, in both kinds.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bcejax import _checks
from bcejax._bce import _bce_dx
from bcejax._sigmoid import _sigmoid_slope
from bcejax.logistic_regression._fit import Fit, predict_logits
from bcejax.logistic_regression._objective import (
    Problem,
    over_rows,
    problem,
)

# HIGHEST because accelerators would otherwise round the factors to fewer bits.
_dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def covariance(
    fit: Fit,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    l2: ArrayLike = 0.0,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool = True,
    kind: str = "fisher",
) -> jax.Array:
    """Covariance of the coefficients (β, b) of a converged fit, the bias last.

    The data and options are those of the fit. "fisher" is right if the model is;
    "sandwich" (HC0) for the best approximation, too, however the labels come about.
    With a penalty, "fisher" is the posterior covariance of Laplace's approximation, and
    "sandwich" what the estimate varies from sample to sample.

    What the data leave undetermined, to their last digits, has variance ∞: the
    coefficient of a column that is constant beside a bias, or a combination of others.
    That is the limit of a vanishing penalty, whose other elements are returned as well.

    Args:
      fit: the minimiser, of d features.
      features: `(n, d)`, real.
      labels: `(n,)`, real. Class 0 or 1, or a probability.
      l2: scalar or `(d,)`, not negative.
      sample_weight: `(n,)` or a scalar, not negative. 2 counts a row twice.
      offset: `(n,)` or a scalar.
      fit_intercept: whether there was a bias.
      kind: "fisher" or "sandwich".
    Returns:
      `(d + 1, d + 1)`, or `(d, d)` without a bias, in the dtype of the fit. Its unit is
      that of coefficient × coefficient.
    Raises:
      TypeError: if an argument is not real.
      ValueError: if a shape does not fit that of `features`, or for an unknown kind.
    Example:
      >>> from bcejax.logistic_regression import fit
      >>> x, y = jnp.array([[0], [1], [1], [0]]), jnp.array([0.25, 0.75, 0.75, 0.25])
      >>> print(covariance(fit(x, y), x, y))
      [[ 5.3333 -2.6667]
       [-2.6667  2.6667]]

    Reference:
      H. White, Maximum likelihood estimation of misspecified models, Econometrica 50
      (1982), 1-25.
    """
    if kind not in ("fisher", "sandwich"):
        raise ValueError(f'kind must be "fisher" or "sandwich", got {kind!r}.')
    data = map(_checks.array, (features, labels, l2, sample_weight, offset))
    return _covariance(fit, *data, fit_intercept, kind)


@partial(jax.jit, static_argnames=("fit_intercept", "kind"))
def _covariance(
    fit, features, labels, l2, sample_weight, offset, fit_intercept, kind
) -> jax.Array:
    data = problem(features, labels, l2, sample_weight, offset)
    logits = fitted_logits(fit, data)
    curvature = data.share * _sigmoid_slope(logits)
    # Curvatures of e⁻⁸⁰, of a fit that is all but certain, would overflow on the way.
    top = _constant(_positive(jnp.maximum(curvature.max(), data.l2.max())))
    curvature = curvature / top
    features = jnp.where(data.share[:, None] == 0, 0, data.features)
    design = _design(features, curvature, data.l2 / top, fit_intercept)

    def information(basis):
        rows = _dot(design.columns, basis)
        of_rows = over_rows(rows, curvature[:, None] * rows)
        return of_rows + _dot(basis.T, design.penalty[:, None] * basis)

    root, lost = _inverse_root(information, design.rounding)
    spread = _dot(design.back, root)
    if kind == "fisher":
        known = _dot(spread, spread.T) / top
    else:
        slope = _bce_dx(logits, data.labels, None)
        weights = jnp.asarray(fit.weights, slope.dtype)
        pull = _dot(data.l2 / top * weights, design.back[: weights.size])
        scores = _dot((slope / top)[:, None] * design.columns + pull, root)
        middle = over_rows(scores, data.share[:, None] * scores)
        known = _dot(_dot(spread, middle), spread.T)
    infinite = _infinite(_dot(design.back, lost), design.back)
    return known / total_weight(sample_weight, data) + infinite


def fitted_logits(fit: Fit, data: Problem) -> jax.Array:
    """Logits of the rows of `data`, in their dtype, offset included."""
    weights, bias = (jnp.asarray(a, data.share.dtype) for a in (fit.weights, fit.bias))
    fit = fit._replace(weights=weights, bias=bias)
    return predict_logits(fit, data.features) + data.offset


def total_weight(sample_weight: ArrayLike | None, data: Problem) -> jax.Array:
    """Σ wᵢ: the number of rows, if none is weighted."""
    weight = jnp.asarray(1 if sample_weight is None else sample_weight)
    return jnp.sum(jnp.broadcast_to(weight.astype(data.share.dtype), data.share.shape))


class _Design(NamedTuple):
    """The features, and ones for the bias, centred and scaled to curvature 1.

    Centred, a column of 1990 ± 10 and the bias do not look alike to float32.
    """

    columns: jax.Array  # (n, k)
    penalty: jax.Array  # (k,), of the square of each coefficient
    back: jax.Array  # (k, k), from these coefficients to those of the features
    rounding: jax.Array  # (k,), size of a rounding error in each column, over eps


def _design(x: jax.Array, curvature: jax.Array, l2, fit_intercept: bool) -> _Design:
    total, mean, plain = _positive(curvature.sum()), 0, _norm(x, curvature)
    for _ in range(2 * fit_intercept):  # the second is what rounding left of the first
        step = _constant(over_rows(curvature, x) / total)
        x, mean = x - step, mean + step
    spread = _norm(x, curvature)
    flat = spread <= 4 * jnp.finfo(x.dtype).eps * plain  # constant, but for rounding
    length = jnp.hypot(jnp.where(flat, 0, spread), jnp.sqrt(_constant(l2)))
    scale = 1 / jnp.where(length > 0, length, _positive(plain))
    columns, penalty = jnp.where(flat, 0, x * scale), l2 * jnp.square(scale)
    back, rounding = jnp.diag(scale), jnp.where(flat, 1, plain * scale)
    if not fit_intercept:
        return _Design(columns, penalty, back, rounding)
    unit = _constant(jax.lax.rsqrt(total))
    return _Design(
        jnp.concatenate([columns, jnp.full_like(x[:, :1], unit)], axis=1),
        jnp.append(penalty, 0),
        jnp.diag(jnp.append(scale, unit)).at[-1, :-1].set(-mean * scale),
        jnp.append(rounding, 1),
    )


# Mean and scale are constants to a derivative: the covariance is the same for any.
_constant = jax.lax.stop_gradient


def _norm(x: jax.Array, curvature: jax.Array) -> jax.Array:
    return _constant(jnp.sqrt(over_rows(curvature, jnp.square(x))))


def _positive(x: jax.Array) -> jax.Array:
    return jnp.where(x == 0, 1, x)


def _inverse_root(information: Callable, rounding: jax.Array):
    """Of C = information(I), B and D: BBᵀ is C's pseudo-inverse, D what C ignores.

    `information` maps a basis B to BᵀCB. Orthonormal directions are ignored if rounding
    the features could account for all of them; they are columns of D, others are 0.
    """
    # C squares the condition of the columns that it is made of. Made again of columns
    # that its eigenvectors have brought near to orthogonal, it has the digits that were
    # lost: R is that of a QR decomposition, RᵀR = C, but sums over rows made it, which
    # may be sharded.
    eps = jnp.finfo(rounding.dtype).eps
    once = information(jnp.eye(rounding.size, dtype=rounding.dtype))
    values, vectors = jnp.linalg.eigh(_constant(once))
    size = jnp.sqrt(jnp.maximum(values, eps))
    again = information(vectors / size)
    values, turn = jnp.linalg.eigh(_constant(again))
    inward = size[:, None] * vectors.T
    _, sizes, right = jnp.linalg.svd(
        jnp.sqrt(jnp.maximum(values, 0))[:, None] * _dot(turn.T, inward)
    )
    lost = sizes <= 4 * eps * _constant(_dot(jnp.abs(right), rounding))
    root = jnp.where(lost, 0, right.T / jnp.where(lost, 1, sizes))
    # Whatever the root was, it is right after this step, and so is its derivative.
    inward = _dot(inward, root)
    identity = _dot(inward.T, _dot(again, inward)) + jnp.diag(jnp.where(lost, 1.0, 0.0))
    lower = jnp.linalg.cholesky(identity)
    root = jax.scipy.linalg.solve_triangular(lower, root.T, lower=True).T
    return root, jnp.where(lost, right.T, 0)


def _infinite(lost: jax.Array, back: jax.Array) -> jax.Array:
    """±∞ where a covariance grows along the lost directions, 0 elsewhere."""
    eps = jnp.finfo(lost.dtype).eps
    lost = _constant(lost / jnp.linalg.norm(back, axis=1, keepdims=True))
    moved = jnp.linalg.norm(lost, axis=1, keepdims=True) > jnp.sqrt(eps)
    lost = jnp.where(moved, lost, 0)
    product = _dot(lost, lost.T)
    return jnp.where(jnp.abs(product) > eps, jnp.copysign(jnp.inf, product), 0)
