"""bce_with_logits, its gradient and Hessian, bce_with_probs, smooth_labels.

The closed forms are also the derivative rules, so comparing them with `jax.grad` of the
loss proves nothing by itself. The witnesses are `jax.grad` of the textbook formula in
float64, finite differences, and exact values counted in ulp.
"""

import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracle
import pytest

import bcejax
from bcejax import (
    bce_with_logits,
    bce_with_logits_grad,
    bce_with_logits_hessian,
    bce_with_probs,
    smooth_labels,
)

INF = jnp.inf
PUBLIC = (bce_with_logits, bce_with_logits_grad, bce_with_logits_hessian)
BOUNDS = oracle.BOUNDS
EXACT = {  # per function, its exact value and the kind of its bound
    bce_with_logits: (oracle.bce, "value"),
    bce_with_logits_grad: (oracle.bce_dx, "slope"),
    bce_with_logits_hessian: (oracle.bce_dxx, "curvature"),
}


def textbook(x, y, w=1.0):
    """ℓ as written on the blackboard: right in float64 for |x| < 20, and only there."""
    p = 1 / (1 + jnp.exp(-x))
    return -w * y * jnp.log(p) - (1 - y) * jnp.log(1 - p)


def at_each(function, *arguments):
    """A function of scalars at each element, in one compiled call."""
    return jax.jit(jax.vmap(function))(*map(jnp.asarray, arguments))


def through_autodiff(function):
    """The same quantity, taken from the loss by `jax.grad`."""
    order = PUBLIC.index(function)
    result = bce_with_logits
    for _ in range(order):
        result = jax.grad(result)
    return result


# Digits


@pytest.mark.parametrize("function", PUBLIC)
@pytest.mark.parametrize("y", [0, 1])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_right_for_every_logit(function, y, dtype):
    x = oracle.every(dtype)
    formula, kind = EXACT[function]
    exact = formula(x.astype(np.float64), y)
    oracle.assert_ulp(function(x, y), exact, BOUNDS[kind][dtype], x)
    by_autodiff = at_each(lambda x: through_autodiff(function)(x, y), x)
    oracle.assert_ulp(by_autodiff, exact, BOUNDS[kind][dtype], x)


@pytest.mark.parametrize("function", PUBLIC)
@pytest.mark.parametrize("y", [0, 1])
def test_float32_is_right_to_the_last_digits(function, y):
    x = oracle.some_float32(4099)
    formula, kind = EXACT[function]
    exact = formula(x.astype(np.float64), y)
    oracle.assert_ulp(function(x, y), exact, BOUNDS[kind]["float32"], x)
    by_autodiff = at_each(lambda x: through_autodiff(function)(x, y), x)
    oracle.assert_ulp(by_autodiff, exact, BOUNDS[kind]["float32"], x)


@pytest.mark.parametrize("function", PUBLIC)
@pytest.mark.parametrize("y", [0.1, 0.5, 0.999])
def test_soft_labels_are_right_relative_to_the_larger_of_the_two_terms(function, y):
    x, y = oracle.some_float32(65537), np.float64(np.float32(y))
    formula, kind = EXACT[function]
    wide = x.astype(np.float64)
    terms = (1 - y) * formula(wide, 0), y * formula(wide, 1)
    # The terms of loss and Hessian have one sign: their sum is the larger yardstick.
    exact = formula(wide, y)
    scale = np.maximum(np.abs(exact), np.maximum(*np.abs(terms)))
    oracle.assert_ulp(function(x, y), exact, BOUNDS[kind]["float32"], x, scale)


@pytest.mark.parametrize("function", PUBLIC)
@pytest.mark.parametrize("y", [0, 1])
def test_float64_is_right_to_the_last_digits(x64, function, y):
    x = np.concatenate([np.linspace(-708, 708, 709), np.linspace(-2, 2, 301)])
    s = 1 if y == 0 else -1
    formula = {
        bce_with_logits: lambda x: mpmath.log1p(mpmath.exp(s * x)),
        bce_with_logits_grad: lambda x: s / (1 + mpmath.exp(-s * x)),
        bce_with_logits_hessian: lambda x: mpmath.exp(x) / (1 + mpmath.exp(x)) ** 2,
    }[function]
    kind = EXACT[function][1]
    exact = oracle.precise(formula, x)
    oracle.assert_ulp(function(x, y), exact, BOUNDS[kind]["float64"], x)


@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("w", [1.0, 0.3, 7.0])
def test_three_orders_match_jax_grad_of_the_textbook_formula(x64, y, w):
    x = jnp.arange(-100, 101) / 10  # holds 0 exactly; random draws never do
    ours, theirs = bce_with_logits, textbook
    weight = {} if w == 1 else {"pos_weight": w}
    for closed_form in (*PUBLIC, None):
        expected = at_each(lambda x, f=theirs: f(x, y, w), x)
        got = at_each(lambda x, f=ours: f(x, y, **weight), x)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-10)
        if closed_form:
            np.testing.assert_allclose(
                closed_form(x, y, **weight), expected, rtol=1e-9, atol=1e-10
            )
        ours, theirs = jax.grad(ours), jax.grad(theirs)


