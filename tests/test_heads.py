"""linear_bce, linear_softmax_cross_entropy, sigmoid_contrastive_loss.

The witnesses are the losses of stored logits, mpmath where digits count, and finite
differences. test_heads_sharded.py has the meshes.
"""

from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.experimental import checkify
from jax.sharding import AxisType, PartitionSpec
from jax.test_util import check_grads

from bcejax import (
    bce_with_logits,
    linear_bce,
    linear_softmax_cross_entropy,
    sigmoid_contrastive_loss,
    softmax_cross_entropy_with_integer_labels,
)
from bcejax._numerics import chunk_sizes

INF, NAN = jnp.inf, jnp.nan
bce, softmax, pairs = (
    linear_bce,
    linear_softmax_cross_entropy,
    sigmoid_contrastive_loss,
)
ROWS, D, CLASSES = 5, 3, 13
POSITIVES = np.array([[1, 3, -1], [2, 2, 5], [-1, -1, -1], [12, 0, 11], [7, 8, 9]])
NUMBERS = np.array([0, 12, 5, 5, 7])


def of_positives(positives, classes):
    """The dense labels that sparse ones stand for."""
    return (positives[:, :, None] == np.arange(classes)).any(1).astype(float)


def drawn(seed=0):
    """Arguments in which everything can be differentiated."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 2, (ROWS, CLASSES))
    return {
        "features": rng.normal(size=(ROWS, D)),
        "kernel": rng.normal(size=(D, CLASSES)),
        "bias": rng.normal(size=CLASSES),
        "labels": rng.uniform(size=(ROWS, CLASSES)),
        "pos_weight": weights[0],
        "weights": weights,
        "images": rng.normal(size=(7, D)),
        "texts": rng.normal(size=(7, D)),
        "log_t": np.array(0.7),
        "shift": np.array(-2.0),
    }


def stored_bce(features, kernel, bias, labels, pos_weight, weights):
    x = features @ kernel + bias
    return jnp.sum(weights * bce_with_logits(x, labels, pos_weight=pos_weight), 1)


def stored_softmax(features, kernel, bias, where=None):
    x = features @ kernel + bias
    return softmax_cross_entropy_with_integer_labels(x, NUMBERS, where=where)


def stored_pairs(images, texts, log_t, shift):
    x = jnp.exp(log_t) * images @ texts.T + shift
    return jnp.sum(bce_with_logits(x, jnp.eye(len(x)))) / len(x)


KEPT = np.random.default_rng(1).uniform(size=(ROWS, CLASSES)) > 0.4
KEPT[np.arange(ROWS), NUMBERS] = True
KEPT[2] = False
OF_ALL = ("features", "kernel", "bias", "labels", "pos_weight", "weights")
OF_SPARSE = ("features", "kernel", "bias", "pos_weight", "weights")
OF_SOFTMAX = ("features", "kernel", "bias")
OF_PAIRS = ("images", "texts", "log_t", "shift")
# The names of the arguments, the loss of chunks, and that of stored logits.
CASES = {
    "dense": (
        OF_ALL,
        lambda size, f, k, b, y, p, w: bce(
            f, k, y, bias=b, pos_weight=p, weights=w, chunk_size=size
        ),
        stored_bce,
    ),
    "sparse": (
        OF_SPARSE,
        lambda size, f, k, b, p, w: bce(
            f, k, POSITIVES, bias=b, pos_weight=p, weights=w, chunk_size=size
        ),
        lambda f, k, b, p, w: stored_bce(
            f, k, b, of_positives(POSITIVES, CLASSES), p, w
        ),
    ),
    "softmax": (
        OF_SOFTMAX,
        lambda size, f, k, b: softmax(f, k, NUMBERS, bias=b, chunk_size=size),
        stored_softmax,
    ),
    "softmax, masked": (
        OF_SOFTMAX,
        lambda size, f, k, b: softmax(
            f, k, NUMBERS, bias=b, where=KEPT, chunk_size=size
        ),
        lambda f, k, b: stored_softmax(f, k, b, where=KEPT),
    ),
    "pairs": (
        OF_PAIRS,
        lambda size, *a: pairs(*a, chunk_size=size),
        stored_pairs,
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


def taken(case, size, dtype=None):
    """The loss of chunks, of stored logits, and the arguments."""
    names, chunked, stored = case
    values = [jnp.asarray(drawn()[name], dtype) for name in names]
    return (lambda *a: chunked(size, *a)), stored, values


def total(loss):
    """A number in which the rows of a loss have slopes of their own."""
    return lambda *a: jnp.sum(jnp.sin(loss(*a)))


def close(got, expected, tolerance):
    """To a tolerance relative to the largest number of each array."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        scale = np.max(np.abs(b), initial=0)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


