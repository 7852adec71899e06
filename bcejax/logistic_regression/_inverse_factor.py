"""The inverse of Cholesky's factor: the lower triangular W with W C Wᵀ = 1.

A CPU's LAPACK finds it sooner than XLA does. But the threads of LAPACK stay awake for
some 30 ms after a call, to be there for the next one, and keep XLA's from the cores
meanwhile: a search that calls it in every step, with small data, takes up to twice as
long. So a small matrix is left to XLA: by Gauss's elimination in blocks of rows,

    [C | 1]  →  [Lᵀ | L⁻¹],    C = L Lᵀ.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from bcejax._numerics.by_device import by_device
from bcejax.logistic_regression._factor import cholesky
from bcejax.logistic_regression._rows import HIGHEST

MOST_ELIMINATED = 512  # rows; with more, a step takes longer than threads stay awake
BLOCK = 32  # rows, of which each is eliminated by itself


def inverse_factor(c: jax.Array) -> jax.Array:
    """W; its last element is NaN or ∞ if `c` is not positive definite."""
    if len(c) > MOST_ELIMINATED:
        return by_lapack(c)
    block = BLOCK if len(c) > BLOCK else 1
    return by_device(
        lambda c: (by_elimination(c, block),), lambda c: (by_lapack(c),), c
    )[0]


def by_lapack(c: jax.Array) -> jax.Array:
    return solve_triangular(cholesky(c), jnp.eye(len(c), dtype=c.dtype), lower=True)


def by_elimination(c: jax.Array, block: int) -> jax.Array:
    n = len(c)
    size = -(-n // block) * block
    # The diagonal of the rows that fill the last block is 1.
    c = jnp.pad(c, (0, size - n)) + jnp.diag((jnp.arange(size) >= n).astype(c.dtype))
    place = jnp.arange(size)[:, None]

    def eliminate(k, both):
        start = k * block
        rows = jax.lax.dynamic_slice_in_dim(both, start, block)
        corner = jax.lax.dynamic_slice_in_dim(rows, start, block, axis=1)
        if block == 1:
            rows = jax.lax.rsqrt(corner) * rows
        else:
            rows = jnp.matmul(by_elimination(corner, 1), rows, precision=HIGHEST)
        below = jnp.where(place >= start + block, rows[:, :size].T, 0)
        both = both - jnp.matmul(below, rows, precision=HIGHEST)
        return jax.lax.dynamic_update_slice_in_dim(both, rows, start, axis=0)

    both = jnp.concatenate([c, jnp.eye(size, dtype=c.dtype)], 1)
    both = jax.lax.fori_loop(0, size // block, eliminate, both)
    return both[:n, size : size + n]
