"""covariance and summary of batches: those of the same rows in memory, and formulas."""

import numpy as np
import pytest
import statsmodels.api as sm
from test_batches import L2, N, _small_chunks, cut, made  # noqa: F401

from bcejax.logistic_regression import covariance, fit_batches, summary


def in_float64(model, data, kind):
    """The covariance as its formula says, of fits with a bias."""
    x, y, w, offset = (np.float64(a) for a in data)
    z = np.append(x, np.ones((N, 1)), 1)
    params = np.append(model.weights, model.bias).astype(np.float64)
    p = 1 / (1 + np.exp(-(z @ params + offset)))
    l2 = np.append(L2, 0)
    h = (z * (w * p * (1 - p))[:, None]).T @ z + w.sum() * np.diag(l2)
    inverse = np.linalg.inv(h)
    if kind == "fisher":
        return inverse
    scores = (p - y)[:, None] * z + l2 * params
    return inverse @ ((scores * w[:, None]).T @ scores) @ inverse


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("sandwich", np.float32),
        pytest.param("fisher", np.float32, marks=pytest.mark.full),
        pytest.param("fisher", np.float64, marks=pytest.mark.full),
        pytest.param("sandwich", np.float64, marks=pytest.mark.full),
    ],
)
def test_the_covariance_of_batches_is_that_of_the_formula(kind, dtype):
    data = made(dtype)
    model = fit_batches(cut(data, [17]), l2=L2)
    one, other = (covariance(model, cut(data, s), kind=kind) for s in ([9], [0, 130]))
    np.testing.assert_array_equal(one, other)
    expected = in_float64(model, data, kind)
    size = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        one / np.outer(size, size), expected / np.outer(size, size), atol=1e-5
    )


@pytest.mark.full
def test_what_the_data_leave_undetermined_has_variance_infinity():
    x, *others = made()
    data = np.append(x[:, :3], x[:, :1] + x[:, 1:2], 1), *others
    model = fit_batches(cut(data, [17]))
    expected = covariance(model, *data[:2], sample_weight=data[2], offset=data[3])
    found = np.asarray(covariance(model, cut(data, [17])))
    assert np.isinf(found).any()
    np.testing.assert_allclose(found, expected, 1e-4)


@pytest.mark.full
def test_the_summary_of_batches_is_that_of_statsmodels():
    x, y, w, offset = made()
    for data in ((x, y), (x, y, w, offset)):
        model = fit_batches(cut(data, [17]))
        found = summary(model, cut(data, [50]))
        weight, shift = data[2:] if len(data) > 2 else (None, None)
        theirs = sm.GLM(
            y,
            sm.add_constant(x),
            family=sm.families.Binomial(),
            freq_weights=weight,
            offset=shift,
        ).fit(tol=1e-12)
        order = [1, 2, 3, 4, 0]
        errors = [line.standard_error for line in found.coefficients]
        np.testing.assert_allclose(errors, theirs.bse[order], 1e-5)
        np.testing.assert_allclose(found.deviance, theirs.deviance, 1e-6)
        np.testing.assert_allclose(found.null_deviance, theirs.null_deviance, 1e-6)
        assert found.n == (N if weight is None else w.sum())
        assert found.escapes == (0,) * 5
        in_memory = summary(model, x, y, sample_weight=weight, offset=shift)
        np.testing.assert_allclose(found.aic, in_memory.aic, 1e-6)
        np.testing.assert_allclose(found.bic, in_memory.bic, 1e-6)


@pytest.mark.full
def test_batches_that_are_not_those_of_the_fit_are_refused():
    data = made()
    batches = cut(data, [17])
    model = fit_batches(batches, l2=L2)
    cases = [
        ((batches, data[1]), {}, TypeError, "labels must be a part of each batch"),
        ((batches,), {"offset": 1.0}, TypeError, "offset must be a part of each"),
        ((cut(data[:2], [17]),), {}, ValueError, "sample_weight must be given: the mo"),
        ((batches,), {"fit_intercept": False}, ValueError, "must be True, as in the"),
        (
            (batches,),
            {"kind": "robust"},
            ValueError,
            "kind must be .fisher., .sandwich",
        ),
        ((lambda: [],), {}, ValueError, "a batch with rows, got none"),
        (
            (cut((data[0][:, :3], *data[1:]), [17]),),
            {"l2": 0.1},
            ValueError,
            "must have the 4 columns of the fit, got 3",
        ),
    ]
    for given, options, error, message in cases:
        for function in (covariance, summary):
            with pytest.raises(error, match=message):
                function(model, *given, **options)
    other = made(seed=1)
    with pytest.raises(ValueError, match="must be those of the fit, whose loss is"):
        summary(model, cut(other, [17]))
