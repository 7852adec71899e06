"""logistic_regression: against scikit-learn, from bad starts, weighted, batched."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import checkify
from jax.sharding import NamedSharding, PartitionSpec
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from bcejax.logistic_regression import Fit, fit, predict_logits, predict_probs

L2 = 0.01


@pytest.fixture(scope="module")
def cancer():
    x, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(x).astype(np.float32), y


def optimum(x, y, l2=L2, **options):
    """scikit-learn's weights and bias, in float64."""
    model = LogisticRegression(
        C=1 / (l2 * len(y)), solver="newton-cholesky", tol=1e-12, **options
    ).fit(np.float64(x), y)
    return np.append(model.coef_[0], model.intercept_)


def parameters(model: Fit):
    return np.append(model.weights, model.bias)


@pytest.mark.parametrize("start", [None, 50, pytest.param(-50, marks=pytest.mark.full)])
def test_it_finds_scikit_learns_optimum_in_float32_from_any_start(cancer, start):
    x, y = cancer
    init = None if start is None else (jnp.full(30, start), start)
    model = fit(x, y, l2=L2, init=init)
    assert model.converged
    assert model.gradient_norm <= 1e-6
    assert 0 < model.steps < 100
    np.testing.assert_allclose(parameters(model), optimum(x, y), atol=1e-4)


def test_float64_reaches_a_tighter_tolerance(x64, cancer):
    x, y = cancer
    model = fit(np.float64(x), y, l2=L2, tol=1e-10)
    assert model.converged and model.weights.dtype == jnp.float64
    np.testing.assert_allclose(parameters(model), optimum(x, y), atol=1e-7)


@pytest.mark.parametrize(
    "solver", [optax.adam(0.05), optax.sgd(1.0, momentum=0.9, nesterov=True)]
)
def test_any_optax_optimiser_finds_it_too(cancer, solver):
    x, y = cancer
    model = fit(x, y, l2=L2, solver=solver, max_steps=3000)
    assert model.converged
    np.testing.assert_allclose(parameters(model), optimum(x, y), atol=1e-3)


def test_lbfgs_finds_it_too(cancer):
    x, y = cancer
    model = fit(x, y, l2=L2, solver="lbfgs")
    assert model.converged
    np.testing.assert_allclose(parameters(model), optimum(x, y), atol=1e-3)


def test_loss_is_the_objective_with_its_penalty(cancer):
    x, y = cancer
    model = fit(x, y, l2=L2)
    signed = np.where(y == 1, -1, 1) * (np.float64(x) @ model.weights + model.bias)
    penalty = L2 / 2 * np.sum(np.float64(model.weights) ** 2)
    np.testing.assert_allclose(
        model.loss, np.logaddexp(0, signed).mean() + penalty, rtol=1e-6
    )


def test_vmap_over_penalties_is_a_regularisation_path(cancer):
    x, y = cancer
    penalties = jnp.array([1e-3, 1e-2, 0.1, 1.0])
    path = jax.vmap(lambda l2: fit(x, y, l2=l2))(penalties)
    assert path.weights.shape == (4, 30)
    assert jnp.all(path.converged)
    for i, l2 in enumerate(penalties):
        got = parameters(jax.tree.map(lambda leaf, i=i: leaf[i], path))
        # 31 slopes within the tolerance of 1e-6, where the curvature is l2 at least.
        bound = 31**0.5 * 1e-6 / l2 + 1e-5
        np.testing.assert_allclose(got, optimum(x, y, float(l2)), atol=bound)


@pytest.mark.full
def test_a_penalty_for_each_column_is_one_of_scaled_columns(x64, cancer):
    # (l2/2) γ² of a column x s is (l2 s²/2) β² of the column x, with β = s γ.
    x, y = np.float64(cancer[0][:, :6]), cancer[1]
    scale = np.array([1.0, 2.0, 0.5, 3.0, 1e-3, 1e3])
    scaled = fit(x * scale, y, l2=L2, tol=1e-10)
    for solver in ("newton", "lbfgs"):
        model = fit(x, y, l2=L2 / scale**2, solver=solver, tol=1e-9, max_steps=1000)
        assert model.converged
        np.testing.assert_allclose(model.weights, scaled.weights * scale, rtol=1e-5)
        np.testing.assert_allclose(model.loss, scaled.loss, rtol=1e-10)


