"""Coordinates in which the information of a fit is near the identity, and its inverse.

A covariance in memory and one in passes over batches are made of these parts.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from bcejax.logistic_regression._problem import Problem
from bcejax.logistic_regression._rows import HIGHEST, sum_over_rows
from bcejax.logistic_regression._scaling import (
    Scaling,
    moments,
    positive_or_one,
    varies,
)

LOST = 4  # roundings of the features that may account for all of a direction

dot = partial(jnp.matmul, precision=HIGHEST)


class Design(NamedTuple):
    """The features, and ones for the bias, centred and scaled to an information of 1.

    Centred, a column of 1990 ± 10 and the bias do not look alike to float32.
    """

    at: Scaling
    varying: jax.Array  # (d + 1,), which columns are not 0
    penalty: jax.Array  # (k,), of the square of each coefficient
    back: jax.Array  # (k, k), from these coefficients to those of the features
    rounding: jax.Array  # (k,), size of a rounding error in each column, over eps

    def columns(self, data: Problem) -> jax.Array:
        """`(n, k)`."""
        return jnp.where(self.varying, self.at.rows(data), 0)[:, : len(self.penalty)]


def design_of(mean, deviation, total, l2, fit_intercept: bool) -> Design:
    """That of columns of these moments, weighted by curvatures with this sum."""
    varying = varies(mean, deviation)
    centred = jnp.sqrt(total) * jnp.where(varying, deviation, 0)
    plain = jnp.sqrt(total) * jnp.hypot(mean, deviation)
    length = jnp.hypot(centred, jnp.sqrt(stop_gradient(l2)))
    unit = 1 / jnp.where(length > 0, length, positive_or_one(plain))
    at = Scaling(mean, unit, jax.lax.rsqrt(total))

    penalty = jnp.append(l2 * jnp.square(unit), 0)
    rounding = jnp.append(jnp.where(varying, plain * unit, 1), 1)
    k = unit.size + fit_intercept  # without a bias all but the last
    back = at.matrix()[:k, :k]
    return Design(at, jnp.append(varying, True), penalty[:k], back, rounding[:k])


def centred_design(data: Problem, curvature, l2, fit_intercept: bool) -> Design:
    # Any coordinates lead to the same covariance: to a derivative they are constants.
    weight = stop_gradient(curvature)
    total = positive_or_one(weight.sum())
    weighted = stop_gradient(data._replace(share=weight / total))
    return design_of(*moments(weighted, fit_intercept), total, l2, fit_intercept)


def information_of_rows(columns, curvature, basis) -> jax.Array:
    rows = dot(columns, basis)
    return sum_over_rows(rows, curvature[:, None] * rows)


def information_of_penalty(design: Design, basis) -> jax.Array:
    return dot(basis.T, design.penalty[:, None] * basis)


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
    v, size = first_basis(information(jnp.eye(rounding.size, dtype=rounding.dtype)))
    return root_in_basis(information(v / size), v, size, rounding)


@jax.jit
def first_basis(once):
    values, v = jnp.linalg.eigh(stop_gradient(once))  # (1)
    return v, jnp.sqrt(jnp.maximum(values, jnp.finfo(once.dtype).eps))


@jax.jit
def root_in_basis(again, v, size, rounding):
    eps = jnp.finfo(rounding.dtype).eps
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


def scores_of_rows(design: Design, data: Problem, root, slope, pull) -> jax.Array:
    """Bᵀ gᵢ of each row, `pull` being the gradient of the penalty."""
    pull = dot(pull, design.back[: pull.size])
    return dot(slope[:, None] * design.columns(data) + pull, root)


def middle_of(kind: str, scores, share, total, k, groups) -> jax.Array:
    """Σ sᵢ gᵢ gᵢᵀ, or W Σ_c g_c g_cᵀ with g_c = Σ sᵢ gᵢ, times its factor."""
    weighted = share[:, None] * scores
    if kind != "cluster":
        return factor_of(kind, total, k) * sum_over_rows(scores, weighted)
    of_groups = jax.ops.segment_sum(weighted, groups, len(share))
    count = jnp.sum(jax.ops.segment_max(share, groups, len(share)) > 0)
    factor = count / (count - 1) * (total - 1) / (total - k)
    return factor * total * sum_over_rows(of_groups, of_groups)


def factor_of(kind: str, total, k):
    """What the middle of a sandwich is multiplied by, of k coefficients."""
    return total / (total - k) if kind == "HC1" else 1


def variance_of(back, root, lost, middle, top, total_weight) -> jax.Array:
    """The covariance; without a `middle` the information itself is in its place.

    `back` leads from the coordinates of the root to the coefficients.
    """
    spread = dot(back, root)
    if middle is None:
        known = dot(spread, spread.T) / top
    else:
        known = dot(dot(spread, middle), spread.T)
    return known / total_weight + infinities(dot(back, lost), back)


def infinities(lost: jax.Array, back: jax.Array) -> jax.Array:
    """±∞ where a covariance grows along the lost directions, 0 elsewhere."""
    eps = jnp.finfo(lost.dtype).eps
    lost = stop_gradient(lost / jnp.linalg.norm(back, axis=1, keepdims=True))
    moved = jnp.linalg.norm(lost, axis=1, keepdims=True) > jnp.sqrt(eps)
    lost = jnp.where(moved, lost, 0)
    product = dot(lost, lost.T)
    return jnp.where(jnp.abs(product) > eps, jnp.copysign(jnp.inf, product), 0)
