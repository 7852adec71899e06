"""Fit.converged and Fit.separated, against the linear program of `separation`."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from designs import dummies, endometrial, few_rows, integers, rare_level

from bcejax.logistic_regression import fit, fit_batches, separation

ROWS, COLUMNS = 80, 4  # of all designs, so that one program fits them all


DESIGNS = integers, dummies, rare_level, few_rows, endometrial


@cache
def designs(count):
    """Features, labels, weights that leave out the padding, and the linear program."""
    lines = []
    for seed in range(count):
        x, y = DESIGNS[seed % len(DESIGNS)](np.random.default_rng(seed))
        x = np.float32(x)
        missing = ROWS - len(x), COLUMNS - x.shape[1]
        padded = np.pad(x, ((0, missing[0]), (0, missing[1])))
        weight = np.pad(np.ones(len(x)), (0, missing[0]))
        lines.append(
            (padded, np.pad(y, (0, missing[0])), weight, separation(x, y).any())
        )
    return [np.stack(column) for column in zip(*lines, strict=True)]


def assert_verdicts_are_true(count, solver, dtype):
    x, y, weight, apart = designs(count)
    assert 0.2 < apart.mean() < 0.6
    x, y, weight = (a.astype(dtype) for a in (x, y, weight))
    of_all = jax.jit(
        jax.vmap(
            lambda x, y, w, b, c: fit(
                x, y, sample_weight=w, init=(b, c), solver=solver, max_steps=300
            )
        )
    )
    rng = np.random.default_rng(0)
    zeros = np.zeros((count, COLUMNS), dtype), np.zeros(count, dtype)
    cold = of_all(x, y, weight, *zeros)
    far = [np.asarray(300 * rng.normal(size=a.shape), dtype) for a in zeros]
    for start in (zeros, (cold.weights, cold.bias), far):
        models = of_all(x, y, weight, *start)
        assert np.flatnonzero(models.separated != apart).tolist() == []
        assert np.flatnonzero(models.converged == apart).tolist() == []


@pytest.mark.full
@pytest.mark.parametrize(
    ("solver", "dtype"), [("newton", "float64"), ("lbfgs", "float32")]
)
def test_the_verdicts_are_those_of_the_linear_program(x64, solver, dtype):
    assert_verdicts_are_true(100, solver, dtype)


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_five_hundred_verdicts(x64, solver, dtype):
    assert_verdicts_are_true(500, solver, dtype)


def verdicts_of_batches(count, dtype):
    x, y, weight, apart = designs(count)
    for number in range(count):
        rows = x[number].astype(dtype), y[number], weight[number]
        batches = [tuple(a[i : i + 30] for a in rows) for i in range(0, ROWS, 30)]
        model = fit_batches(lambda batches=batches: batches, max_steps=300)
        assert model.separated == apart[number], number
        assert model.converged != apart[number], number


@pytest.mark.full
def test_the_verdicts_of_batches_are_those_of_the_linear_program():
    verdicts_of_batches(15, "float64")


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_hundred_verdicts_of_batches(dtype):
    verdicts_of_batches(100, dtype)


def nearly_separated(distance):
    """Sides of 0, but for a row of each label that lies `distance` beyond it."""
    x = np.array([-2.0, -1, -1, 1, 1, 2, distance, -distance])
    return x[:, None], np.array([0, 0, 0, 1, 1, 1, 0, 1])


@pytest.mark.full
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_nearly_separated_data_converge(x64, solver):
    pairs = map(nearly_separated, (1e-2, 1e-3, 1e-4))
    x, y = (np.stack(a) for a in zip(*pairs, strict=True))
    models = jax.vmap(lambda x, y: fit(x, y, solver=solver, max_steps=300))(x, y)
    assert models.converged.all() and not models.separated.any()
    # A tenth of the distance pulls a tenth as hard against the slopes exp(−β).
    np.testing.assert_allclose(np.diff(models.weights[:, 0]), np.log(10), rtol=0.02)


@pytest.mark.full
@pytest.mark.parametrize("solver", ["lbfgs", optax.adam(0.05)])
def test_a_tiny_gradient_of_a_tiny_column_proves_nothing(solver):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 2))
    y = rng.random(200) < 1 / (1 + np.exp(-2 * z[:, 0]))
    model = fit(np.float32(1e-6 * z), y, solver=solver, max_steps=200)
    least = float(fit(np.float32(z), y).loss)
    if isinstance(solver, str):
        assert model.converged
        np.testing.assert_allclose(model.loss, least, rtol=1e-6)
    else:  # it does not get there, and must not say so
        assert not model.converged and model.loss > 1.1 * least


@pytest.mark.full
def test_a_loose_tolerance_still_asks_the_certificate():
    x = jnp.arange(8.0)[:, None]
    y = jnp.array([0, 0, 1, 0, 1, 0, 1, 1])
    start = fit(x, y, max_steps=0, tol=10)
    assert start.converged  # what is left is less than ten times the loss
    model = fit(x, y, init=(jnp.array([0.3]), -1.0), max_steps=0, tol=0.3)
    left = model.newton_decrement**2 / 2
    assert model.gradient_norm <= 0.3
    assert model.converged == (left <= 0.3 * model.loss)
    assert fit(x, y, tol=0.0).converged  # by the rounding of the loss


def test_a_far_start_is_worse_than_none(x64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2))
    y = rng.random(100) < 1 / (1 + np.exp(-x[:, 0]))
    cold, far = fit(x, y), (np.full(2, 500.0), -500.0)
    assert fit(x, y, init=far).steps == cold.steps
    # Without steps the model is what was given.
    np.testing.assert_allclose(fit(x, y, init=far, max_steps=0).bias, -500, rtol=1e-12)
