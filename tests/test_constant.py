"""optimal_logit: closed form, root, limits, derivatives by the implicit function."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special

from bcejax import bce_with_logits, logit, optimal_logit


def total_slope(constant, labels, weights, offset):
    residual = special.expit(offset + constant) - labels
    return np.sum(weights * residual)


def test_without_offset_it_is_the_log_of_the_odds():
    labels = np.random.RandomState(0).binomial(1, 0.1, 1000)
    ones = labels.sum()
    assert (ones, 1000 - ones) == (108, 892)
    np.testing.assert_allclose(optimal_logit(labels), np.log(108 / 892), rtol=1.2e-7)
    np.testing.assert_allclose(optimal_logit(labels), -2.1113349, rtol=1e-7)


def test_nearly_balanced_labels_keep_their_digits():
    labels = np.arange(2_000_001) % 2 == 0
    np.testing.assert_allclose(optimal_logit(labels), np.log1p(1e-6), rtol=1e-6)
    assert optimal_logit(labels[1:]) == 0


@pytest.mark.parametrize("offset", [None, jnp.array([1.0, -3, 80])])
def test_labels_of_one_class_have_their_optimum_at_infinity(offset):
    assert optimal_logit(jnp.zeros(3), offset=offset) == -jnp.inf
    assert optimal_logit(jnp.ones(3), offset=offset) == jnp.inf


def test_odds_beyond_the_largest_float_have_a_finite_logarithm():
    labels = jnp.append(jnp.ones(100), 0)
    weights = jnp.append(jnp.ones(100), 1e-37)
    expected = np.log(100) - np.log(1e-37)
    assert optimal_logit(labels, weights=weights) == pytest.approx(expected, rel=1e-6)
    got = optimal_logit(1 - labels, weights=weights)
    assert got == pytest.approx(-expected, rel=1e-6)


def test_nothing_to_go_by_is_nan():
    assert jnp.isnan(optimal_logit(jnp.array([0, 1]), weights=0))
    assert jnp.isnan(optimal_logit(jnp.zeros(0)))


@pytest.mark.parametrize("scale", [0.1, 1, 10, 80])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_with_offset_it_is_the_root_that_scipy_finds(scale, share):
    random = np.random.RandomState(1)
    labels = random.binomial(1, share, 500)
    weights = random.exponential(size=500).astype(np.float32)
    offset = (scale * random.randn(500)).astype(np.float32)
    expected = optimize.brentq(
        total_slope, -600, 600, args=(labels, weights, offset), xtol=1e-12
    )
    got = optimal_logit(labels, weights=weights, offset=offset)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("labels", "offset", "expected"),
    [
        ([1, 0], [80, -80], 0),  # right already: the slopes are e⁻⁸⁰
        ([1, 0], [-80, 80], 0),  # wrong: a plateau, flat to the last digit
        ([1, 0, 0], [80, 80, 80], np.log(1 / 2) - 80),
        ([1, 0, 0], [-80, 80, 80], None),
        ([0.5, 0.5], [-80, 80], 0),
    ],
)
def test_extreme_offsets_converge_in_float32(labels, offset, expected):
    labels, offset = jnp.array(labels), jnp.array(offset, jnp.float32)
    got = optimal_logit(labels, offset=offset)
    assert got.dtype == jnp.float32
    if expected is not None:
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-5)
    loss = [bce_with_logits(offset + got + step, labels).sum() for step in (-1, 0, 1)]
    assert loss[1] <= min(loss)


def test_offset_of_one_value_shifts_the_answer():
    labels = jnp.array([1, 0, 0, 0])
    got = optimal_logit(labels, offset=jnp.full(4, 2.5))
    np.testing.assert_allclose(got, logit(0.25) - 2.5, rtol=1e-6)


def test_weights_count_rows():
    twice = optimal_logit(jnp.array([1, 1, 0]))
    assert optimal_logit(jnp.array([1, 0]), weights=jnp.array([2, 1])) == twice


@pytest.mark.parametrize("with_offset", [False, True])
def test_axis_reduces_like_a_sum(with_offset):
    random = np.random.RandomState(2)
    labels = random.binomial(1, 0.4, (3, 40, 5))
    offset = random.randn(3, 40, 5).astype(np.float32) if with_offset else None
    for axis in (None, 1, -1, (0, 2), (0, 1, 2)):
        got = optimal_logit(labels, offset=offset, axis=axis)
        assert got.shape == labels.sum(axis).shape
    alone = optimal_logit(
        labels[0, :, 3], offset=None if offset is None else offset[0, :, 3]
    )
    together = optimal_logit(labels, offset=offset, axis=1)[0, 3]
    np.testing.assert_allclose(alone, together, rtol=1e-5)


def test_the_slope_of_the_offset_is_minus_one_where_it_is_constant():
    labels = jnp.array([1, 0, 0])
    slope = jax.grad(lambda c: optimal_logit(labels, offset=jnp.full(3, c)))(3.0)
    np.testing.assert_allclose(slope, -1, rtol=1e-6)


@pytest.mark.parametrize("given", ["labels", "weights", "offset"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_dtype_is_that_of_the_floating_arguments(x64, given, dtype):
    arguments = {"labels": jnp.array([0, 1, 1])}
    arguments[given] = jnp.array([0, 1, 1], dtype)
    assert optimal_logit(**arguments).dtype == dtype


def test_dtype_is_the_default_float_when_no_argument_is_floating():
    assert optimal_logit(jnp.array([True, False])).dtype == jnp.float32


@pytest.mark.parametrize("scale", [1e-37, 1e-10, 1.0, 1e38])
def test_the_scale_of_the_weights_does_not_matter(scale):
    labels, offset = jnp.array([1, 0, 0]), jnp.array([80.0, -80, -70])
    weights = jnp.full(3, scale)
    got = optimal_logit(labels, weights=weights, offset=offset)
    np.testing.assert_allclose(got, -5.0000227, rtol=1e-5)
    got = optimal_logit(labels, weights=weights)
    np.testing.assert_allclose(got, np.log(1 / 2), rtol=1e-6)


def test_a_zero_tangent_moves_not_even_an_infinite_optimum():
    for labels in (jnp.zeros(3), jnp.ones(3)):
        _, tangent = jax.jvp(
            lambda y, f: optimal_logit(y, offset=f),
            (labels, jnp.arange(3.0)),
            (jnp.zeros(3), jnp.zeros(3)),
        )
        assert tangent == 0
        slope = jax.grad(lambda f, y=labels: optimal_logit(y, offset=f))(jnp.ones(3))
        assert jnp.array_equal(slope, jnp.zeros(3))


def test_axes_may_be_a_list_and_arrays_empty():
    assert optimal_logit(np.ones((2, 3)), axis=[0, 1]) == jnp.inf
    assert jnp.isnan(optimal_logit(jnp.zeros(0), offset=jnp.zeros(0)))


def test_values_that_cannot_be_meant_are_refused():
    with pytest.raises(ValueError, match=r"got 2 in row 1.* labels == 2"):
        optimal_logit([1, 2, 1])
    with pytest.raises(ValueError, match=r"got 3 in row 1, 0\."):
        optimal_logit(jnp.array([[0, 1], [3, 1]]), axis=0)
    with pytest.raises(ValueError, match=r"weights must be 0 or more .* in row 1"):
        optimal_logit([0, 1], weights=[1, -1])
    with pytest.raises(ValueError, match="got 2 in row 0"):  # within jax.grad too
        jax.grad(optimal_logit)(jnp.array([2.0, 1]))
    assert jnp.isnan(optimal_logit(jnp.array([0.0, jnp.nan])))
    # A row of weight 0 does not count.
    assert optimal_logit([7, 0, 1], weights=[0, 1, 1]) == 0
    assert jnp.isnan(optimal_logit([7, 0, 1], weights=0))


def test_a_column_of_a_table_is_an_array():
    assert optimal_logit(pd.Series([1, 0])) == optimal_logit([1, 0], axis=[0]) == 0
