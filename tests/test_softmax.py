"""log_softmax, softmax_cross_entropy, softmax_cross_entropy_with_integer_labels.

The witnesses are mpmath at 60 digits, BCE for two classes, optax and jax.nn in float64
where they are right, and finite differences.
"""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest
from oracle import ulp_errors

from bcejax import (
    bce_with_logits,
    log_softmax,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from bcejax._numerics import softmax
from bcejax._numerics.by_pairs import ByPairs
from bcejax._numerics.by_reduction import ByReduction
from bcejax._numerics.by_slices import BySlices
from bcejax.verify import bounds

INF, NAN = jnp.inf, jnp.nan
DTYPES = ["float16", "bfloat16", "float32", "float64"]
BOUNDS = bounds.BOUNDS["softmax"]
integer = softmax_cross_entropy_with_integer_labels


def one_hot(label, classes):
    return jnp.arange(classes) == label


def dense_of_one_hot(logits, label, **kwargs):
    labels = one_hot(jnp.expand_dims(label, -1), jnp.shape(logits)[-1])
    return softmax_cross_entropy(logits, labels, **kwargs)


def log_softmax_at(logits, label, **kwargs):
    log_probs = -log_softmax(logits, **kwargs)
    if jnp.ndim(label) == 0:
        return log_probs[..., label]
    return jnp.sum(
        jnp.where(one_hot(label[..., None], logits.shape[-1]), log_probs, 0), -1
    )


OF_A_LABEL = [integer, dense_of_one_hot, log_softmax_at]


def rows(classes, dtype):
    """Logits from all alike to one class far ahead, whose differences are exact."""
    rng = np.random.default_rng(classes)
    gaps = np.array([0, 2**-10, 1, 5, 10, 17, 30, 60, 83])[:, None]
    x = np.round(64 * rng.normal(size=(len(gaps), classes)) * np.minimum(1, gaps)) / 64
    x[:, classes // 2] += gaps[:, 0]
    return jnp.asarray(x).astype(dtype)


def exact(x, y):
    """Loss, gradient and Hessian at each row of logits x with labels y, by mpmath."""
    each = [exact_row(*row) for row in zip(x, np.broadcast_to(y, x.shape), strict=True)]
    return [np.concatenate(parts) for parts in zip(*each, strict=True)]


def exact_row(x, y):
    with mpmath.workdps(60):
        x, y = ([mpmath.mpf(float(v)) for v in np.float64(a)] for a in (x, y))
        mass = [mpmath.exp(v) for v in x]
        total, n = mpmath.fsum(mass), range(len(x))
        p = [m / total for m in mass]
        q = [mpmath.fsum(p[j] for j in n if j != k) for k in n]
        rest = [mpmath.fsum(y[j] for j in n if j != k) for k in n]
        loss = mpmath.fsum(-y[k] * mpmath.log1p(-q[k]) for k in n)
        gradient = [p[k] * rest[k] - y[k] * q[k] for k in n]
        all_labels = mpmath.fsum(y)
        hessian = [
            [all_labels * (p[k] * q[k] if k == j else -p[k] * p[j]) for j in n]
            for k in n
        ]
        return [np.ravel(np.array(a, object)) for a in ([loss], gradient, hessian)]


def assert_digits(got, expected, what, dtype, relative_to=None):
    got, expected = np.ravel(got), np.ravel(expected)
    assert got.dtype == dtype
    worst = np.max(ulp_errors(got, expected, relative_to), initial=0)
    assert worst <= BOUNDS[what][dtype], f"{worst:.3g} ulp in {got} for {expected}"


@pytest.mark.parametrize("loss", OF_A_LABEL)
@pytest.mark.parametrize(
    ("dtype", "classes"), [(dtype, 3) for dtype in DTYPES] + [("float32", 12)]
)
def test_digits_of_value_gradient_and_hessian(x64, dtype, loss, classes):
    def mapped(function):
        return jax.jit(jax.vmap(function, (0, None)))

    functions = [mapped(f) for f in (loss, jax.grad(loss), jax.hessian(loss))]
    x = rows(classes, dtype)
    for label in (0, classes // 2):  # far behind, and far ahead
        expected = exact(x, one_hot(label, classes))
        for what, f, e in zip(BOUNDS, functions, expected, strict=True):
            assert_digits(f(x, label), e, what, dtype)


@pytest.mark.parametrize(("dtype", "classes"), [("float32", 12), ("float64", 3)])
def test_digits_for_soft_labels_in_ulp_of_the_larger_term(x64, dtype, classes):
    x, wide = rows(classes, dtype), np.float64(rows(classes, dtype))
    p = np.exp(wide - np.logaddexp.reduce(wide, -1, keepdims=True))

    def others(a):
        return np.stack([np.delete(a, k, -1).sum(-1) for k in range(classes)], -1)

    rng = np.random.default_rng(1)
    for most in (0, 0.9, 0.9999999):
        y = rng.dirichlet(np.ones(classes), len(x)) * (1 - most)
        y[:, rng.integers(classes)] += most
        y = y.astype(dtype)
        value, slope, _ = exact(x, y)
        assert_digits(softmax_cross_entropy(x, y), value, "value", dtype)
        got = jax.vmap(jax.grad(softmax_cross_entropy))(x, y)
        y = np.float64(y)
        larger = np.ravel(np.maximum(p * others(y), y * others(p)))
        assert_digits(got, slope, "slope", dtype, larger)


def test_the_loss_of_a_confident_right_answer_is_not_0():
    x = jnp.array([17.0, 0, 0])
    for loss in OF_A_LABEL:
        np.testing.assert_allclose(loss(x, 0), 2 * np.exp(-17.0), rtol=1e-6)
        slope = jax.grad(loss)(x, 0)
        expected = np.exp(-17.0) * np.array([-2, 1, 1])
        np.testing.assert_allclose(slope, expected, rtol=1e-6)
    assert optax.softmax_cross_entropy_with_integer_labels(x, 0) == 0


@pytest.mark.parametrize("y", [0, 1])
@pytest.mark.parametrize("loss", OF_A_LABEL)
def test_two_classes_are_bce(x64, loss, y):
    x = jnp.linspace(-80, 80, 321, dtype=jnp.float32)

    def softmax(x):
        return loss(jnp.stack([jnp.zeros_like(x), x]), y)

    def bce(x):
        return bce_with_logits(x, y)

    for _ in range(3):
        expected = np.asarray(jax.vmap(bce)(jnp.float64(x)))
        got = np.asarray(jax.vmap(softmax)(x))
        assert np.max(ulp_errors(got, expected)) <= 4
        softmax, bce = jax.grad(softmax), jax.grad(bce)


def test_two_classes_of_soft_labels_are_bce():
    x = jnp.linspace(-80, 80, 321)
    pairs, y = jnp.stack([jnp.zeros_like(x), x], -1), 0.75
    labels = jnp.broadcast_to(jnp.array([1 - y, y]), pairs.shape)
    got = softmax_cross_entropy(pairs, labels)
    np.testing.assert_allclose(got, bce_with_logits(x, y), rtol=5e-7)


# Peers


@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 2), (2, 0), (0, 1, 2)])
def test_peers_agree_in_float64(x64, axis):
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.normal(size=(4, 5, 6)) * 3)
    y = jnp.asarray(rng.exponential(size=x.shape))
    weight = jnp.asarray(rng.normal(size=x.shape))
    close = dict(rtol=1e-12, atol=1e-12)

    def weighted(f):
        return jax.value_and_grad(lambda x: jnp.sum(weight * f(x, axis=axis)))(x)

    ours, theirs = weighted(log_softmax), weighted(jax.nn.log_softmax)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), ours, theirs)

    expected = -jnp.sum(y * jax.nn.log_softmax(x, axis), axis)
    np.testing.assert_allclose(
        softmax_cross_entropy(x, y, axis=axis), expected, **close
    )
    if isinstance(axis, int):
        expected = optax.softmax_cross_entropy(x, y, axis)
        got = softmax_cross_entropy(x, y, axis=axis)
        np.testing.assert_allclose(got, expected, **close)
        label = jnp.argmax(y, axis)
        got = integer(x, label, axis=axis)
        expected = optax.softmax_cross_entropy_with_integer_labels(x, label, axis)
        np.testing.assert_allclose(got, expected, **close)


