"""entropy, cross_entropy, kl_divergence, bernoulli_entropy, bernoulli_kl_divergence.

The witnesses are scipy in float64, mpmath at 60 digits, `jax.grad` of the textbook
formulas and finite differences.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import special, stats

from bcejax import (
    bce_with_logits,
    bernoulli_entropy,
    bernoulli_kl_divergence,
    cross_entropy,
    entropy,
    kl_divergence,
    sigmoid,
)
from bcejax.verify import bounds

INF, NAN = jnp.inf, jnp.nan
DTYPES = ["float16", "bfloat16", "float32", "float64"]
OF_PAIRS = [cross_entropy, kl_divergence]
# Relative errors against the exact value, from the largest bound in ulp.
BOUNDS = {
    dtype: bounds.BOUNDS["bernoulli"]["value"][dtype] * float(jnp.finfo(dtype).eps)
    for dtype in ("float32", "float64")
}


def distributions(shape, seed=0, zeros=False):
    """Random distributions along the last axis, in float64."""
    rng = np.random.default_rng(seed)
    p = rng.exponential(size=shape)
    if zeros:
        p[..., ::3] = 0
    return p / p.sum(-1, keepdims=True)


def nearly(p, by=1e-4):
    q = p * (1 + by * np.where(np.arange(p.shape[-1]) % 2, 1, -1))
    return q / q.sum(-1, keepdims=True)


def of_pairs(function):
    """`function(p, q)`, for entropy too."""
    return function if function in OF_PAIRS else lambda p, q, **kw: function(p, **kw)


def textbook(function):
    """The sums as on the blackboard, for distributions without zeros."""
    return {
        entropy: lambda p, q: -jnp.sum(p * jnp.log(p)),
        cross_entropy: lambda p, q: -jnp.sum(p * jnp.log(q)),
        kl_divergence: lambda p, q: jnp.sum(p * jnp.log(p / q) - p + q),
    }[function]


def assert_close(got, exact, bound, tiny=2.0**-126):
    """Relative errors, wherever the exact value is a normal number."""
    with mpmath.workdps(60):
        pairs = zip(np.ravel(np.float64(got)), exact, strict=True)
        errors = [
            abs(mpmath.mpf(float(g)) / e - 1) if tiny < abs(e) < 1e38 else 0
            for g, e in pairs
        ]
    worst = int(np.argmax(np.float64(errors)))
    assert errors[worst] <= bound, f"{float(errors[worst]):.2g} at element {worst}"


# Distributions


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 2)])
def test_scipy_agrees_in_float64(x64, axis, zeros):
    p, q = distributions((4, 5, 6), 0, zeros), distributions((4, 5, 6), 1, zeros)
    close = dict(rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        entropy(p, axis=axis), special.entr(p).sum(axis), **close
    )
    expected = special.kl_div(p, q).sum(axis)
    np.testing.assert_allclose(kl_divergence(p, q, axis=axis), expected, **close)
    expected = special.entr(p).sum(axis) + special.rel_entr(p, q).sum(axis)
    np.testing.assert_allclose(cross_entropy(p, q, axis=axis), expected, **close)
    for base in (None, 2, 10, 0.5):
        expected = stats.entropy(p, base=base, axis=-1)
        np.testing.assert_allclose(entropy(p, base=base), expected, **close)
        expected = stats.entropy(p, q, base=base, axis=-1)
        np.testing.assert_allclose(kl_divergence(p, q, base=base), expected, **close)


@pytest.mark.parametrize("zeros", [False, True])
def test_cross_entropy_is_entropy_plus_divergence(x64, zeros):
    p, q = distributions((50, 7), 0, zeros), distributions((50, 7), 1, zeros)
    np.testing.assert_allclose(
        cross_entropy(p, q), entropy(p) + kl_divergence(p, q), rtol=1e-12
    )


@pytest.mark.parametrize("function", [entropy, *OF_PAIRS])
def test_log_2_changes_nats_into_bits(function):
    p, q = jnp.float32(distributions(6)), jnp.float32(distributions(6, 1))
    nats, bits = of_pairs(function)(p, q), of_pairs(function)(p, q, base=2)
    np.testing.assert_allclose(bits * jnp.log(2), nats, rtol=3e-7)
    assert of_pairs(function)(p, q, base=jnp.array(2)) == bits
    np.testing.assert_allclose(of_pairs(function)(p, q, base=0.5), -bits, rtol=3e-7)
    np.testing.assert_allclose(entropy(jnp.full(8, 0.125), base=2), 3, rtol=2e-7)


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
@pytest.mark.parametrize("by", [1e-6, 1e-4, 1e-2])
def test_divergence_of_nearly_equal_distributions_keeps_its_digits(n, by):
    p = distributions(n)
    p, q = np.float32(p), np.float32(nearly(p, by))
    with mpmath.workdps(40):
        a, b = ([mpmath.mpf(float(v)) for v in w] for w in (p, q))
        pairs = list(zip(a, b, strict=True))
        term_by_term = mpmath.fsum(u * mpmath.log(u / v) - u + v for u, v in pairs)
        total_a, total_b = mpmath.fsum(a), mpmath.fsum(b)
        pairs = [(u / total_a, v / total_b) for u, v in pairs]
        of_distributions = mpmath.fsum(u * mpmath.log(u / v) for u, v in pairs)
    assert_close(kl_divergence(p, q), [term_by_term], 1e-6)
    if by > 1e-6:  # else float32 has changed the sums of p and q by as much
        assert_close(kl_divergence(p, q), [of_distributions], 1e-4)
    if by == 1e-4:  # where the usual sum is all rounding errors
        assert abs(np.sum(p * np.log(p / q)) / of_distributions - 1) > 0.1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_term_of_the_divergence_is_right(x64, dtype):
    rng = np.random.default_rng(0)
    p = np.exp(rng.uniform(-20, 0, 600)).astype(dtype)
    q = np.exp(rng.uniform(-20, 0, 600)).astype(dtype)
    q[:400] = p[:400] * rng.uniform(0.3, 3, 400).astype(dtype)  # both sides of ½ and 2
    q[:99] = p[:99] * (1 + np.geomspace(1e-5, 0.3, 99)).astype(dtype)
    with mpmath.workdps(60):
        wide = [
            (mpmath.mpf(float(u)), mpmath.mpf(float(v)))
            for u, v in zip(p, q, strict=True)
        ]
        exact = [u * mpmath.log(u / v) - u + v for u, v in wide]
    assert_close(kl_divergence(p[:, None], q[:, None]), exact, BOUNDS[dtype])


def test_divergence_is_never_negative_and_0_for_equal_distributions():
    p = np.float32(distributions((2000, 5)))
    for by in (1e-7, 1e-5, 1e-3):
        assert jnp.all(kl_divergence(p, np.float32(nearly(p, by))) >= 0)
    assert jnp.all(kl_divergence(p, p) == 0)
    assert jnp.all(kl_divergence(p, jnp.roll(p, 1, 0)) > 0)


@pytest.mark.parametrize("function", [entropy, *OF_PAIRS])
def test_derivatives_match_jax_grad_of_the_textbook_formula(x64, function):
    p = distributions(5)
    for q in (distributions(5, 1), nearly(p), p):
        ours, theirs = of_pairs(function), textbook(function)
        for derivative in (jax.grad, jax.jacfwd, jax.hessian):
            got = derivative(ours, (0, 1))(p, q)
            expected = derivative(theirs, (0, 1))(p, q)
            jax.tree.map(
                lambda g, e: np.testing.assert_allclose(g, e, rtol=1e-10, atol=1e-10),
                got,
                expected,
            )


def test_second_derivative_of_the_divergence_keeps_its_digits_at_small_p():
    p, q = jnp.array([1e-12, 0.0, 1.0]), jnp.array([0.5, 0.5, 0.3])
    got = jnp.diag(jax.hessian(kl_divergence, 1)(p, q))
    np.testing.assert_allclose(got, p / q**2, rtol=1e-6)


def test_a_quotient_beyond_the_largest_float_has_a_finite_logarithm():
    p, q = jnp.array([1e10]), jnp.array([1e-30])  # generalised: masses, not shares
    expected = 1e10 * np.log(1e40) - 1e10
    assert kl_divergence(p, q) == pytest.approx(expected, rel=1e-6)


def test_values_at_0():
    p, q = jnp.array([0.0, 0.5, 0.5, 0.0]), jnp.array([0.0, 0.25, 0.5, 0.25])
    np.testing.assert_allclose(entropy(p), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(cross_entropy(p, q), 1.5 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(kl_divergence(p, q), 0.5 * np.log(2), rtol=1e-6)
    assert cross_entropy(q, p) == kl_divergence(q, p) == INF
    assert kl_divergence(q, p, base=2) == INF
    one_hot = jnp.eye(3)
    assert jnp.array_equal(entropy(one_hot), jnp.zeros(3))
    assert jnp.array_equal(kl_divergence(one_hot, one_hot), jnp.zeros(3))
    other = jnp.roll(one_hot, 1, 0)
    assert jnp.array_equal(kl_divergence(one_hot, other), jnp.full(3, INF))


def test_gradients_at_0_are_finite_where_the_slope_is():
    p, q = jnp.array([0.0, 0.5, 0.5, 0.0]), jnp.array([0.0, 0.25, 0.5, 0.25])
    half, quarter = np.log([0.5, 0.25])
    for gradient, expected in [
        (jax.grad(entropy)(p), [INF, -1 - half, -1 - half, INF]),
        (jax.grad(cross_entropy)(p, q), [INF, -quarter, -half, -quarter]),
        (jax.grad(cross_entropy, 1)(p, q), [0, -2, -1, 0]),
        (jax.grad(kl_divergence)(p, q), [0, np.log(2), 0, -INF]),
        (jax.grad(kl_divergence, 1)(p, q), [1, -1, 0, 1]),
        # and where the value is ∞
        (jax.grad(cross_entropy)(q, p), [INF, -half, -half, INF]),
        (jax.grad(cross_entropy, 1)(q, p), [0, -0.5, -1, -INF]),
        (jax.grad(kl_divergence)(q, p), [0, np.log(0.5), 0, INF]),
        (jax.grad(kl_divergence, 1)(q, p), [1, 0.5, 0, -INF]),
    ]:
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("function", [entropy, *OF_PAIRS])
def test_tangents_of_0_move_nothing(function):
    p, q = jnp.array([0.0, 0.5, 0.5, 0.0]), jnp.array([0.0, 0.25, 0.5, 0.25])
    at = of_pairs(function)
    for pair in [(p, q), (q, p)]:
        still = jnp.zeros(4), jnp.zeros(4)
        assert jax.jvp(at, pair, still)[1] == 0
        first = jax.grad(at, (0, 1))
        for second in jax.jvp(first, pair, still)[1]:
            assert jnp.array_equal(second, jnp.zeros(4))
        moving = jnp.array([0, 1.0, -1.0, 0])
        assert jnp.isfinite(jax.jvp(at, pair, (moving, moving))[1])
        hessian = jax.hessian(at, (0, 1))(*pair)
        assert not any(jnp.isnan(block).any() for block in jax.tree.leaves(hessian))


def test_softmax_gradient_of_the_divergence_is_q_minus_p():
    """The 1 by which the slope exceeds −p/q moves no distribution."""
    p, x = jnp.float32(distributions(6)), jnp.linspace(-2, 2, 6)
    got = jax.grad(lambda x: kl_divergence(p, jax.nn.softmax(x)))(x)
    np.testing.assert_allclose(got, jax.nn.softmax(x) - p, atol=3e-7)


# Bernoulli variables


GRID = [0, 1e-30, 1e-4, 0.3, 0.69, 0.7, 1, 1.5, 3, 8, 17, 40, 80, 86, 88, 91, 120, 1e10]
GRID = np.float32([*GRID, *(-v for v in GRID)])
STEPS = np.float32([1e-6, 1e-4, 1e-2, 0.3, 0.69, 0.7, 1, 2])
A = [*itertools.chain(*((v, v, v, v) for v in GRID for _ in STEPS))]
B = [w for v in GRID for s in STEPS for w in (v + s, v - s, v * (1 + s), v * (1 - s))]
ACROSS = [*itertools.product(GRID, GRID)]
A = np.float32([*A, *(a for a, _ in ACROSS)])
B = np.float32([*B, *(b for _, b in ACROSS)])


def exactly(formula, *arguments):
    with mpmath.workdps(150):
        wide = zip(*(map(float, x) for x in arguments), strict=True)
        return [formula(*map(mpmath.mpf, x)) for x in wide]


def σ(x):
    return 1 / (1 + mpmath.exp(-x))


def h(x):
    return σ(x) * σ(-x)


def softplus(x):
    return mpmath.log1p(mpmath.exp(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bernoulli_entropy_is_right_in_both_tails(x64, dtype):
    x = np.concatenate([GRID, np.linspace(-91, 91, 401)]).astype(dtype)
    exact = exactly(lambda x: softplus(-abs(x)) + abs(x) * σ(-abs(x)), x)
    assert_close(bernoulli_entropy(x), exact, BOUNDS[dtype])
    slope = exactly(lambda x: -x * h(x), x)
    assert_close(jax.vmap(jax.grad(bernoulli_entropy))(x), slope, BOUNDS[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bernoulli_divergence_is_right_everywhere(x64, dtype):
    a, b = A.astype(dtype), B.astype(dtype)
    got = bernoulli_kl_divergence(a, b)
    assert jnp.all(got >= 0)

    def divergence(a, b):
        return softplus(b) - softplus(a) - (b - a) * σ(a)

    assert_close(got, exactly(divergence, a, b), BOUNDS[dtype])
    swapped = bernoulli_kl_divergence(-a, -b)
    np.testing.assert_allclose(swapped, got, rtol=BOUNDS[dtype])
    by_a, by_b = jax.vmap(jax.grad(bernoulli_kl_divergence, (0, 1)))(a, b)
    assert_close(by_a, exactly(lambda a, b: (a - b) * h(a), a, b), BOUNDS[dtype])
    assert_close(by_b, exactly(lambda a, b: σ(b) - σ(a), a, b), BOUNDS[dtype])


def test_bernoulli_divergence_is_0_for_equal_logits_only():
    a = GRID[np.abs(GRID) < 80]
    assert jnp.array_equal(bernoulli_kl_divergence(a, a), jnp.zeros(len(a)))
    b = jnp.nextafter(a, jnp.float32(INF))
    normal = np.abs(a) > 1e-4  # below, the square of the difference underflows
    assert jnp.all(bernoulli_kl_divergence(a, b)[normal & (np.abs(a) < 20)] > 0)


@pytest.mark.full
def test_bernoulli_derivatives_match_jax_grad_of_the_textbook_formulas(x64):
    def textbook_entropy(x, _):
        p = 1 / (1 + jnp.exp(-x))
        return -p * jnp.log(p) - (1 - p) * jnp.log(1 - p)

    def textbook_divergence(a, b):
        p, q = 1 / (1 + jnp.exp(-a)), 1 / (1 + jnp.exp(-b))
        return p * jnp.log(p / q) + (1 - p) * jnp.log((1 - p) / (1 - q))

    x = jnp.arange(-40, 41) / 8
    a = jnp.tile(x, 3)
    b = jnp.concatenate([x, x + 1e-3, x[::-1]])
    for ours, theirs in [
        (lambda x, _: bernoulli_entropy(x), textbook_entropy),
        (bernoulli_kl_divergence, textbook_divergence),
        (jax.grad(bernoulli_kl_divergence, 1), jax.grad(textbook_divergence, 1)),
    ]:
        for _ in range(3):
            got, expected = (jax.jit(jax.vmap(f))(a, b) for f in (ours, theirs))
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
            ours, theirs = jax.grad(ours), jax.grad(theirs)


def test_bernoulli_entropy_at_infinity():
    x = jnp.array([INF, -INF, jnp.finfo(jnp.float32).max])
    result = bernoulli_entropy
    for _ in range(4):
        assert jnp.array_equal(jax.vmap(result)(x), jnp.zeros(3))
        result = jax.grad(result)
    assert jnp.isnan(bernoulli_entropy(NAN))


@pytest.mark.parametrize("s", [1, -1])
def test_bernoulli_divergence_at_infinity(s):
    infinite = s * INF
    cases = [
        (infinite, infinite, 0, 0, 0),
        (infinite, -infinite, INF, 0, -s),
        (infinite, s * 2.0, np.log1p(np.exp(-2)), 0, -s / (1 + np.exp(2))),
        (infinite, s * -2.0, np.log1p(np.exp(2)), 0, -s / (1 + np.exp(-2))),
        (s * 2.0, infinite, INF, -s * INF, s / (1 + np.exp(2))),
        (s * 2.0, -infinite, INF, s * INF, -s / (1 + np.exp(-2))),
        (-s * 200.0, infinite, INF, 0, s),
        (s * 200.0, infinite, INF, 0, 0),
    ]
    a, b, *expected = jnp.array(cases).T
    at, zeros = bernoulli_kl_divergence, jnp.zeros(len(a))
    got = at(a, b), *jax.vmap(jax.grad(at, (0, 1)))(a, b)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert jnp.array_equal(jax.jvp(at, (a, b), (zeros, zeros))[1], zeros)
    hessian = jax.jit(jax.vmap(jax.hessian(at, (0, 1))))(a, b)
    assert not jnp.isnan(jnp.array(hessian)).any()
    for a, b in [(NAN, 1.0), (1.0, NAN), (NAN, infinite), (infinite, NAN)]:
        assert jnp.isnan(at(a, b))


def test_loss_of_soft_labels_is_entropy_plus_divergence(x64):
    x = jnp.array(np.random.default_rng(0).normal(size=500) * 5)
    a = jnp.roll(x, 1) / 2
    parts = bernoulli_entropy(a) + bernoulli_kl_divergence(a, x)
    np.testing.assert_allclose(bce_with_logits(x, sigmoid(a)), parts, rtol=1e-12)


def test_logits_and_two_probabilities_tell_the_same(x64):
    a, b = jnp.linspace(-5, 5, 41), jnp.linspace(4, -6, 41)
    p, q = (jnp.stack([sigmoid(x), sigmoid(-x)], -1) for x in (a, b))
    np.testing.assert_allclose(bernoulli_entropy(a), entropy(p), rtol=1e-12)
    got = bernoulli_kl_divergence(a, b)
    # Where a meets b, what the probabilities were rounded by is all that is left.
    np.testing.assert_allclose(got, kl_divergence(p, q), rtol=1e-12, atol=1e-30)


# Arguments


@pytest.mark.parametrize("dtype", DTYPES)
def test_result_has_the_promoted_dtype_and_the_reduced_shape(x64, dtype):
    p = jax.ShapeDtypeStruct((2, 4), dtype)
    for axis, shape in ((-1, (2,)), (0, (4,)), (None, ())):
        for function in (entropy, *OF_PAIRS):
            at = partial(of_pairs(function), axis=axis, base=2)
            result = jax.eval_shape(at, p, p)
            assert (result.shape, result.dtype) == (shape, dtype)
    for other in DTYPES:
        q = jax.ShapeDtypeStruct((2, 4), other)
        for function in (*OF_PAIRS, bernoulli_kl_divergence):
            expected = jnp.promote_types(dtype, other)
            assert jax.eval_shape(function, p, q).dtype == expected


def test_an_axis_must_be_there():
    p = jnp.full(2, 0.5)
    for function in (entropy, *OF_PAIRS):
        with pytest.raises(ValueError, match="out of bounds"):
            of_pairs(function)(p, p, axis=1)


def test_vmap_axis_and_traced_base_agree():
    p, q = jnp.float32(distributions((3, 4))), jnp.float32(distributions((3, 4), 1))
    for function in OF_PAIRS:
        expected = function(p, q)
        np.testing.assert_allclose(jax.vmap(function)(p, q), expected, rtol=1e-6)
        np.testing.assert_allclose(function(p.T, q.T, axis=0), expected, rtol=1e-6)
        bits = jax.jit(lambda base, f=function: f(p, q, base=base))(2)  # a traced base
        np.testing.assert_allclose(bits, expected / np.log(2), rtol=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("function", [entropy, *OF_PAIRS])
@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), (2, 0), None, ()])
def test_several_cpus_and_one_sum_alike(function, axis):
    """One CPU sums slices; several, here with sharded rows, reduce."""
    p = np.float32(distributions((4, 33, 40)))
    p[0, :, 3] = p[1, 2] = 0
    at = of_pairs(function)
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("i"))

    def step(p, q):
        return jax.value_and_grad(lambda p: at(p, q, axis=axis).sum())(p)

    q = np.roll(p, 1, 1)
    expected = jax.jit(step)(p, q)
    got = jax.jit(step)(*jax.device_put((p, q), rows))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_distributions_without_classes_have_no_entropy():
    empty = jnp.zeros((3, 0))
    for function in (entropy, *OF_PAIRS):
        assert jnp.array_equal(of_pairs(function)(empty, empty), jnp.zeros(3))
