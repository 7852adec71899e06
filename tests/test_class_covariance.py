"""The covariance of a fit of many classes, against statsmodels and as on paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from bcejax.logistic_regression import (
    MultinomialFit,
    _rows,
    covariance,
    fit,
    fit_multinomial,
    summary,
)

rng = np.random.default_rng(0)
N, D, K = 240, 3, 4
X = rng.normal(size=(N, D)) * [1, 10, 0.1] + [0, 3, 0]
Y = np.argmax(X @ (rng.normal(size=(D, K)) / [[1], [10], [0.1]]), 1)
Y = np.where(rng.random(N) < 0.6, Y, rng.integers(0, K, N))
W = rng.integers(0, 3, N) * 1.0
GROUPS = np.arange(N) % 20
KINDS = ["fisher", "sandwich", "HC1", "cluster"]


def on_paper(model, x, y, l2=0.0, w=None, kind="fisher", intercept=True):
    """Dense labels y. In float64, class by class, by the inverse of a matrix."""
    w = np.ones(len(x)) if w is None else w
    weights, bias = np.float64(model.weights), np.float64(model.bias)
    p = softmax(x @ weights + bias, 1)
    z = np.append(x, np.ones((len(x), 1)), 1) if intercept else x
    k, total = z.shape[1], w.sum()
    of_penalty = np.append(np.broadcast_to(l2, D), 0)[:k]
    h = np.zeros((K - 1, k, K - 1, k))
    for a in range(1, K):
        for b in range(1, K):
            curvature = w * p[:, a] * ((a == b) - p[:, b])
            shrink = total * ((a == b) - 1 / K) * np.diag(of_penalty)
            h[a - 1, :, b - 1] = z.T @ (curvature[:, None] * z) + shrink
    inverse = np.linalg.inv(h.reshape((K - 1) * k, -1))
    if kind == "fisher":
        return inverse
    full = np.append(weights, bias[None], 0)[:k]
    scores = (p - y)[:, 1:, None] * z[:, None] + (of_penalty[:, None] * full).T[1:]
    scores = w[:, None] * scores.reshape(len(x), -1)
    factor = total / (total - (K - 1) * k) if kind == "HC1" else 1
    if kind == "cluster":
        scores = np.stack([scores[g == GROUPS].sum(0) for g in range(20)])
        factor = 20 / 19 * (total - 1) / (total - (K - 1) * k)
        return factor * inverse @ (scores.T @ scores) @ inverse
    middle = scores.T @ (scores / np.where(w, w, 1)[:, None])
    return factor * inverse @ middle @ inverse


def close(got, expected, rtol):
    """To so much of the standard errors."""
    error = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        got / np.outer(error, error), expected / np.outer(error, error), atol=rtol
    )


def options_of(kind):
    return {"kind": kind, "groups": GROUPS if kind == "cluster" else None}


def anes96():
    import statsmodels.api as sm

    data = sm.datasets.anes96.load_pandas()
    peer = sm.MNLogit(data.endog, sm.add_constant(data.exog))
    # statsmodels has the bias of a class first.
    order = np.concatenate([np.r_[1:6, 0] + 6 * i for i in range(6)])
    return data, peer, np.ix_(order, order)


def test_standard_errors_of_anes96_are_those_of_statsmodels():
    data, peer, order = anes96()
    expected = np.asarray(peer.fit(disp=0, tol=1e-13).cov_params())[order]
    model = fit_multinomial(data.exog, data.endog, tol=1e-9)
    got = covariance(model, data.exog, data.endog)
    close(got, expected, 1e-5)
    errors = np.sqrt(np.diag(got))
    np.testing.assert_allclose(errors, np.sqrt(np.diag(expected)), rtol=1e-5)


def test_robust_errors_of_anes96_are_those_of_statsmodels():
    data, peer, order = anes96()
    peer = peer.fit(disp=0, tol=1e-13, cov_type="HC0")
    expected = np.asarray(peer.cov_params())[order]
    model = fit_multinomial(data.exog, data.endog, tol=1e-9)
    close(covariance(model, data.exog, data.endog, kind="sandwich"), expected, 1e-5)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("intercept", [True, False])
def test_it_is_that_of_the_contrasts_as_on_paper(x64, kind, intercept):
    l2 = np.array([0.0, 0.03, 0.001])
    options = {"sample_weight": W, "fit_intercept": intercept}
    y = Y if intercept else rng.dirichlet([1, 2, 0.5, 1], N)  # classes or soft labels
    model = fit_multinomial(X, y, l2=l2, tol=1e-9, **options)
    assert model.converged
    got = covariance(model, X, y, sample_weight=W, **options_of(kind))
    dense = np.eye(K)[y] if y.ndim == 1 else y
    close(got, on_paper(model, X, dense, l2, W, kind, intercept), 1e-7)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_that_of_two_classes_is_that_of_the_fit_of_two_classes(x64, kind):
    y = (Y > 1).astype(int)
    of_two, of_many = fit(X, y, l2=0.01, tol=1e-9), fit_multinomial(X, y, l2=0.02)
    expected = covariance(of_two, X, y, **options_of(kind))
    close(covariance(of_many, X, y, **options_of(kind)), expected, 1e-5)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["fisher", "sandwich"])
def test_float32_jit_and_blocks_keep_the_digits_of_raw_columns(kind, monkeypatch):
    x = np.float32(X + np.array([0, 2000, 0]))  # of which float32 has 7 digits
    model = fit_multinomial(np.float64(x), Y, l2=1e-3, tol=1e-9)
    expected = on_paper(model, np.float64(x), np.eye(K)[Y], 1e-3, None, kind)
    given = jnp.asarray(x), jnp.asarray(Y)
    of_data = jax.jit(lambda m, x, y: covariance(m, x, y, kind=kind))
    error = np.sqrt(np.diag(expected))[np.r_[0:3, 4:7, 8:11]]  # without the biases
    for block in (_rows.BLOCK, 2000):
        monkeypatch.setattr(_rows, "BLOCK", block)
        jax.clear_caches()
        for got in (covariance(model, *given, kind=kind), of_data(model, *given)):
            assert got.dtype == jnp.float32
            close(got, expected, 2e-3)
            found = np.sqrt(np.diag(got))[np.r_[0:3, 4:7, 8:11]]
            np.testing.assert_allclose(found, error, rtol=1e-3)
    jax.clear_caches()


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_data_leave_undetermined_has_variance_infinity(x64, kind):
    x = np.concatenate([X, X[:, :1] - 2 * X[:, 1:2], np.ones((N, 1))], 1)
    model = fit_multinomial(x, Y)
    got = np.asarray(covariance(model, x, Y, **options_of(kind)))
    got = got.reshape(K - 1, D + 3, K - 1, D + 3)
    of_rest = covariance(fit_multinomial(X, Y), X, Y, **options_of(kind))
    for a in range(K - 1):
        variance = np.diag(got[a, :, a])
        assert np.isinf(variance).tolist() == [True, True, False, True, True, True]
        rest = np.asarray(of_rest).reshape(K - 1, D + 1, K - 1, D + 1)[a, 2, a, 2]
        np.testing.assert_allclose(variance[2], rest, rtol=1e-4)


@pytest.mark.full
def test_a_class_without_rows_has_an_undetermined_bias():
    model = fit_multinomial(X, Y, l2=0.01, classes=K + 1)
    got = np.diag(covariance(model, X, Y)).reshape(K, D + 1)
    assert np.isinf(got[-1, -1]) and np.isfinite(got[:-1]).all()


@pytest.mark.full
def test_weights_count_rows_and_bfloat16_is_read():
    x = jnp.asarray(X, jnp.bfloat16)
    order = np.repeat(np.arange(N), W.astype(int))
    model = fit_multinomial(x, Y, l2=0.01, sample_weight=W)
    repeated = fit_multinomial(x[order], Y[order], l2=0.01)
    got = covariance(model, x, Y, sample_weight=W)
    close(got, np.asarray(covariance(repeated, x[order], Y[order])), 1e-3)


def model_of(d, classes):
    """A model that nobody fitted: what cannot be meant is refused all the same."""
    return MultinomialFit(np.zeros((d, classes)), np.zeros(classes), *np.zeros(6))


def test_what_it_cannot_do_is_refused_in_words():
    model = model_of(D, K)
    for change, message in (
        ({"features": lambda: []}, "features must be in memory for many classes"),
        ({"offset": 1.0}, "offset must be left out"),
        ({"fit_intercept": False}, "fit_intercept must be True, as in the fit"),
        ({"labels": Y + 1}, r"the integers 0 to 3, got 4 in row"),
        ({"features": X[:, :2]}, "features must have the 3 columns of the fit, got 2"),
        ({"kind": "HC3"}, "kind must be 'fisher'"),
        ({"kind": "cluster"}, "groups must be given"),
    ):
        given = {"features": X, "labels": Y} | change
        with pytest.raises(ValueError, match=message):
            covariance(model, **given)
    wide = np.zeros((4, 300))
    with pytest.raises(ValueError, match="up to 2,048 contrasts, got 2,709: 9 classes"):
        covariance(model_of(300, 10), wide, np.arange(4))
    with pytest.raises(
        ValueError, match="model must be of two classes, got one of 4: "
    ):
        summary(model, X, Y)


@pytest.mark.full
def test_a_row_that_is_not_finite_is_named():
    x = X.copy()
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="features must be finite, got nan in row 3"):
        covariance(model_of(D, K), x, Y)
