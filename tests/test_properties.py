"""What must hold for every logit and every label, tried on random ones."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bcejax import (
    bce_with_logits,
    bce_with_logits_grad,
    bce_with_logits_hessian,
    bernoulli_entropy,
    bernoulli_kl_divergence,
    entropy,
    kl_divergence,
    log_softmax,
    logit,
    sigmoid,
    sigmoid_focal_loss,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)

# The same examples in every run: 1,500 others were tried for each test.
few = settings(deadline=None, max_examples=60, derandomize=True)
logits = st.floats(-80, 80, width=32)
any_logits = st.floats(allow_nan=False, width=32)
labels = st.floats(0, 1, width=32, allow_subnormal=False)
inner = st.floats(2**-10, 1 - 2**-10, width=32)
steps = st.floats(2**-3, 20, width=32)
gammas = st.floats(0, 10, width=32)
fractions = st.integers(0, 1024).map(lambda n: n / 1024)  # as are their complements
eighths = st.integers(-400, 400).map(lambda n: n / 8)  # their sums are exact
rows = st.lists(eighths, min_size=5, max_size=5).map(np.float32)
classes = st.integers(0, 4)
weights = st.lists(st.integers(0, 16), min_size=5, max_size=5).map(np.float32)
directions = st.lists(st.floats(-1, 1, width=32), min_size=5, max_size=5)
ULP = 2.0**-23
integer = jax.jit(softmax_cross_entropy_with_integer_labels)
integer_slope = jax.jit(jax.grad(integer))
integer_curvature = jax.jit(jax.hessian(integer))
dense_slope = jax.jit(jax.grad(softmax_cross_entropy))
dense_curvature = jax.jit(jax.hessian(softmax_cross_entropy))


@few
@given(any_logits, st.sampled_from([0, 1]))
def test_loss_is_never_negative_and_0_only_at_the_target(x, y):
    loss = bce_with_logits(x, y)
    assert loss >= 0
    assert (loss == 0) <= ((x if y else -x) > 80)  # where e^−|x| has underflowed
    assert bce_with_logits(jnp.inf if y else -jnp.inf, y) == 0


@few
@given(logits, steps, st.sampled_from([0, 1]))
def test_loss_grows_away_from_a_hard_label(x, step, y):
    away = x - step if y else x + step
    assert bce_with_logits(away, y) > bce_with_logits(x, y)


@few
@given(inner, steps, steps, st.sampled_from([-1, 1]))
def test_expected_loss_is_smallest_at_the_logit_of_the_probability(p, near, far, side):
    """And grows on both sides: the loss is a strictly proper score."""
    best = logit(p)
    at_best = bce_with_logits(best, p)
    at_near = bce_with_logits(best + side * near, p)
    at_far = bce_with_logits(best + side * (near + far), p)
    assert at_best < at_near < at_far
    np.testing.assert_allclose(at_best, bernoulli_entropy(best), rtol=2e-5)
    assert abs(bce_with_logits_grad(best, p)) <= 8 * ULP


@few
@given(any_logits, fractions)
def test_swapping_the_classes_changes_nothing(x, y):
    with jax.enable_x64(True):
        x = jnp.float64(x)
        one, other = bce_with_logits(x, y), bce_with_logits(-x, 1 - y)
        np.testing.assert_allclose(one, other, rtol=1e-14)


@few
@given(any_logits, labels)
def test_loss_is_convex(x, y):
    assert bce_with_logits_hessian(x, y) >= 0
    assert jax.hessian(bce_with_logits)(x, y) >= 0


@few
@given(logits, logits, labels)
def test_loss_lies_above_its_tangents(x, z, y):
    tangent = bce_with_logits(x, y) + (z - x) * bce_with_logits_grad(x, y)
    assert bce_with_logits(z, y) >= tangent - 1e-4


@few
@given(any_logits, labels)
def test_focal_loss_without_gamma_is_the_cross_entropy(x, y):
    focal = sigmoid_focal_loss(x, y, gamma=0)
    np.testing.assert_allclose(focal, bce_with_logits(x, y), rtol=4 * ULP)


@few
@given(any_logits, fractions, fractions, gammas)
def test_swapping_the_classes_changes_no_focal_loss(x, y, alpha, gamma):
    one = sigmoid_focal_loss(x, y, alpha=alpha, gamma=gamma)
    other = sigmoid_focal_loss(-x, 1 - y, alpha=1 - alpha, gamma=gamma)
    np.testing.assert_allclose(one, other, rtol=4 * ULP)


@few
@given(any_logits, labels, labels, gammas, steps)
def test_focal_loss_is_never_negative_and_falls_with_gamma(x, y, alpha, gamma, step):
    loss = sigmoid_focal_loss(x, y, alpha=alpha, gamma=gamma)
    less = sigmoid_focal_loss(x, y, alpha=alpha, gamma=gamma + step)
    assert 0 <= less <= loss * (1 + 20 * ULP)


@few
@given(logits, steps, st.sampled_from([0, 1]), gammas)
def test_focal_loss_grows_away_from_a_hard_label(x, step, y, gamma):
    side = -1 if y else 1
    x = max(-40 / (1 + gamma), side * x) * side  # not where it underflows
    assert sigmoid_focal_loss(x + side * step, y, gamma=gamma) > sigmoid_focal_loss(
        x, y, gamma=gamma
    )


@few
@given(any_logits, any_logits)
def test_bernoulli_divergence_is_never_negative(a, b):
    divergence = bernoulli_kl_divergence(a, b)
    assert divergence >= 0
    assert a != b or divergence == 0


@few
@given(logits, steps, steps)
def test_bernoulli_divergence_grows_away_from_equality(a, near, far):
    for side in (-1, 1):
        grown = [
            bernoulli_kl_divergence(a, a + side * d) for d in (0, near, near + far)
        ]
        assert 0 == grown[0] < grown[1] <= grown[2] * (1 + 8 * ULP)


@few
@given(any_logits)
def test_bernoulli_entropy_is_even_and_largest_at_0(x):
    assert bernoulli_entropy(x) == bernoulli_entropy(-x)
    assert 0 <= bernoulli_entropy(x) <= np.log(2) * (1 + ULP)


@few
@given(st.lists(inner, min_size=6, max_size=6), st.lists(inner, min_size=6, max_size=6))
def test_entropy_and_divergence_stay_in_their_ranges(p, q):
    p, q = (jnp.float32(v) / np.sum(v) for v in (p, q))
    assert 0 <= entropy(p) <= np.log(6) * (1 + 4 * ULP)
    assert kl_divergence(p, q) >= 0
    assert kl_divergence(p, p) == 0


@few
@given(logits)
def test_both_classes_have_probability_1_together(x):
    np.testing.assert_allclose(sigmoid(x) + sigmoid(-x), 1, rtol=2 * ULP)


@few
@given(logits, st.sampled_from([0, 1]))
def test_softmax_of_two_classes_is_the_cross_entropy(x, y):
    pair = jnp.array([0, x])
    expected, slope = bce_with_logits(x, y), bce_with_logits_grad(x, y)
    close = dict(rtol=8 * ULP, atol=2.0**-126)
    np.testing.assert_allclose(integer(pair, y), expected, **close)
    np.testing.assert_allclose(integer_slope(pair, y), [-slope, slope], **close)
    np.testing.assert_allclose(-log_softmax(pair)[y], expected, **close)
    both = jnp.array([1 - y, y])
    np.testing.assert_allclose(softmax_cross_entropy(pair, both), expected, **close)


@few
@given(rows, eighths, classes, weights)
def test_softmax_does_not_know_a_shift(x, shift, label, y):
    for f in (integer, integer_slope):
        np.testing.assert_array_equal(f(x + shift, label), f(x, label))
    np.testing.assert_array_equal(log_softmax(x + shift), log_softmax(x))
    for f in (softmax_cross_entropy, dense_slope):
        np.testing.assert_array_equal(f(x + shift, y), f(x, y))


@few
@given(st.lists(any_logits, min_size=5, max_size=5), classes)
def test_softmax_loss_is_never_negative_and_0_only_at_the_target(x, label):
    x = jnp.float32(x)
    assume(x.max() > -jnp.inf)  # of no class at all there is no softmax
    loss = integer(x, label)
    assert loss >= 0
    lead = x[label] - jnp.max(jnp.delete(x, label))
    # Where the exponentials of all others have underflowed; ∞ − ∞ is no lead.
    assert (loss == 0) <= (lead > 80)
    assert jnp.max(log_softmax(x)) <= 0
    assert integer(jnp.zeros(5).at[label].set(jnp.inf), label) == 0


@few
@given(rows, classes, weights)
@example(np.float32([1.5, 0, 1.5, 0, 1.5]), 0, np.float32([12, 0, 12, 0, 12]))
def test_the_gradient_of_a_softmax_sums_to_0(x, label, y):
    slope = integer_slope(x, label)
    assert abs(jnp.sum(slope)) <= 8 * ULP * jnp.max(jnp.abs(slope))
    slope = dense_slope(x, y)
    # Σ y · p − y has the digits of the larger of its two terms.
    most = jnp.max(jnp.maximum(jnp.abs(slope), y))
    assert abs(jnp.sum(slope)) <= 8 * ULP * most


@few
@given(rows, classes, weights, directions)
def test_softmax_loss_is_convex(x, label, y, v):
    v = np.float64(v)
    for curvature in (integer_curvature(x, label), dense_curvature(x, y)):
        curvature = np.float64(curvature)
        rounding = 16 * ULP * np.abs(v) @ np.abs(curvature) @ np.abs(v)
        assert v @ curvature @ v >= -rounding
        np.testing.assert_allclose(curvature, curvature.T, rtol=16 * ULP)


@few
@given(any_logits, fractions, fractions)
@example(np.float32(np.inf), np.float32(1 / 1024), np.float32(0))
def test_focal_loss_is_linear_in_alpha(x, y, alpha):
    losses = [sigmoid_focal_loss(x, y, alpha=a) for a in (0, 1, alpha)]
    shares = zip((1 - alpha, alpha), losses, strict=False)
    mixed = sum(share * loss for share, loss in shares if share)  # 0 · ∞ is 0 here
    np.testing.assert_allclose(losses[2], mixed, rtol=8 * ULP)


@few
@given(any_logits, fractions, gammas)
def test_focal_loss_is_at_most_the_cross_entropy(x, y, gamma):
    focal = sigmoid_focal_loss(x, y, gamma=gamma)
    assert focal <= bce_with_logits(x, y) * (1 + 8 * ULP)
