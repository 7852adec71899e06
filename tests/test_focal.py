"""sigmoid_focal_loss: digits, infinities, derivatives in all four arguments.

The witnesses are differences of the definition at 300 digits, the same definition in
float64, `bce_with_logits` (which is γ = 0), and optax.
"""

import functools
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import oracle
import pytest

from bcejax import bce_with_logits, sigmoid_focal_loss
from bcejax.verify import bounds

INF, NAN = jnp.inf, jnp.nan
GAMMAS = [0.0, 0.1, 0.5, 1.0, 2.0, 5.0]
LABELS = [0.0, 1e-6, 0.3, 0.5, 0.999, 1.0]
ALL = (0, 1, 2, 3)


def focal(x, y, alpha, gamma):
    return sigmoid_focal_loss(x, y, alpha=alpha, gamma=gamma)


GRADIENT, HESSIAN = jax.grad(focal, ALL), jax.hessian(focal, ALL)
CURVATURE = jax.grad(jax.grad(focal))
value_and_slope = jax.jit(jax.vmap(jax.value_and_grad(focal), (0, None, None, None)))
mapped = functools.cache(lambda function: jax.jit(jax.vmap(function)))


def grid(*values):
    return np.array(list(itertools.product(*values)))


def of_all(function, points):
    """`function` of four scalars at each row of `points`, which come last.

    512 rows at a time, so that it compiles once.
    """
    padded = np.pad(points, ((0, -len(points) % 512), (0, 0)))
    chunks = [
        np.array(mapped(function)(*c.T)) for c in np.split(padded, len(padded) // 512)
    ]
    return np.concatenate(chunks, -1)[..., : len(points)]


# Digits


@functools.cache
def of_logit(x):
    e = mpmath.exp(x)
    return e, mpmath.log1p(e), mpmath.log1p(1 / e)


@functools.cache
def exactly(x, y, alpha, gamma):
    """α_t q^γ ℓ, its gradient and Hessian, each with what to measure its error by:

    the magnitudes of the terms in the product rule for α_t · (q^γ ℓ).
    """
    h, point = mpmath.mpf(10) ** -70, [mpmath.mpf(float(v)) for v in (x, y, gamma)]
    x, y, alpha = point[0], point[1], mpmath.mpf(float(alpha))

    @functools.cache
    def modulated(*steps):
        x, y, g = (p + h * step for p, step in zip(point, steps, strict=True))
        e, of_0, of_1 = of_logit(x)
        return (((1 - y) * e + y) / (1 + e)) ** g * ((1 - y) * of_0 + y * of_1)

    def difference(*along, at=(0, 0, 0)):
        if not along:
            return modulated(*at)
        first, *rest = along
        ahead, behind = (
            difference(*rest, at=[s + sign * (k == first) for k, s in enumerate(at)])
            for sign in (1, -1)
        )
        return (ahead - behind) / (2 * h)

    # The factors along x, y, α and γ: q^γ ℓ does not know α, and α_t neither x nor γ.
    zero, (of_x, of_y, of_g) = mpmath.mpf(0), range(3)
    slope = [difference(of_x), difference(of_y), zero, difference(of_g)]
    curvature = np.full((4, 4), zero)
    for (i, a), (j, b) in itertools.product(
        ((0, of_x), (1, of_y), (3, of_g)), repeat=2
    ):
        curvature[i, j] = difference(*sorted((a, b)))
    weight, loss = alpha * y + (1 - alpha) * (1 - y), modulated(0, 0, 0)
    weight_slope = [zero, 2 * alpha - 1, 2 * y - 1, zero]
    terms = [(weight * loss,)]
    terms += [(weight * slope[i], weight_slope[i] * loss) for i in ALL]
    terms += [
        (
            weight * curvature[i, j],
            weight_slope[i] * slope[j],
            weight_slope[j] * slope[i],
            2 * loss if {i, j} == {1, 2} else zero,
        )
        for i, j in itertools.product(ALL, repeat=2)
    ]
    # Near x = 0 some derivatives change their sign.
    floor = weight * loss if abs(x) <= 1 else zero
    return [(sum(t), max(floor, sum(map(abs, t)))) for t in terms]


@pytest.mark.full
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 3e-6), ("float64", 4e-14)])
def test_all_first_and_second_derivatives_are_right(x64, dtype, bound):
    """Measured 1.2e-6 and 2.9e-14, the latter ∂²/∂x² for label ½, 80 logits away.

    In labels they are right while q is a normal number, twice while q² is one.
    """
    reach = {"float32": 83, "float64": 704}[dtype]
    x = [0, *(s * v for v in (1e-4, 1, 17, 50, 80, 120) for s in (1, -1))]
    points = np.float32(grid(x, LABELS, [0.25], GAMMAS)).astype(dtype)
    derivatives = [of_all(f, points) for f in (focal, GRADIENT, HESSIAN)]
    got = np.concatenate([d.reshape(-1, len(points)) for d in derivatives])
    names = ["L", *"xyαγ", *map("".join, itertools.product("xyαγ", repeat=2))]
    tiny, most = float(jnp.finfo(dtype).tiny), float(jnp.finfo(dtype).max)
    with mpmath.workdps(300):
        for point, column in zip(points, got.T, strict=True):
            for name, value, exact in zip(names, column, exactly(*point), strict=True):
                (exact, scale), value = exact, float(value)
                if name.count("y") * abs(point[0]) > reach:
                    continue
                if scale > most:
                    right = abs(value) >= most
                elif scale > 4 * tiny:
                    right = abs(value - exact) <= bound * scale
                else:
                    right = abs(value) <= 8 * tiny
                assert right, f"{name} at {point}: {value!r}, not {mpmath.nstr(exact)}"


