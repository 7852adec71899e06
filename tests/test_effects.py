"""Clusters, marginal effects and tests of several columns: against statsmodels."""

import jax
import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import gammaln
from statsmodels.stats.sandwich_covariance import cov_white_simple

from bcejax.logistic_regression import (
    covariance,
    fit,
    likelihood_ratio_test,
    marginal_effects,
    score_test,
    summary,
)

full = pytest.mark.full


def fair():
    """Every tenth row of a data set of statsmodels, with ones, and made-up groups."""
    table = sm.datasets.fair.load_pandas()
    x, y = table.exog.to_numpy(float)[::10], (table.endog > 0).to_numpy(float)[::10]
    z = np.column_stack([x, np.ones(len(x))])
    return x, y, z, np.random.RandomState(0).randint(0, 30, len(y))


def extra(x):
    return np.column_stack([x[:, 0] ** 2, x[:, 1] * x[:, 2]])


def check_effects(x, y, z, at, place):
    ours = marginal_effects(fit(x, y, tol=1e-12), x, y, at=at)
    theirs = sm.Logit(y, z).fit(disp=0).get_margeff(place)
    for got, expected in (
        (ours.effect, theirs.margeff),
        (ours.standard_error, theirs.margeff_se),
        (ours.z, theirs.tvalues),
        (ours.p_value, theirs.pvalues),
        (np.stack([ours.low, ours.high], 1), theirs.conf_int()),
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-12)


def test_marginal_effects_are_those_of_statsmodels(x64):
    check_effects(*fair()[:3], "rows", "overall")


@full
def test_marginal_effects_at_the_mean_row_are_those_of_statsmodels(x64):
    check_effects(*fair()[:3], "mean", "mean")


@full
def test_a_weight_is_so_many_rows_in_effects_and_clusters(x64):
    x, y, z, groups = fair()
    w = np.random.RandomState(1).randint(0, 3, len(y))
    rows = np.repeat(np.arange(len(y)), w)
    model, kind = fit(x, y, sample_weight=w, tol=1e-12), {"kind": "cluster"}
    ours = marginal_effects(model, x, y, sample_weight=w, groups=groups, **kind)
    by_groups = {"cov_type": "cluster", "cov_kwds": {"groups": groups[rows]}}
    theirs = sm.Logit(y[rows], z[rows]).fit(disp=0, **by_groups).get_margeff()
    np.testing.assert_allclose(ours.effect, theirs.margeff, rtol=1e-7)
    np.testing.assert_allclose(ours.standard_error, theirs.margeff_se, rtol=1e-7)


@full
def test_hc1_and_clusters_are_those_of_statsmodels(x64):
    x, y, z, groups = fair()
    model, logit = fit(x, y, tol=1e-12), sm.Logit(y, z)
    # statsmodels gives HC0 for cov_type="HC1" of models that are not linear.
    theirs = cov_white_simple(logit.fit(disp=0), use_correction=True)
    ours = covariance(model, x, y, kind="HC1")
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)
    theirs = logit.fit(disp=0, cov_type="cluster", cov_kwds={"groups": groups})
    named = np.array([f"school {g}" for g in groups])
    table = summary(model, x, y, kind="cluster", groups=named)
    found = [(c.standard_error, c.p_value) for c in table.coefficients]
    expected = np.stack([theirs.bse, theirs.pvalues], 1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert "standard errors: cluster" in str(table)
    traced = jax.jit(lambda g: covariance(model, x, y, kind="cluster", groups=g))
    np.testing.assert_allclose(traced(groups), theirs.cov_params(), rtol=1e-7)


@full
def test_tests_of_several_columns_are_those_of_statsmodels(x64):
    x, y, z, _ = fair()
    glm, more = sm.GLM(y, z, sm.families.Binomial()), extra(x)
    small, theirs = fit(x, y, tol=1e-12), glm.fit(tol=1e-14)
    statistic, p_value, _ = glm.score_test(theirs.params, exog_extra=more)
    test = score_test(small, x, y, more)
    np.testing.assert_allclose(test.statistic, statistic[0], rtol=1e-8)
    np.testing.assert_allclose(test.p_value, p_value[0], rtol=1e-8)
    assert test.degrees_of_freedom == 2
    each = jax.vmap(lambda column: score_test(small, x, y, column), in_axes=1)(more)
    for column, statistic in zip(more.T, each.statistic, strict=True):
        expected = glm.score_test(theirs.params, exog_extra=column[:, None])[0]
        np.testing.assert_allclose(statistic, expected[0], rtol=1e-8)
    assert np.isnan(score_test(small, x, y, x[:, 0] - 3 * x[:, 1]).statistic)

    wide = np.column_stack([x, more])
    tables = summary(small, x, y), summary(fit(wide, y), wide, y)
    test = likelihood_ratio_test(*tables)
    gained = sm.GLM(y, np.column_stack([z, more]), sm.families.Binomial()).fit().llf
    np.testing.assert_allclose(test.statistic, 2 * (gained - theirs.llf), rtol=1e-7)
    assert test.degrees_of_freedom == 2 and isinstance(test.p_value, float)


@full
def test_tests_refuse_what_they_cannot_compare(x64):
    x, y, *_ = fair()
    model = fit(x, y)
    table, few = summary(model, x, y), summary(fit(x[:, 1:], y), x[:, 1:], y)
    rare = y * (np.arange(len(y)) % 3 > 0)  # other labels
    other = summary(fit(x, rare), x, rare)
    named = summary(fit(x[:, 1:], y), x[:, 1:], y, names=list("abcdefg"))
    ridge = summary(fit(x, y, l2=0.1), x, y)
    for small, large, message in (
        (few, other, "same rows, labels, .* but null_deviance is"),
        (table, few, "large must have all columns of small"),
        (table, table, "some more, but small has"),
        (named, table, "but small has a, b, c"),
        (few, ridge, "large must be of a fit without a penalty"),
        (few, summary(model, x, y), None),
    ):
        if message:
            with pytest.raises(ValueError, match=message):
                likelihood_ratio_test(small, large)
        else:
            assert 0 <= likelihood_ratio_test(small, large).p_value <= 1
    with pytest.raises(TypeError, match="small must be a Summary, got Fit"):
        likelihood_ratio_test(model, model)
    for message, arguments in (
        ("extra must have one row per row", (model, x, y, np.ones(3))),
        ("without a penalty", (fit(x, y, l2=0.1), x, y, x[:, 0])),
        ("labels must be 0, 1 or", (model, x, 2 * y, x[:, 0] ** 2)),
    ):
        with pytest.raises(ValueError, match=message):
            score_test(*arguments)
    for message, options in (
        ('at must be "rows" or "mean"', {"at": "overall"}),
        ("level must lie", {"level": 95}),
        ("kind must be", {"kind": "HC3"}),
    ):
        with pytest.raises(ValueError, match=message):
            marginal_effects(model, x, y, **options)


@full
def test_aic_of_grouped_counts_lacks_their_binomial_coefficients():
    table = sm.datasets.star98.load_pandas()
    x, counts = table.exog.to_numpy(float), table.endog.to_numpy(float)
    n = counts.sum(1)
    share = counts[:, 0] / n
    ours = summary(fit(x, share, sample_weight=n), x, share, sample_weight=n)
    glm = sm.GLM(counts, sm.add_constant(x), sm.families.Binomial()).fit()
    ways = gammaln(n + 1) - gammaln(counts + 1).sum(1)
    np.testing.assert_allclose(ours.aic - glm.aic, 2 * ways.sum(), rtol=1e-9)
    np.testing.assert_allclose(ours.deviance, glm.deviance, rtol=1e-9)