def test_several_axes_are_one_in_the_order_given():
    x = jax.random.normal(jax.random.key(0), (3, 4, 5))
    label = jnp.array([0, 7, 14, 3])
    flat = x.transpose(1, 2, 0).reshape(4, 15)
    got = integer(x, label, axis=(2, 0))
    np.testing.assert_allclose(got, integer(flat, label), rtol=2e-7)
    got = log_softmax(x, axis=[2, 0]).transpose(1, 2, 0).reshape(4, 15)
    np.testing.assert_allclose(got, log_softmax(flat), rtol=2e-7)


@pytest.mark.parametrize(
    "classes",
    [1, 2, 97, 1056, *(pytest.param(n, marks=pytest.mark.full) for n in (31, 1000))],
)
def test_any_number_of_classes(x64, classes):
    x = jax.random.normal(jax.random.key(0), (3, classes), dtype=jnp.float64)
    label = jnp.array([0, classes // 2, classes - 1])
    expected = -jax.nn.log_softmax(x)[jnp.arange(3), label]
    for loss in (integer, dense_of_one_hot):
        np.testing.assert_allclose(loss(x, label), expected, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(log_softmax(x), jax.nn.log_softmax(x), rtol=1e-13)


# Infinities, ties, rows without classes


def test_a_logit_of_minus_infinity_is_no_class():
    x = jnp.array([2.0, -INF, 1.0])
    np.testing.assert_allclose(log_softmax(x)[::2], log_softmax(x[::2]), rtol=1e-7)
    assert log_softmax(x)[1] == -INF
    y = jnp.array([0.75, 0, 0.25])
    loss, slope = jax.value_and_grad(softmax_cross_entropy)(x, y)
    np.testing.assert_allclose(loss, softmax_cross_entropy(x[::2], y[::2]), rtol=1e-7)
    assert slope[1] == 0
    assert np.isfinite(jax.hessian(softmax_cross_entropy)(x, y)).all()
    for loss in OF_A_LABEL:
        assert loss(x, 1) == INF
        np.testing.assert_allclose(
            jax.grad(loss)(x, 1), [np.e / (1 + np.e), -1, 1 / (1 + np.e)], rtol=1e-6
        )
    assert softmax_cross_entropy(x, jnp.array([0.5, 0.5, 0])) == INF


@pytest.mark.parametrize("loss", OF_A_LABEL)
def test_a_logit_of_infinity_takes_all_probability(loss):
    x = jnp.array([2.0, INF, 1.0])
    assert loss(x, 1) == 0
    np.testing.assert_array_equal(jax.grad(loss)(x, 1), 0)
    assert loss(x, 0) == INF
    np.testing.assert_array_equal(jax.grad(loss)(x, 0), [-1, 1, 0])
    np.testing.assert_array_equal(jax.hessian(loss)(x, 0), 0)
    # Two of them share it.
    x = jnp.array([INF, 1.0, INF])
    np.testing.assert_allclose(loss(x, 0), np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(loss)(x, 0), [-0.5, 0, 0.5])


@pytest.mark.parametrize("loss", OF_A_LABEL)
def test_huge_logits_overflow_nowhere(loss):
    most = jnp.finfo(jnp.float32).max
    x = jnp.array([most, -most, 0.0])
    assert [float(loss(x, k)) for k in range(3)] == [0, INF, most]
    np.testing.assert_array_equal(jax.grad(loss)(x, 2), [1, 0, -1])


@pytest.mark.parametrize("loss", OF_A_LABEL)
def test_ties_share(loss):
    for n in (2, 3, 9):
        x = jnp.zeros(n)
        np.testing.assert_allclose(loss(x, 0), np.log(n), rtol=2e-7)
        slope = jax.grad(loss)(x, 0)
        np.testing.assert_allclose(slope, 1 / n - one_hot(0, n), rtol=1e-6)


def test_a_row_without_classes_costs_nothing():
    mask = jnp.array([[True, True], [False, False]])
    x = jnp.array([[1.0, 2.0], [NAN, INF]])
    y = jnp.full((2, 2), 0.5)
    for loss in (
        lambda x: softmax_cross_entropy(x, y, where=mask),
        lambda x: integer(x, jnp.array([0, 1]), where=mask),
    ):
        assert loss(x)[1] == 0
        assert loss(x)[0] > 0
        slope = jax.grad(lambda x, loss=loss: loss(x).sum())(x)
        np.testing.assert_array_equal(slope[1], 0)
        assert (slope[0] != 0).all()
    np.testing.assert_array_equal(log_softmax(x, where=mask)[1], -INF)


# Labels


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int32"])
def test_labels_of_any_integer_dtype(dtype):
    x = jax.random.normal(jax.random.key(0), (3, 300))
    label = jnp.array([0, 1, 100])
    got = integer(x, label.astype(dtype))
    np.testing.assert_array_equal(got, integer(x, label))


def test_an_index_counts_from_the_end_or_is_nan():
    x = jnp.broadcast_to(jnp.arange(3.0), (6, 3))
    label = jnp.array([-1, -3, 2, 3, -4, 2**31 - 1])
    loss, slope = jax.vmap(jax.value_and_grad(integer))(x, label)
    np.testing.assert_array_equal(loss[:2], integer(x[:2], jnp.array([2, 0])))
    assert np.isnan(loss).tolist() == [False] * 3 + [True] * 3
    assert np.isnan(slope).all(1).tolist() == [False] * 3 + [True] * 3


def test_labels_need_not_sum_to_one_and_are_not_rounded_to_16_bits():
    x = jnp.array([3.0, 1.0, 0.0])
    y = jnp.array([2.0, 0.5, 1.0])
    expected = -jnp.sum(y * log_softmax(x))
    np.testing.assert_allclose(softmax_cross_entropy(x, y), expected, rtol=1e-6)
    x = jnp.array([8.0, 0.0], dtype=jnp.bfloat16)
    y = jnp.array([0.999, 0.001])
    rounded = softmax_cross_entropy(x, jnp.array([1.0, 0.0]))
    expected = jnp.bfloat16(0.001 * 8 + np.log1p(np.exp(-8)))
    assert softmax_cross_entropy(x, y) == expected > 10 * rounded


def test_gradient_in_the_labels():
    x = jnp.array([3.0, 1.0, -INF])
    y = jnp.array([0.5, 0.5, 0.0])
    slope = jax.grad(softmax_cross_entropy, 1)(x, y)
    np.testing.assert_allclose(slope, -log_softmax(x), rtol=1e-6)


@pytest.mark.parametrize("label", [np.nan, INF])
def test_the_gradient_in_the_labels_does_not_depend_on_them(label):
    x, y = jnp.array([3.0, 1.0, 0.5]), jnp.array([label, 0.5, label])
    slope = jax.grad(softmax_cross_entropy, 1)(x, y)
    np.testing.assert_allclose(slope, -log_softmax(x), rtol=1e-6)


# Memory


def test_no_one_hot_array_is_built():
    x = jax.ShapeDtypeStruct((512, 4000), jnp.float32)
    label = jax.ShapeDtypeStruct((512,), jnp.int32)
    for function in (integer, jax.grad(lambda x, y: integer(x, y).sum())):
        memory = jax.jit(function).lower(x, label).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 512 * 4000 * 4 / 4


def test_adding_a_constant_to_all_logits_changes_nothing():
    x = jnp.array([1.0, 2.5, -3.0])
    np.testing.assert_array_equal(log_softmax(x), log_softmax(x + 1024))


# Arguments


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: integer(jnp.zeros((2, 3)), jnp.zeros(3, int)),
            r"without axis -1, \(2,\), got labels \(3,\) and logits \(2, 3\)",
        ),
        (lambda: log_softmax(jnp.zeros(3), axis=1), "out of bounds"),
        (lambda: log_softmax(jnp.zeros((2, 0))), "must have classes"),
        (lambda: log_softmax(1.0), "out of bounds"),
    ],
)
def test_refusals_name_the_rule(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The ways to sum


SUMS = BySlices, ByReduction, ByPairs
EQUATIONS = {
    "softmax": (softmax.softmax_equation, "x"),
    "log_softmax": (softmax.log_softmax_equation, "x"),
    "dense": (softmax.dense_equation, "xy"),
    "label_rest": (softmax.label_rest_equation, "y"),
    "integer": (softmax.integer_equation, "xk"),
    "integer_dx": (softmax.integer_dx_equation, "xk"),
}


@pytest.mark.full
@pytest.mark.parametrize("classes", [1, 2, 31, 32, 33, 47, 1000, 1024, 1025, 5003])
def test_sums_by_slices_are_those_by_reductions_and_by_pairs(classes):
    rng = np.random.default_rng(classes)
    x = 5 * rng.normal(size=(7, classes)).astype(np.float32)
    x[1] = np.round(x[1])  # many ties at the top
    x[2] = -np.inf
    x[3, rng.integers(classes, size=3)] = np.inf
    x[4, rng.integers(classes)] = np.nan
    x[5, classes // 2] = 80
    y = rng.dirichlet(np.ones(classes), 7).astype(np.float32)
    y[1] = 1
    y[2] -= 0.5  # negative labels are refused by checks, and linear without them
    k = rng.integers(classes, size=7).astype(np.int32)
    k[6] = classes  # stands for all that are out of range
    numbers = {"x": x, "y": y, "k": k}

    def along_axis_0(way, equation, *arrays):
        results = equation(way(-2), *(jnp.transpose(a) for a in arrays))
        return [jnp.transpose(a) for a in results]

    @jax.jit
    def by_each_way(numbers):
        found = {}
        for name, (equation, letters) in EQUATIONS.items():
            arrays = [numbers[letter] for letter in letters]
            found[name] = [equation(way(-1), *arrays) for way in SUMS]
            found[name] += [along_axis_0(way, equation, *arrays) for way in SUMS]
        return found

    for name, (expected, *others) in by_each_way(numbers).items():
        for got in others:
            for a, b in zip(got, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)


def test_many_classes_on_the_first_axis():
    # 100 are more than are slices of their own, and no multiple of the slices' width.
    rng = np.random.default_rng(0)
    x = np.round(5 * rng.normal(size=(100, 6)))  # with ties
    x[:, 1], x[97, 1] = -np.inf, 3  # one class takes all
    x[42, 2] = -np.inf
    label = np.array([99, 97, 0, 16, 96, 50])
    one_hot_label = np.arange(100)[:, None] == label
    mass = np.exp(x - x.max(0))
    gradient = mass / mass.sum(0) - one_hot_label
    expected = np.log(mass.sum(0)) + x.max(0) - x[label, range(6)]

    def both(x):
        losses = (
            integer(x, label, axis=0),
            softmax_cross_entropy(x, one_hot_label, axis=0),
        )
        return sum(loss.sum() for loss in losses), losses

    slopes, losses = jax.grad(both, has_aux=True)(jnp.float32(x))
    for loss in losses:
        np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(slopes, 2 * gradient, rtol=3e-6, atol=1e-7)
    _, losses = both(jnp.float32(x).at[98, 3].set(jnp.nan))
    assert np.isnan(losses)[:, 3].all() and np.isnan(losses).sum() == 2


def reductions(function, *arrays):
    """How many reductions a program of one platform holds as it goes to XLA."""
    return jax.jit(function).lower(*arrays).as_text().count("stablehlo.reduce")


def test_one_cpu_sums_by_slices_and_several_by_reductions():
    x = jnp.zeros((4, 8))
    assert reductions(log_softmax, x) == 0
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.PartitionSpec("i")
    sharded = jax.device_put(x, jax.sharding.NamedSharding(mesh, rows))
    assert reductions(log_softmax, sharded) > 0
    each = jax.shard_map(log_softmax, mesh=mesh, in_specs=rows, out_specs=rows)
    assert reductions(each, x) == 0  # each device sums rows of its own


@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
def test_one_accelerator_sums_by_pairs_and_several_platforms_by_reductions(platform):
    traced = jax.jit(log_softmax).trace(jnp.zeros((4, 8)))
    pair = "-> (tensor<4xf32>, tensor<4xf32>)"
    assert pair in traced.lower(lowering_platforms=(platform,)).as_text()
    of_both = traced.lower(lowering_platforms=("cpu", platform)).as_text()
    assert pair not in of_both and "stablehlo.reduce" in of_both


def weighted_log_softmax(x, y):
    return -jnp.sum(y * log_softmax(x), -1)


def of_dense(loss):
    return lambda x, label: loss(x, one_hot(label[:, None], x.shape[1]) + 0.0)


OF_ROWS = [integer, of_dense(softmax_cross_entropy), of_dense(weighted_log_softmax)]


def sharded(axis_type, spec, shape):
    """Logits and an index of the label, whole and with rows or classes sharded."""
    mesh = jax.make_mesh((2,), ("i",), axis_types=(axis_type,))
    x = 3 * jax.random.normal(jax.random.key(0), shape)
    label = jnp.arange(shape[0]) * 5 % shape[1]
    specs = jax.sharding.PartitionSpec(*spec), jax.sharding.PartitionSpec(spec[0])
    parts = [
        jax.device_put(a, jax.sharding.NamedSharding(mesh, s))
        for a, s in zip((x, label), specs, strict=True)
    ]
    return (x, label), parts


def steps(x, label):
    """The gradient and the losses of each of the three, in one program."""
    totals = [lambda x, loss=loss: loss(x, label).mean() for loss in OF_ROWS]
    return (
        [loss(x, label) for loss in OF_ROWS],
        [jax.value_and_grad(total)(x) for total in totals],
    )


@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
@pytest.mark.parametrize("spec", [("i", None), (None, "i")])
def test_sharded_logits_on_every_kind_of_mesh(spec, axis_type):
    whole, parts = sharded(getattr(jax.sharding.AxisType, axis_type), spec, (4, 6))
    got, expected = (jax.tree.leaves(jax.jit(steps)(*a)) for a in (parts, whole))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_sharded_classes_are_never_gathered():
    _, parts = sharded(jax.sharding.AxisType.Auto, (None, "i"), (8, 64))
    program = jax.jit(steps).lower(*parts).compile().as_text()
    assert "all-reduce" in program
    assert "all-gather" not in program
    assert "f32[8,64]" not in program