# Values and derivatives


@every_case
@pytest.mark.parametrize("size", [1, 5, 1000, None])
def test_value_and_gradients_are_those_of_stored_logits(case, size):
    loss, stored, values = taken(case, size, jnp.float32)

    def both(f):
        slopes = jax.grad(total(f), moving(values))
        return jax.jit(lambda *a: (f(*a), slopes(*a)))(*values)

    close(both(loss), both(stored), 1e-5)


def along(values):
    return [jnp.asarray(np.cos(np.arange(v.size)).reshape(v.shape)) for v in values]


def moving(values):
    return tuple(range(len(values)))


def forward_of_reverse(f, *values):
    gradient = jax.grad(total(f), moving(values))
    return jax.jvp(gradient, values, tuple(along(values)))[1]


def slope(f, *values):
    return jax.jvp(total(f), values, tuple(along(values)))[1]


def reverse_of_forward(f, *values):
    return jax.grad(lambda *a: slope(f, *a), moving(values))(*values)


def forward_of_forward(f, *values):
    return jax.jvp(lambda *a: slope(f, *a), values, tuple(along(values)))[1]


def reverse_of_reverse(f, *values):
    def inner(*a):
        return sum(map(jnp.vdot, jax.grad(total(f), moving(a))(*a), along(a)))

    return jax.grad(inner, moving(values))(*values)


MODES = forward_of_reverse, reverse_of_forward, forward_of_forward, reverse_of_reverse
OFTEN = {  # the others are for --full
    ("sparse", forward_of_reverse),
    ("softmax", forward_of_forward),
    ("softmax", reverse_of_reverse),
}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(
            name,
            mode,
            id=f"{name}, {mode.__name__}",
            marks=[] if (name, mode) in OFTEN else [pytest.mark.full],
        )
        for name in CASES
        for mode in MODES
    ],
)
def test_second_derivatives_are_those_of_stored_logits(x64, name, mode):
    loss, stored, values = taken(CASES[name], 5)
    got, expected = (jax.jit(partial(mode, f))(*values) for f in (loss, stored))
    close(got, expected, 1e-10)


@pytest.mark.full
@every_case
def test_derivatives_are_difference_quotients(x64, case):
    loss, _, values = taken(case, 5)
    check_grads(loss, values, 2, ["fwd", "rev"])


def test_a_gradient_is_a_difference_quotient(x64):
    loss, _, values = taken(CASES["sparse"], 5)
    check_grads(jax.jit(total(loss)), values, 1, ["fwd", "rev"])


def test_vmap_over_heads(x64):
    loss, stored, (features, kernel, bias) = taken(CASES["softmax"], 5)
    heads = jnp.stack([kernel, 2 * kernel])

    def slopes(f):
        each = jax.vmap(jax.value_and_grad(total(f), (0, 1)), (None, 0, None))
        return jax.jit(each)(features, heads, bias)

    close(slopes(loss), slopes(stored), 1e-12)


@pytest.mark.full
def test_third_derivatives(x64):
    loss, stored, (features, kernel, bias) = taken(CASES["softmax"], 5)

    def third(f):
        of_bias = jax.jacfwd(jax.jacrev(jax.jacfwd(lambda b: f(features, kernel, b))))
        return of_bias(bias)

    close(third(loss), third(stored), 1e-10)


# Memory


def sizes_of_logits():
    n, d, classes = 256, 4, 20_011
    shapes = (n, d), (d, classes), (n, 4)
    rng = np.random.default_rng(0)
    features, kernel = (jnp.asarray(rng.normal(size=s), "float32") for s in shapes[:2])
    positives = jnp.asarray(rng.integers(-1, classes, shapes[2]))
    return n * classes, (features, kernel), positives


