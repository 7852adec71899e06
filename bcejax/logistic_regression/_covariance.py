"""How far the coefficients of a fit can be trusted: their covariance.

With wᵢ the weight of a row, xᵢ its logit, W = Σ wᵢ, and H the Hessian of the objective

    W H = Σ wᵢ σ(xᵢ) σ(−xᵢ) zᵢ zᵢᵀ + W diag(l2),    zᵢ = (features, 1),

the penalty without its share in the bias, the covariance is

    fisher    (W H)⁻¹,
    sandwich  (W H)⁻¹ (Σ wᵢ gᵢ gᵢᵀ) (W H)⁻¹,    gᵢ = (σ(xᵢ) − yᵢ) zᵢ + l2 β,
    HC1       sandwich · W/(W − k), of k coefficients that the data determine,
    cluster   (W H)⁻¹ (Σ_c g_c g_cᵀ) (W H)⁻¹ · G/(G − 1) · (W − 1)/(W − k),

with g_c = Σ wᵢ gᵢ over the rows of one of G groups. Weights count rows: 2 counts a row
twice, in all kinds.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.typing import ArrayLike

from bcejax._bce import bce_dx
from bcejax._numerics.sigmoid import sigmoid_slope
from bcejax.logistic_regression._compiled import AT_ONCE, compiled
from bcejax.logistic_regression._fit import logits_of_model
from bcejax.logistic_regression._given import Given, is_sound, read_again, refuse
from bcejax.logistic_regression._outcome import Fit
from bcejax.logistic_regression._precision import precision_of, rounded
from bcejax.logistic_regression._problem import (
    Params,
    Problem,
    checked_problem,
    total_weight,
)
from bcejax.logistic_regression._rows import HIGHEST, sum_over_rows
from bcejax.logistic_regression._scaling import (
    Scaling,
    moments,
    positive_or_one,
    varies,
)

KINDS = "fisher", "sandwich", "HC1", "cluster"
LOST = 4  # roundings of the features that may account for all of a direction

dot = partial(jnp.matmul, precision=HIGHEST)


def covariance(
    model: Fit,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    l2: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool | None = None,
    kind: str = "fisher",
    groups: ArrayLike | None = None,
) -> jax.Array:
    """Covariance of the coefficients (β, b) of a converged fit, the bias last.

    The data and options are those of the fit, which remembers all but the data, the
    weights and the offset. "fisher" is right if the model is;
    "sandwich" (HC0) for the best approximation, too, however the labels come about, row
    by row independently; "HC1" is that with a factor for few rows. "cluster" is right
    for rows that are independent only if they are of different `groups`, of which there
    should be some dozens. With a penalty, "fisher" is the posterior covariance of
    Laplace's approximation, and the others say how the estimate varies from sample to
    sample. Of a Firth fit they leave the penalty out, which vanishes beside the rows.

    What the data leave undetermined, to their last digits, has variance ∞: the
    coefficient of a column that is constant beside a bias, or a combination of others.
    That is the limit of a vanishing penalty, whose other elements are returned as well.

    Args:
      model: the minimiser, of d features.
      features: `(n, d)`, real.
      labels: `(n,)`, real. Class 0 or 1, or a probability.
      l2: scalar or `(d,)`, not negative; that of the fit by default.
      sample_weight: `(n,)` or a scalar, not negative. 2 counts a row twice.
      offset: `(n,)` or a scalar.
      fit_intercept: whether there was a bias, if that is to be checked.
      kind: "fisher", "sandwich", "HC1" or "cluster".
      groups: `(n,)`, numbers or text that tell the groups of "cluster" apart.
    Returns:
      `(d + 1, d + 1)`, or `(d, d)` without a bias, in the dtype of the fit. Its unit is
      that of coefficient × coefficient.
    Raises:
      TypeError: if an argument is not real.
      ValueError: if a shape does not fit that of `features`, for an unknown kind, for
        "cluster" without groups and groups without it, or for options that are not
        those of the fit. Outside jit and vmap also for a value
        that cannot be meant.
    Example:
      >>> from bcejax.logistic_regression import fit
      >>> x, y = jnp.array([[0], [1], [1], [0]]), jnp.array([0.25, 0.75, 0.75, 0.25])
      >>> print(covariance(fit(x, y), x, y))
      [[ 5.3333 -2.6667]
       [-2.6667  2.6667]]

    Reference:
      H. White, Maximum likelihood estimation of misspecified models, Econometrica 50
      (1982), 1-25. K.-Y. Liang and S. L. Zeger, Longitudinal data analysis using
      generalized linear models, Biometrika 73 (1986), 13-22.
    """
    given, names, fit_intercept = read_again(
        model, features, labels, l2, sample_weight, offset, fit_intercept
    )
    groups = codes_of(groups, kind, given)
    with precision_of(given, model):
        result, _, sound = compiled_covariance(
            model, given, fit_intercept, kind, groups
        )
        refuse(sound, given, names)
    return rounded(result)


def codes_of(groups: ArrayLike | None, kind: str, given: Given):
    """The groups as integers from 0, one for each row; None without groups."""
    if kind not in KINDS:
        raise ValueError(f"kind must be {', '.join(map(repr, KINDS))}, got {kind!r}.")
    if (groups is None) == (kind == "cluster"):
        raise ValueError(
            'groups must be given with kind "cluster", and with no other kind, '
            f"got kind {kind!r} {'without' if groups is None else 'with'} groups."
        )
    if groups is None:
        return None
    traced = isinstance(groups, jax.core.Tracer)
    of_rows: Any = groups if traced else np.asarray(groups)
    rows = np.shape(given.labels)
    if of_rows.shape != rows:
        raise ValueError(
            f"groups must hold one value per row of features, got {of_rows.shape} "
            f"beside labels {rows}."
        )
    if traced:
        return jnp.unique(of_rows, return_inverse=True, size=of_rows.size)[1]
    return np.unique(of_rows, return_inverse=True)[1].astype(np.int32)


@compiled(AT_ONCE, static_argnames=("fit_intercept", "kind"))
def compiled_covariance(model: Fit, given, fit_intercept, kind, groups=None):
    """The covariance, the logits of the rows, and whether the values are sound."""
    data, sample_weight = checked_problem(*given).readable(), given.sample_weight
    total = total_weight(sample_weight, data)
    logits = fitted_logits(model, data)
    design, root, lost, top = rooted_design(data, logits, fit_intercept)
    spread = dot(design.back, root)
    if kind == "fisher":
        known = dot(spread, spread.T) / top
    else:
        slope = bce_dx(logits, data.labels, None)
        weights = jnp.asarray(model.weights, slope.dtype)
        pull = dot(data.l2 / top * weights, design.back[: weights.size])
        scores = dot((slope / top)[:, None] * design.columns + pull, root)
        determined = jnp.sum(jnp.any(root != 0, 0))
        middle = middle_of(kind, scores, data.share, total, determined, groups)
        known = dot(dot(spread, middle), spread.T)
    infinite = infinities(dot(design.back, lost), design.back)
    variance = known / total + infinite
    # Features that are not finite have shown in the share of a row or in its logit.
    rows = jnp.where(data.share != 0, data.share + logits, 0)
    return variance, logits, is_sound(given, rows)


def middle_of(kind: str, scores, share, total, k, groups) -> jax.Array:
    """Σ sᵢ gᵢ gᵢᵀ, or W Σ_c g_c g_cᵀ with g_c = Σ sᵢ gᵢ, times its factor."""
    weighted = share[:, None] * scores
    if kind != "cluster":
        factor = total / (total - k) if kind == "HC1" else 1
        return factor * sum_over_rows(scores, weighted)
    of_groups = jax.ops.segment_sum(weighted, groups, len(share))
    count = jnp.sum(jax.ops.segment_max(share, groups, len(share)) > 0)
    factor = count / (count - 1) * (total - 1) / (total - k)
    return factor * total * sum_over_rows(of_groups, of_groups)


def rooted_design(data: Problem, logits, fit_intercept: bool):
    """A design, the root of its inverse information, what is lost, and a scale.

    The information is that of curvatures and penalties divided by the scale, which is
    the largest of them: the inverse of curvatures of e⁻⁸⁰, which a fit has that is all
    but certain, would overflow on the way.
    """
    curvature = data.share * sigmoid_slope(logits)
    largest = jnp.maximum(curvature.max(), data.l2.max())
    top = stop_gradient(positive_or_one(largest))
    curvature, l2 = curvature / top, data.l2 / top
    design = centred_design(data, curvature, l2, fit_intercept)

    def information(basis):
        rows = dot(design.columns, basis)
        of_rows = sum_over_rows(rows, curvature[:, None] * rows)
        return of_rows + dot(basis.T, design.penalty[:, None] * basis)

    return design, *inverse_root(information, design.rounding), top


def fitted_logits(model: Fit, data: Problem) -> jax.Array:
    """Logits of the rows of `data`, in their dtype, offset included."""
    weights, bias = (jnp.asarray(a, data.share.dtype) for a in model[:2])
    return logits_of_model(Params(weights, bias), data.features) + data.offset


class Design(NamedTuple):
    """The features, and ones for the bias, centred and scaled to an information of 1.

    Centred, a column of 1990 ± 10 and the bias do not look alike to float32.
    """

    columns: jax.Array  # (n, k)
    penalty: jax.Array  # (k,), of the square of each coefficient
    back: jax.Array  # (k, k), from these coefficients to those of the features
    rounding: jax.Array  # (k,), size of a rounding error in each column, over eps


def centred_design(data: Problem, curvature, l2, fit_intercept: bool) -> Design:
    # Any coordinates lead to the same covariance: to a derivative they are constants.
    weight, ridge = stop_gradient((curvature, l2))
    total = positive_or_one(weight.sum())
    weighted = stop_gradient(data._replace(share=weight / total))
    mean, deviation = moments(weighted, fit_intercept)
    varying = varies(mean, deviation)
    centred = jnp.sqrt(total) * jnp.where(varying, deviation, 0)
    plain = jnp.sqrt(total) * jnp.hypot(mean, deviation)
    length = jnp.hypot(centred, jnp.sqrt(ridge))
    unit = 1 / jnp.where(length > 0, length, positive_or_one(plain))
    at = Scaling(mean, unit, jax.lax.rsqrt(total))

    columns = jnp.where(jnp.append(varying, True), at.rows(data), 0)
    penalty = jnp.append(l2 * jnp.square(unit), 0)
    rounding = jnp.append(jnp.where(varying, plain * unit, 1), 1)
    k = unit.size + fit_intercept  # without a bias all but the last
    return Design(columns[:, :k], penalty[:k], at.matrix()[:k, :k], rounding[:k])


def inverse_root(information: Callable, rounding: jax.Array):
    """Of C = information(I), B and D: B Bᵀ is C's pseudo-inverse, D what C ignores.

    `information` maps a basis V to VᵀCV. Orthonormal directions are ignored if rounding
    the features could account for all of them; they are columns of D, others are 0.

    C squares the condition of the columns that it is made of. It is therefore taken
    twice, the second time in a basis in which it is nearly the identity and keeps the
    digits that the first has lost. R is that of a QR decomposition of the columns,
    found by sums over rows, which may be sharded:

        C  = V Λ Vᵀ,    S = √Λ                                          (1)
        C₂ = information(V S⁻¹) = T M Tᵀ,    so that C = V S C₂ S Vᵀ    (2)
        R  = √M Tᵀ S Vᵀ,    RᵀR = C,    R = U Σ Wᵀ                      (3)
        B  = W Σ⁻¹,    B Bᵀ = W Σ⁻² Wᵀ = C⁺                             (4)

    and D are the columns of W whose σ is lost. At last

        BᵀCB = L Lᵀ,    B ← B L⁻ᵀ                                       (5)

    makes BᵀCB = I whatever rounding did to B before, and carries the derivative.
    """
    eps = jnp.finfo(rounding.dtype).eps
    once = information(jnp.eye(rounding.size, dtype=rounding.dtype))
    values, v = jnp.linalg.eigh(stop_gradient(once))  # (1)
    size = jnp.sqrt(jnp.maximum(values, eps))
    again = information(v / size)
    values, turn = jnp.linalg.eigh(stop_gradient(again))  # (2)
    inward = size[:, None] * v.T  # S Vᵀ
    r = jnp.sqrt(jnp.maximum(values, 0))[:, None] * dot(turn.T, inward)
    _, sizes, right = jnp.linalg.svd(r)  # (3)
    is_lost = sizes <= LOST * eps * stop_gradient(dot(jnp.abs(right), rounding))
    root = jnp.where(is_lost, 0, right.T / jnp.where(is_lost, 1, sizes))  # (4)
    inward = dot(inward, root)  # S Vᵀ B, so that BᵀCB is C₂ between two of these
    product = dot(inward.T, dot(again, inward))
    lower = jnp.linalg.cholesky(product + jnp.diag(jnp.where(is_lost, 1.0, 0.0)))
    root = jax.scipy.linalg.solve_triangular(lower, root.T, lower=True).T  # (5)
    return root, jnp.where(is_lost, right.T, 0)


def infinities(lost: jax.Array, back: jax.Array) -> jax.Array:
    """±∞ where a covariance grows along the lost directions, 0 elsewhere."""
    eps = jnp.finfo(lost.dtype).eps
    lost = stop_gradient(lost / jnp.linalg.norm(back, axis=1, keepdims=True))
    moved = jnp.linalg.norm(lost, axis=1, keepdims=True) > jnp.sqrt(eps)
    lost = jnp.where(moved, lost, 0)
    product = dot(lost, lost.T)
    return jnp.where(jnp.abs(product) > eps, jnp.copysign(jnp.inf, product), 0)
