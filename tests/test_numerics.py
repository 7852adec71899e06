"""_numerics: each equation against mpmath, and products in which 0 · ∞ is 0."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracle
import pytest

from bcejax._numerics import limits, log1p, power, sigmoid

INF, NAN = jnp.inf, jnp.nan
U = np.concatenate([np.linspace(-0.5, 1, 301), [1e-30, -1e-30, 1e-9, -1e-9]])


@pytest.mark.parametrize(
    ("function", "exact", "x", "bound"),
    [
        (
            log1p.log1p_exp_neg_abs,
            lambda x: mpmath.log1p(mpmath.exp(-abs(x))),
            np.linspace(-87, 87, 1001),
            2.5,
        ),
        (
            log1p.log1p_over,
            lambda e: mpmath.log1p(e) / e,
            np.linspace(1e-6, 1, 301),
            2,
        ),
        (
            lambda u: log1p.x_minus_log1p(u, u / (2 + u)),
            lambda u: u - mpmath.log1p(u),
            U[U != 0],
            4,
        ),
        (
            sigmoid.sigmoid_slope,
            lambda x: 1 / (2 + mpmath.exp(x) + mpmath.exp(-x)),
            np.linspace(-87, 87, 1001),
            3,
        ),
    ],
)
def test_an_equation_is_right_to_the_last_digits(function, exact, x, bound):
    x = np.float32(x)
    with mpmath.workdps(90):
        right = np.array([exact(mpmath.mpf(float(v))) for v in x], dtype=object)
    oracle.assert_ulp(jax.jit(function)(x), right, bound, x)


def test_a_product_is_two_floats_of_which_the_high_one_is_exact(x64):
    rng = np.random.default_rng(0)
    a, b = np.float32(rng.uniform(0, 88, (2, 1000)))
    high, low = map(np.float64, jax.jit(power.two_product)(a, b))
    a, b = np.float64(a), np.float64(b)
    errors = np.abs(high + low - a * b) / (a * b)
    assert errors.max() < 2**-34
    assert np.all(
        high
        == np.float64(power.leading_half(jnp.float32(a)))
        * np.float64(power.leading_half(jnp.float32(b)))
    )


@pytest.mark.parametrize("gamma", [0.5, 2, 5])
def test_a_power_with_a_large_exponent_keeps_its_digits(gamma):
    """exp(γ log q) with a rounded exponent errs by up to 60 ulp here."""
    log_q = np.linspace(-87 / gamma, 0, 1001, dtype=np.float32)
    zero, g = np.zeros_like(log_q), np.float32(gamma)
    got = jax.jit(power.times_power)(np.ones_like(log_q), (log_q, zero), g)
    with mpmath.workdps(60):
        right = [mpmath.exp(gamma * mpmath.mpf(float(v))) for v in log_q]
    oracle.assert_ulp(got, np.array(right, dtype=object), 4, log_q)


def test_times_or_zero_is_the_product_but_for_zero_times_infinity():
    t, factor = jnp.array([0.0, -0.0, 2, -3, 2]), jnp.array([INF, -INF, INF, INF, 5])
    assert jnp.array_equal(
        jax.jit(limits.times_or_zero)(t, factor), jnp.array([0, 0, INF, -INF, 10])
    )
    assert jnp.isnan(limits.times_or_zero(jnp.float32(0), jnp.float32(NAN)))
    slope = jax.grad(limits.times_or_zero, 1)(jnp.float32(2), jnp.float32(INF))
    assert slope == 2


def test_ratios_and_reaches_of_nothing_are_zero():
    zero, infinite = jnp.float32(0), jnp.float32(INF)
    assert limits.ratio_or_zero(zero, zero) == 0
    assert limits.times_abs(zero, infinite) == limits.times_abs(zero, -infinite) == 0
    assert limits.times_abs(jnp.float32(1e-30), -infinite) == INF
