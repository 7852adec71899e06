"""Weights of the classes: against scikit-learn, and taken back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from bcejax.logistic_regression import fit, prior_shift, summary

full = pytest.mark.full
rng = np.random.default_rng(0)
X = rng.normal(size=(200, 3))
Y = (rng.random(200) < expit(X[:, 0] - 2)).astype(int)
W = rng.integers(0, 3, 200)
TOGETHER = {0: 0.5, 1: 4.0}


@pytest.mark.parametrize("kind", ["balanced", TOGETHER])
def test_class_weights_are_those_of_scikit_learn(kind):
    # The same mean loss: C is 1/(l2 Σ w), with the weights of the classes in w.
    v = TOGETHER if kind == TOGETHER else {c: 100 / np.sum(c == Y) for c in (0, 1)}
    total = sum(v[y] for y in Y)
    model = fit(X, Y, class_weight=kind, l2=0.01, tol=1e-9)
    theirs = LogisticRegression(C=100 / total, class_weight=kind, tol=1e-10)
    theirs.fit(X, Y)
    np.testing.assert_allclose(model.weights, theirs.coef_[0], rtol=2e-5)
    np.testing.assert_allclose(model.bias, theirs.intercept_[0], rtol=2e-5)


@full
def test_class_weights_are_weights_of_rows_and_the_summary_knows_them(x64):
    by_hand = W * np.where(Y == 1, 4.0, 0.5)
    model = fit(X, Y, sample_weight=W, class_weight=TOGETHER)
    same = fit(X, Y, sample_weight=by_hand)
    np.testing.assert_allclose(model.weights, same.weights, rtol=1e-12)
    assert model.options.class_weight == (0.5, 4.0)
    ours, other = (
        summary(model, X, Y, sample_weight=W),
        summary(same, X, Y, sample_weight=by_hand),
    )
    assert ours.n == other.n and np.isclose(ours.aic, other.aic, rtol=1e-12)
    # Both classes weigh the same, and the rows as much as before.
    balanced = summary(
        fit(X, Y, sample_weight=W, class_weight="balanced"), X, Y, sample_weight=W
    )
    assert np.isclose(balanced.n, W.sum())
    assert np.isclose(balanced.null_deviance, 2 * W.sum() * np.log(2))
    traced = jax.jit(lambda y: fit(X, y, sample_weight=W, class_weight="balanced"))
    again = fit(X, Y, sample_weight=W, class_weight="balanced")
    np.testing.assert_allclose(traced(Y).weights, again.weights, rtol=1e-10)


@full
def test_a_probability_is_so_much_of_either_class(x64):
    share = rng.random(200)
    twice, both = np.vstack([X, X]), np.repeat([1, 0], 200)
    rows = np.append(share, 1 - share)
    model = fit(X, share, class_weight=TOGETHER, tol=1e-10)
    split = fit(twice, both, sample_weight=rows, class_weight=TOGETHER, tol=1e-10)
    np.testing.assert_allclose(model.weights, split.weights, rtol=1e-8)
    np.testing.assert_allclose(model.bias, split.bias, rtol=1e-8)


@full
def test_without_features_a_shift_gives_the_share_back(x64):
    zeros = np.zeros((200, 1))
    for kind, trained in (
        ("balanced", 0.5),
        (TOGETHER, 4 * Y.mean() / (4 * Y.mean() + 0.5 * (1 - Y.mean()))),
    ):
        model = fit(zeros, Y, class_weight=kind, tol=1e-12)
        assert np.isclose(model.bias, logit(trained), atol=1e-9)
        shifted = prior_shift(model.bias, Y.mean(), trained=trained)
        assert np.isclose(expit(float(shifted)), Y.mean(), rtol=1e-9)
    assert prior_shift(jnp.float16(1), 0.01).dtype == jnp.float16


@full
def test_what_class_weights_and_shares_are_refused():
    for kind in ("rare", [1, 2], {0: 1, 2: 3}):
        with pytest.raises(ValueError, match='class_weight must be "balanced" or'):
            fit(X, Y, class_weight=kind)
    with pytest.raises(ValueError, match="class_weight must be positive and finite"):
        fit(X, Y, class_weight={1: -1})
    with pytest.raises(ValueError, match=r"labels must be .* got 2 in row 0"):
        fit(X, np.append(2, Y[1:]), class_weight="balanced")
    with pytest.raises(ValueError, match="sample_weight must have the shape"):
        fit(X, Y, sample_weight=np.ones(3), class_weight="balanced")
    for share in (0, 1, np.nan):
        with pytest.raises(ValueError, match="share must lie between 0 and 1"):
            prior_shift(jnp.zeros(3), share)
    with pytest.raises(ValueError, match=r"got \(2,\) beside \(3,\)"):
        prior_shift(jnp.zeros(3), np.array([0.1, 0.2]))
    with pytest.raises(TypeError, match="logits must be bfloat16"):
        prior_shift(jnp.zeros(3, int), 0.1)