@pytest.mark.full
def test_a_column_without_penalty_is_fitted_as_the_bias_is(x64, cancer):
    x, y = np.float64(cancer[0][:, :6]), cancer[1]
    ones = np.column_stack([x, np.ones(len(y))])
    options = {"l2": np.append(np.full(6, L2), 0), "fit_intercept": False}
    model = fit(ones, y, tol=1e-10, **options)
    np.testing.assert_allclose(model.weights, optimum(x, y), rtol=1e-6)
    equal = fit(x, y, l2=np.full(6, L2), tol=1e-10)
    np.testing.assert_allclose(parameters(equal), optimum(x, y), rtol=1e-6)


@pytest.mark.full
def test_vmap_over_penalties_of_each_column(cancer):
    x, y = cancer[0][:, :4], cancer[1]
    penalties = L2 * np.float32([[1, 0, 1, 1], [0, 1, 10, 100]])
    models = jax.jit(jax.vmap(lambda l2: fit(x, y, l2=l2)))(penalties)
    for k, l2 in enumerate(penalties):
        alone = fit(x, y, l2=l2)
        np.testing.assert_allclose(models.weights[k], alone.weights, rtol=1e-4)


@pytest.mark.full
def test_vmap_over_bootstraps(cancer):
    x, y = cancer
    counts = np.random.RandomState(0).multinomial(len(y), [1 / len(y)] * len(y), 5)
    models = jax.vmap(lambda w: fit(x, y, l2=L2, sample_weight=w))(counts)
    assert jnp.all(models.converged)
    repeated = np.repeat(np.arange(len(y)), counts[3])
    np.testing.assert_allclose(
        models.weights[3], fit(x[repeated], y[repeated], l2=L2).weights, atol=1e-4
    )


def test_weights_equal_repeated_rows_and_scikit_learns_sample_weight(cancer):
    x, y = cancer
    weight = np.arange(len(y)) % 4
    model = fit(x, y, l2=L2, sample_weight=weight)
    repeated = fit(np.repeat(x, weight, axis=0), np.repeat(y, weight), l2=L2)
    np.testing.assert_allclose(parameters(model), parameters(repeated), atol=1e-4)
    strength = 1 / (L2 * weight.sum())
    theirs = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12).fit(
        np.float64(x), y, sample_weight=weight
    )
    np.testing.assert_allclose(model.weights, theirs.coef_[0], atol=1e-4)


@pytest.mark.full
def test_an_offset_is_a_feature_of_coefficient_one(cancer):
    x, y = cancer
    x = x[:, :5]
    offset = 0.7 * x[:, 0] - 2.0
    plain = fit(x, y, max_steps=500)
    shifted = fit(x, y, offset=offset, max_steps=500)
    assert plain.converged and shifted.converged
    moved = parameters(shifted) + np.array([0.7, 0, 0, 0, 0, -2.0])
    # Both slopes are within the tolerance of 1e-6, and rounded by less than that.
    z = np.column_stack([np.float64(x), np.ones(len(y))])
    p = 1 / (1 + np.exp(-(z @ parameters(plain))))
    curvature = (z.T * (p * (1 - p))) @ z / len(y)
    slope = curvature @ (moved - parameters(plain))
    np.testing.assert_allclose(slope, 0, atol=3e-6)


def test_without_intercept_the_bias_stays_zero(cancer):
    x, y = cancer
    model = fit(x, y, l2=L2, fit_intercept=False, init=(jnp.ones(30), 3.0))
    assert model.bias == 0 and model.converged
    expected = optimum(x, y, fit_intercept=False)
    np.testing.assert_allclose(parameters(model), expected, atol=1e-4)


def test_a_warm_start_is_already_there(cancer):
    x, y = cancer
    model = fit(x, y, l2=L2)
    again = fit(x, y, l2=L2, init=model)
    assert again.steps == 0 and again.converged
    assert jnp.array_equal(again.weights, model.weights)


def test_soft_labels_are_probabilities():
    x = jnp.array([[0.0], [1.0], [2.0]])
    probs = jax.nn.sigmoid(0.8 * x[:, 0] - 0.3)
    model = fit(x, probs, tol=1e-7)
    np.testing.assert_allclose(parameters(model), [0.8, -0.3], atol=1e-5)


