"""Metrics of rows that come batch by batch, as of all rows together."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from test_evaluate import rows

from bcejax import metrics
from bcejax.metrics import (
    accuracy,
    confusion,
    expected_calibration_error,
    log_loss,
    of_batches,
)

OF_TWO = [name for name in metrics.__all__ if name[0].islower()]
OF_TWO.remove("of_batches")


def cut(data, sizes=(1, 0, 199)):
    stops = np.cumsum(sizes)
    assert stops[-1] == len(data[0])
    return [
        tuple(a[stop - size : stop] for a in data)
        for size, stop in zip(sizes, stops, strict=True)
    ]


@pytest.mark.parametrize("name", OF_TWO)
@pytest.mark.parametrize("columns", [2, 3])
def test_of_all_rows(name, columns):
    metric, data = getattr(metrics, name), rows()[:columns]
    expected = metric(*data[:2], weights=data[2] if columns == 3 else None)
    found = of_batches(metric, iter(cut(data)))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, 1e-6, 1e-7)
        assert a.dtype == b.dtype and a.shape == b.shape


@pytest.mark.parametrize("name", ["log_loss", "accuracy", "expected_calibration_error"])
def test_of_many_classes(name):
    rng, metric = np.random.default_rng(0), getattr(metrics, name)
    x, y, w = rng.normal(size=(200, 3)), rng.integers(0, 3, 200), rng.random(200)
    x = x.astype(np.float32)
    found = of_batches(metric, cut((x, y, w)))
    np.testing.assert_allclose(found, metric(x, y, weights=w), 1e-6)


def test_options_go_to_the_metric():
    x, y, w = rows()
    batches = cut((x, y, w))
    expected = accuracy(x, y, weights=w, threshold=1.0)
    np.testing.assert_allclose(of_batches(accuracy, batches, threshold=1.0), expected)
    found = of_batches(confusion, batches, threshold=1.0)
    np.testing.assert_allclose(found, confusion(x, y, weights=w, threshold=1.0), 1e-6)
    expected = expected_calibration_error(x, y, weights=w, bins=3)
    found = of_batches(expected_calibration_error, batches, bins=3)
    np.testing.assert_allclose(found, expected, 1e-6)


def test_a_mean_of_many_batches_keeps_its_digits():
    """The sums of 10⁵ batches in float32 would lose three of them."""
    x, y = jnp.array([0.1]), jnp.array([1.0])
    found = of_batches(log_loss, ((x, y, 1.0) for _ in range(100_000)))
    np.testing.assert_allclose(found, log_loss(x, y), 1e-7)


def test_batches_without_a_weight_do_not_count():
    x, y, w = rows()
    nothing = np.full(3, np.nan, np.float32), np.full(3, 7.0), np.zeros(3)
    for metric in (log_loss, confusion, metrics.roc_auc):
        found = of_batches(metric, [nothing, *cut((x, y, w)), nothing])
        np.testing.assert_allclose(found, metric(x, y, weights=w), 1e-6)


def test_columns_of_tables_and_a_scalar_weight():
    x, y, _ = rows()
    batches = [(pd.Series(x[:90]), pd.Series(y[:90]), 2.0), (x[90:], y[90:], 1.0)]
    w = np.where(np.arange(200) < 90, 2.0, 1.0)
    for metric in (log_loss, metrics.roc_auc):
        found = of_batches(metric, batches)
        np.testing.assert_allclose(found, metric(x, y, weights=w), 1e-6)


def test_a_certain_wrong_answer_costs_all():
    x = jnp.array([-jnp.inf])
    batches = [(jnp.zeros(1), [1]), (x, [1])]
    assert of_batches(log_loss, batches) == jnp.inf
    assert of_batches(log_loss, [(x, [1], [0.0]), (x, [0])]) == 0


def test_scalar_labels_and_64_bit_weights():
    x, y, _ = rows()
    x = np.concatenate([x[y == 1], x[y == 0]])
    y = np.sort(y)[::-1]
    n = int(y.sum())
    for metric in (log_loss, metrics.roc_auc):
        found = of_batches(metric, [(x[:n], 1), (x[n:], 0, np.full(len(x) - n, 2**32))])
        expected = metric(x, y, weights=np.where(y == 1, 1.0, 2.0**32))
        np.testing.assert_allclose(found, expected, 1e-6)


@pytest.mark.parametrize("metric", [log_loss, metrics.roc_auc])
def test_an_iterator_may_fill_one_buffer_again_and_again(metric):
    data = rows()
    buffer = [np.empty(50, np.float32) for _ in data]

    def batches():
        for start in range(0, 200, 50):
            for a, b in zip(buffer, data, strict=True):
                a[:] = b[start : start + 50]
            yield tuple(buffer)

    x, y, w = data
    np.testing.assert_allclose(
        of_batches(metric, batches()), metric(x, y, weights=w), 1e-6
    )


def test_logits_that_look_like_probabilities_in_all_batches(recwarn):
    x, y = np.linspace(0, 1, 9, dtype=np.float32), np.arange(9) % 2
    of_batches(log_loss, [(x[:4], y[:4]), (x[4:] * 3, y[4:])])
    assert not recwarn
    with pytest.warns(UserWarning, match="look like probabilities") as found:
        of_batches(log_loss, [(x[:4], y[:4]), (x[4:], y[4:])])
    assert [line.filename for line in found] == [__file__]


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ((np.zeros(2, np.float32), [0, 2]), ValueError, "batch 1: labels must"),
        ((np.zeros(2, np.float32), [0, 1], [1, -1]), ValueError, "batch 1: weights"),
        ((np.zeros(2, np.float32), [0]), ValueError, "batch 1: labels must"),
        ((np.zeros(2, np.float32),), TypeError, "batch 1: a batch must be"),
        (np.zeros(2, np.float32), TypeError, "batch 1: a batch must be"),
        ((np.zeros(2, int), [0, 1]), TypeError, "batch 1: logits must be floating"),
    ],
)
def test_a_wrong_batch_is_named(batch, error, message):
    good = np.array([0.5, -0.5], np.float32), [0, 1]
    with pytest.raises(error, match=message):
        of_batches(log_loss, [good, batch])
    with pytest.raises(error):
        of_batches(metrics.roc_auc, [good, batch])


def test_labels_without_logits_are_refused():
    with pytest.raises(ValueError, match="batch 0: labels must"):
        of_batches(log_loss, [(np.zeros(0, np.float32), [1])])


@pytest.mark.parametrize("metric", [log_loss, confusion, metrics.roc_auc])
def test_no_rows_are_refused(metric):
    for batches in ([], [(np.zeros(0, np.float32), [])]):
        with pytest.raises(ValueError, match="a row of positive weight, got none"):
            of_batches(metric, batches)