def test_bfloat16_logits_keep_float32_labels():
    exact = oracle.bce(8.0, np.float64(np.float32(0.999)))
    for labels in (0.999, np.float32(0.999), jnp.float32([0.999])):
        logits = jnp.full(np.shape(labels), 8, jnp.bfloat16)
        got = bce_with_logits(logits, labels)
        assert got.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(got), exact, rtol=2**-8)


def test_the_slope_of_the_labels_is_minus_the_logit_exactly():
    x = jnp.float32([-87, -1e-3, 0, 1e-20, 17, 3e38])
    got = at_each(jax.grad(bce_with_logits, 1), x, jnp.full(6, 0.3))
    assert jnp.array_equal(got, -x)


def test_largest_finite_logits_cost_what_they_should():
    most = jnp.finfo(jnp.float32).max
    x = jnp.array([most, -most, most, -most])
    y = jnp.array([0, 1, 0.75, 0.25])
    assert jnp.array_equal(bce_with_logits(x, y), most * jnp.array([1, 1, 0.25, 0.25]))


def test_loss_is_never_negative_and_slopes_stay_within_their_ranges():
    x = oracle.some_float32(4099)
    for y in (0, 0.3, 1):
        assert jnp.all(bce_with_logits(x, y) >= 0)
        assert jnp.all(jnp.abs(bce_with_logits_grad(x, y)) <= 1)
        curvature = bce_with_logits_hessian(x, y)
        assert jnp.all((curvature >= 0) & (curvature <= 0.25))


# Infinities


CORNERS = list(itertools.product([INF, -INF], [0.0, 0.5, 1.0]))


@pytest.mark.parametrize("reduced", [False, True], ids=["alone", "in a sum"])
def test_infinite_logits(reduced):
    """A sum compiles to other code than its elements: both must know ∞."""
    x, y = map(jnp.array, zip(*CORNERS, strict=True))
    expected = jnp.array([INF, INF, 0, 0, INF, INF])
    if reduced:
        padding = jnp.full((63, 1), -INF), jnp.zeros((63, 1))  # of loss 0
        columns = [
            jnp.concatenate([c[None], jnp.broadcast_to(p, (63, 6))])
            for c, p in zip((x, y), padding, strict=True)
        ]
        got = jax.jit(lambda x, y: bce_with_logits(x, y).sum(0))(*columns)
    else:
        got = bce_with_logits(x, y)
    assert jnp.array_equal(got, expected)


@pytest.mark.parametrize(("x", "y"), CORNERS)
def test_derivatives_at_infinite_logits(x, y):
    slope = (1 - y) * (x > 0) - y * (x < 0)
    loss = INF if slope else 0
    assert jax.grad(bce_with_logits)(x, y) == slope
    assert jax.grad(bce_with_logits, 1)(x, y) == -x
    assert jax.jvp(bce_with_logits, (x, y), (1.0, 0.0)) == (loss, slope)
    assert jax.jvp(bce_with_logits, (x, y), (0.0, 1.0)) == (loss, -x)
    assert jax.jvp(bce_with_logits, (x, y), (0.0, 0.0)) == (loss, 0)
    for hessian in (
        jax.hessian(bce_with_logits, (0, 1))(x, y),
        jax.jacrev(jax.jacfwd(bce_with_logits, (0, 1)), (0, 1))(x, y),
    ):
        assert jax.tree.map(float, hessian) == ((0, -1), (-1, 0))


@pytest.mark.parametrize(("x", "y"), CORNERS)
def test_pos_weight_at_infinite_logits(x, y):
    def weighted(x, y, w):
        return bce_with_logits(x, y, pos_weight=w)

    slope = (1 - y) * (x > 0) - 3 * y * (x < 0)
    loss = INF if slope else 0
    assert weighted(x, y, 3.0) == loss
    assert jax.grad(weighted)(x, y, 3.0) == slope
    assert jax.grad(weighted, 1)(x, y, 3.0) == -x
    assert jax.grad(weighted, 2)(x, y, 3.0) == (INF if y and x < 0 else 0)
    assert jax.hessian(weighted)(x, y, 3.0) == 0


def of_all_modes(function, *points):
    """∂²/∂aᵢ∂aⱼ at each point by each pair of modes, in one program."""
    modes = jax.jacfwd, jax.jacrev
    every = range(len(points))

    def second(*at):
        return [
            [outer(inner(function, i), j)(*at) for i in every for j in every]
            for outer, inner in itertools.product(modes, modes)
        ]

    return np.array(at_each(second, *points))