@pytest.mark.parametrize("solver", ["lbfgs", optax.adam(1.0)])
def test_separable_data_have_no_optimum_and_do_not_overflow(solver):
    x = jnp.arange(-5.0, 6)[:, None]
    model = fit(x, x[:, 0] > 0.5, max_steps=5000, solver=solver)
    assert not model.converged
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(model))


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_one_class_has_no_optimum(cancer, l2):
    x, _ = cancer
    model = fit(x, np.ones(len(x)), l2=l2)
    assert not model.converged
    assert jnp.isfinite(model.bias) and model.loss < 1e-5
    assert fit(x, np.ones(len(x)), l2=0.1, fit_intercept=False).converged


def test_too_few_steps_do_not_converge(cancer):
    x, y = cancer
    model = fit(x, y, l2=L2, max_steps=3)
    assert model.steps == 3 and not model.converged
    assert model.gradient_norm > 1e-6


def test_nan_in_the_data_ends_the_search_at_once(cancer):
    x, y = cancer
    model = jax.jit(fit)(np.where(x == x[0, 0], np.nan, x), y, l2=L2)
    assert not model.converged and model.steps <= 1


@pytest.mark.full
def test_offsets_of_fifty_and_rows_of_no_weight(cancer):
    x, y = cancer
    offset = np.where(np.arange(len(y)) % 2, 50, -50)
    model = fit(x, y, l2=1.0, offset=offset, sample_weight=y != 1)
    assert jnp.all(jnp.isfinite(model.weights))
    model = fit(x, y, l2=1.0, offset=offset, max_steps=500)
    assert model.converged


@pytest.mark.full
def test_a_single_row_and_more_columns_than_rows():
    assert fit(jnp.ones((1, 1)), jnp.array([0.25]), l2=1.0).converged
    x = np.random.RandomState(0).randn(5, 20)
    assert fit(x, [0, 1, 0, 1, 1], l2=0.1).converged


def test_predictions(cancer):
    x, y = cancer
    model = fit(x, y, l2=L2)
    logits = predict_logits(model, x)
    np.testing.assert_allclose(
        logits, np.float64(x) @ model.weights + model.bias, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        predict_probs(model, x), 1 / (1 + np.exp(-np.float64(logits))), rtol=1e-5
    )
    with pytest.raises(ValueError, match="must have the 30 columns of the fit"):
        predict_logits(model, x[:, :3])


@pytest.mark.full
def test_sharded_rows_give_the_same_fit(cancer):
    x, y = cancer[0][:568], cancer[1][:568]
    sharding = NamedSharding(jax.make_mesh((2,), ("rows",)), PartitionSpec("rows"))
    sharded = fit(jax.device_put(x, sharding), jax.device_put(y, sharding), l2=L2)
    assert sharded.converged
    np.testing.assert_allclose(
        parameters(sharded), parameters(fit(x, y, l2=L2)), atol=1e-4
    )


def test_it_runs_inside_jit_and_scan(cancer):
    x, y = cancer

    def warm_path(model, l2):
        model = fit(x, y, l2=l2, init=model)
        return model, model.converged

    start = fit(x, y, l2=1.0)
    _, converged = jax.jit(
        lambda start: jax.lax.scan(warm_path, start, jnp.array([0.3, 0.1, 0.03]))
    )(start)
    assert jnp.all(converged)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "bool"])
