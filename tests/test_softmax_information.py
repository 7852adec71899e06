"""logsumexp, softmax_entropy, softmax_kl_divergence and label smoothing.

The witnesses are mpmath, which forms e^x without underflow, the losses of dense labels
and of probabilities, jax.nn in float64 where it is right, and finite differences.
"""

from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from oracle import ulp_errors

from bcejax import (
    bernoulli_entropy,
    bernoulli_kl_divergence,
    entropy,
    kl_divergence,
    logsumexp,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    softmax_entropy,
    softmax_kl_divergence,
)
from bcejax._numerics import softmax, softmax_pairs
from bcejax._numerics.by_reduction import ByReduction
from bcejax._numerics.by_slices import BySlices
from bcejax.verify import bounds

INF, NAN = jnp.inf, jnp.nan
BOUNDS = bounds.BOUNDS["softmax information"]
DIGITS = 150  # of mpmath: 1 − e^−140 is not 1


def smoothed(logits, amount=0.25, **kwargs):
    label = jnp.zeros(jnp.shape(logits)[:-1], int)
    return softmax_cross_entropy_with_integer_labels(
        logits, label, label_smoothing=amount, **kwargs
    )


def from_uniform(logits, **kwargs):
    return softmax_kl_divergence(logits, jnp.zeros_like(logits), **kwargs)


def to_given(logits, **kwargs):
    p = jnp.where(jnp.arange(logits.shape[-1]) % 2, 0.5, -0.5).astype(logits.dtype)
    return softmax_kl_divergence(jnp.broadcast_to(p, logits.shape), logits, **kwargs)


OF_A_ROW = [logsumexp, softmax_entropy, smoothed, from_uniform, to_given]


def of_all(change):
    """What a change makes of each function of a row, in one program."""
    return lambda x: [change(function)(x) for function in OF_A_ROW]


