"""asymmetric_loss: digits, the kink at p = clip, infinities, derivatives.

The witnesses are differences of the definition at 60 digits, the definition as it is
written in the paper in float64, and the focal loss, which it is without a clip.
"""

import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracle
import pytest

from bcejax import asymmetric_loss, sigmoid, sigmoid_focal_loss
from bcejax.verify import bounds

INF, NAN = jnp.inf, jnp.nan
ALL = (0, 1, 2, 3, 4)
# logit, label, γ₊, γ₋, clip
DEFAULTS = 1.0, 4.0, 0.05


def asl(x, y, gamma_positive, gamma_negative, clip):
    return asymmetric_loss(
        x, y, gamma_positive=gamma_positive, gamma_negative=gamma_negative, clip=clip
    )


def at_each(function, points):
    return np.asarray(jax.jit(jax.vmap(function))(*np.transpose(points)))


def grid(*values):
    return np.array(list(itertools.product(*values)))


# Digits


def cost(x, gamma, clip):
    """p_m^γ (−log(1 − p_m)), of mpmath numbers."""
    left = 1 / (1 + mpmath.exp(-x)) - clip
    return left**gamma * -mpmath.log(1 - left) if left > 0 else mpmath.mpf(0)


def terms(x, y, gamma_positive, gamma_negative, clip):
    return (
        y * cost(-x, gamma_positive, mpmath.mpf(0)),
        (1 - y) * cost(x, gamma_negative, clip),
    )


def exactly(point, argument, order):
    """A derivative of the loss, and the sum of the magnitudes of its two terms."""
    at = [mpmath.mpf(float(v)) for v in point]

    def moved(t, k):
        return terms(*at[:argument], t, *at[argument + 1 :])[k]

    parts = [
        mpmath.diff(lambda t, k=k: moved(t, k), at[argument], order) for k in (0, 1)
    ]
    return sum(parts), sum(map(abs, parts))


@pytest.mark.full
@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 4e-6), ("float64", 4e-15)])
def test_every_order_in_the_logit_keeps_its_digits(x64, dtype, bound, order):
    """Measured 2.3e-6 and 2.0e-15, of the digits that p − clip has at these logits."""
    x = [0, *(s * v for v in (1e-4, 0.5, 2, 17, 50, 80) for s in (1, -1))]
    points = grid(x, [0, 0.3, 1], [0, 1, 2.5], [0, 1, 4], [0, 0.05, 0.25]).astype(dtype)
    derivative = asl
    for _ in range(order):
        derivative = jax.grad(derivative)
    tiny = float(jnp.finfo(dtype).tiny)
    with mpmath.workdps(120):
        for point, got in zip(points, at_each(derivative, points), strict=True):
            exact, scale = exactly(point, 0, order)
            noise = mpmath.mpf(10) ** -60  # of the differences
            assert abs(float(got) - exact) <= bound * scale + 8 * tiny + noise, point


@pytest.mark.parametrize("argument", [1, 2, 3, 4])
def test_first_derivatives_in_the_other_arguments_are_right(x64, argument):
    points = grid([-20, -2, 0, 0.5, 3, 30], [0, 0.4, 1], [0, 1], [0.5, 4], [0.01, 0.25])
    got = at_each(jax.grad(asl, argument), points)
    with mpmath.workdps(60):
        for point, value in zip(points, got, strict=True):
            exact, scale = exactly(point, argument, 1)
            assert abs(float(value) - exact) <= 1e-12 * scale, point


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_right_for_every_logit(dtype):
    x = oracle.every(dtype)
    wide = x.astype(np.float64)
    p = oracle.sigmoid(wide)
    negative = np.maximum(p - 0.25, 0) ** 4 * -np.log(
        np.minimum(oracle.sigmoid(-wide) + 0.25, 1)
    )
    positive = oracle.sigmoid(-wide) * oracle.softplus(-wide)
    bound = bounds.BOUNDS["asymmetric"]["value"][dtype]
    size = negative * (1 + 0.25 / np.maximum(p - 0.25, 1e-9))
    oracle.assert_ulp(asl(x, 0, 1, 4, 0.25), negative, bound, x, size)
    oracle.assert_ulp(asl(x, 1, 1, 4, 0.25), positive, bound, x)


def test_it_is_the_definition_of_the_paper(x64):
    x, y = grid(np.linspace(-10, 10, 121), [0, 0.3, 1]).T
    p = 1 / (1 + np.exp(-x))
    shifted = np.maximum(p - 0.05, 0)
    expected = -y * (1 - p) * np.log(p) - (1 - y) * shifted**4 * np.log(1 - shifted)
    np.testing.assert_allclose(asymmetric_loss(x, y), expected, rtol=1e-10)


