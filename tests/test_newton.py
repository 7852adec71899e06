"""fit(solver="newton"): data that defeat other solvers, and the certificate."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scipy.special import expit
from sklearn.datasets import load_breast_cancer

from bcejax.logistic_regression import (
    _large,
    _newton,
    _objective,
    _problem,
    _rows,
    covariance,
    fit,
)


def loss_of(model, x, y, l2=0.0, offset=0.0, weight=1.0):
    """The objective in float64, by the textbook."""
    weights = np.float64(model.weights)
    logits = np.float64(x) @ weights + np.float64(model.bias) + offset
    weight = np.broadcast_to(weight, len(y))
    losses = np.logaddexp(0, np.where(y == 1, -1, 1) * logits)
    return np.average(losses, weights=weight) + l2 / 2 * np.sum(weights**2)


def made(n, d, seed=0, correlated=False):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    if correlated:
        x = x @ rng.normal(size=(d, d)) + 3
    logits = (x - x.mean(0)) / x.std(0) @ rng.normal(size=d) / np.sqrt(d)
    return x, rng.uniform(size=n) < 1 / (1 + np.exp(-2 * logits))


@pytest.fixture(scope="module")
def cancer():
    return load_breast_cancer(return_X_y=True)


@pytest.fixture(scope="module")
def cancer_optimum(cancer):
    """The least loss at l2 = 1e-6 / n of the raw data, in float64."""
    x, y = cancer
    with jax.enable_x64(True):
        model = fit(x, y, l2=1e-6 / len(y), tol=1e-12)
        assert model.converged
        return float(model.loss)


@pytest.mark.full
def test_raw_breast_cancer_in_float32(cancer, cancer_optimum):
    # Columns from 1e-3 to 1e3, on which first-order solvers stop far above.
    x, y = cancer
    l2 = 1e-6 / len(y)
    model = fit(np.float32(x), y, l2=l2)
    assert model.converged and model.steps < 30
    np.testing.assert_allclose(loss_of(model, x, y, l2), cancer_optimum, rtol=1e-3)
    np.testing.assert_allclose(cancer_optimum * len(y), 17.4887, rtol=1e-4)


def test_thirty_digits_agree_with_float64(x64):
    x = np.array([-2.0, -1.0, 0.5, 1.0, 3.0, 4.0])
    y = np.array([0, 1, 0, 1, 0, 1])
    model = fit(x[:, None], y, l2=0.1, tol=1e-15)
    with mpmath.workdps(40):

        def slope(b, a):
            residuals = [
                1 / (1 + mpmath.exp(-(b * u + a))) - v
                for u, v in zip(x, y, strict=True)
            ]
            along = mpmath.fdot(residuals, x) / 6 + mpmath.mpf("0.1") * b
            return along, sum(residuals) / 6

        weight, bias = mpmath.findroot(slope, (0.1, 0.0), tol=1e-60)
    # The penalty of 0.1 is not exact in binary, its effect is below the tolerance.
    np.testing.assert_allclose(model.weights[0], float(weight), rtol=1e-13)
    np.testing.assert_allclose(model.bias, float(bias), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_accepted_step_lowers_the_objective(x64, cancer, dtype):
    x, y = cancer
    losses = [
        fit(x.astype(dtype), y, l2=1e-6, max_steps=steps, init=(np.full(30, 0.1), 5.0))
        for steps in range(12)
    ]
    losses = np.array([loss_of(model, x, y, 1e-6) for model in losses])
    assert np.all(np.diff(losses) <= 1e-6 * losses[1:])
    assert losses[-1] < losses[0] / 10


def test_columns_that_are_constant_collinear_or_more_than_the_rows(x64):
    x, y = made(200, 3)
    alone = fit(x, y, tol=1e-10)
    wide = np.column_stack([x, x[:, 0], x @ [1, -2, 3], np.ones(200), np.zeros(200)])
    model = fit(wide, y, tol=1e-10)
    assert model.converged
    np.testing.assert_allclose(model.loss, alone.loss, rtol=1e-12)
    np.testing.assert_allclose(model.weights[5:], 0, atol=1e-9)
    assert np.sign(model.weights[0]) == np.sign(model.weights[3])
    x, y = made(5, 20)
    model = fit(x, y)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model))
    assert fit(x, y, l2=0.1, tol=1e-9).converged


@pytest.mark.full
def test_a_single_row_or_class_is_separated():
    for x, y in (([[1.0, 2.0]], [1]), (made(50, 2)[0], np.ones(50))):
        model = fit(x, y)
        assert model.separated and not model.converged
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model))
    assert fit([[1.0, 2.0]], [0.25]).converged


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_separated_but_for_rows_on_the_border(x64, unit, dtype):
    x = unit * np.array([-2.0, -1, 0, 0, 1, 2], dtype)[:, None]
    model = fit(x, np.array([0, 0, 0, 1, 1, 1]), max_steps=200)
    assert model.separated and not model.converged
    model = fit(x, np.array([0, 0, 0, 1, 0, 1]), max_steps=200)
    assert model.converged and not model.separated
    assert fit(x, np.array([0, 0, 0, 1, 1, 1]), l2=0.1 / unit**2).converged


def test_the_decrement_bounds_what_is_left_to_gain(x64):
    x, y = made(300, 4)
    best = fit(x, y, tol=1e-13)
    for steps in range(2, 5):
        model = fit(x, y, max_steps=steps)
        left = model.newton_decrement**2 / 2
        # |ℓ‴| ≤ ℓ″: a parabola is off by at most the largest change of a logit, and the
        # difference of two losses by their rounding.
        change = x @ (model.weights - best.weights) + model.bias - best.bias
        bound = np.max(np.abs(change)) + 1e-3
        np.testing.assert_allclose(model.loss - best.loss, left, rtol=bound)


@pytest.mark.full
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_no_offset_weight_or_start_is_too_far(solver):
    x, y = made(300, 4)
    offset = np.where(np.arange(300) % 2, 50.0, -50.0)
    for extra in (
        {"offset": offset, "l2": 1.0},
        {"sample_weight": np.arange(300) % 3},
        {"init": (jnp.full(4, 100.0), -100.0)},
    ):
        model = fit(x, y, solver=solver, max_steps=500, **extra)
        assert model.converged
        assert np.isfinite(model.weights).all()


def test_rows_of_no_weight_are_no_rows(x64):
    x, y = made(300, 4)
    weight = np.arange(300) % 3
    model = fit(x, y, sample_weight=weight, tol=1e-10)
    repeated = fit(np.repeat(x, weight, 0), np.repeat(y, weight), tol=1e-10)
    np.testing.assert_allclose(model.weights, repeated.weights, rtol=1e-8)


@pytest.mark.full
@pytest.mark.parametrize("rows", [100, 600])
@pytest.mark.parametrize("rubbish", [-1e4, 0, 1e9, 1e20])
def test_rows_of_no_weight_may_hold_anything(rows, rubbish):
    x, y = made(300, 3)
    x = np.float32(x + np.array([0, 0, 2015]))
    alone = fit(x, y)
    padded = np.float32(np.append(x, np.full((rows, 3), rubbish), 0))
    weight = np.append(np.ones(300), np.zeros(rows))
    model = fit(padded, np.append(y, np.ones(rows)), sample_weight=weight)
    assert model.converged
    np.testing.assert_allclose(model.weights, alone.weights, rtol=1e-3)
    data = padded, np.append(y, np.ones(rows))
    np.testing.assert_allclose(
        covariance(model, *data, sample_weight=weight),
        covariance(alone, x, y),
        rtol=0.02,
        atol=1e-4,
    )


@pytest.mark.full
def test_groups_far_apart_are_fitted_alone_by_their_weights():
    # The middle of all rows is 5000 standard deviations away from that of a group.
    group, (z, y) = np.repeat(np.arange(10), 100), made(1000, 1)
    x = np.float32(1000 * group[:, None] + z)
    weights = np.float32(group == np.arange(10)[:, None])
    models = jax.jit(jax.vmap(lambda w: fit(x, y, sample_weight=w)))(weights)
    for k in range(10):
        alone = fit(np.float32(z[group == k]), y[group == k])
        np.testing.assert_allclose(models.weights[k], alone.weights, rtol=5e-3)


def test_columns_of_any_scale_are_fitted():
    x, y = made(400, 2)
    alone = fit(np.float32(x), y)
    for scale in (1e-6, 1e-12, 1e25):
        model = fit(np.float32(x * scale), y)
        assert model.newton_decrement < 1e-4
        scaled = model.weights * np.float32(scale)
        np.testing.assert_allclose(scaled, alone.weights, rtol=1e-3)
    # Whole numbers on a base of 10⁶ are exact in float32.
    whole = np.round(10 * x[:, :1])
    there, here = fit(np.float32(1e6 + whole), y), fit(np.float32(whole), y)
    np.testing.assert_allclose(there.weights, here.weights, rtol=0.02)
    # The penalty of a column of 1e-20 is beyond float32: its coefficient is next to 0.
    tiny = np.float32(x * [1, 1e-20])
    model, alone = fit(tiny, y, l2=0.01), fit(tiny[:, :1], y, l2=0.01)
    np.testing.assert_allclose(model.weights[0], alone.weights[0], rtol=0.01)
    assert abs(model.weights[1]) < 1e-3


@pytest.mark.full
def test_weights_may_sum_to_more_than_the_dtype_holds():
    x, y = np.float32(made(500, 2)[0]), made(500, 2)[1]
    model = fit(x, y, sample_weight=np.full(500, 1e37, np.float32))
    assert model.converged
    np.testing.assert_allclose(model.weights, fit(x, y).weights, rtol=1e-5)


@pytest.mark.full
def test_nearly_equal_columns_do_not_end_in_nan():
    rng, group = np.random.default_rng(0), np.repeat([0.0, 1.0], 300)
    x = 3000 * group[:, None] + rng.normal(size=(600, 8))
    y = rng.uniform(size=600) < 0.2 + 0.6 * group
    model = fit(np.float32(x), y, l2=0.01)
    np.testing.assert_allclose(model.loss, fit_in_64(x, y, 0.01), rtol=1e-3)


def fit_in_64(x, y, l2):
    with jax.enable_x64(True):
        model = fit(x, y, l2=l2, tol=1e-9)
        assert model.converged
        return float(model.loss)


@pytest.mark.parametrize(("l2", "apart"), [([1, 0], True), ([0, 1], False)])
def test_data_are_separated_by_the_columns_without_penalty_alone(l2, apart):
    x, y = made(300, 2)
    x[:, 1] = np.where(y, 1, -1) * (0.1 + np.abs(x[:, 1]))
    model = fit(np.float32(x), y, l2=np.float32(l2), max_steps=200)
    assert model.separated == apart and model.converged == (not apart)


def test_an_outlier_separates_nothing(x64):
    x, y = made(400, 1)
    model = fit(np.append(x, [[1e5]], 0), np.append(y, 1), max_steps=3000)
    assert model.converged and not model.separated


@pytest.mark.parametrize("columns", [5, 2000])
def test_rows_all_far_on_the_wrong_side(columns, monkeypatch):
    monkeypatch.setattr(_newton, "MOST_COLUMNS", columns)
    jax.clear_caches()
    x, y = made(200, 12)
    model = fit(np.float32(x), y, l2=0.1, offset=200.0)
    assert model.converged
    np.testing.assert_allclose(model.bias, -200, atol=5)


# The ways of large data


@pytest.fixture
def in_blocks(monkeypatch):
    monkeypatch.setattr(_rows, "BLOCK", 700)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.fixture
def sampled(in_blocks, monkeypatch):
    """All data are large: `fit` goes by way of a sample."""
    monkeypatch.setattr(_large, "SMALL", 0)


@pytest.mark.full
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("correlated", [False, True])
def test_a_sample_and_lbfgs_find_the_same_optimum(
    x64, sampled, monkeypatch, correlated, wide
):
    if wide:
        monkeypatch.setattr(_newton, "MOST_COLUMNS", 5)
    x, y = made(4001, 7, correlated=correlated)
    l2 = 0.01 * np.arange(7) if correlated else 0.01
    model = fit(x, y, l2=l2, tol=1e-10)
    assert model.converged and 0 < model.steps < (50 if wide else 20)
    assert_optimal(model, x, y, l2=l2)


@pytest.mark.full
def test_a_sample_knows_correlated_columns(sampled):
    # L-BFGS alone takes 180 steps here, in coordinates without correlations 52.
    x, y = made(4001, 30, correlated=True)
    model = fit(np.float32(x), y, l2=1e-3)
    assert model.converged and model.steps < 20


@pytest.mark.full
def test_what_a_sample_does_not_hold_counts_all_the_same(x64, sampled):
    x, y = made(4001, 4)
    x[:, 1] = 0
    x[:9, 1], y[:9] = 1, [1, 1, 0, 1, 1, 0, 1, 1, 1]
    weight = np.where(np.arange(4001) % 20 == 3, 5.0, 0)
    weight[:9] = 1e-3
    for sample_weight in (None, weight):
        model = fit(x, y, l2=0.01, sample_weight=sample_weight, tol=1e-10)
        assert model.converged
        assert_optimal(model, x, y, sample_weight)


@pytest.mark.parametrize(
    "solver", ["newton", pytest.param("lbfgs", marks=pytest.mark.full)]
)
def test_a_level_that_separates_some_of_many_rows(x64, sampled, solver):
    """The verdict by a first look at all rows, and by looks that follow it."""
    x, y = made(4001, 4)
    x[:, 1] = np.arange(4001) % 50 == 7
    level = x[:, 1] == 1
    for apart in (True, False):
        y[level] = 1
        y[np.flatnonzero(level)[:20]] = apart
        for l2 in (0.0, np.array([0.1, 0, 0.1, 0.1]), 0.1):
            model = fit(x, y, l2=l2, solver=solver, tol=1e-10, max_steps=300)
            expected = apart and np.min(l2) == 0
            assert model.separated == expected, (apart, l2)
            assert model.converged != expected
    model = fit(x, np.float64(x[:, 0] > 0), solver=solver)
    assert model.separated and not model.converged


@pytest.mark.parametrize(
    "fit_intercept", [False, pytest.param(True, marks=pytest.mark.full)]
)
def test_a_level_that_separates_and_that_no_sample_holds(x64, sampled, fit_intercept):
    x, y = made(4001, 4)
    level = [5, 1777, 3900]
    x[:, 1] = 0
    x[level, 1] = y[level] = 1
    model = fit(x, y, fit_intercept=fit_intercept, tol=1e-10, max_steps=300)
    assert model.separated and not model.converged


@pytest.mark.full
def test_a_sample_takes_no_step_by_itself(sampled):
    x, y = made(4001, 3)
    model = fit(np.float32(x), y, max_steps=0)
    assert model.steps == 0 and not model.weights.any()


@pytest.mark.full
def test_rows_may_repeat_in_the_rhythm_of_the_sample(x64, sampled):
    x, y = made(4000, 4)
    x = np.column_stack([x, np.arange(4000) % 20 == 3])
    model = fit(x, y, l2=0.01, tol=1e-10)
    assert model.converged and model.steps < 20
    assert_optimal(model, x, y)


@pytest.mark.full
def test_a_sample_of_sharded_rows(x64, sampled):
    x, y = made(4000, 7, correlated=True)
    sharding = NamedSharding(jax.make_mesh((2,), ("rows",)), PartitionSpec("rows"))
    x, y = jax.device_put(x, sharding), jax.device_put(y, sharding)
    model = fit(x, y, l2=0.01, tol=1e-10)
    assert model.converged
    assert_optimal(model, x, y)


def assert_optimal(model, x, y, weight=None, l2=0.01):
    """The gradient by the textbook is 0."""
    logits = x @ np.asarray(model.weights) + float(model.bias)
    residuals = 1 / (1 + np.exp(-logits)) - y
    slope = np.average(residuals[:, None] * x, axis=0, weights=weight)
    np.testing.assert_allclose(slope + l2 * model.weights, 0, atol=2e-10)
    np.testing.assert_allclose(np.average(residuals, weights=weight), 0, atol=2e-10)


@pytest.mark.full
def test_conjugate_gradients_find_the_same_optimum(x64, in_blocks, monkeypatch):
    x, y = made(500, 12, correlated=True)
    penalties = 0.01, 0.01 * np.arange(12)
    direct = [fit(x, y, l2=l2, tol=1e-10) for l2 in penalties]
    monkeypatch.setattr(_newton, "MOST_COLUMNS", 5)
    jax.clear_caches()
    for l2, expected in zip(penalties, direct, strict=True):
        model = fit(x, y, l2=l2, tol=1e-10)
        assert model.converged
        np.testing.assert_allclose(model.weights, expected.weights, rtol=1e-6)


def test_blocks_change_the_objective_by_its_rounding(x64, in_blocks):
    x, y = made(1003, 7)
    data = _problem.checked_problem(x, y, 0.1, np.arange(1003.0), y * 0.5)
    params = _problem.Params(jnp.arange(7.0) / 10, jnp.array(0.3))
    value, slope = jax.value_and_grad(_objective.objective)(params, data)
    weights, bias = params
    signed = np.where(y, -1, 1) * (x @ weights + bias + y * 0.5)
    expected = np.average(np.logaddexp(0, signed), weights=np.arange(1003))
    np.testing.assert_allclose(value, expected + 0.05 * weights @ weights, rtol=1e-13)
    for k, e in enumerate(1e-6 * np.eye(7)):
        up, down = (
            _objective.objective(params._replace(weights=weights + s * e), data)
            for s in (1, -1)
        )
        np.testing.assert_allclose(slope[0][k], (up - down) / 2e-6, rtol=1e-6)


# Many fits at once


@pytest.mark.full
def test_bootstraps_by_vmap_are_those_one_by_one(x64, cancer):
    x, y = cancer
    x = (x - x.mean(0)) / x.std(0)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=5) * 1.0
    all_at_once = jax.vmap(lambda w: fit(x, y, l2=0.01, sample_weight=w, tol=1e-9))
    models = all_at_once(weights)
    assert models.converged.all()
    for k in (0, 4):
        alone = fit(x, y, l2=0.01, sample_weight=weights[k], tol=1e-9)
        np.testing.assert_allclose(models.weights[k], alone.weights, rtol=1e-7)


@pytest.mark.full
def test_a_path_of_penalties_from_none_to_nothing_left(cancer):
    x, y = cancer
    penalties = jnp.array([1e-8, 1e-3, 1e3])
    models = jax.vmap(lambda l2: fit(x, y, l2=l2))(penalties)
    assert models.converged.all()
    assert np.all(np.diff(models.loss) > 0)
    assert np.all(np.diff(np.linalg.norm(models.weights, axis=1)) < 0)


@pytest.mark.parametrize("outlier", [1e3, 999_999.0])
@pytest.mark.parametrize("label", [0, 1])
def test_a_far_outlier_does_not_shorten_the_steps(x64, outlier, label):
    x, y = made(400, 3)
    x, y = np.append(x, [[outlier, 0, 0]], 0), np.append(y, label)
    model = fit(x, y, max_steps=30)
    assert model.converged
    logits = x @ np.asarray(model.weights) + float(model.bias)
    slope = (expit(logits) - y) @ (x / x.std(0)) / len(y)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_a_search_that_is_over_tries_no_length():
    # Under vmap it would keep the other searches waiting.
    tried = []

    def of_data(point):
        jax.debug.callback(lambda: tried.append(1))
        return jnp.float32(1), point  # never less than the loss of the state

    state = _newton.State(jnp.ones(2), jnp.float32(0), jnp.ones(2), jnp.int32(3))

    def lengths_of(goes_on):
        tried.clear()
        trial = _newton.line_search(of_data, state, -jnp.ones(2), 1.0, goes_on)
        jax.block_until_ready(trial)
        jax.effects_barrier()
        return len(tried)

    assert lengths_of(jnp.array(False)) == 0
    assert lengths_of(jnp.array(True)) > 10
