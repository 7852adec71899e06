"""Log loss, Brier score, AUC and calibration: against scikit-learn and by counting."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.experimental import checkify
from jax.sharding import NamedSharding, PartitionSpec
from oracle import bce, precise
from scipy.special import expit
from sklearn import metrics
from sklearn.calibration import calibration_curve

from bcejax.metrics import (
    accuracy,
    average_precision,
    best_threshold,
    brier_score,
    calibration,
    confusion,
    expected_calibration_error,
    log_loss,
    precision_recall,
    roc_auc,
    roc_curve,
)

SCORES = [log_loss, brier_score, roc_auc, accuracy, average_precision]


def quantiles(logits, labels, **options):
    return calibration(logits, labels, strategy="quantile", **options)


EVERY = [*SCORES, calibration, quantiles, expected_calibration_error]
every = pytest.mark.parametrize("function", EVERY)


def rows(n=200, dtype=np.float32):
    """Logits in steps of 1/32, so with ties, labels drawn from them, and weights.

    Of one type: most tests call with such arguments, which JAX compiles once.
    """
    random = np.random.RandomState(0)
    logits = np.round(2 * random.randn(n) * 32) / 32
    labels, weights = random.rand(n) < expit(logits), random.randint(1, 5, n) / 4
    return [a.astype(dtype) for a in (logits, labels, weights)]


def scikit_learn(score, logits, labels, weights):
    logits = np.float64(logits)
    theirs, values = {
        log_loss: (metrics.log_loss, expit(logits)),
        brier_score: (metrics.brier_score_loss, expit(logits)),
        roc_auc: (metrics.roc_auc_score, logits),
        accuracy: (metrics.accuracy_score, logits >= 0),
        average_precision: (metrics.average_precision_score, logits),
    }[score]
    return theirs(labels, values, sample_weight=weights)


def close(got, expected, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **tolerance), got, expected
    )


def by_counting(logits, labels, weights):
    """The AUC over all pairs; a soft label is so much of a positive and a negative."""
    positive, negative = weights * labels, weights * (1 - labels)
    wins = np.sign(logits[:, None] - logits) / 2 + 0.5
    return positive @ wins @ negative / (positive.sum() * negative.sum())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_scores_are_scikit_learns(x64, score, weighted):
    logits, labels, weights = rows(dtype=np.float64)
    weights = weights if weighted else None
    got = score(logits, labels, weights=weights)
    expected = scikit_learn(score, logits, labels, weights)
    np.testing.assert_allclose(got, expected, rtol=1e-13)


@pytest.mark.parametrize("score", SCORES)
def test_a_million_rows_keep_their_digits_in_float32(score):
    logits, labels, some = rows(10**6)
    for weights in (np.ones_like(some), some * np.float32(np.pi)):
        got = score(logits, labels, weights=weights)
        expected = scikit_learn(score, logits, labels, weights)
        np.testing.assert_allclose(got, expected, rtol=3e-7)


def test_auc_is_the_share_of_pairs_in_order(x64):
    logits, labels, weights = rows(dtype=np.float64)
    logits[:5], logits[5:9] = np.inf, -np.inf
    ranks = np.float64(np.unique(logits, return_inverse=True)[1])  # ∞ − ∞ is no tie
    for y in (labels, np.random.RandomState(1).rand(200)):
        expected = by_counting(ranks, y, weights)
        for scale in (1, 1e200, 1e-200):
            got = roc_auc(logits, y, weights=weights * scale)
            np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_auc_is_the_exact_count_rounded():
    logits, labels, _ = rows(10**6)
    rank = np.unique(logits, return_inverse=True)[1]
    ones = np.bincount(rank, weights=labels).astype(int).tolist()
    zeros = np.bincount(rank, weights=1 - labels).astype(int).tolist()
    below, wins = 0, Fraction(0)
    for one, zero in zip(ones, zeros, strict=True):
        wins += one * (below + Fraction(zero, 2))
        below += zero
    exact = float(wins / (sum(ones) * below))
    got = roc_auc(logits, labels, weights=np.ones_like(logits))
    np.testing.assert_allclose(got, exact, rtol=1.2e-7)


def test_auc_of_a_perfect_and_of_a_useless_order():
    logits, labels, weights = rows()
    ones, weights = np.ones_like(weights), np.exp(5 * weights)
    sure = np.where(labels == 1, 1, -1) * (1 + np.abs(logits))
    assert 1 - 1e-6 < roc_auc(sure, labels, weights=weights) <= 1
    assert 0 <= roc_auc(-sure, labels, weights=weights) < 1e-6
    assert roc_auc(sure, labels, weights=ones) == 1
    assert roc_auc(-sure, labels, weights=ones) == 0
    zeros = np.where(np.arange(200) % 3, 0, np.float32(-0.0))  # which are equal
    assert roc_auc(zeros, labels, weights=ones) == 0.5


@pytest.mark.parametrize("of", [0, 1])
def test_auc_of_one_class_is_nan(of):
    logits, labels, weights = rows()
    assert np.isnan(roc_auc(logits, np.full_like(labels, of), weights=weights))
    assert np.isnan(roc_auc(logits, labels, weights=weights * (labels == of)))


@every
def test_a_weight_is_so_many_rows_and_only_ratios_matter(x64, function):
    logits, labels, ones = rows(dtype=np.float64)
    ones[:] = 1
    counts = np.random.RandomState(1).permutation(np.repeat([0, 1, 2], [50, 100, 50]))
    counts = counts.astype(float)  # of 200 rows, too
    order = np.repeat(np.arange(200), counts.astype(int))
    repeated = function(logits[order], labels[order], weights=ones)
    weighted = function(logits, labels, weights=counts)
    close(weighted, repeated, rtol=1e-12)
    ratio = function(logits, labels, weights=counts / 1024)
    if function in (calibration, quantiles):
        weighted = weighted._replace(weight=weighted.weight / 1024)
    close(ratio, weighted, rtol=1e-12)


def test_log_loss_of_certain_answers():
    certain = np.float32([np.inf, -np.inf])
    assert log_loss(certain, np.float32([1, 0])) == 0
    assert log_loss(certain, np.float32([0, 0])) == np.inf
    assert brier_score(certain, np.float32([0, 0])) == 0.5


@pytest.mark.parametrize("score", [log_loss, brier_score])
def test_a_wrong_certain_answer_of_no_weight_costs_nothing(score):
    certain, weights = np.float32([np.inf, -np.inf]), np.float32([0.0, 3.0])
    value, slope = jax.jit(jax.value_and_grad(score))(certain, 0, weights=weights)
    assert value == 0 and not np.any(slope)


@pytest.mark.parametrize("label", [0, 1])
def test_brier_score_keeps_its_digits(label):
    for x in (-40.0, -18.0, -3.0, 0.0, 0.7, 17.0, 30.0, 41.0):
        with mpmath.workdps(50):
            far = precise(lambda v: 1 / (1 + mpmath.exp(-v)), [x])[0] - label
            exact = float(far**2)
        got = brier_score(np.float32([x]), np.float32([label]))
        np.testing.assert_allclose(got, exact, rtol=1e-6)


@pytest.mark.parametrize("score", [log_loss, brier_score])
def test_gradients_and_hessians_of_the_means(x64, score):
    logits, labels, weights = rows(12, np.float64)
    logits[0], labels = 0, labels * 0.8 + 0.1

    def textbook(x, y, w):
        p = 1 / (1 + jnp.exp(-x))
        cross = -(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))
        losses = cross if score is log_loss else (p - y) ** 2
        return jnp.sum(w * losses) / jnp.sum(w)

    def both(function):
        first = jax.grad(function, (0, 1, 2))
        return jax.jit(lambda *a: (first(*a), jax.jacfwd(first)(*a)))

    got = both(lambda x, y, w: score(x, y, weights=w))(logits, labels, weights)
    expected = both(textbook)(logits, labels, weights)
    close(got, expected, rtol=1e-9, atol=1e-14)


def test_gradient_of_a_weight_of_zero_is_what_the_row_would_change(x64):
    logits, labels, weights = rows(6, np.float64)
    weights[2] = 0
    slope = jax.jit(jax.grad(lambda w: log_loss(logits, labels, weights=w)))(weights)
    losses = bce(logits, labels)
    mean = np.average(losses, weights=weights)
    np.testing.assert_allclose(slope, (losses - mean) / weights.sum(), rtol=1e-9)


def test_auc_has_gradient_zero_in_logits_and_a_true_one_in_weights(x64):
    logits, labels, weights = rows(40, np.float64)
    slopes = jax.jit(jax.grad(lambda x, w: roc_auc(x, labels, weights=w), (0, 1)))
    in_logits, in_weights = slopes(logits, weights)
    np.testing.assert_array_equal(in_logits, 0)
    changes = [
        by_counting(logits, labels, weights + step)
        - by_counting(logits, labels, weights - step)
        for step in 1e-5 * np.eye(40)
    ]
    np.testing.assert_allclose(in_weights, np.array(changes) / 2e-5, atol=1e-9)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize(("n", "bins"), [(7, 4), (200, 10)])
def test_calibration_is_scikit_learns(x64, n, bins, strategy):
    logits, labels, weights = rows(n, np.float64)
    options = {"weights": np.ones_like(weights), "bins": bins, "strategy": strategy}
    predicted, observed, weight = map(np.array, calibration(logits, labels, **options))
    theirs = calibration_curve(labels, expit(logits), n_bins=bins, strategy=strategy)
    np.testing.assert_allclose(predicted[weight > 0], theirs[1], rtol=1e-12)
    np.testing.assert_allclose(observed[weight > 0], theirs[0], rtol=1e-12)
    assert weight.shape == (bins,) and weight.sum() == n


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_calibration_of_a_million_rows_in_float32(strategy):
    logits, labels, _ = rows(10**6)
    curve = calibration(logits, labels, strategy=strategy)
    observed, predicted = calibration_curve(
        labels, expit(np.float64(logits)), n_bins=10, strategy=strategy
    )
    np.testing.assert_allclose(curve.predicted, predicted, rtol=5e-7)
    np.testing.assert_allclose(curve.observed, observed, rtol=5e-7)
    assert np.sum(curve.weight) == 10**6


@pytest.mark.parametrize(("n", "bins"), [(10, 3), (5, 9), (1, 2)])
def test_quantile_bins_end_at_exact_fractions_of_the_rows(n, bins):
    # Row k is in the first bin j with k/(n − 1) ≤ j/bins. NumPy's percentiles, and with
    # them scikit-learn, may miss a row where the two are equal, for their rounding.
    logits = np.random.RandomState(0).permutation(n).astype(np.float32)
    share = [Fraction(k, max(n - 1, 1)) for k in range(n)]
    bin_of = [next(j for j in range(bins) if s <= Fraction(j + 1, bins)) for s in share]
    for weight in (1.0, 0.1):
        weights = np.full(n, weight, np.float32)
        curve = quantiles(logits, logits > n / 2, weights=weights, bins=bins)
        rows_of = np.bincount(bin_of, minlength=bins)
        np.testing.assert_allclose(curve.weight, weight * rows_of, rtol=1e-6)


def test_empty_bins_are_nan_with_weight_zero():
    logits, labels = np.float32([-np.inf, 0, np.inf]), np.float32([0, 1, 1])
    curve = calibration(logits, labels)
    np.testing.assert_array_equal(curve.weight, [1, 0, 0, 0, 1, 0, 0, 0, 0, 1])
    for mean, values in ((curve.predicted, [0, 0.5, 1]), (curve.observed, [0, 1, 1])):
        expected = np.full(10, np.nan)
        expected[[0, 4, 9]] = values
        np.testing.assert_array_equal(mean, expected)
    tied = quantiles(0 * labels, labels)  # which no quantile can part
    np.testing.assert_array_equal(tied.weight, [3] + [0] * 9)
    assert np.isnan(tied.observed[1:]).all()


@every
def test_nan_in_gives_nan_out(function):
    x, y, w = rows()
    hole = np.where(np.arange(200) == 7, np.float32(np.nan), 0)
    traced = jax.jit(lambda x, y, w: function(x, y, weights=w))
    for got in (
        function(x + hole, y, weights=w),
        function(x - hole, y, weights=w),
        traced(x, y, 0 * w),
        traced(x, y, w + hole),
    ):
        assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(got)[:2])
    soft = traced(x, y + hole, w)
    assert any(np.isnan(leaf).any() for leaf in jax.tree.leaves(soft))


@every
@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        ([1, 2, 1, 2], None, r"labels must be 0, 1 .* got 2 in row 1.* labels == 2"),
        ([-1, 1, 1, 1], None, r"got -1 in row 0.* labels == 1"),
        ([0, np.nan, 1, 1], None, "got nan in row 1.*without a label"),
        ([0, 1, 0, 1], [1, -1, 1, 1], "weights must be 0 or more .* got -1.0 in row 1"),
        ([0, 1, 0, 1], [1, np.inf, 1, 1], "weights .* got inf in row 1"),
        ([0, 1, 0, 1], 0, "weights must not be 0 in all rows"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(function, labels, weights, message):
    with pytest.raises(ValueError, match=message):
        function(np.array([-2.0, -1, 1, 2]), labels, weights=weights)


@every
def test_values_are_judged_as_they_are_computed_with(function):
    # In float32, where 1e300 is ∞ and 1e-60 is 0.
    x, y = np.array([-2.0, 1]), [0, 1]
    with (
        np.errstate(over="ignore"),
        pytest.raises(ValueError, match=r"weights .* got inf in row 0"),
    ):
        function(x, y, weights=np.array([1e300, 1]))
    with pytest.raises(ValueError, match="weights must not be 0 in all rows"):
        function(x, y, weights=np.array([1e-60, 1e-60]))


def test_a_gradient_refuses_them_too():
    with pytest.raises(ValueError, match=r"labels must be 0, 1 .* got 2 in row 1"):
        jax.grad(lambda y: log_loss(jnp.array([-2.0, 1]), y))(jnp.array([0.0, 2]))


@every
@pytest.mark.parametrize("label", [7, np.nan])
def test_a_row_of_no_weight_may_have_any_label(function, label):
    x, weights = np.array([-2.0, 3, 1, 2]), [1, 0, 1, 1]
    got = function(x, [0, label, 1, 0], weights=weights)
    close(got, function(x, [0, 1, 1, 0], weights=weights), rtol=0)
    error, _ = checkify.checkify(jax.jit(function))(
        x, np.array([0, label, 1, 0]), weights=np.array(weights)
    )
    error.throw()


@every
def test_probabilities_in_place_of_logits_get_a_warning(function):
    p = np.array([0.1, 0.9, 0.4])
    with pytest.warns(UserWarning, match="logits all lie in .* look like probabilit"):
        function(p, [0, 1, 1])
    jax.jit(function)(p, [0, 1, 1])
    function(np.zeros(3), [0, 1, 1])  # as of a model that starts from zeros


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("function", [log_loss, roc_auc, calibration])
def test_16_bits_are_computed_and_returned_in_float32(function, dtype):
    logits, labels, weights = rows()
    logits = logits.astype(dtype)
    got = function(logits, labels, weights=weights)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(got))
    wide = function(logits.astype(np.float32), labels, weights=weights)
    close(got, wide, rtol=0)


@pytest.mark.parametrize("function", [log_loss, roc_auc, quantiles])
def test_lists_integers_and_strict_promotion(strict_promotion, function):
    got = function([0.0, 1.0, 2.0], [0, 1, 1], weights=[1, 2, 3])
    assert np.isfinite(jax.tree.leaves(got)[0]).any()


@every
def test_sharded_rows_give_the_same(function):
    data = rows()
    sharding = NamedSharding(jax.make_mesh((2,), ("rows",)), PartitionSpec("rows"))
    logits, labels, weights = jax.device_put(data, sharding)
    got = function(logits, labels, weights=weights)
    close(got, function(*data[:2], weights=data[2]), rtol=1e-6)


@pytest.mark.parametrize("function", [log_loss, calibration])
@pytest.mark.parametrize(
    ("logits", "labels", "weights", "error", "message"),
    [
        (np.ones((4, 1)), np.ones(4), None, ValueError, r"\(rows,\).*got \(4, 1\)"),
        (1.0, 1, None, ValueError, r"got \(\)"),
        (np.ones(0), np.ones(0), None, ValueError, r"at least one.*got \(0,\)"),
        (np.ones(4), np.ones((4, 1)), None, ValueError, r"labels \(4, 1\)"),
        (np.ones(4), np.ones(3), None, ValueError, r"labels \(3,\) and logits \(4,\)"),
        (np.ones(4), np.ones(4), np.ones(3), ValueError, r"weights \(3,\)"),
        (np.ones(4, int), np.ones(4), None, TypeError, r"\(logits, labels\)"),
        (np.ones(4), np.ones(4, complex), None, TypeError, "labels must be"),
        (np.ones(4), np.ones(4), np.ones(4, complex), TypeError, "weights must be"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    function, logits, labels, weights, error, message
):
    with pytest.raises(error, match=message):
        function(logits, labels, weights=weights)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bins": 0}, ValueError, "bins must be at least 1, got 0"),
        ({"bins": 2.5}, TypeError, "float"),
        ({"strategy": "width"}, ValueError, '"uniform" or "quantile", got \'width\''),
    ],
)
def test_options_that_do_not_fit_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        calibration(np.zeros(3), np.ones(3), **options)


@pytest.mark.parametrize("function", [log_loss, calibration])
def test_ranges_are_checked_under_checkify_and_only_there(monkeypatch, function):
    x, y, w = rows()
    checked = jax.jit(checkify.checkify(lambda y, w: function(x, y, weights=w)))
    checked(y, w)[0].throw()
    for arguments, message in (
        ((2 * y, w), "labels must lie in .* 0.* 2"),
        ((y, -w), "weights must lie in"),
    ):
        with pytest.raises(checkify.JaxRuntimeError, match=message):
            checked(*arguments)[0].throw()
    monkeypatch.setattr(checkify, "debug_check", None)
    function(x, y, weights=w)


def distinct(curve, logits):
    """The points of the curve at different thresholds, which are what peers give."""
    threshold = np.asarray(curve.threshold)
    assert np.isin(threshold[1:], logits).all() and threshold[0] == np.inf
    assert (np.diff(threshold[1:]) <= 0).all()
    last = np.append(threshold[1:] != threshold[:-1], True)
    return [np.asarray(a)[last] for a in curve]


@pytest.mark.parametrize("weighted", [False, True])
def test_curves_are_scikit_learns(x64, weighted):
    logits, labels, weights = rows(dtype=np.float64)
    weights = weights if weighted else None
    options = {"sample_weight": weights, "drop_intermediate": False}
    got = distinct(roc_curve(logits, labels, weights=weights), logits)
    close(got, list(metrics.roc_curve(labels, logits, **options)), rtol=1e-13)
    precision, recall, threshold = metrics.precision_recall_curve(
        labels, logits, **options
    )
    got = distinct(precision_recall(logits, labels, weights=weights), logits)
    expected = [precision[::-1], recall[::-1], np.append(np.inf, threshold[::-1])]
    close(got, expected, rtol=1e-13)


def test_the_area_below_the_curve_is_the_auc(x64):
    logits, labels, weights = rows(dtype=np.float64)
    soft = labels * 0.75 + 0.125
    curve = roc_curve(logits, soft, weights=weights)
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    np.testing.assert_allclose(area, roc_auc(logits, soft, weights=weights), 1e-12)


@pytest.mark.parametrize("threshold", [0.0, -0.5, np.inf])
def test_confusion_is_scikit_learns(x64, threshold):
    logits, labels, weights = rows(dtype=np.float64)
    found = confusion(logits, labels, weights=weights, threshold=threshold)
    called = logits >= threshold
    theirs = metrics.confusion_matrix(labels, called, sample_weight=weights)
    got = [found.true_negative, found.false_positive]
    got += [found.false_negative, found.true_positive]
    np.testing.assert_allclose(got, theirs.ravel(), rtol=1e-13)
    names = {"accuracy": "accuracy_score", "recall": "recall_score", "f1": "f1_score"}
    names |= {"precision": "precision_score"} if called.any() else {}
    for name, of_theirs in names.items():
        expected = getattr(metrics, of_theirs)(labels, called, sample_weight=weights)
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-13)
    inverse = metrics.recall_score(labels == 0, ~called, sample_weight=weights)
    np.testing.assert_allclose(found.specificity, inverse, rtol=1e-13)


@pytest.mark.parametrize("costs", [(1, 1), (1, 20), (3, 0), (0, 2)])
def test_no_other_threshold_costs_less(x64, costs):
    logits, labels, weights = rows(dtype=np.float64)

    def cost(threshold):
        found = confusion(logits, labels, weights=weights, threshold=threshold)
        wrong = costs[0] * found.false_positive + costs[1] * found.false_negative
        return wrong / weights.sum()

    names = "false_positive_cost", "false_negative_cost"
    options = dict(zip(names, map(float, costs), strict=True))
    found = best_threshold(logits, labels, weights=weights, **options)
    candidates = np.append(np.unique(logits), np.inf)
    every_cost = np.array([cost(t) for t in candidates])
    np.testing.assert_allclose(found.cost, every_cost.min(), rtol=1e-12, atol=1e-15)
    least = candidates[every_cost <= every_cost.min() + 1e-12]
    assert found.logit == least.max()


@pytest.mark.parametrize("cost", [-1, np.inf, np.nan])
def test_a_cost_that_cannot_be_meant_is_refused(cost):
    rows = np.float32([0, 2]), np.float32([0, 1])
    with pytest.raises(ValueError, match=f"false_positive_cost must be .* got {cost}"):
        best_threshold(*rows, false_positive_cost=cost)
    checked = checkify.checkify(jax.jit(best_threshold))
    error, _ = checked(*rows, false_negative_cost=jnp.float32(-1))
    with pytest.raises(checkify.JaxRuntimeError, match="false_negative_cost must lie"):
        error.throw()


@pytest.mark.parametrize("function", [accuracy, confusion])
def test_a_threshold_is_one_number(function):
    with pytest.raises(ValueError, match="threshold must be a scalar"):
        function([0.0, 2.0], [0, 1], threshold=np.zeros(2))


def test_a_logit_of_infinity_is_called_positive_at_every_threshold():
    logits, labels = np.float32([np.inf, 0]), np.float32([0, 1])
    found = best_threshold(logits, labels, false_positive_cost=10)
    called = confusion(logits, labels, threshold=found.logit)
    wrong = 10 * called.false_positive + called.false_negative
    assert found.cost == wrong / 2 == 5


def test_rates_of_fractional_weights_do_not_fall():
    logits, labels, _ = rows(5000)
    weights = np.random.RandomState(3).rand(5000).astype(np.float32)
    curve = roc_curve(logits, labels, weights=weights)
    for rate in curve[:2]:
        assert (np.diff(rate) >= 0).all()
        np.testing.assert_allclose(rate[-1], 1, rtol=1.2e-7)  # XLA multiplies by 1/x


def test_expected_calibration_error_by_hand(x64):
    logits, labels, weights = rows(dtype=np.float64)
    p = expit(logits)
    place = np.clip(np.ceil(p * 10).astype(int) - 1, 0, 9)
    by_bin = [(weights * (labels - p))[place == k].sum() for k in range(10)]
    got = expected_calibration_error(logits, labels, weights=weights)
    np.testing.assert_allclose(got, np.abs(by_bin).sum() / weights.sum(), rtol=1e-12)


@pytest.mark.parametrize("function", [roc_curve, precision_recall, confusion])
def test_curves_of_nan_are_nan_and_shapes_do_not_depend_on_values(function):
    logits, labels, weights = rows()
    logits[7] = np.nan
    got = jax.jit(function)(logits, labels, weights=weights)
    assert all(np.isnan(leaf).all() for leaf in got)
    got = jax.jit(function)(np.zeros_like(logits), labels, weights=weights + logits)
    assert all(np.isnan(leaf).all() for leaf in got)
    each = jax.vmap(lambda w: function(np.zeros(200, np.float32), labels, weights=w))
    assert {len(leaf) for leaf in each(np.stack([weights, 2 * weights]))} == {2}


def test_recall_of_no_positive_rows_is_nan_and_precision_where_none_is_called_is_1():
    logits = np.float32([-1, 0.5, 2])
    curve = precision_recall(logits, np.zeros(3))
    np.testing.assert_array_equal(curve.precision, [1, 0, 0, 0])
    assert np.isnan(curve.recall).all()
    assert np.isnan(average_precision(logits, np.zeros(3)))
    assert np.isnan(roc_curve(logits, np.ones(3)).false_positive_rate).all()
