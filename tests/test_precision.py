"""Features of float64 are fitted in float64, also where JAX computes in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import statsmodels.api as sm

from bcejax import logistic_regression

FLOAT32 = 2 * np.finfo(np.float32).eps  # what rounding leaves of the result


def star98():
    """303 rows, 20 columns, so collinear that float32 keeps three digits."""
    data = sm.datasets.star98.load()
    yes, no = np.asarray(data.endog, float).T
    return np.asarray(data.exog, float), yes / (yes + no), yes + no


def fair():
    data = sm.datasets.fair.load_pandas().data
    features = data.drop(columns="affairs").to_numpy(float)
    return features, np.float64(data["affairs"] > 0), np.ones(len(data))


def of_statsmodels(features, labels, weight):
    design = np.column_stack([features, np.ones(len(labels))])
    model = sm.GLM(labels, design, sm.families.Binomial(), freq_weights=weight)
    found = model.fit(tol=1e-14)
    return found.params, found.bse


@pytest.mark.parametrize(
    ("data", "standardised"),
    [
        (star98, False),
        pytest.param(star98, True, marks=pytest.mark.full),
        pytest.param(fair, False, marks=pytest.mark.full),
        pytest.param(fair, True, marks=pytest.mark.full),
    ],
)
def test_coefficients_and_errors_are_those_of_float64(data, standardised):
    features, labels, weight = data()
    if standardised:
        features = (features - features.mean(0)) / features.std(0)
    values, errors = of_statsmodels(features, labels, weight)
    model = logistic_regression.fit(features, labels, sample_weight=weight, tol=1e-9)
    assert model.converged
    assert model.weights.dtype == jnp.float32
    np.testing.assert_allclose(np.append(model.weights, model.bias), values, 1e-6)
    table = logistic_regression.summary(model, features, labels, sample_weight=weight)
    found = [line.standard_error for line in table.coefficients]
    np.testing.assert_allclose(found, errors, 1e-5)
    variance = logistic_regression.covariance(
        model, features, labels, sample_weight=weight
    )
    assert variance.dtype == jnp.float32
    np.testing.assert_allclose(np.sqrt(np.diag(variance)), errors, 1e-5)


def test_a_table_and_a_list_count_as_float64():
    features, labels, _ = fair()
    exact = logistic_regression.fit(features, labels)
    for same in (pd.DataFrame(features), features.tolist(), np.int64(features * 10)):
        scale = 10 if isinstance(same, np.ndarray) else 1
        found = logistic_regression.fit(same, labels)
        np.testing.assert_allclose(scale * found.weights, exact.weights, FLOAT32)


@pytest.mark.full
def test_features_of_float32_and_of_jax_are_fitted_in_float32():
    features, labels, _ = fair()
    rough = logistic_regression.fit(np.float32(features), labels)
    of_jax = logistic_regression.fit(jnp.asarray(features), labels)
    jitted = jax.jit(logistic_regression.fit)(features, labels)
    np.testing.assert_allclose(rough.weights, of_jax.weights, 1e-5)
    # Another program, which rounds its sums otherwise.
    np.testing.assert_allclose(rough.weights, jitted.weights, 1e-3)
    # The one in float64 stops far below what float32 can tell from an optimum.
    exact = logistic_regression.fit(features, labels, tol=1e-12)
    assert exact.converged
    assert exact.gradient_norm < 1e-12 < rough.gradient_norm


@pytest.mark.full
@pytest.mark.parametrize("traced", ["l2", "init"])
def test_an_argument_that_jax_traces_beside_them_is_no_obstacle(traced):
    features, labels, _ = fair()

    def loss(value):
        start = {"l2": {"l2": value}, "init": {"init": (np.zeros(8), value)}}[traced]
        return logistic_regression.fit(features, labels, **start).loss

    losses = jax.vmap(loss)(jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(losses, [loss(0.1), loss(0.2)], 1e-5)


@pytest.mark.full
def test_keys_of_batches_that_vmap_makes_are_no_obstacle():
    features, labels, _ = fair()

    def loss(key):
        options = {"solver": optax.adam(0.1), "batch_size": 3000, "max_steps": 1}
        return logistic_regression.fit(features, labels, key=key, **options).loss

    assert jax.vmap(loss)(jax.random.split(jax.random.key(0), 2)).shape == (2,)


def test_the_mode_of_jax_is_as_before_even_after_an_error():
    with pytest.raises(ValueError, match="labels must be 0, 1"):
        logistic_regression.fit(np.ones((3, 1)), np.array([0.0, 2.0, 1.0]))
    assert not jax.config.jax_enable_x64
    assert jnp.ones(()).dtype == jnp.float32


def test_the_fit_of_64_bit_mode_stays_float64(x64):
    features, labels, _ = fair()
    assert logistic_regression.fit(features, labels).weights.dtype == np.float64
