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
from jax.test_util import check_grads

import bcejax
from bcejax import (
    _arguments,
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


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_in_every_argument_match_finite_differences(x64, order):
    x = jnp.array([-3.0, -1e-4, 0.0, 1e-4, 0.5, 4.0])
    y = jnp.array([0.2, 0.3, 0.5, 0.6, 0.9, 0.4])
    w = jnp.array([0.1, 1.0, 3.0, 0.5, 2.0, 1.5])
    check_grads(bce_with_logits, (x, y), order, rtol=1e-4, atol=1e-4)

    def weighted(x, y, w):
        return bce_with_logits(x, y, pos_weight=w)

    check_grads(weighted, (x, y, w), order, rtol=1e-4, atol=1e-4)
    p = jnp.clip(bcejax.sigmoid(x), 0.2, 0.8)  # steeper than differences can follow
    check_grads(bce_with_probs, (p, y), order, rtol=1e-4, atol=1e-4)


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


# Infinities and NaN


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
    assert bce_with_logits_grad(x, y) == slope
    assert bce_with_logits_hessian(x, y) == 0
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


def second(outer, inner, function, i, j):
    """∂²/∂aⱼ∂aᵢ, by a mode of differentiation for each of the two."""
    return outer(inner(function, i), j)


@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("inner", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("x", [-jnp.inf, jnp.inf, 0.0, -200.0])
def test_all_modes_agree_on_second_derivatives_at_the_corners(x, outer, inner):
    def weighted(x, y, w):
        return bce_with_logits(x, y, pos_weight=w)

    for y, w in np.ndindex(2, 3):
        at = x, float(y), float(w)
        for i, j in np.ndindex(3, 3):
            got = second(outer, inner, weighted, i, j)(*at)
            assert got == second(jax.jacfwd, jax.jacrev, weighted, i, j)(*at)
    # ∂²ℓ/∂x∂y of the weighted loss is −w σ(−x) − σ(x).
    assert second(outer, inner, weighted, 0, 1)(-jnp.inf, 0.0, 2.0) == -2


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_forward_mode_twice_is_right_where_a_slope_is_infinite(p, y):
    for i, j in ((0, 1), (1, 0)):
        got = second(jax.jacfwd, jax.jacfwd, bce_with_probs, i, j)(p, y)
        assert got == second(jax.jacfwd, jax.jacrev, bce_with_probs, i, j)(p, y)


@pytest.mark.parametrize("function", PUBLIC)
def test_nan_in_gives_nan_out(function):
    assert jnp.isnan(function(jnp.nan, 1))
    if function is not bce_with_logits_hessian:  # which does not depend on the label
        assert jnp.isnan(function(1.0, jnp.nan))
    assert jnp.isnan(function(1.0, 1, pos_weight=jnp.nan))
    assert jnp.isnan(bce_with_logits(jnp.array([jnp.nan] * 64), jnp.ones(64)).sum())


# Masks


@pytest.mark.parametrize("bad", [jnp.nan, INF, -INF])
@pytest.mark.parametrize("weighted", [False, True])
def test_masked_elements_add_nothing_to_loss_or_gradients(bad, weighted):
    x, y = jnp.array([bad, 1.0, 2.0]), jnp.array([1.0, bad, 0.0])
    mask = jnp.array([False, False, True])
    w = jnp.array([bad, bad, 3.0])

    def loss(x, y, w):
        return bce_with_logits(x, y, pos_weight=w if weighted else None, where=mask)

    assert jnp.array_equal(loss(x, y, w), jnp.array([0, 0, bce_with_logits(2.0, 0)]))
    for argument in range(3):
        gradient = jax.grad(lambda *a: loss(*a).sum(), argument)(x, y, w)
        assert jnp.array_equal(gradient[:2], jnp.zeros(2))
    tangents = (jnp.ones(3), jnp.ones(3), jnp.ones(3))
    assert jnp.array_equal(jax.jvp(loss, (x, y, w), tangents)[1][:2], jnp.zeros(2))
    hessian = jax.hessian(lambda x: loss(x, y, w).sum())(x)
    np.testing.assert_array_equal(hessian[:2], 0)
    for function in (bce_with_logits_grad, bce_with_logits_hessian):
        got = function(x, y, pos_weight=w if weighted else None, where=mask)
        assert jnp.array_equal(got[:2], jnp.zeros(2))
        assert got[2] == function(2.0, 0)


def test_masked_probabilities_add_nothing():
    p, y = jnp.array([jnp.nan, 2.0, 0.25]), jnp.array([1.0, jnp.nan, 0.0])
    mask = jnp.array([False, False, True])
    loss = bce_with_probs(p, y, where=mask)
    assert jnp.array_equal(loss, jnp.array([0, 0, bce_with_probs(0.25, 0)]))
    for argument in (0, 1):
        gradient = jax.grad(lambda *a: bce_with_probs(*a, where=mask).sum(), argument)
        assert jnp.array_equal(gradient(p, y)[:2], jnp.zeros(2))


# Arguments


@pytest.mark.parametrize(
    "labels", [1, 1.0, True, np.uint8(1), np.int64(1), jnp.bfloat16(1), np.float64(1)]
)
@pytest.mark.parametrize("function", [*PUBLIC, bce_with_probs])
def test_labels_of_any_real_dtype_are_the_same_label(function, labels):
    assert function(0.3, labels) == function(0.3, jnp.float32(1))
    many = jnp.full(3, 0.3)
    assert jnp.array_equal(
        function(many, jnp.full(3, labels)), function(many, jnp.ones(3))
    )
    jax.grad(lambda x: function(x, labels))(0.3)  # integers have no tangent: no crash


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3)])
@pytest.mark.parametrize("function", [*PUBLIC, bce_with_probs])
def test_result_has_shape_and_dtype_of_the_logits(x64, function, dtype, shape):
    logits, labels = jnp.full(shape, 0.25, dtype), jnp.ones(shape, jnp.float64)
    for y in (labels, 1):
        result = function(logits, y, where=jnp.array(True))
        assert (result.shape, result.dtype) == (shape, dtype)
    gradient = jax.grad(lambda x: function(x, labels).sum())(logits)
    assert (gradient.shape, gradient.dtype) == (shape, dtype)