def rows(classes, dtype):
    """Logits from all alike to one class far ahead, whose differences are exact."""
    rng = np.random.default_rng(classes)
    gaps = np.array([0, 2**-10, 1, 5, 10, 17, 30, 60])[:, None]
    x = np.round(64 * rng.normal(size=(len(gaps), classes)) * np.minimum(1, gaps)) / 64
    x[:, classes // 2] += gaps[:, 0]
    return jnp.asarray(x).astype(dtype)


def probabilities(x):
    """p and log Σ exp(x), in mpmath."""
    mass = [mpmath.exp(mpmath.mpf(float(v))) for v in x]
    total = mpmath.fsum(mass)
    return [m / total for m in mass], mpmath.log(total)


def dot(a, b):
    return mpmath.fsum(u * v for u, v in zip(a, b, strict=True))


def assert_digits(got, exact, scale, what):
    """Within the bound of ulp of `scale`, the larger of the terms that cancel."""
    got, exact = np.ravel(got), np.ravel(np.array(exact, object))
    scale = np.ravel(np.array(scale, object)).astype(np.float64)
    worst = np.max(ulp_errors(got, exact, scale))
    assert worst <= BOUNDS[what][str(got.dtype)], f"{worst:.3g} ulp of {what}"


DTYPES = ["float16", "bfloat16", "float32", "float64"]
every_dtype = pytest.mark.parametrize(
    ("dtype", "classes"),
    [(dtype, 3) for dtype in DTYPES] + [("float32", 40), ("float64", 12)],
)


def slopes(function, *arguments):
    every = tuple(range(len(arguments)))
    return jax.jit(jax.vmap(jax.value_and_grad(function, every)))(*arguments)


@every_dtype
def test_digits_of_logsumexp(x64, dtype, classes):
    x = rows(classes, dtype)
    value, (slope,) = slopes(logsumexp, x)
    with mpmath.workdps(DIGITS):
        p, exact = zip(*map(probabilities, np.float64(x)), strict=True)
        top = np.max(np.float64(x), -1)
        larger = [max(abs(t), v - t) for t, v in zip(top, exact, strict=True)]
        assert_digits(value, exact, larger, "value")
        assert_digits(slope, p, p, "slope")


@every_dtype
def test_digits_of_the_entropy(x64, dtype, classes):
    x = rows(classes, dtype)
    value, (slope,) = slopes(softmax_entropy, x)
    with mpmath.workdps(DIGITS):
        values, exact, larger = [], [], []
        for row in np.float64(x):
            p, total = probabilities(row)
            cost = [total - v for v in row]
            h, gap = dot(p, cost), [mpmath.mpf(np.max(row) - v) for v in row]
            values.append(h)
            exact.append([u * (c - h) for u, c in zip(p, cost, strict=True)])
            mean = dot(p, gap)
            larger.append([u * max(g, mean) for u, g in zip(p, gap, strict=True)])
        assert_digits(value, values, values, "value")
        assert_digits(slope, exact, larger, "slope")


@every_dtype
def test_digits_of_the_divergence(x64, dtype, classes):
    # So small a step as 2⁻⁶ is no number of 16 bits beside these logits.
    narrow = dtype in ("float16", "bfloat16")
    for step in (1, 60) if narrow else (2.0**-12, 2.0**-6, 1, 60):
        a = rows(classes, dtype)
        moves = np.round(8 * np.random.default_rng(1).normal(size=a.shape)) / 8
        b = (a + step * jnp.asarray(moves)).astype(dtype)
        value, (in_p, in_q) = divergence_and_slopes(a, b)
        expected = [[] for _ in range(5)]
        with mpmath.workdps(DIGITS):
            for x, y in zip(np.float64(a), np.float64(b), strict=True):
                for found, part in zip(expected, exact_pair(x, y), strict=True):
                    found.append(part)
            values, of_p, of_q, larger_p, larger_q = expected
            assert_digits(value, values, values, "value")
            assert_digits(in_p, of_p, larger_p, "slope")
            assert_digits(in_q, of_q, larger_q, "slope")


divergence_and_slopes = jax.jit(
    jax.vmap(jax.value_and_grad(softmax_kl_divergence, (0, 1)))
)


def exact_pair(a, b):
    """The divergence, its slopes, and the magnitude of the terms in the slopes."""
    (p, total), (q, total_q) = probabilities(a), probabilities(b)
    r = [(u - total) - (v - total_q) for u, v in zip(a, b, strict=True)]
    value = dot(p, r)
    d = [mpmath.mpf(v - u) for u, v in zip(a, b, strict=True)]
    d = [v - d[np.argmax(a)] for v in d]
    spread = dot(p, map(abs, d))
    sizes = [max(abs(v), spread) for v in d]
    return (
        value,
        [u * (v - value) for u, v in zip(p, r, strict=True)],
        [v - u for u, v in zip(p, q, strict=True)],
        [u * s for u, s in zip(p, sizes, strict=True)],
        [
            max(abs(v - u), max(u, v) * min(1, s))
            for u, v, s in zip(p, q, sizes, strict=True)
        ],
    )


def test_two_classes_are_a_bernoulli_variable():
    x, y = jnp.linspace(-80, 80, 161), jnp.linspace(-3, 60, 161)
    pairs, others = (jnp.stack([jnp.zeros_like(v), v], -1) for v in (x, y))
    np.testing.assert_allclose(softmax_entropy(pairs), bernoulli_entropy(x), 3e-6)
    got = softmax_kl_divergence(pairs, others)
    np.testing.assert_allclose(got, bernoulli_kl_divergence(x, y), 3e-6)


# Peers


AXES = [-1, 0, (0, 2), (2, 0), (0, 1, 2), [1, 0]]


def ours_and_theirs(x, y, axis=-1):
    """Our functions, and the same of probabilities and of jax.nn."""
    axes = tuple(axis) if isinstance(axis, list) else axis
    p, q = jax.nn.softmax(x, axes), jax.nn.softmax(y, axes)
    return [
        (logsumexp(x, axis=axis), jax.nn.logsumexp(x, axes)),
        (softmax_entropy(x, axis=axis), entropy(p, axis=axes)),
        (softmax_kl_divergence(x, y, axis=axis), kl_divergence(p, q, axis=axes)),
    ]


@pytest.mark.full
def test_peers_agree_in_float64_along_every_axis(x64):
    x, y = jax.random.normal(jax.random.key(0), (2, 4, 5, 6), dtype=jnp.float64) * 3
    of_axes = jax.jit(lambda x, y: [ours_and_theirs(x, y, axis) for axis in AXES])
    for axis, found in zip(AXES, of_axes(x, y), strict=True):
        for got, expected in found:
            np.testing.assert_allclose(got, expected, rtol=1e-12, err_msg=str(axis))


@pytest.mark.parametrize(
    "classes",
    [1, 2, 97, *(pytest.param(n, marks=pytest.mark.full) for n in (31, 1000))],
)
def test_any_number_of_classes(x64, classes):
    x, y = jax.random.normal(jax.random.key(0), (2, 3, classes), dtype=jnp.float64)
    for got, expected in jax.jit(ours_and_theirs)(x, y):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)