def float64_formula(x, gamma):
    """Loss and slope for label 0, in float64."""
    q, loss = oracle.sigmoid(x), oracle.bce(x, 0)
    with np.errstate(invalid="ignore"):  # 0 · ∞, of the slope of q and an infinite loss
        slope_of_q = np.nan_to_num(oracle.sigmoid(-x) * loss, nan=0)
    return q**gamma * loss, q**gamma * (gamma * slope_of_q + oracle.bce_dx(x, 0))


def assert_hard_labels_are_right(x, gamma):
    dtype = x.dtype.name
    # Of 32 bits the error grows with γ, and the bound of the table is that of γ = 5.
    of_gamma = 6 + gamma if dtype == "float32" else 0.51
    bound = {
        order: min(of_gamma, bounds.BOUNDS["focal"][order][dtype])
        for order in ("value", "slope")
    }
    loss, slope = float64_formula(x.astype(np.float64), gamma)
    for y, sign in ((0.0, 1), (1.0, -1)):
        got_loss, got_slope = value_and_slope(sign * x, y, None, gamma)
        oracle.assert_ulp(got_loss, loss, bound["value"], x)
        oracle.assert_ulp(got_slope, sign * slope, bound["slope"], x)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 5])
def test_float32_is_right_to_the_last_digits(gamma):
    """Measured over 34 million: 2.4, 5.2, 5.3, 5.4, 10.2. A rounded γ log q: 100."""
    assert_hard_labels_are_right(oracle.some_float32(16381), float(gamma))


@pytest.mark.parametrize("gamma", [0, 0.5, 2, 5])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_right_for_every_logit(dtype, gamma):
    assert_hard_labels_are_right(oracle.every(dtype), float(gamma))


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_optax_agrees_in_float64(x64, alpha):
    x, y, gamma = grid(np.linspace(-30, 30, 121), LABELS, GAMMAS).T
    expected = optax.losses.sigmoid_focal_loss(x, y, alpha=alpha, gamma=gamma)
    np.testing.assert_allclose(focal(x, y, alpha, gamma), expected, rtol=1e-12)


@pytest.mark.parametrize("triple", ["xxx", "xyγ", "yyy", "yyα", "yαγ"])
def test_third_derivatives_are_differences_of_second_ones(x64, triple):
    i, j, k = map("xyαγ".index, triple)
    second, h = jax.grad(jax.grad(focal, i), j), 1e-5 * np.eye(4)[k]
    points = grid([-4.0, -1, 0, 0.5, 3], [0, 0.3, 1], [0.3], [0.5, 1, 2])
    difference = (of_all(second, points + h) - of_all(second, points - h)) / 2e-5
    third = of_all(jax.grad(second, k), points)
    np.testing.assert_allclose(third, difference, rtol=1e-6, atol=1e-7)


@pytest.mark.full
def test_forward_and_reverse_mode_agree_and_hessians_are_symmetric(x64):
    """A tangent of 0 meets infinite derivatives in forward mode."""
    x = [-1e4, -200.0, -1, 0, 1, 100, 1e4]
    points = grid(x, [0, 0.4, 1], [0, 0.2], [0, 0.5, 2])
    forward, reverse = of_all(jax.jacfwd(focal, ALL), points), of_all(GRADIENT, points)
    np.testing.assert_allclose(forward, reverse, 1e-12, 1e-12)
    hessian = of_all(HESSIAN, points)
    np.testing.assert_allclose(hessian, hessian.swapaxes(0, 1), 1e-12, 1e-12)
    forward = of_all(jax.jacfwd(jax.jacfwd(focal, (0, 1)), (0, 1)), points)
    np.testing.assert_allclose(forward, hessian[:2, :2], 1e-12, 1e-12)


# γ = 0


def test_without_gamma_and_alpha_it_is_the_cross_entropy():
    x = oracle.some_float32(2**20 + 7)
    for y in (0, 1):
        got = sigmoid_focal_loss(x, y, gamma=0)
        assert jnp.array_equal(got, bce_with_logits(x, y))
    for y in (1e-6, 0.3, 0.999):
        got = sigmoid_focal_loss(x, y, gamma=0)
        np.testing.assert_allclose(got, bce_with_logits(x, y), 3e-7, 2e-38)
    got = sigmoid_focal_loss(x, 1, gamma=0, alpha=0.25)
    assert jnp.array_equal(got, 0.25 * bce_with_logits(x, 1))


