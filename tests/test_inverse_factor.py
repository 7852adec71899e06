"""The inverse of Cholesky's factor, against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bcejax.logistic_regression._inverse_factor import (
    BLOCK,
    by_elimination,
    inverse_factor,
)

rng = np.random.default_rng(0)


def correlations(n: int) -> np.ndarray:
    return np.atleast_2d(np.corrcoef(rng.normal(size=(n, 3 * n + 1))))


@pytest.mark.parametrize("n", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 100, 520])
def test_it_turns_the_matrix_into_1(x64, n):
    c = correlations(n)
    for w in (inverse_factor(jnp.asarray(c)), by_elimination(jnp.asarray(c), BLOCK)):
        np.testing.assert_allclose(w @ c @ w.T, np.eye(n), atol=1e-12)
        assert np.all(np.triu(w, 1) == 0)


def test_nearly_collinear_columns_leave_the_digits_that_there_are(x64):
    c = correlations(60)
    c[:-1, -1] = c[-1, :-1] = c[0, :-1] * (1 - 1e-9)
    w = by_elimination(jnp.asarray(c), BLOCK)
    exact = np.linalg.inv(np.linalg.cholesky(c))
    np.testing.assert_allclose(w, exact, atol=1e-6 * np.max(np.abs(exact)))


@pytest.mark.parametrize("place", [0, 40, 69])
def test_the_last_element_says_that_there_is_none(place):
    c = correlations(70)
    c[place, place] = -0.1
    assert not np.isfinite(inverse_factor(jnp.float32(c))[-1, -1])


def test_vmap_takes_each_by_itself():
    c = jnp.float32([correlations(35) for _ in range(3)])
    together = jax.vmap(inverse_factor)(c)
    for one, w in zip(c, together, strict=True):
        np.testing.assert_allclose(w, inverse_factor(one), atol=2e-6)