# Infinities, rows without classes


@pytest.mark.full
def test_a_logit_of_minus_infinity_is_no_class():
    x, y = jnp.array([2.0, -INF, 1.0]), jnp.array([0.5, -INF, 1.0])
    for function, arguments in (
        (logsumexp, (x,)),
        (softmax_entropy, (x,)),
        (softmax_kl_divergence, (x, y)),
    ):
        kept = [a[::2] for a in arguments]
        every = tuple(range(len(arguments)))
        np.testing.assert_allclose(function(*arguments), function(*kept), 3e-7)
        slope = jax.grad(function, every)(*arguments)
        for got, expected in zip(slope, jax.grad(function, every)(*kept), strict=True):
            np.testing.assert_allclose(got[::2], expected, 1e-6)
            assert got[1] == 0
        hessian = jax.hessian(function, every)(*arguments)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(hessian))


def test_mass_where_q_has_none_costs_infinity():
    a, b = jnp.array([0.0, 1.0, 2.0]), jnp.array([0.0, -INF, 2.0])
    for k in range(3):  # the largest class of p, too
        x, y = jnp.roll(a, k), b
        assert softmax_kl_divergence(x, y) == INF
        in_p, in_q = jax.grad(softmax_kl_divergence, (0, 1))(x, y)
        assert np.isfinite(in_p).all()
        assert (np.sign(in_p)[1]) == 1  # less of the mass that is lost
        expected = jax.nn.softmax(y) - jax.nn.softmax(x)
        np.testing.assert_allclose(in_q, expected, 1e-5, atol=1e-7)
    assert np.isfinite(softmax_kl_divergence(b, a))
    # Also if the mass is too small to be a number.
    assert softmax_kl_divergence(jnp.array([0.0, -200]), jnp.array([0.0, -INF])) == INF


def test_logits_of_infinity_share_all_probability():
    x = jnp.array([INF, 3.0, INF])
    assert logsumexp(x) == INF
    np.testing.assert_array_equal(jax.grad(logsumexp)(x), [0.5, 0, 0.5])
    np.testing.assert_allclose(softmax_entropy(x), np.log(2), 1e-6)
    np.testing.assert_array_equal(jax.grad(softmax_entropy)(x), 0)
    assert softmax_kl_divergence(x, jnp.array([INF, -1.0, INF])) == 0
    np.testing.assert_allclose(softmax_kl_divergence(x, jnp.zeros(3)), np.log(1.5))
    assert softmax_kl_divergence(jnp.zeros(3), x) == INF


