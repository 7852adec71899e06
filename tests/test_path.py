"""Fits along penalties, against single fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bcejax import metrics
from bcejax.logistic_regression import (
    fit,
    fit_multinomial,
    fit_path,
    predict_logits,
)

rng = np.random.default_rng(0)
N, D = 150, 5
X, HELD_X = (np.float32(rng.normal(size=(N, D))) for _ in range(2))
TRUE = rng.normal(size=(D, 3))
Y, HELD_Y = (np.argmax(x @ TRUE + 2 * rng.gumbel(size=(N, 3)), 1) for x in (X, HELD_X))
TWO, HELD_TWO = (Y > 0).astype(int), (HELD_Y > 0).astype(int)
L2S = np.array([0.1, 1e-3, 1.0, 1e-2, 1e-4])


@pytest.mark.full
def test_a_path_is_the_single_fits_and_scores_them():
    path = fit_path(X, TWO, L2S, held_out=(HELD_X, HELD_TWO))
    losses = []
    for i, l2 in enumerate(L2S):
        single = fit(X, TWO, l2=l2)
        np.testing.assert_allclose(path.models.weights[i], single.weights, atol=2e-4)
        logits = predict_logits(single, HELD_X)
        losses.append(metrics.log_loss(logits, HELD_TWO))
        accuracy = metrics.accuracy(logits, HELD_TWO)
        np.testing.assert_allclose(path.held_out_accuracy[i], accuracy, atol=1e-6)
    np.testing.assert_allclose(path.held_out_loss, losses, rtol=1e-4)
    assert path.best == np.argmin(losses) and path.model.l2 == L2S[path.best]
    assert np.all(path.models.converged) and np.all(path.reached)


@pytest.mark.full
def test_a_path_of_many_classes_is_the_single_fits():
    path = fit_path(X, Y, L2S, held_out=(HELD_X, HELD_Y, np.ones(N)), refit=True)
    for i, l2 in enumerate(L2S):
        single = fit_multinomial(X, Y, l2=l2)
        np.testing.assert_allclose(path.models.weights[i], single.weights, atol=1e-3)
        logits = np.asarray(predict_logits(single, HELD_X))
        right = np.mean(logits.argmax(1) == HELD_Y)
        np.testing.assert_allclose(path.held_out_accuracy[i], right, atol=1e-6)
    both = np.concatenate([X, HELD_X]), np.concatenate([Y, HELD_Y])
    again = fit_multinomial(*both, l2=L2S[path.best])
    np.testing.assert_allclose(path.model.weights, again.weights, atol=1e-3)
    dense = fit_path(X, np.eye(3)[Y], L2S, held_out=(HELD_X, np.eye(3)[HELD_Y]))
    np.testing.assert_allclose(
        dense.held_out_accuracy, path.held_out_accuracy, atol=1e-6
    )


@pytest.mark.full
def test_an_offset_is_that_of_the_single_fits():
    offset, held_offset = X[:, 0] - 1, 1 + HELD_X[:, 1]
    weight, held_weight = (0.5 + np.abs(x[:, 2]) for x in (X, HELD_X))
    held_out = (HELD_X, HELD_TWO, held_weight, held_offset)
    given = {"sample_weight": weight, "offset": offset}
    path = fit_path(X, TWO, L2S, held_out=held_out, refit=True, **given)
    for i, l2 in enumerate(L2S):
        single = fit(X, TWO, l2=l2, **given)
        np.testing.assert_allclose(path.models.weights[i], single.weights, atol=2e-4)
        logits = predict_logits(single, HELD_X) + held_offset
        loss = metrics.log_loss(logits, HELD_TWO, weights=held_weight)
        np.testing.assert_allclose(path.held_out_loss[i], loss, rtol=1e-4)
    all_rows = (
        np.concatenate([a, b]) for a, b in zip((X, TWO), held_out, strict=False)
    )
    again = fit(
        *all_rows,
        l2=L2S[path.best],
        sample_weight=np.concatenate([weight, held_weight]),
        offset=np.concatenate([offset, held_offset]),
    )
    np.testing.assert_allclose(path.model.weights, again.weights, atol=2e-4)
    assert path.models.options.shifted and path.model.options.shifted


@pytest.mark.full
def test_it_stops_when_the_loss_has_turned():
    l2s = np.logspace(1, -6, 14)  # of 15 two have the same loss
    whole = fit_path(X[:40], Y[:40], l2s, held_out=(HELD_X, HELD_Y))
    path = fit_path(X[:40], Y[:40], l2s, held_out=(HELD_X, HELD_Y), patience=2)
    assert path.best == whole.best
    np.testing.assert_array_equal(path.reached, np.arange(14) <= path.best + 2)
    np.testing.assert_array_equal(np.isnan(path.held_out_loss), ~path.reached)


@pytest.mark.full
def test_jit_and_penalties_of_columns():
    l2s = L2S[:, None] * jnp.array([1.0, 2, 0, 1, 3])

    def one(x, y):
        return fit_path(x, y, l2s, classes=3, held_out=(HELD_X, HELD_Y))

    path = jax.jit(one)(X, Y)
    single = fit_multinomial(X, Y, l2=l2s[1])
    np.testing.assert_allclose(path.models.weights[1], single.weights, atol=1e-3)
    assert path.models.l2.shape == (5, D)


BAD = {
    "negative": ({"l2s": [1.0, -1.0]}, "l2s must be 0 or more.* -1.0 as number 1"),
    "none": ({"l2s": []}, "l2s must hold penalties"),
    "a scalar": ({"l2s": 1.0}, "l2s must hold penalties"),
    "refit": ({"refit": True}, "need held_out rows"),
    "patience": ({"patience": 2}, "need held_out rows"),
    "alone": ({"held_out": (X,)}, "held_out must be .features, labels"),
    "offset": ({"labels": Y, "offset": 1.0}, "offset must be left at None"),
    "label": ({"labels": Y, "held_out": (X, Y + 1)}, "0 to 2, got 3 in row"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=list(BAD))
def test_what_cannot_be_meant_is_refused(change, message):
    given = {"features": X, "labels": TWO, "l2s": L2S}
    with pytest.raises(ValueError, match=message):
        fit_path(**(given | change))


@pytest.mark.full
def test_values_of_held_out_rows_are_refused():
    broken = np.where(HELD_X > 2, np.nan, HELD_X)
    with pytest.raises(ValueError, match="features must be finite"):
        fit_path(X, TWO, L2S, held_out=(broken, HELD_TWO))


@pytest.mark.full
def test_a_tiny_loss_is_followed_to_its_end():
    root, true = np.arange(1, 21) ** -0.6, np.random.default_rng(0).normal(size=(20, 3))
    x = np.float32(np.random.default_rng(1).normal(size=(300, 20)) * root)
    path = fit_path(x, np.argmax(x @ true, 1), np.logspace(-2, -8, 10))
    assert path.models.loss[-1] < 1e-3
    assert np.all(path.models.converged)
