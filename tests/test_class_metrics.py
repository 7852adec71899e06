"""Log loss, accuracy and calibration of many classes: against scikit-learn, by counting
and against those of two classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from jax.sharding import NamedSharding, PartitionSpec
from scipy.special import softmax
from sklearn import metrics

from bcejax.metrics import (
    accuracy,
    brier_score,
    calibration,
    confusion,
    expected_calibration_error,
    log_loss,
    roc_auc,
)

K = 4


def quantiles(logits, labels, **options):
    return calibration(logits, labels, strategy="quantile", **options)


EVERY = [log_loss, accuracy, calibration, quantiles, expected_calibration_error]
every = pytest.mark.parametrize("function", EVERY)


def rows(n=200, dtype=np.float64):
    """Logits in steps of 1/32, so with ties, classes drawn from them, and weights."""
    random = np.random.RandomState(0)
    logits = np.round(2 * random.randn(n, K) * 32) / 32
    labels = np.argmax(logits + random.gumbel(size=(n, K)), 1)
    return logits.astype(dtype), labels, random.randint(1, 5, n) / 4


def close(got, expected, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **tolerance), got, expected
    )


@pytest.mark.parametrize(
    "weighted", [pytest.param(False, marks=pytest.mark.full), True]
)
def test_log_loss_and_accuracy_are_scikit_learns(x64, weighted):
    logits, labels, weights = rows()
    weights = weights if weighted else None
    loss = metrics.log_loss(labels, softmax(logits, 1), sample_weight=weights)
    share = metrics.accuracy_score(labels, logits.argmax(1), sample_weight=weights)
    for y in (labels, np.eye(K)[labels]):
        of = [f(logits, y, weights=weights) for f in (log_loss, accuracy)]
        close(of, [loss, share], rtol=1e-13)
    of = [jax.jit(f)(logits, y, weights=weights) for f in (log_loss, accuracy)]
    close(of, [loss, share], rtol=1e-13)


@pytest.mark.parametrize(
    "strategy", ["uniform", pytest.param("quantile", marks=pytest.mark.full)]
)
def test_calibration_is_that_of_whether_the_most_probable_class_is_right(x64, strategy):
    logits, labels, weights = rows()
    p = softmax(logits, 1).max(1)
    options = {"weights": weights, "strategy": strategy, "bins": 7}
    as_two = np.log(p) - np.log1p(-p), logits.argmax(1) == labels
    for function in (calibration, expected_calibration_error):
        got, of_two = function(logits, labels, **options), function(*as_two, **options)
        close(got, of_two, rtol=1e-12)


@pytest.mark.full
def test_the_bins_hold_what_is_counted_in_them(x64):
    logits, labels, weights = rows()
    p, right = softmax(logits, 1).max(1), logits.argmax(1) == labels
    curve = calibration(logits, labels, weights=weights, bins=5)
    place = np.ceil(p * 5).astype(int) - 1
    for values, means in ((p, curve.predicted), (right, curve.observed)):
        sums, counts = (np.bincount(place, a, 5) for a in (weights * values, weights))
        # The largest of four probabilities is above 1/5.
        np.testing.assert_allclose(means[1:], sums[1:] / counts[1:], rtol=1e-12)
    gaps = curve.weight * abs(curve.predicted - curve.observed)
    error = expected_calibration_error(logits, labels, weights=weights, bins=5)
    np.testing.assert_allclose(error, np.nansum(gaps) / weights.sum(), rtol=1e-12)


@pytest.mark.full
def test_two_columns_are_the_logits_of_two_classes(x64):
    logits, labels, weights = rows()
    two, y = logits[:, :2], labels % 2
    x = two[:, 1] - two[:, 0]
    for function in (log_loss, accuracy):
        got = function(two, y, weights=weights)
        # Where both are equal the first class is called, and the second by a threshold.
        of_two = function(np.where(x == 0, -1e-300, x), y, weights=weights)
        close(got, of_two, rtol=1e-12)


@pytest.mark.full
@every
def test_a_weight_is_so_many_rows_and_only_ratios_matter(x64, function):
    logits, labels, _ = rows()
    counts = np.random.RandomState(1).permutation(np.repeat([0, 1, 2], [50, 100, 50]))
    order = np.repeat(np.arange(200), counts)
    weighted = function(logits, labels, weights=counts)
    close(weighted, function(logits[order], labels[order]), rtol=1e-12)
    ratio = function(logits, labels, weights=counts / 1024)
    if function in (calibration, quantiles):
        weighted = weighted._replace(weight=weighted.weight / 1024)
    close(ratio, weighted, rtol=1e-12)


@pytest.mark.full
def test_certain_answers_and_equal_ones():
    certain = np.float32([[np.inf, 0, 0], [0, -np.inf, -np.inf]])
    assert log_loss(certain, [0, 0]) == 0
    assert log_loss(certain, [0, 1]) == np.inf
    assert log_loss(certain, [0, 1], weights=[1, 0]) == 0
    assert accuracy(certain, [0, 1]) == 0.5
    curve = calibration(certain, [0, 1], bins=2)
    close(curve[:2], (np.float32([np.nan, 1]), np.float32([np.nan, 0.5])))
    equal = np.zeros((3, 3), np.float32)
    close(accuracy(equal, [0, 1, 2]), 1 / 3, rtol=1e-6)
    soft = np.float32([[0.5, 0.25, 0.25]] * 3)
    assert accuracy(equal, soft) == 0.5


@pytest.mark.full
def test_quantiles_tell_apart_what_is_all_but_certain():
    # 1 − p is from 8e-11 to 4e-8: float32 has 1 for all p.
    far = np.linspace(17, 23, 8, dtype=np.float32)
    logits = np.stack([far, 0 * far], 1)
    assert quantiles(logits, np.zeros(8, int), bins=4).weight.tolist() == [2, 2, 2, 2]


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@every
def test_narrow_logits_are_computed_in_float32(function, dtype):
    logits, labels, weights = rows(dtype=dtype)
    got = function(logits, labels, weights=weights)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(got))
    wide = function(logits.astype(np.float32), labels, weights=weights)
    close(got, wide, rtol=0)


@pytest.mark.full
def test_a_hundred_thousand_rows_keep_their_digits_in_float32():
    logits, labels, _ = rows(10**5, np.float32)
    p = softmax(np.float64(logits), 1)
    loss, share = metrics.log_loss(labels, p), np.mean(logits.argmax(1) == labels)
    got = log_loss(logits, labels), accuracy(logits, labels)
    close(got, (loss, share), rtol=3e-7)


@pytest.mark.full
def test_gradients_of_log_loss_are_those_of_the_textbook(x64):
    logits, labels, weights = rows(12)

    def textbook(x, w):
        p = jnp.exp(x) / jnp.sum(jnp.exp(x), 1, keepdims=True)
        return jnp.average(-jnp.log(p[jnp.arange(12), labels]), weights=w)

    got = jax.grad(lambda x, w: log_loss(x, labels, weights=w), (0, 1))
    close(
        jax.jit(got)(logits, weights), jax.grad(textbook, (0, 1))(logits, weights),
        rtol=1e-9, atol=1e-14,
    )  # fmt: skip


@pytest.mark.full
@every
def test_nan_in_gives_nan_out(function):
    x, y, w = rows(dtype=np.float32)
    w, hole = w.astype(np.float32), np.where(np.arange(200) == 7, np.float32(np.nan), 0)
    traced = jax.jit(lambda x, y, w: function(x, y, weights=w))
    one = x.copy()
    one[7, 2] = np.nan
    for got in (
        function(one, y, weights=w),
        traced(x, y, 0 * w),
        traced(x, y, w + hole),
    ):
        assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(got)[:2])
    no_class = traced(x, np.where(hole == 0, y, K), w)
    assert any(np.isnan(leaf).any() for leaf in jax.tree.leaves(no_class))


@pytest.mark.parametrize("function", [accuracy])
@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        ([0, 3, 1], None, r"the integers 0 to 2, got 3 in row 1.*np\.unique"),
        ([0, -1, 1], None, "got -1 in row 1"),
        ([0, 0.5, 1], None, "got 0.5 in row 1"),
        ([0, np.nan, 1], None, "got nan in row 1.*without a label"),
        ([[1, 0, 0], [0, 0.5, 0.4], [0, 1, 0]], None, "the sum 1, got .* in row 1"),
        ([[1, 0, 0], [0, 1, 0], [2, -1, 0]], None, "not negative .* got .* in row 2"),
        ([0, 1, 2], [1, -1, 1], "weights must be 0 or more .* got -1.0 in row 1"),
        ([0, 1, 2], 0, "weights must not be 0 in all rows, which are 3"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(function, labels, weights, message):
    with pytest.raises(ValueError, match=message):
        function(3 * np.eye(3), labels, weights=weights)


@pytest.mark.full
@pytest.mark.parametrize("label", [7, np.nan])
def test_a_row_of_no_weight_may_have_any_label(label):
    x, weights = 3 * np.eye(3), [1, 0, 1]
    for labels in ([0, label, 2], [[1, 0, 0], [label] * 3, [0, 0, 1]]):
        assert accuracy(x, labels, weights=weights) == 1


@pytest.mark.full
@pytest.mark.parametrize("function", [log_loss, calibration])
def test_probabilities_in_place_of_logits_get_a_warning(function):
    p = np.array([[0.1, 0.9], [0.4, 0.6]])
    with pytest.warns(UserWarning, match=r"the sum 1 and look like .* jnp\.log"):
        function(p, [0, 1])
    function(p / 2, [0, 1])
    function(np.zeros((2, 2)), [0, 1])


@pytest.mark.parametrize("function", [log_loss, calibration])
@pytest.mark.parametrize(
    ("logits", "labels", "weights", "error", "message"),
    [
        (np.ones((4, 1)), np.ones(4), None, ValueError, r"two classes.*got \(4, 1\)"),
        (np.ones((4, 3, 2)), np.ones(4), None, ValueError, r"got \(4, 3, 2\)"),
        (np.ones((0, 3)), np.ones(0), None, ValueError, r"at least one.*got \(0, 3\)"),
        (np.ones((4, 3)), np.ones(3), None, ValueError, r"labels \(3,\) and logits"),
        (np.ones((4, 3)), 1, None, ValueError, r"one class per row .* labels \(\)"),
        (np.ones((4, 3)), np.ones((4, 2)), None, ValueError, r"labels \(4, 2\)"),
        (np.ones((4, 3)), np.ones(4), np.ones((4, 3)), ValueError, "a column of logi"),
        (np.ones((4, 3), int), np.ones(4), None, TypeError, r"\(logits, labels\)"),
        (np.ones((4, 3)), np.ones(4, complex), None, TypeError, "labels must be"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    function, logits, labels, weights, error, message
):
    with pytest.raises(error, match=message):
        function(logits, labels, weights=weights)


@pytest.mark.full
def test_what_has_one_threshold_is_of_two_classes():
    for function in (brier_score, confusion, roc_auc):
        with pytest.raises(ValueError, match=r"\(rows,\), at least one, got \(3, 3\)"):
            function(np.eye(3), [0, 1, 2])
    for threshold in (1, jnp.zeros(())):
        with pytest.raises(ValueError, match=r"threshold must be left out .* largest"):
            accuracy(np.eye(3), [0, 1, 2], threshold=threshold)


@pytest.mark.full
@every
def test_sharded_rows_give_the_same(function):
    data = rows(dtype=np.float32)
    mesh = jax.make_mesh((2,), ("rows",))
    logits, labels, weights = (
        jax.device_put(a, NamedSharding(mesh, PartitionSpec("rows"))) for a in data
    )
    got = function(logits, labels, weights=weights)
    close(got, function(*data[:2], weights=data[2]), rtol=1e-6)


@pytest.mark.full
def test_ranges_are_checked_under_checkify():
    x, y, _ = rows(dtype=np.float32)
    checked = jax.jit(checkify.checkify(lambda y: log_loss(x, y)))
    checked(y)[0].throw()
    with pytest.raises(checkify.JaxRuntimeError, match=r"labels must lie in .* 3.* 6"):
        checked(2 * y)[0].throw()
    with pytest.raises(
        checkify.JaxRuntimeError, match=r"labels must lie in \[0, inf\], got -1"
    ):
        checked(-np.eye(K)[y])[0].throw()


@pytest.mark.full
def test_lists_and_strict_promotion(strict_promotion):
    for labels in ([0, 2], np.uint8([0, 2]), [[1, 0, 0], [0, 0.5, 0.5]]):
        for function in EVERY:
            got = function([[2.0, 0.0, 1.0]] * 2, labels, weights=[1, 2])
            assert np.isfinite(jax.tree.leaves(got)[0]).any()