def test_huge_logits_overflow_nowhere():
    most = float(jnp.finfo(jnp.float32).max)
    x = jnp.array([most, -most, 0.0])
    assert logsumexp(x) == most
    assert softmax_entropy(x) == 0
    assert softmax_kl_divergence(x, x) == 0
    low = jnp.full(3, -most)
    np.testing.assert_allclose(softmax_kl_divergence(x, low), np.log(3), 1e-6)


@pytest.mark.full
def test_a_row_without_classes():
    mask = jnp.array([[True, True], [False, False]])
    x = jnp.array([[1.0, 3.0], [NAN, INF]])
    for function in OF_A_ROW:
        value = function(x, where=mask)
        assert value[1] == (-INF if function is logsumexp else 0)
        slope = jax.grad(lambda x, f=function: f(x, where=mask)[0])(x)
        np.testing.assert_array_equal(slope[1], 0)
        assert (slope[0] != 0).all()
    nothing = jnp.full(3, -INF)
    assert logsumexp(nothing) == -INF
    np.testing.assert_array_equal(jax.grad(logsumexp)(nothing), 0)
    assert softmax_entropy(nothing) == 0


# Derivatives


def test_a_constant_added_to_all_logits_changes_nothing():
    x, y = jnp.array([1.0, 2.5, -3.0]), jnp.array([1.5, 2.0, -3.0])
    np.testing.assert_array_equal(softmax_entropy(x), softmax_entropy(x + 1024))
    expected = softmax_kl_divergence(x, y)
    np.testing.assert_array_equal(softmax_kl_divergence(x, y + 1024), expected)


# Label smoothing


def labelled(logits, label, amount, **kwargs):
    loss = softmax_cross_entropy_with_integer_labels
    return loss(logits, label, label_smoothing=amount, **kwargs)


def dense(logits, label, amount):
    classes = logits.shape[-1]
    one_hot = jnp.arange(classes) == label[..., None]
    return softmax_cross_entropy(logits, (1 - amount) * one_hot + amount / classes)


@pytest.mark.parametrize("classes", [1, 3, 40])
def test_smoothing_is_the_dense_loss_of_smoothed_labels(x64, classes):
    x = rows(classes, "float64")
    label = jnp.arange(len(x)) * 7 % classes

    @partial(jax.jit, static_argnums=0)
    def three_orders(loss, amount):
        def total(x):
            return loss(x, label, amount).sum()

        hessian = jax.vmap(jax.hessian(loss), (0, 0, None))(x, label, amount)
        return loss(x, label, amount), jax.grad(total)(x), hessian

    for amount in (1e-6, 0.1, 1.0):
        ours, theirs = (three_orders(loss, amount) for loss in (labelled, dense))
        for got, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(got, expected, 1e-12, atol=1e-15)
    without = three_orders(labelled, 0.0)
    for loss, amount in ((labelled, jnp.array(0)), (dense, 0.0)):
        for got, expected in zip(three_orders(loss, amount), without, strict=True):
            np.testing.assert_allclose(got, expected, 1e-12, atol=1e-15)


def test_smoothing_keeps_the_digits_of_a_confident_right_answer():
    x, label, amount = jnp.array([40.0, 0, 0]), jnp.array(0), 1e-18
    slope = jax.grad(labelled)(x, label, amount)
    q = 2 * np.exp(-40.0)
    expected = [amount * 2 / 3 - q, q / 2 - amount / 3, q / 2 - amount / 3]
    np.testing.assert_allclose(slope, expected, rtol=2e-6)


def test_smoothing_of_0_is_the_program_without_it():
    def program(**kwargs):
        loss = partial(softmax_cross_entropy_with_integer_labels, **kwargs)
        return jax.jit(loss).lower(jnp.zeros((2, 3)), jnp.zeros(2, int)).as_text()

    assert program() == program(label_smoothing=0.0) != program(label_smoothing=0.1)