def test_nor_do_derivatives_differ_from_its_own():
    x, y = grid([0, 1, -50, 1e30, -1e30, INF, -INF], [0, 0.5, 1]).T
    for derivative in (partial(jax.grad, argnums=(0, 1)), jax.hessian):
        got = mapped(derivative(partial(sigmoid_focal_loss, gamma=0.0)))
        expected = mapped(derivative(bce_with_logits))
        np.testing.assert_allclose(got(x, y), expected(x, y), rtol=3e-7, atol=1e-37)


# Infinities


@pytest.mark.parametrize("x", [INF, -INF])
def test_infinite_logits_on_the_right_side_cost_and_move_nothing(x64, x):
    points = grid([x], [float(x > 0)], [0.25], GAMMAS[1:])
    assert not of_all(focal, points).any()
    assert not of_all(GRADIENT, points).any()


@pytest.mark.parametrize(("x", "y", "alpha"), [(INF, 0, 0.3), (-INF, 1, 0.7)])
def test_infinite_logits_on_the_wrong_side(x64, x, y, alpha):
    points, side, weight = grid([x], [y], [alpha], GAMMAS), np.sign(x), 0.7
    assert np.array_equal(of_all(focal, points), [INF] * len(points))
    by_x, by_y, by_alpha, by_gamma = of_all(GRADIENT, points)
    np.testing.assert_allclose(by_x, side * weight, rtol=1e-7)
    # Per unit of a loss of ∞: q^γ ℓ loses γ + 1 of it, and α_t gains 2 α − 1.
    factor = (2 * alpha - 1) - side * weight * (np.array(GAMMAS) + 1)
    assert np.array_equal(by_y, factor * INF)
    assert np.array_equal(by_alpha, [-side * INF] * len(points))
    assert not by_gamma.any()  # q is 1


@pytest.mark.parametrize("w", [0.3, 1e-6])
@pytest.mark.parametrize("side", [1, -1])
def test_infinite_logits_against_soft_labels(x64, side, w):
    points = grid([side * INF], [1 - w if side > 0 else w], [0.5], GAMMAS)
    assert np.array_equal(of_all(focal, points), [INF] * len(points))
    slope = of_all(GRADIENT, points)[0]
    exact = side * 0.5 * w ** (np.array(GAMMAS) + 1)
    np.testing.assert_allclose(slope, exact, rtol=1e-9)


def test_infinite_logits_are_the_limit_of_large_ones(x64):
    """Derivatives that grow with the logit are ∞."""
    for side, derivative in itertools.product((1, -1), (GRADIENT, CURVATURE)):
        large, larger, got = (
            of_all(derivative, grid([side * x], LABELS, [0.5 - 0.2 * side], GAMMAS))
            for x in (1e4, 2e4, INF)
        )
        grows = np.abs(larger) / (1 + 1e-9) > np.abs(large)
        limit = np.where(np.abs(larger) < 1e-90, 0, larger)
        limit[grows] = np.copysign(INF, limit[grows])
        np.testing.assert_allclose(got, limit, rtol=1e-9)


def test_no_derivative_is_nan(x64):
    x = [0, *(s * v for v in (1e-20, 1, 88, 95, 300, 1e10, 3e38, INF) for s in (1, -1))]
    y = [0, 1e-40, 1e-30, 0.5, 1 - 2**-24, 1]
    points = grid(x, y, [0, 0.25, 1], [0, 1e-30, 0.5, 1, 3.7, 1e3, 1e30])
    for function in (focal, CURVATURE, jax.grad(focal, (0, 2, 3))):
        assert not np.isnan(of_all(function, np.float32(points))).any()
    # Where the loss is ∞, two infinite terms of the label's slope may cancel.
    points = points[np.abs(points[:, 0]) < 1e38]
    assert not np.isnan(of_all(GRADIENT, np.float32(points))).any()


# Arguments


def test_gamma_and_alpha_may_be_arrays_and_traced():
    x, y = jnp.array([[-2.0, 0.5], [1, 3]]), jnp.ones((2, 2))
    alpha, gamma = jnp.array([0.25, 0.75]), jnp.array([[0.5], [2]])
    each = jax.jit(
        jax.vmap(
            jax.vmap(jax.value_and_grad(focal, (2, 3)), (0, 0, 0, None)),
            (0, 0, None, 0),
        )
    )
    value, (by_alpha, by_gamma) = each(x, y, alpha, gamma[:, 0])
    np.testing.assert_allclose(focal(x, y, alpha, gamma), value, rtol=1e-6)
    total = jax.jit(jax.grad(lambda *a: focal(*a).sum(), (2, 3)))
    got_by_alpha, got_by_gamma = total(x, y, alpha, gamma)
    np.testing.assert_allclose(got_by_alpha, by_alpha.sum(0), rtol=1e-6)
    np.testing.assert_allclose(got_by_gamma, by_gamma.sum(1, keepdims=True), rtol=1e-6)