@pytest.mark.parametrize("function", [*PUBLIC, bce_with_probs])
def test_nothing_broadcasts_silently(function):
    name = "probs" if function is bce_with_probs else "logits"
    for x, y in [
        ((4, 1), (4,)),
        ((4,), (4, 1)),
        ((4, 4), (4,)),
        ((), (1,)),
        ((1,), (4,)),
    ]:
        with pytest.raises(ValueError) as error:
            function(jnp.full(x, 0.5), jnp.ones(y))
        for part in ("labels", name, str(x), str(y)):
            assert part in str(error.value)
    with pytest.raises(ValueError, match=rf"where must broadcast .* {name}.*\(2, 4\)"):
        function(jnp.full(4, 0.5), 1, where=jnp.ones((2, 4), bool))


@pytest.mark.parametrize("function", PUBLIC)
def test_pos_weight_and_where_broadcast_to_the_logits_only(function):
    x, y = jnp.ones((2, 3)), jnp.ones((2, 3))
    full = function(x, y, pos_weight=jnp.array([[1.0, 2, 3]] * 2))
    assert jnp.array_equal(function(x, y, pos_weight=[1, 2, 3]), full)
    half = function(x, y, where=jnp.array([[True], [False]]))
    assert jnp.array_equal(half, function(x, y) * jnp.array([[1], [0]]))
    with pytest.raises(
        ValueError, match=r"pos_weight must broadcast.*\(2,\).*\(2, 3\)"
    ):
        function(x, y, pos_weight=[1, 2])


@pytest.mark.parametrize("function", [*PUBLIC, bce_with_probs])
def test_what_cannot_be_meant_is_refused(function):
    with pytest.raises(TypeError, match=r"The order of arguments is \(\w+, labels\)"):
        function(jnp.array([0, 1]), jnp.array([0.3, -2.0]))
    with pytest.raises(TypeError, match="labels must be bool, integer or floating"):
        function(0.5, 1j)
    with pytest.raises(TypeError, match="where must be bool, got float32"):
        function(0.5, 1, where=1.0)


def test_pos_weight_that_is_not_real_is_refused():
    with pytest.raises(TypeError, match="pos_weight must be bool, integer or floating"):
        bce_with_logits(0.5, 1, pos_weight=1j)


def test_new_values_do_not_recompile():
    x = jnp.zeros(3)
    bce_with_logits(x, 0, pos_weight=1.0)
    before = _arguments._elementwise._cache_size()
    bce_with_logits(x, 1, pos_weight=2.0)
    assert _arguments._elementwise._cache_size() == before


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


def test_smoothing_refuses_what_does_not_fit():
    with pytest.raises(TypeError, match="labels must be"):
        smooth_labels(1j, 0.1)
    with pytest.raises(TypeError, match="amount must be"):
        smooth_labels(1, 1j)
    with pytest.raises(ValueError, match="amount must broadcast"):
        smooth_labels(jnp.ones(2), jnp.ones(3))


# What else a caller may do


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("labels", [jnp.array([0, 1]), jnp.array([True, False])])
def test_strict_promotion_is_no_obstacle(strict_promotion, dtype, labels):
    half, where = jnp.full(2, 0.5, dtype), jnp.array([True, False])
    for function in (bcejax.sigmoid, bcejax.softplus, bcejax.log_sigmoid, bcejax.logit):
        assert function(half).dtype == dtype
    for function in PUBLIC:
        jax.vmap(jax.grad(function))(half, labels)
        assert function(half, labels, pos_weight=2, where=where).dtype == dtype
    assert bce_with_probs(half, labels, where=where).dtype == dtype
    assert smooth_labels(half, 0.1).dtype == jnp.float32
    smooth_labels(labels, 0.1)
    bcejax.optimal_logit(labels, weights=half, offset=half)


@pytest.mark.parametrize("function", PUBLIC)
def test_infinite_pos_weight_leaves_the_negatives_alone(function):
    x = jnp.array([-3.0, 0.0, 2.0])
    assert jnp.array_equal(function(x, 0, pos_weight=jnp.inf), function(x, 0))
    assert jnp.array_equal(function(x, 0, pos_weight=0), function(x, 0))
    assert jnp.array_equal(function(x, 1, pos_weight=0), jnp.zeros(3))


def test_lists_are_arrays_and_quick():
    expected = bce_with_logits(jnp.full(1000, 0.5), 1)
    before = _arguments._elementwise._cache_size()
    assert jnp.array_equal(bce_with_logits([0.5] * 1000, [1] * 1000), expected)
    assert _arguments._elementwise._cache_size() == before + 1
    assert jnp.array_equal(bcejax.sigmoid([0.0, jnp.inf]), jnp.array([0.5, 1]))


def test_the_oracle_sees_what_is_wrong_where_the_exact_value_underflows():
    for wrong in (np.nan, 5, 1e30):
        with pytest.raises(AssertionError):
            oracle.assert_ulp(np.float32([wrong]), np.float64([1e-40]), 3, [1.0])