def test_narrow_features_are_fitted_in_float32(dtype):
    x = jnp.array([[0], [1], [1], [0]], dtype)
    model = fit(x, jnp.array([0, 1, 0, 1]), l2=0.1)
    assert model.weights.dtype == jnp.float32 and model.converged


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": np.ones(4)}, ValueError, r"\(rows, columns\).*got \(4,\)"),
        ({"features": np.ones((0, 2))}, ValueError, r"got \(0, 2\)"),
        ({"features": np.ones((4, 2), complex)}, TypeError, "features must be"),
        ({"labels": np.ones(3)}, ValueError, r"labels \(3,\) and features \(4, 2\)"),
        ({"labels": np.ones((4, 1))}, ValueError, r"labels \(4, 1\)"),
        (
            {"sample_weight": np.ones(3)},
            ValueError,
            "sample_weight must have the shape",
        ),
        ({"offset": np.ones((4, 1))}, ValueError, "offset must have the shape"),
        ({"l2": np.ones(4)}, ValueError, r"l2 must be a scalar or .* l2 \(4,\)"),
        ({"l2": np.ones((2, 1))}, ValueError, r"got l2 \(2, 1\) and features \(4, 2\)"),
        ({"init": (np.ones(3), 0.0)}, ValueError, r"init must hold .* \(3,\)"),
        ({"solver": "newt"}, ValueError, 'solver must be "newton".*got "newt"'),
        ({"solver": 3}, TypeError, "solver must be .*int"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, error, message):
    arguments = {"features": np.ones((4, 2)), "labels": np.array([0, 1, 0, 1])}
    with pytest.raises(error, match=message):
        fit(**(arguments | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 1, 0, 2])}, "labels must lie in"),
        ({"sample_weight": -1.0}, "sample_weight must lie in"),
        ({"l2": -1.0}, "l2 must lie in"),
        ({"l2": np.array([1.0, -1.0])}, "l2 must lie in"),
    ],
)
def test_values_out_of_range_are_errors_under_checkify(change, message):
    arguments = {"features": np.ones((4, 2)), "labels": np.array([0, 1, 0, 1])}
    error, _ = checkify.checkify(lambda: fit(**(arguments | change)))()
    with pytest.raises(checkify.JaxRuntimeError, match=message):
        error.throw()


@pytest.mark.parametrize(
    "solver",
    [
        optax.chain(optax.lbfgs(), optax.clip(0.05)),
        optax.chain(optax.lbfgs(), optax.scale(0.0)),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15)),
        optax.adamw(0.1),
    ],
)
def test_loss_and_gradient_are_those_of_the_parameters(cancer, solver):
    x, y = cancer
    model = fit(x, y, l2=L2, solver=solver, max_steps=3)
    there = fit(x, y, l2=L2, init=model, max_steps=0)
    np.testing.assert_allclose(model.loss, there.loss, rtol=1e-6)
    np.testing.assert_allclose(model.gradient_norm, there.gradient_norm, rtol=1e-5)


def test_lists_and_strict_promotion(strict_promotion):
    x, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
    assert fit(x, y, l2=0.1, sample_weight=[1, 1, 2, 2]).converged


def test_weights_that_mean_nothing_give_nan(cancer):
    x, y = cancer
    for weight in (0.0, jnp.nan):
        model = jax.jit(fit)(x, y, l2=L2, sample_weight=weight)
        assert jnp.isnan(model.loss) and not model.converged


@pytest.mark.full
def test_several_fits_are_not_one(cancer):
    x, y = cancer
    path = jax.vmap(lambda l2: fit(x, y, l2=l2))(jnp.array([0.1, 1.0]))
    with pytest.raises(ValueError, match="vmap over fits"):
        predict_logits(path, x)
    assert jax.vmap(predict_logits, (0, None))(path, x).shape == (2, len(y))


def test_batches_with_a_schedule_end_near_the_optimum(cancer):
    x, y = cancer
    rate = optax.cosine_decay_schedule(0.5, 60 * (569 // 64))
    options = dict(l2=L2, solver=optax.sgd(rate), batch_size=64, max_steps=60)
    model = fit(x, y, key=jax.random.key(0), **options)
    assert model.steps == 60
    np.testing.assert_allclose(model.loss, fit(x, y, l2=L2).loss, rtol=2e-3)
    other = fit(x, y, key=jax.random.key(1), **options)
    assert 0 < np.max(np.abs(other.weights - model.weights)) < 0.1


@pytest.mark.full
def test_batches_of_all_rows_are_no_batches(cancer):
    x, y = cancer
    options = dict(l2=L2, solver=optax.adam(0.05), max_steps=20)
    whole = fit(x, y, **options)
    batch = fit(x, y, batch_size=len(y), key=jax.random.key(0), **options)
    np.testing.assert_allclose(batch.weights, whole.weights, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver": "newton"}, "takes all rows at once: batch_size is for an optax"),
        ({"batch_size": 0}, "batch_size must be 1 to 4, the rows, got 0"),
        ({"batch_size": 5}, "batch_size must be 1 to 4, the rows, got 5"),
        ({"key": None}, "batch_size needs a key"),
    ],
)
def test_batches_that_cannot_be_are_refused(change, message):
    options = {"batch_size": 2, "key": jax.random.key(0), "solver": optax.sgd(0.1)}
    with pytest.raises(ValueError, match=message):
        fit(np.ones((4, 2)), np.array([0, 1, 0, 1]), **(options | change))
