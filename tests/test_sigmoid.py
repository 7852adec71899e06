"""sigmoid, log_sigmoid, softplus and logit: digits, limits, slopes of every order."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracle
import pytest

import bcejax
from bcejax._numerics.log1p import ATANH
from bcejax.verify import bounds

ELEMENTWISE = {
    bcejax.sigmoid: oracle.sigmoid,
    bcejax.softplus: oracle.softplus,
    bcejax.log_sigmoid: lambda x: -oracle.softplus(-x),
}
PRECISE = {
    bcejax.sigmoid: lambda x: 1 / (1 + mpmath.exp(-x)),
    bcejax.softplus: lambda x: mpmath.log1p(mpmath.exp(x)),
    bcejax.log_sigmoid: lambda x: -mpmath.log1p(mpmath.exp(-x)),
}


def at_each(function):
    """`function` of a scalar at every element of an array, in one compiled call."""
    return jax.jit(jax.vmap(function))


@pytest.mark.parametrize("function", ELEMENTWISE)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_right_for_every_input(function, dtype):
    x = oracle.every(dtype)
    exact = ELEMENTWISE[function](x.astype(np.float64))
    oracle.assert_ulp(function(x), exact, oracle.BOUNDS["value"][dtype], x)
    slopes = at_each(jax.grad(function))(x)
    sign = -1 if function is bcejax.log_sigmoid else 1
    exact = oracle.sigmoid(sign * x.astype(np.float64))
    if function is bcejax.sigmoid:
        exact = oracle.bce_dxx(x.astype(np.float64), 0)
    oracle.assert_ulp(slopes, exact, oracle.BOUNDS["slope"][dtype], x)


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_float32_is_right_to_the_last_digits(function):
    x = oracle.some_float32(4099)
    exact = ELEMENTWISE[function](x.astype(np.float64))
    oracle.assert_ulp(function(x), exact, oracle.BOUNDS["value"]["float32"], x)


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_float64_is_right_to_the_last_digits(x64, function):
    x = np.concatenate([np.linspace(-708, 708, 709), np.linspace(-2, 2, 301)])
    exact = oracle.precise(PRECISE[function], x)
    oracle.assert_ulp(function(x), exact, oracle.BOUNDS["value"]["float64"], x)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_derivatives_of_softplus_keep_their_digits_to_every_order(order):
    x = np.float32([-85, -60, -40, -20, -10, -3, -0.5, 0.5, 3, 10, 20, 40, 60, 85])
    derivative = bcejax.softplus
    for _ in range(order):
        derivative = jax.grad(derivative)
    with mpmath.workdps(60):
        exact = [mpmath.diff(PRECISE[bcejax.softplus], float(v), order) for v in x]
    got = at_each(derivative)(x)
    np.testing.assert_allclose(got, np.float64(exact), rtol=2e-6)


def test_slopes_at_zero_are_those_of_the_formulas():
    for order, values in {1: (1 / 2, 1 / 4), 2: (1 / 4, 0), 3: (0, -1 / 8)}.items():
        for function, value in zip(
            (bcejax.softplus, bcejax.sigmoid), values, strict=True
        ):
            for _ in range(order):
                function = jax.grad(function)
            assert function(0.0) == value


def test_limits():
    x = jnp.array([-jnp.inf, jnp.inf])
    assert jnp.array_equal(bcejax.sigmoid(x), jnp.array([0, 1]))
    assert jnp.array_equal(bcejax.softplus(x), jnp.array([0, jnp.inf]))
    assert jnp.array_equal(bcejax.log_sigmoid(x), jnp.array([-jnp.inf, 0]))
    assert jnp.array_equal(at_each(jax.grad(bcejax.softplus))(x), jnp.array([0, 1]))
    assert jnp.array_equal(at_each(jax.grad(bcejax.log_sigmoid))(x), jnp.array([1, 0]))
    assert jnp.array_equal(at_each(jax.grad(bcejax.sigmoid))(x), jnp.array([0, 0]))
    assert jnp.array_equal(at_each(jax.hessian(bcejax.softplus))(x), jnp.array([0, 0]))


def test_ranges_hold_for_every_float32_sampled():
    x = oracle.some_float32(4099)
    probs = bcejax.sigmoid(x)
    assert jnp.all((probs >= 0) & (probs <= 1))
    assert jnp.all(bcejax.log_sigmoid(x) <= 0)
    assert jnp.all(bcejax.softplus(x) >= 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_logit_of_every_16_bit_probability(dtype):
    p = oracle.every(dtype)
    tiny = jnp.finfo(jnp.float32).smallest_normal  # below, XLA's CPU reads a 0
    p = p[(p == 0) | (p >= tiny) & (p <= 1)]
    with np.errstate(divide="ignore"):
        exact = np.log(p.astype(np.float64)) - np.log1p(-p.astype(np.float64))
    oracle.assert_ulp(bcejax.logit(p), exact, oracle.BOUNDS["value"][dtype], p)


def test_logit_keeps_its_digits_next_to_zero_half_and_one():
    p = np.float32([1e-37, 1e-9, 0.1, 0.25, 0.3, 0.49, 0.7, 0.75, 0.9])
    beside_half = [np.nextafter(np.float32(0.5), np.float32(end)) for end in (0, 1)]
    p = np.concatenate([p, beside_half, [np.nextafter(np.float32(1), np.float32(0))]])
    exact = oracle.precise(lambda p: mpmath.log(p) - mpmath.log1p(-p), p)
    # Three roundings of its argument come before log1p's own error.
    bound = bounds.BOUNDS["probability"]["value"]["float32"]
    oracle.assert_ulp(bcejax.logit(p.astype(np.float32)), exact, bound, p)


def test_logit_at_its_ends_and_its_slope():
    p = jnp.array([0.0, 0.5, 1.0])
    assert jnp.array_equal(bcejax.logit(p), jnp.array([-jnp.inf, 0, jnp.inf]))
    slopes = at_each(jax.grad(bcejax.logit))(jnp.array([0.25, 0.5, 1.0]))
    np.testing.assert_allclose(slopes, [1 / 0.25 + 1 / 0.75, 4, jnp.inf], rtol=1e-6)


@pytest.mark.parametrize("p", [-1.0, -1e-7, 1.5, 2.0, jnp.inf, -jnp.inf])
def test_logit_outside_its_range_is_nan(p):
    assert jnp.isnan(bcejax.logit(p))


def test_logit_inverts_sigmoid(x64):
    x = jnp.linspace(-15, 15, 401)
    np.testing.assert_allclose(
        bcejax.logit(bcejax.sigmoid(x)), x, rtol=1e-9, atol=1e-15
    )


@pytest.mark.parametrize(("dtype", "error"), [("float32", 2**-25), ("float64", 2**-54)])
def test_the_polynomial_is_atanh_to_more_digits_than_the_dtype_has(dtype, error):
    coefficients = ATANH[jnp.dtype(dtype)]
    with mpmath.workdps(40):
        for q in map(mpmath.mpf, np.linspace(1e-3, 2 / 3, 101)):
            series = sum(c * q ** (2 * k) for k, c in enumerate(reversed(coefficients)))
            assert abs((q + q**3 * series) / (2 * mpmath.atanh(q / 2)) - 1) < error
