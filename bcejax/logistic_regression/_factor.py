"""Cholesky's factor of a Hessian, and the step that it gives.

H is R C R, with R the root of its diagonal, and C has a diagonal of ones. It is C that
is factored, with a ridge of the size of its rounding, so that the scale of a column has
no part in it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from bcejax.logistic_regression._scaling import positive_or_one

STIFFER = 30  # times the ridge, where H + ridge has no factor


class Factor(NamedTuple):
    """Cholesky's lower factor L of C + ε I: H + ridge = R L Lᵀ R."""

    root: jax.Array  # the diagonal of R
    lower: jax.Array  # L, or its inverse; its last element is NaN if there is none


def cholesky(c: jax.Array) -> jax.Array:
    return jax.lax.linalg.cholesky(c, symmetrize_input=False)


def scaled_factor(h: jax.Array, ridge: jax.Array, decompose=cholesky) -> Factor:
    """C = R⁻¹ H R⁻¹ has a diagonal of ones, and its rounding is that of 1."""
    stiff = correlation(h) + ridge * jnp.eye(len(h), dtype=h.dtype)
    return Factor(root_of_diagonal(h), decompose(stiff))


def growing_factor(h: jax.Array, decompose=cholesky) -> Factor:
    """The factor, or its inverse, with a ridge that grows until there is one.

    ε starts as the rounding of C. Columns that are collinear, or more than the rows,
    then share their coefficient.
    """
    none = Factor(root_of_diagonal(h), jnp.full_like(h, jnp.nan))
    _, factor = jax.lax.while_loop(
        lambda state: ~exists(state[1]) & (state[0] < STIFFER),
        lambda state: (stiffer(state[0]), scaled_factor(h, state[0], decompose)),
        (jnp.asarray(least_ridge(h), h.dtype), none),
    )
    return factor


def stiffer(ridge: jax.Array) -> jax.Array:
    """The ridge to try next."""
    return STIFFER * ridge


def least_ridge(x: jax.Array) -> float:
    return len(x) * float(jnp.finfo(x.dtype).eps)


def exists(factor: Factor) -> jax.Array:
    return jnp.isfinite(factor.lower[-1, -1])


def step_of_factor(factor: Factor, gradient: jax.Array) -> jax.Array:
    """The step p of Newton's method: (H + ridge) p = −g."""
    root, lower = factor
    return -cho_solve((lower, True), gradient / root) / root


def step_of_hessian(h: jax.Array, gradient: jax.Array) -> jax.Array:
    return step_of_factor(growing_factor(h), gradient)


def factor(h: jax.Array) -> jax.Array:
    """Cholesky's lower factor R L of H + ridge."""
    root, lower = growing_factor(h)
    return root[:, None] * lower


def correlation(h: jax.Array) -> jax.Array:
    """C = R⁻¹ H R⁻¹, which has a diagonal of ones, or of 0 where that of H is 0."""
    root = root_of_diagonal(h)
    return h / (root * root[:, None])


def root_of_diagonal(h: jax.Array) -> jax.Array:
    return jnp.sqrt(positive_or_one(jnp.diagonal(h)))