@pytest.mark.parametrize("name", ["bce", "softmax"])
def test_nothing_of_the_size_of_the_logits_is_kept_or_computed(name):
    logits, arguments, positives = sizes_of_logits()
    loss = {
        "bce": lambda f, k: bce(f, k, positives, chunk_size=128).mean(),
        "softmax": lambda f, k: softmax(
            f, k, jnp.abs(positives[:, 0]), chunk_size=128
        ).mean(),
    }[name]
    _, pull = jax.vjp(loss, *arguments)
    kept = [leaf.size for leaf in jax.tree.leaves(pull)]
    assert max(kept) == arguments[1].size and sum(kept) < logits / 4
    # Forward over reverse, and the plain gradient.
    value_and_grad = jax.value_and_grad(loss, (0, 1))
    for program in (value_and_grad, lambda *a: jax.jvp(value_and_grad, a, a)):
        compiled = jax.jit(program).lower(*arguments).compile()
        assert compiled.memory_analysis().temp_size_in_bytes < 0.1 * 4 * logits


def test_a_chunk_is_a_power_of_two_and_not_narrow():
    for platform in ("cpu", "tpu"):
        for width in (1, 100, 1280, 10**5, 10**9):
            size = chunk_sizes.chosen_size(width, platform)
            assert size >= 128 and size & (size - 1) == 0
    assert chunk_sizes.chosen_size(1280, "cuda") * 1024 * 8 < 0.1 * 4 * 1024 * 65536
    assert [chunk_sizes.parts_of(c, 8) for c in (0, 7, 12, 65536)] == [8, 1, 4, 8]


# Digits


def test_certain_positives_keep_their_digits():
    """Σ softplus less the logits of the positives is 0 here, or wrong by 30 %."""
    x = np.array([[17.0, -17.0, -20.0], [30.0, -30.0, -40.0]], np.float32)
    got = bce(x, np.eye(3, dtype=np.float32), np.array([[0], [0]]), chunk_size=2)
    with mpmath.workdps(40):
        sides = [[-row[0], row[1], row[2]] for row in x.tolist()]
        exact = [sum(mpmath.log1p(mpmath.exp(s)) for s in row) for row in sides]
    np.testing.assert_allclose(got, np.array(exact, float), rtol=1e-6)