def test_without_a_clip_it_is_the_focal_loss_of_hard_labels():
    x = oracle.some_float32(2**20 + 7)
    for y in (0, 1):
        got = asl(x, y, 2.0, 2.0, 0.0)
        np.testing.assert_allclose(got, sigmoid_focal_loss(x, y), rtol=2e-6, atol=1e-37)


# The kink


def test_a_negative_up_to_the_clip_costs_and_moves_nothing():
    clip = float(sigmoid(-2.0))
    for x in (-INF, -1e30, -50.0, -2.0):
        for gamma in (0.0, 0.5, 1.0, 4.0):
            gradient = jax.grad(asl, ALL)(x, 0.0, 1.0, gamma, clip)
            assert asl(x, 0.0, 1.0, gamma, clip) == 0
            assert gradient[0] == gradient[3] == gradient[4] == 0
            assert jax.grad(jax.grad(asl))(x, 0.0, 1.0, gamma, clip) == 0


@pytest.mark.parametrize("gamma", [1.0, 2.0, 4.0])
def test_above_the_clip_the_loss_rises_from_zero(gamma):
    x = np.float32(0)
    for _ in range(50):
        x = np.nextafter(x, np.float32(1))
        loss, slope = jax.value_and_grad(asl)(x, 0.0, 1.0, gamma, 0.5)
        assert 0 <= loss < 1e-5
        assert 0 <= slope < 1e-5


# Infinities and NaN


@pytest.mark.parametrize(
    ("x", "y", "clip", "loss", "slope"),
    [
        (INF, 1, 0.05, 0, 0),
        (-INF, 1, 0.05, INF, -1),
        (-INF, 0, 0.05, 0, 0),
        (-INF, 0, 0.0, 0, 0),
        (INF, 0, 0.0, INF, 1),
        (INF, 0, 0.5, 0.5**4 * np.log(2), 0),
        (INF, 0.75, 0.0, INF, 0.25),
    ],
)
def test_infinite_logits(x, y, clip, loss, slope):
    point = x, float(y), 1.0, 4.0, clip
    np.testing.assert_allclose(asl(*point), loss, rtol=1e-6)
    assert jax.grad(asl)(*point) == jax.jacfwd(asl)(*point) == slope
    assert jax.hessian(asl)(*point) == 0


@pytest.mark.parametrize("argument", ALL)
def test_nan_in_gives_nan_out(argument):
    points = grid([-INF, -8.0, 0.0, 3.0, INF], [0.5], [1.0], [4.0], [0.05])
    points[:, argument] = NAN
    assert np.isnan(at_each(asl, np.float32(points))).all()
    assert np.isnan(at_each(jax.grad(asl), np.float32(points))).all()


@pytest.mark.full
def test_masked_elements_add_nothing_to_loss_or_derivatives():
    mask, good = jnp.array([False] * 5 + [True]), jnp.array([0.5, 0.3, *DEFAULTS])

    def total(*columns):
        x, y, *rest = columns
        options = dict(
            zip(("gamma_positive", "gamma_negative", "clip"), rest, strict=True)
        )
        return asymmetric_loss(x, y, where=mask, **options).sum()

    for bad in (NAN, INF):
        columns = jnp.where(jnp.eye(6, 5, dtype=bool), bad, good).T
        assert total(*columns) == asl(*good)
        for slope in jax.jit(jax.grad(total, ALL))(*columns):
            assert not slope[:5].any()
            assert slope[5] != 0


# Arguments


def test_the_defaults_are_those_of_timm():
    x = jnp.array([-2.0, 2.0])
    assert jnp.array_equal(asymmetric_loss(x, 0), asl(x, 0, *DEFAULTS))


def test_options_broadcast_to_the_logits_only():
    for name in ("gamma_positive", "gamma_negative", "clip"):
        message = rf"{name} must broadcast to the shape of logits.*\(2,\).*\(2, 3\)"
        with pytest.raises(ValueError, match=message):
            asymmetric_loss(jnp.ones((2, 3)), 1, **{name: [0.5, 0.5]})
        with pytest.raises(TypeError, match=f"{name} must be bool, integer or float"):
            asymmetric_loss(0.5, 1, **{name: 1j})


def test_16_bit_logits_round_neither_labels_nor_options():
    options = {"gamma_negative": 2.001, "clip": 0.0501}
    wide = asymmetric_loss(2.0, 0.001, **options)
    got = asymmetric_loss(jnp.bfloat16(2), 0.001, **options)
    assert got == wide.astype(jnp.bfloat16)