def test_a_class_without_probability_costs_infinity_only_if_smoothed():
    x = jnp.array([1.0, -INF, 0.0])
    assert labelled(x, 0, 0.1) == INF
    assert labelled(x, 0, jnp.array(0.0)) == labelled(x, 0, 0.0)
    assert labelled(x, 1, 0.1) == INF


@pytest.mark.parametrize("label", [3, -4, 2**31 - 1])
def test_an_index_out_of_range_is_nan(label):
    value, slope = jax.value_and_grad(labelled)(jnp.zeros(3), label, 0.1)
    assert np.isnan(value)
    assert np.isnan(slope).all()


def test_no_array_of_the_logits_size_is_stored():
    x = jax.ShapeDtypeStruct((512, 4000), jnp.float32)
    for function in (smoothed, logsumexp, softmax_entropy):
        memory = jax.jit(function).lower(x).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 512 * 4000 * 4 / 4


# Arguments


def test_a_row_must_have_classes():
    with pytest.raises(ValueError, match="out of bounds"):
        softmax_entropy(jnp.zeros(3), axis=1)
    with pytest.raises(ValueError, match="must have classes"):
        logsumexp(jnp.zeros((2, 0)))


def test_the_divergence_has_the_promoted_dtype():
    x, wide = jnp.zeros((2, 3), jnp.bfloat16), jnp.zeros((2, 3))
    assert softmax_kl_divergence(x, wide).dtype == jnp.float32


# The two ways to sum


SUMS = BySlices, ByReduction
EQUATIONS = {
    "logsumexp": (softmax.logsumexp_equation, "x"),
    "smoothed": (softmax.smoothed_equation, "xkas"),
    "smoothed_dx": (softmax.smoothed_dx_equation, "xkas"),
    "entropy": (softmax_pairs.entropy_equation, "x"),
    "divergence": (softmax_pairs.divergence_equation, "xy"),
    "slope_in_p": (softmax_pairs.slope_in_p_equation, "xy"),
    "slope_in_q": (softmax_pairs.slope_in_q_equation, "xy"),
}


@pytest.mark.full
@pytest.mark.parametrize("classes", [1, 2, 32, 33, 1000, 1025])
def test_sums_by_slices_are_those_by_reductions(classes):
    rng = np.random.default_rng(classes)
    x, y = 5 * rng.normal(size=(2, 7, classes)).astype(np.float32)
    x[1] = np.round(x[1])  # many ties at the top
    x[2] = -np.inf
    x[3, rng.integers(classes, size=3)] = np.inf
    x[4, rng.integers(classes)] = np.nan
    x[5, classes // 2] = 80
    k = rng.integers(classes, size=7).astype(np.int32)
    a, s = np.float32(rng.random(7)), np.full(x.shape, 1 / classes, np.float32)
    numbers = {"x": x, "y": y, "k": k, "a": a, "s": s}

    @jax.jit
    def by_both_ways(numbers):
        return {
            name: [equation(way(-1), *map(numbers.get, letters)) for way in SUMS]
            for name, (equation, letters) in EQUATIONS.items()
        }

    for name, (by_slices_, by_reduction_) in by_both_ways(numbers).items():
        for a, b in zip(by_slices_, by_reduction_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.full
@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
@pytest.mark.parametrize("spec", [("i", None), (None, "i")])
def test_sharded_logits_on_every_kind_of_mesh(spec, axis_type):
    kind = getattr(jax.sharding.AxisType, axis_type)
    mesh = jax.make_mesh((2,), ("i",), axis_types=(kind,))
    x = jax.random.normal(jax.random.key(0), (4, 6))
    parts = jax.device_put(x, NamedSharding(mesh, PartitionSpec(*spec)))
    step = jax.jit(of_all(lambda f: jax.value_and_grad(lambda x: f(x).sum())))
    got, expected = jax.tree.leaves(step(parts)), jax.tree.leaves(step(x))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    if spec[1]:
        assert "all-gather" not in step.lower(parts).compile().as_text()