def test_certain_classes_keep_their_digits():
    x = np.array([[17.0, 0, -3], [40, 0, -30], [0, 60, 60.5]], np.float32)
    labels, eye = np.array([0, 0, 2]), np.eye(3, dtype=np.float32)

    def loss(x):
        return softmax(x, eye, labels, chunk_size=2)

    got, slopes = loss(x), jax.jacobian(loss)(x)
    for k, (row, label) in enumerate(zip(x.tolist(), labels, strict=True)):
        with mpmath.workdps(60):
            e = [mpmath.exp(mpmath.mpf(v) - row[label]) for v in row]
            others = mpmath.fsum(e) - 1
            exact = mpmath.log1p(others)
            p = [v / (1 + others) for v in e]
            p[label] = -others / (1 + others)
        np.testing.assert_allclose(got[k], float(exact), rtol=2e-6)
        np.testing.assert_allclose(slopes[k, k], np.array(p, float), rtol=2e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bits_are_accumulated_in_float32_and_rounded_once(dtype):
    rng = np.random.default_rng(0)
    n, d, classes = 6, 40, 700
    features = jnp.asarray(rng.normal(size=(n, d)), dtype)
    kernel = jnp.asarray(rng.normal(size=(d, classes)) / 6, dtype)
    labels = rng.integers(0, classes, (n, 2))

    weights = jnp.asarray(rng.random((n, 1)), dtype)

    def total(f, k, w):
        return jnp.sum(bce(f, k, labels, weights=w, chunk_size=16))

    wide = [a.astype(jnp.float32) for a in (features, kernel, weights)]
    both = jax.jit(jax.value_and_grad(total, (0, 1, 2)))
    loss, slopes = both(features, kernel, weights)
    expected, exact = both(*wide)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for got, true in zip(slopes, exact, strict=True):
        assert got.dtype == dtype
        # Half a unit of the dtype, and what float32 adds to it.
        half = jnp.finfo(dtype).eps / 2
        off = np.abs(np.asarray(got, np.float64) - np.asarray(true, np.float64))
        assert np.max(off / np.maximum(np.abs(true), 1e-2)) <= 1.02 * half


def test_a_ring_of_16_bits_rounds_its_gradients_once():
    rng = np.random.default_rng(0)
    images, texts = (jnp.asarray(rng.normal(size=(8, 5)), "bfloat16") for _ in "ab")
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    rows, whole = PartitionSpec("data"), PartitionSpec()

    def loss(images, texts):
        return sigmoid_contrastive_loss(images, texts, 0.5, -1.0, axis_name="data")

    ring = jax.shard_map(loss, mesh=mesh, in_specs=(rows, rows), out_specs=whole)
    slopes = jax.jit(jax.grad(ring, (0, 1)))
    exact = slopes(*(a.astype(jnp.float32) for a in (images, texts)))
    for got, true in zip(slopes(images, texts), exact, strict=True):
        assert got.dtype == jnp.bfloat16
        np.testing.assert_array_equal(got, true.astype(jnp.bfloat16))


def test_dtypes_of_results_and_gradients(x64):
    values = drawn()

    def kinds(features, kernel):
        f = jnp.asarray(values["features"], features)
        k = jnp.asarray(values["kernel"], kernel)
        loss = jax.value_and_grad(lambda *a: bce(*a, POSITIVES).sum(), (0, 1))
        result, slopes = jax.eval_shape(loss, f, k)
        assert [s.dtype for s in slopes] == [features, kernel]
        return result.dtype

    assert kinds("bfloat16", "bfloat16") == "float32"
    assert kinds("float16", "bfloat16") == "float32"
    assert kinds("bfloat16", "float32") == "float32"
    assert kinds("float32", "float64") == "float64"


# Corners


@pytest.mark.parametrize(
    "bias",
    [
        [INF, 0, 0],
        [INF, INF, 0],
        [-INF, 0, 0],
        [-INF, -INF, 0],
        [-INF, -INF, -INF],
        [INF, -INF, -INF],
        [NAN, 0, 0],
    ],
)
def test_infinite_logits_are_those_of_the_stored_form(bias):
    zeros = jnp.zeros((3, 2)), jnp.zeros((2, 3))

    def losses(heads):
        def each(b):
            return [head(b) for head in heads]

        return jax.jit(lambda b: (each(b), jax.jacobian(each)(b)))(jnp.array(bias))

    labels = jnp.arange(3)
    chunked = losses(
        [
            lambda b: softmax(*zeros, labels, bias=b, chunk_size=2),
            lambda b: bce(*zeros, labels[:, None], bias=b, chunk_size=2),
        ]
    )
    stored = losses(
        [
            lambda b: softmax_cross_entropy_with_integer_labels(
                zeros[0] @ zeros[1] + b, labels
            ),
            lambda b: jnp.sum(bce_with_logits(zeros[0] @ zeros[1] + b, jnp.eye(3)), 1),
        ]
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
        chunked,
        stored,
    )


def test_a_weight_of_0_leaves_out_an_infinite_loss():
    bias, weights = jnp.array([INF, 0.0]), jnp.array([0.0, 1.0])
    none = jnp.full((1, 1), -1)

    def loss(b, w):
        f, k = jnp.zeros((1, 2)), jnp.zeros((2, 2))
        return bce(f, k, none, bias=b, weights=w)[0]

    value, (slope, of_weights) = jax.value_and_grad(loss, (0, 1))(bias, weights)
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(slope, [0, 0.5])
    np.testing.assert_allclose(of_weights, [INF, np.log(2)], rtol=1e-6)


def test_no_rows_no_positives_and_one_class():
    kernel = jnp.ones((3, 4))
    assert bce(jnp.ones((0, 3)), kernel, jnp.zeros((0, 2), int)).shape == (0,)
    got = softmax(jnp.ones((0, 3)), kernel, jnp.zeros(0, int))
    assert got.shape == (0,)
    got = bce(jnp.ones((2, 3)), kernel, jnp.zeros((2, 0), int))
    np.testing.assert_allclose(got, 4 * np.log1p(np.exp(3)), rtol=1e-6)
    one = softmax(jnp.ones((2, 3)), kernel[:, :1], jnp.zeros(2, int))
    np.testing.assert_array_equal(one, 0)


# Bad input

X, K = np.ones((2, 3), np.float32), np.ones((3, 5), np.float32)


def refused(error, message, function, *arguments, **named):
    with pytest.raises(error, match=message):
        function(*arguments, **named)


def test_numbers_that_are_no_class_are_refused():
    row = np.array([[0, -1], [5, 1]])
    refused(
        ValueError,
        "got 5 in row 1, column 0. Classes are counted",
        bce,
        X,
        K,
        row,
    )
    row[1, 0] = -2
    refused(ValueError, "0 to 4, or −1 for none, got -2 in row 1", bce, X, K, row)
    refused(
        ValueError,
        "0 to 4, got -1 in row 0. Leave out",
        softmax,
        X,
        K,
        np.array([-1, 0]),
    )
    refused(ValueError, "got 9 in row 1", softmax, X, K, np.array([0, 9]))
    big = np.array([[2**32], [0]])  # whose low half is a class
    refused(ValueError, "got 4294967296 in row 0", bce, X, K, big)
    slope = jax.grad(lambda f: softmax(f, K, np.array([0, 9])).sum())
    refused(ValueError, "got 9 in row 1", slope, X)


@pytest.mark.parametrize("head", ["bce", "softmax"])
def test_within_jit_they_are_nan_and_an_error_under_checkify(head):
    def loss(f, labels):
        if head == "bce":
            return bce(f, K, labels, chunk_size=2)
        return softmax(f, K, labels[:, 0], chunk_size=2)

    labels = jnp.array([[1, 0], [5, 0]])
    both = jax.jit(lambda *a: (loss(*a), jax.jacobian(loss)(*a)))
    value, slope = both(X, labels)
    assert np.isfinite(value[0]) and np.isnan(value[1])
    assert np.all(np.isfinite(slope[0, 0])) and np.all(np.isnan(slope[1, 1]))
    checked = checkify.checkify(jax.jit(loss), errors=checkify.user_checks)
    error, _ = checked(X, labels)
    assert "labels must lie in" in error.get()
    assert checked(X, labels % 5)[0].get() is None


def test_weights_and_labels_out_of_range_are_errors_under_checkify():
    def message(**named):
        arguments = {"labels": np.ones((2, 5))} | named
        loss = jax.jit(lambda a: bce(X, K, **a))
        return checkify.checkify(loss, errors=checkify.user_checks)(arguments)[0].get()

    assert message() is None
    assert "labels must lie in [0, 1]" in message(labels=np.full((2, 5), 1.5))
    assert "weights must lie in" in message(weights=np.full(5, -1.0))
    assert "pos_weight must lie in" in message(pos_weight=-1.0)


def test_shapes_and_dtypes_that_do_not_fit_are_refused():
    y, one = np.zeros((2, 1), int), np.zeros(2, int)
    refused(
        ValueError,
        r"features \(2, 3\) and kernel \(5, 3\).*kernel.T",
        bce,
        X,
        K.T,
        y,
    )
    refused(
        ValueError,
        r"features \(2, 4\) and kernel \(3, 5\)",
        softmax,
        np.ones((2, 4)),
        K,
        one,
    )
    refused(ValueError, r"features \(3,\) and kernel \(3, 5\)", bce, X[0], K, y)
    refused(ValueError, r"kernel \(3, 0\) must have", softmax, X, K[:, :0], one)
    message = r"labels \(2, 1\) of float32 and \(rows, classes\) \(2, 5\)"
    refused(ValueError, message, bce, X, K, np.zeros((2, 1), np.float32))
    refused(ValueError, r"labels \(2,\).*\(2, 5\)", bce, X, K, one)
    refused(ValueError, r"labels \(2, 1\).*\(2, 5\)", softmax, X, K, y)
    refused(
        TypeError, "labels must be integer, got float32", softmax, X, K, np.zeros(2)
    )
    refused(ValueError, r"bias \(3,\) and kernel", bce, X, K, y, bias=np.ones(3))
    refused(ValueError, r"weights \(3,\).*\(2, 5\)", bce, X, K, y, weights=np.ones(3))
    refused(ValueError, r"pos_weight \(2,\)", bce, X, K, y, pos_weight=np.ones(2))
    refused(TypeError, "where must be bool", softmax, X, K, one, where=np.ones(5))
    refused(ValueError, r"where \(4,\)", softmax, X, K, one, where=np.ones(4, bool))
    refused(TypeError, "features must be", bce, X.astype(int), K, y)
    refused(TypeError, "bias must be", bce, X, K, y, bias=np.ones(5, complex))
    for size in (0, -1, 2.5, True):
        refused(ValueError, "chunk_size must be", bce, X, K, y, chunk_size=size)
    refused(ValueError, "at least one row", pairs, X[:0], X[:0], 0, 0)
    message = r"image_embeddings \(2, 3\) and text_embeddings \(3, 5\)"
    refused(ValueError, message, pairs, X, K, 0, 0)
    refused(ValueError, "log_temperature must be a scalar", pairs, X, X, np.ones(2), 0)
    refused(TypeError, "text_embeddings must be", pairs, X, X.astype(int), 0, 0)
    refused(TypeError, "bias must be", pairs, X, X, 0, 1j)