@pytest.mark.full
def test_all_modes_agree_on_second_derivatives_at_the_corners():
    x, y, w = np.float32(
        list(itertools.product([-INF, INF, 0, -200], [0, 1], [0, 1, 2]))
    ).T
    weighted = of_all_modes(
        lambda x, y, w: bce_with_logits(x, y, pos_weight=w), x, y, w
    )
    p, y_of_p = np.float32(list(itertools.product([0, 1], [0, 1]))).T
    of_probs = of_all_modes(bce_with_probs, p, y_of_p)
    for by_modes in (weighted, of_probs[:, 1:3]):  # the slope in p is infinite there
        for mode in by_modes:
            np.testing.assert_array_equal(mode, by_modes[0])
    # ∂²ℓ/∂x∂y of the weighted loss is −w σ(−x) − σ(x).
    in_x_and_y = weighted[:, 1, (x == -INF) & (y == 0) & (w == 2)]
    np.testing.assert_array_equal(in_x_and_y, -2)


# Probabilities


def test_probabilities_at_their_ends():
    p, y = jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array([0.0, 1.0, 1.0, 0.0])
    assert jnp.array_equal(bce_with_probs(p, y), jnp.array([0, INF, 0, INF]))
    slopes = at_each(jax.grad(bce_with_probs), p, y)
    assert jnp.array_equal(slopes, jnp.array([1, -INF, -1, INF]))
    curvatures = at_each(jax.hessian(bce_with_probs), p, y)
    assert jnp.array_equal(curvatures, jnp.array([1, INF, 1, INF]))
    assert jnp.array_equal(
        at_each(jax.grad(bce_with_probs, 1), p, y), jnp.array([INF, INF, -INF, -INF])
    )


@pytest.mark.parametrize("y", [0.0, 0.3, 1.0])
def test_loss_and_gradient_of_probabilities(y):
    p = jnp.float32([1e-30, 1e-7, 0.2, 0.5, 0.9, 1 - 2**-24])
    p64, y64 = np.float64(p), np.float64(np.float32(y))
    loss = -y64 * np.log(p64) - (1 - y64) * np.log1p(-p64)
    np.testing.assert_allclose(bce_with_probs(p, y), loss, rtol=4e-7)
    slope = (1 - y64) / (1 - p64) - y64 / p64
    np.testing.assert_allclose(
        at_each(lambda p: jax.grad(bce_with_probs)(p, y), p), slope, rtol=4e-7
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("y", [0, 1])
def test_every_16_bit_probability(dtype, y):
    p = oracle.every(dtype)
    p = p[(p == 0) | (p >= jnp.finfo(jnp.float32).smallest_normal) & (p <= 1)]
    with np.errstate(divide="ignore"):
        exact = -np.log(p.astype(float)) if y else -np.log1p(-p.astype(float))
    oracle.assert_ulp(bce_with_probs(p, y), exact, BOUNDS["value"][dtype], p)


def test_out_of_range_probabilities_are_nan():
    assert jnp.all(jnp.isnan(bce_with_probs(jnp.array([-0.5, 1.5]), 0.5)))


def test_probabilities_and_logits_agree(x64):
    x, y = jnp.linspace(-10, 10, 81), jnp.linspace(0, 1, 81)
    np.testing.assert_allclose(
        bce_with_probs(bcejax.sigmoid(x), y), bce_with_logits(x, y), rtol=1e-11
    )


# Label smoothing


def test_smoothing_moves_binary_labels_towards_half():
    np.testing.assert_allclose(smooth_labels([0, 1], 0.2), [0.2 / 2, 1 - 0.2 / 2])
    assert jnp.array_equal(smooth_labels([0.0, 1.0], 0), jnp.array([0, 1]))
    assert jnp.array_equal(smooth_labels([0.0, 1.0], 1), jnp.array([0.5, 0.5]))
    assert jax.grad(smooth_labels, 1)(1.0, 0.3) == -0.5


def test_smoothing_does_not_round_to_16_bits(x64):
    smoothed = smooth_labels(jnp.ones(2, jnp.bfloat16), 0.001)
    assert smoothed.dtype == jnp.float32
    np.testing.assert_allclose(smoothed, 1 - 0.001 / 2, rtol=1e-7)
    assert smooth_labels(True, 0.1).dtype == jnp.float32
    assert smooth_labels(jnp.float64(1), 0.1).dtype == jnp.float64


# Weights without a limit


@pytest.mark.parametrize("function", PUBLIC)
def test_infinite_pos_weight_leaves_the_negatives_alone(function):
    x = jnp.array([-3.0, 0.0, 2.0])
    assert jnp.array_equal(function(x, 0, pos_weight=jnp.inf), function(x, 0))
    assert jnp.array_equal(function(x, 0, pos_weight=0), function(x, 0))
    assert jnp.array_equal(function(x, 1, pos_weight=0), jnp.zeros(3))


def test_the_oracle_sees_what_is_wrong_where_the_exact_value_underflows():
    for wrong in (np.nan, 5, 1e30):
        with pytest.raises(AssertionError):
            oracle.assert_ulp(np.float32([wrong]), np.float64([1e-40]), 3, [1.0])
