"""Covariance and summary: against statsmodels, refits, and 50 digits."""

import json
from dataclasses import FrozenInstanceError
from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import statsmodels.api as sm
from jax.experimental import checkify
from jax.sharding import NamedSharding, PartitionSpec
from scipy.special import expit
from sklearn.datasets import load_breast_cancer

from bcejax.logistic_regression import Fit, covariance, fit, summary
from bcejax.logistic_regression._outcome import Options
from bcejax.logistic_regression._table import shortened

KINDS = {"fisher": "nonrobust", "sandwich": "HC0"}  # as statsmodels calls them
kinds = pytest.mark.parametrize("kind", KINDS)


def dataset(name):
    """Features and labels that come with statsmodels, made-up counts and offsets."""
    table = getattr(sm.datasets, name).load_pandas()
    x, y = table.exog.to_numpy(float), (table.endog > 0).to_numpy(float)
    random = np.random.RandomState(0)
    return x, y, random.randint(1, 4, len(y)), random.randn(len(y))


def with_ones(x):
    return np.column_stack([x, np.ones(len(x))])


def somewhere(weights, bias=0.0, dtype=np.float64):
    """A model from nowhere: its covariance is that of the place it stands at."""
    weights, unknown = np.asarray(weights, dtype), dtype(np.nan)
    verdict = np.int32(0), np.True_, dtype(0), np.False_
    return Fit(weights, dtype(bias), unknown, unknown, *verdict, l2=dtype(0))


def small(dtype=np.float64, d=3):
    random = np.random.RandomState(0)
    x = random.randn(60, d).astype(dtype)
    return x, (random.rand(60) < expit(x.sum(1))).astype(dtype)


def at(model, x, y, weights=None, l2=0.0, kind="fisher", **options):
    """`covariance` with arguments of one type, so that JAX compiles it once a shape."""
    weights = np.ones_like(y) if weights is None else weights.astype(y.dtype)
    l2 = np.asarray(l2, y.dtype)
    return covariance(model, x, y, sample_weight=weights, l2=l2, kind=kind, **options)


def columns(table, *names):
    return np.array([[getattr(c, n) for n in names] for c in table.coefficients]).T


def newton(x, y, w, l2):
    """The minimiser in float64, written out: an independent `fit`."""
    z, penalty = with_ones(x), np.append(l2 * np.ones(x.shape[1]), 0)
    beta = np.zeros(len(penalty))
    for _ in range(30):
        p = expit(z @ beta)
        slope = z.T @ (w * (p - y)) / w.sum() + penalty * beta
        curvature = (z.T * (w * p * (1 - p))) @ z / w.sum() + np.diag(penalty)
        beta -= np.linalg.solve(curvature, slope)
    return beta, curvature * w.sum()


def exactly(x, model):
    """The inverse of the Hessian at `model`, every number as given, by mpmath."""
    with mpmath.workdps(60):
        z = mpmath.matrix(with_ones(np.float64(x)).tolist())
        logits = z * mpmath.matrix(np.float64([*model.weights, model.bias]).tolist())
        root = [1 / (mpmath.exp(t / 2) + mpmath.exp(-t / 2)) for t in logits]
        rows = mpmath.matrix(z)
        for i in range(z.rows):
            for j in range(z.cols):
                rows[i, j] = root[i] * z[i, j]
        return np.array(((rows.T * rows) ** -1).tolist(), float)


def errors(got, exact):
    """Differences of the elements, in units of the standard errors beneath them."""
    scale = np.sqrt(np.diag(exact))
    return np.abs(np.float64(got) - exact) / np.outer(scale, scale)


def check_against_glm(table, theirs):
    """Every figure that both have; theirs is a GLM of statsmodels, the bias last."""
    low, high = theirs.conf_int(1 - table.level).T
    for name, expected in (
        ("value", theirs.params),
        ("standard_error", theirs.bse),
        ("z", theirs.tvalues),
        ("low", low),
        ("high", high),
        ("odds_ratio", np.exp(theirs.params)),
        ("odds_low", np.exp(low)),
        ("odds_high", np.exp(high)),
    ):
        np.testing.assert_allclose(columns(table, name)[0], expected, rtol=1e-6)
    for got, expected in (
        (np.log(columns(table, "p_value")), np.log([theirs.pvalues])),  # 10⁻¹³⁹ is one
        (table.deviance, theirs.deviance),
        (table.null_deviance, theirs.null_deviance),
        (table.log_likelihood, theirs.llf),
        (table.mcfadden_r2, theirs.pseudo_rsquared("mcf")),
        (table.aic, theirs.aic),
        (table.bic, theirs.bic_llf),
        (table.n, theirs.model.wnobs),
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def both_fits(x, y, weights, offset, kind="fisher"):
    options = {"sample_weight": weights, "offset": offset}
    model = fit(x, y, **options, tol=1e-11, max_steps=2000)
    family = sm.families.Binomial()
    glm = sm.GLM(y, with_ones(x), family, freq_weights=weights, offset=offset)
    return model, options | {"kind": kind}, glm.fit(tol=1e-13, cov_type=KINDS[kind])


@kinds
@pytest.mark.parametrize("case", ["plain", "weights", "offset", "both"])
def test_summary_is_that_of_statsmodels_glm_on_fair(x64, case, kind):
    x, y, weights, offset = dataset("fair")
    weights = weights if case in ("weights", "both") else np.ones(len(y), int)
    offset = offset if case in ("offset", "both") else np.zeros(len(y))
    model, options, theirs = both_fits(x, y, weights, offset, kind)
    check_against_glm(summary(model, x, y, **options), theirs)
    got, expected = covariance(model, x, y, **options), theirs.cov_params()
    assert errors(got, expected).max() < 1e-6


def test_deviance_of_soft_labels_is_that_of_statsmodels(x64):
    x, y, weights, offset = dataset("fair")
    y = np.random.RandomState(1).choice([0, 1, 0.1, 0.7], len(y))
    model, options, theirs = both_fits(x, y, weights, offset)
    table = summary(model, x, y, **options)
    np.testing.assert_allclose(table.deviance, theirs.deviance, rtol=1e-8)
    np.testing.assert_allclose(table.null_deviance, theirs.null_deviance, rtol=1e-8)
    assert table.deviance < -2 * table.log_likelihood  # which no model could bring to 0


@kinds
def test_summary_is_that_of_statsmodels_logit_on_spector(x64, kind):
    x, y, *_ = dataset("spector")
    model = fit(x, y, tol=1e-12, max_steps=1000)
    theirs = sm.Logit(y, with_ones(x)).fit(disp=0, tol=1e-13, cov_type=KINDS[kind])
    table = summary(model, x, y, kind=kind, level=0.8)
    for got, expected in (
        (columns(table, "value")[0], theirs.params),
        (columns(table, "standard_error")[0], theirs.bse),
        (columns(table, "p_value")[0], theirs.pvalues),
        (columns(table, "low", "high").T, theirs.conf_int(0.2)),
        (table.log_likelihood, theirs.llf),
        (table.null_deviance, -2 * theirs.llnull),
        (table.mcfadden_r2, theirs.prsquared),
        (table.aic, theirs.aic),
        (table.bic, theirs.bic),
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("l2", [0.0, 0.3, np.array([0.3, 0.0, 0.1])])
def test_sandwich_is_the_sum_of_what_each_row_does_to_the_fit(x64, l2):
    # The infinitesimal jackknife: Σ wᵢ (∂β/∂wᵢ) (∂β/∂wᵢ)ᵀ, by refits.
    x, y = small()
    w = 1 + np.arange(60) % 3 / 2
    ahead, behind = (
        np.array([newton(x, y, w + step, l2)[0] for step in sign * np.eye(60)])
        for sign in (1e-4, -1e-4)
    )
    pulls = (ahead - behind) / 2e-4
    beta, _ = newton(x, y, w, l2)
    got = at(somewhere(beta[:3], beta[3]), x, y, w, l2, "sandwich")
    assert errors(got, (pulls.T * w) @ pulls).max() < 1e-6


@pytest.mark.parametrize("l2", [0.3, np.array([0.3, 0.0, 10.0])])
def test_fisher_is_the_inverse_hessian_of_the_penalised_objective(x64, l2):
    x, y = small()
    w = 1 + np.arange(60) % 3 / 2
    beta, hessian = newton(x, y, w, l2)
    got = at(somewhere(beta[:3], beta[3]), x, y, w, l2)
    np.testing.assert_allclose(got, np.linalg.inv(hessian), rtol=1e-10)


@kinds
def test_a_weight_is_so_many_rows_and_0_is_none(x64, kind):
    x, y = small()
    twice = np.concatenate([np.arange(30)] * 2)
    model = somewhere([1.0, -0.5, 0.2], 0.1)
    repeated = at(model, x[twice], y[twice], None, 0.1, kind)
    weighted = at(model, x, y, 2.0 * (np.arange(60) < 30), 0.1, kind)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-11)


def test_without_intercept_a_column_of_ones_is_the_bias(x64):
    x, y = small(d=2)
    model, ones = somewhere([1.0, -0.5], 0.1), somewhere([1.0, -0.5, 0.1])
    ones = ones._replace(options=Options(fit_intercept=False))
    with_bias = at(model, x, y, kind="sandwich")
    x, options = with_ones(x), {"kind": "sandwich", "fit_intercept": False}
    without = at(ones, x, y, **options)
    assert without.shape == (3, 3)
    np.testing.assert_allclose(without, with_bias, rtol=1e-10, atol=1e-12)
    table = summary(ones, x, y, sample_weight=np.ones(60), l2=np.float64(0), **options)
    assert [c.name for c in table.coefficients] == ["x0", "x1", "x2"]
    assert np.isclose(table.aic, -2 * table.log_likelihood + 6)


def test_float32_keeps_its_digits_on_raw_columns():
    random = np.random.RandomState(0)
    cancer = load_breast_cancer().data[:100, :5]
    year = np.column_stack([1990 + random.randint(0, 20, 100), random.randn(100, 4)])
    powers = np.linspace(0, 1, 100)[:, None] ** np.arange(1, 6)
    certain = 1 + random.rand(100, 5)
    for x, logit, bound in (
        (cancer, 0, 3e-5),
        (year, 0, 1e-5),
        (powers, 0, 3e-4),
        (certain, 60, 1e-4),  # σ(60) is 1, and σ(60) σ(−60) is not 0
    ):
        x = np.float32(x)
        model = somewhere(0.5 / x.std(0), dtype=np.float32)
        bias = np.float32(logit - np.mean(x @ model.weights))
        model = model._replace(bias=bias)
        got = at(model, x, np.float32(np.arange(100) % 2))
        assert errors(got, exactly(x, model)).max() < bound


@kinds
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_the_data_leave_undetermined_has_variance_infinity(x64, dtype, kind):
    x, y = small(dtype)
    a, b, c = x.T
    zero = np.zeros_like(a)
    for table, lost in (
        ([a, b, b], [0, 1, 1, 0]),
        ([a + b, b, a], [1, 1, 1, 0]),
        ([a, zero, c], [0, 1, 0, 0]),
        ([a, zero + dtype(0.1), c], [0, 1, 0, 1]),
        ([a, b, b + 3], [0, 1, 1, 1]),
        ([1e6 * a, 1e-6 * b, c], [0, 0, 0, 0]),
        ([a, a, a], [1, 1, 1, 0]),
        ([zero, zero, zero], [1, 1, 1, 0]),
    ):
        model = somewhere(np.zeros(3), 0.1, dtype)
        got = at(model, np.stack(table, axis=1), y, kind=kind)
        assert not jnp.isnan(got).any()
        np.testing.assert_array_equal(jnp.isinf(jnp.diag(got)), np.array(lost) == 1)


def test_the_rest_is_what_it_is_without_the_redundant_column(x64):
    x, y = small(d=2)
    less = at(somewhere([0.5, -1.0], 0.1), x, y, kind="sandwich")
    for column, known in ((2 * x[:, 1], [0, 3]), (x[:, 1] - 1, [0]), (0.1, [0, 1])):
        more = np.column_stack([x, np.broadcast_to(column, 60)])
        got = at(somewhere([0.5, -1.0, 0.0], 0.1), more, y, kind="sandwich")
        there = [min(i, 2) for i in known]
        np.testing.assert_allclose(
            got[np.ix_(known, known)], less[np.ix_(there, there)], rtol=1e-9
        )
    # Twins: one may grow as the other falls.
    got = at(somewhere([0.0, 0.0]), x[:, [0, 0]], y, kind="sandwich")
    np.testing.assert_array_equal(got[:2, :2], [[np.inf, -np.inf], [-np.inf, np.inf]])


def test_more_columns_than_rows_and_a_penalty_that_decides(x64):
    x, y = small(d=5)
    x, y, model = x[:3], y[:3], somewhere(np.zeros(5))
    assert jnp.isinf(jnp.diag(at(model, x, y))).all()
    z, penalty = with_ones(x), 3 * 0.5 * np.diag([1, 1, 1, 1, 1, 0])
    exact = np.linalg.inv(z.T @ z / 4 + penalty)
    np.testing.assert_allclose(at(model, x, y, l2=0.5), exact, rtol=1e-11)


@kinds
def test_separated_data_do_not_overflow(kind):
    x, _ = small(np.float32)
    model = somewhere([1.0, 2.0, 3.0], dtype=np.float32)
    for scale in np.float32([10, 100, 1e4]):
        further = model._replace(weights=scale * model.weights)
        y = np.float32(x @ model.weights > 0)
        assert not jnp.isnan(at(further, x, y, kind=kind)).any()


@kinds
def test_nan_in_gives_nan_out(x64, kind):
    x, y = small()
    model, hole = somewhere([1.0, -0.5, 0.2], 0.1), np.nan * np.eye(60)[0]
    traced, ones = jax.jit(partial(covariance, kind=kind)), np.ones(60)
    assert jnp.isnan(traced(model, x + hole[:, None], y, sample_weight=ones)).all()
    assert jnp.isnan(traced(model, x, y, sample_weight=0 * ones)).all()
    # The curvature does not depend on the labels.
    got = traced(model, x, y + hole, sample_weight=ones)
    assert jnp.isnan(got).all() == (kind == "sandwich")


@kinds
def test_an_eager_call_refuses_what_cannot_be_meant(x64, kind):
    x, y = small()
    model, hole = somewhere([1.0, -0.5, 0.2], 0.1), np.nan * np.eye(60)[0]
    for change, message in (
        ({"x": x + hole[:, None]}, "features must be finite, got nan in row 0 of col"),
        ({"y": y + hole}, "labels must be 0, 1 or .* got nan in row 0"),
        ({"weights": np.zeros(60)}, "sample_weight must not be 0 in all rows"),
        ({"weights": -y}, "sample_weight must be 0 or more"),
        ({"l2": -1.0}, "l2 must be 0 or more and finite, got -1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            at(**{"model": model, "x": x, "y": y, "kind": kind} | change)


@pytest.mark.full
def test_summary_refuses_what_the_model_was_not_fitted_on(x64):
    x, y = small()
    w = 1 + y
    model = fit(x, y, sample_weight=w, l2=0.1)
    table = summary(model, x, y, sample_weight=w)
    assert table == summary(model, x, y, sample_weight=w, l2=0.1, fit_intercept=True)
    shifted = fit(x, y, offset=np.float64(1))
    for arguments, options, message in (
        ((model, x, y), {}, "sample_weight must be given: the model was fitted with"),
        ((shifted, x, y), {}, "offset must be given"),
        ((model, x, 1 - y), {"sample_weight": w}, "those of the fit, whose loss is"),
        ((model, x + 1, y), {"sample_weight": w}, "those of the fit, whose loss is"),
        ((model, x, y), {"sample_weight": 2 - y}, "those of the fit, whose loss is"),
        ((model, x, y), {"sample_weight": w, "l2": 0.2}, "whose loss is"),
        (
            (model, x, y),
            {"sample_weight": w, "fit_intercept": False},
            "fit_intercept must be True, as in the fit, got False",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            summary(*arguments, **options)


def test_summary_tells_which_coefficients_run_away(x64):
    x, y = small(d=2)
    x[:, 0] = np.where(y == 1, x[:, 0] > 0, 0)  # a level that only ones have
    table = summary(fit(x, y), x, y, names=["rare", "b"])
    assert table.escapes == (1, 0, 0)
    assert "NOT CONVERGED" in str(table) and "separated: rare to +∞\n" in str(table)


def test_jit_and_vmap_over_bootstraps(x64):
    x, y = small()
    model = somewhere([1.0, -0.5, 0.2], 0.1)
    counts = np.random.RandomState(0).multinomial(60, [1 / 60] * 60, 3)
    together = jax.jit(jax.vmap(lambda w: at(model, x, y, w, kind="sandwich")))(counts)
    for count, got in zip(counts, together, strict=True):
        alone = at(model, x, y, count, kind="sandwich")
        np.testing.assert_allclose(got, alone, rtol=1e-10, atol=1e-14)


def test_its_gradient_is_what_it_changes_by(x64):
    x, y = small()
    x = x - x.mean(0)
    x /= np.linalg.norm(x, axis=0)  # equal eigenvalues have no single eigenvectors

    @jax.jit
    @jax.value_and_grad
    def uncertainty(t):
        model = somewhere(np.zeros(3))._replace(weights=jnp.array([0.0, 0.5, 1.0]) * t)
        features = x * jnp.array([1.0, 1.0, 1 + t])
        return jnp.log(jnp.diag(at(model, features, y, kind="sandwich"))).sum()

    step, here = 1e-5, 0.2
    change = uncertainty(here + step)[0] - uncertainty(here - step)[0]
    np.testing.assert_allclose(
        uncertainty(here)[1], change / (2 * step), rtol=1e-8, atol=1e-8
    )
    assert jnp.isfinite(uncertainty(0.0)[1])


def test_sharded_rows_give_the_same():
    x, y = small(np.float32)
    w = 1 + y
    sharding = NamedSharding(jax.make_mesh((2,), ("rows",)), PartitionSpec("rows"))
    model = somewhere([1.0, -0.5, 0.2], 0.1, np.float32)
    tables = []
    for data in ((x, y, w), jax.device_put((x, y, w), sharding)):
        options = {"sample_weight": data[2], "l2": np.float32(0), "kind": "sandwich"}
        tables.append(summary(model, *data[:2], **options))
    whole, sharded = (columns(table, "standard_error") for table in tables)
    np.testing.assert_allclose(sharded, whole, rtol=1e-5)
    np.testing.assert_allclose(*[t.null_deviance for t in tables], rtol=1e-6)


def test_lists_integers_and_strict_promotion(strict_promotion):
    model = Fit(jnp.ones(1), 0.0, jnp.nan, 0.0, 1, True, 0.0, False)
    options = {"sample_weight": [1, 1, 2, 2], "offset": 1, "l2": 1, "kind": "sandwich"}
    table = summary(model, [[0], [1], [1], [3]], [0, 1, 0, 1], **options)
    assert np.isfinite(columns(table, "value", "standard_error")).all()
    assert table.n == 6


def told(names=("a", "b", "c"), weights=(1.0, 2.0, 3.0), x=None, y=None, **options):
    """A summary in float32, of arguments of one type."""
    features, labels = small(np.float32)
    x, y = features if x is None else x, labels if y is None else y
    model = options.pop("model", somewhere(weights, 0.3, np.float32))
    options = {"sample_weight": np.ones_like(y), "l2": np.float32(0)} | options
    return summary(model, x, y, names=names, **options)


def test_a_summary_is_a_frozen_value_of_plain_numbers():
    table = told()
    assert table == told() and hash(table) == hash(told()) and table != told(level=0.9)
    assert table.n == 60 and table.converged is True
    with pytest.raises(FrozenInstanceError):
        table.n = 3
    plain = json.loads(json.dumps(table.to_dict()))
    assert plain == table.to_dict()
    assert [c["name"] for c in plain["coefficients"]] == ["a", "b", "c", "bias"]
    assert plain["coefficients"][0]["p_value"] == table.coefficients[0].p_value
    assert {"aic", "bic", "mcfadden_r2", "level", "kind"} <= set(plain)


def test_the_printed_table_is_aligned_and_fits_80_columns():
    names = ["a " + "very " * 20 + "long name", "two\nlines", "π"]
    x, _ = small(np.float32)
    for scale in (1, 1e-12, 1e12):
        text = str(told(names, np.array([-1.23456, 2.0, -3.21]) / scale, x * scale))
        assert max(map(len, text.splitlines())) <= 80
        title, tests, odds, merits = text.split("\n\n")
        for table in (tests, odds):
            assert len({len(line) for line in table.splitlines()}) == 1
            assert len(table.splitlines()) == 1 + 4
        assert "…" in tests and "two lines" in tests and "2.5%" in odds
        assert title == "Logistic regression, n = 60, converged"
        assert "AIC" in merits and "fisher" in merits


def test_long_names_are_never_cut_to_the_same_text():
    names = [
        "",
        "income of the household, 2019",
        "income of the household, 2020",
        "age",
    ]
    assert shortened(names, 12) == ["", "income of …1", "income of …2", "age"]
    assert shortened(["first name", "age"], 6) == ["first…", "age"]


def test_what_is_undetermined_is_told():
    x, _ = small(np.float32)
    table = told(x=x[:, [0, 0, 1]], weights=(0, 2.0, 0))
    twin = table.coefficients[1]
    assert (twin.standard_error, twin.z, twin.p_value) == (np.inf, 0, 1)
    assert (twin.low, twin.odds_low, twin.odds_high) == (-np.inf, 0, np.inf)
    assert "inf" in str(table)
    lost = somewhere([1, 2, 3], 0.3, np.float32)._replace(converged=np.False_)
    assert "NOT CONVERGED" in str(told(model=lost))
    alone = told(y=np.ones(60, np.float32))
    assert alone.null_deviance == 0 and np.isnan(alone.mcfadden_r2)


def test_in_a_notebook_names_are_text_not_markup():
    page = told(["<script>alert(1)</script>", "a & b", "c"])._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "a &amp; b" in page
    assert page.count("<tr>") == 5 and page.count("</td>") == 4 * 10


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": np.ones(4)}, ValueError, r"\(rows, columns\).*got \(4,\)"),
        ({"features": np.ones((4, 3))}, ValueError, "the 2 columns of the fit"),
        ({"features": np.ones((4, 2), complex)}, TypeError, "features must be"),
        ({"labels": np.ones(3)}, ValueError, r"labels \(3,\) and features \(4, 2\)"),
        ({"labels": np.ones((4, 1))}, ValueError, r"labels \(4, 1\)"),
        ({"sample_weight": np.ones(3)}, ValueError, "sample_weight must have the"),
        ({"offset": np.ones((4, 1))}, ValueError, "offset must have the shape"),
        ({"l2": np.ones(4)}, ValueError, "l2 must be a scalar or hold one value"),
        ({"model": somewhere(np.ones((3, 2)))}, ValueError, "vmap over fits"),
        ({"kind": "HC0"}, ValueError, "'HC1', 'cluster', got 'HC0'"),
        ({"kind": "cluster"}, ValueError, "got kind 'cluster' without groups"),
        ({"groups": np.ones(4)}, ValueError, "got kind 'fisher' with groups"),
        ({"kind": "cluster", "groups": "abc"}, ValueError, r"groups .* got \(\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, error, message):
    arguments = {"model": somewhere([1, 2]), "features": np.ones((4, 2))}
    arguments |= {"labels": np.array([0, 1, 0, 1])}
    for function in (covariance, summary):
        with pytest.raises(error, match=message):
            function(**(arguments | change))


def test_names_and_levels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"one name per column .* got 2 for 3 columns"):
        told(["a", "b"])
    for level in (0, 1, 95, np.nan):
        with pytest.raises(ValueError, match=f"between 0 and 1, got {level}"):
            told(level=level)


def test_values_out_of_range_are_errors_under_checkify(monkeypatch):
    x, y = small(np.float32)
    model = somewhere([1, 2, 3], dtype=np.float32)
    checked = jax.jit(
        checkify.checkify(
            lambda y, w, l2: covariance(model, x, y, sample_weight=w, l2=l2)
        )
    )
    for arguments, message in (
        ((y * 2, 1.0, 0.0), "labels must lie in"),
        ((y, -1.0, 0.0), "sample_weight must lie in"),
        ((y, 1.0, -1.0), "l2 must lie in"),
    ):
        with pytest.raises(checkify.JaxRuntimeError, match=message):
            checked(*arguments)[0].throw()
    checked(y, 1.0, 0.0)[0].throw()
    told()
    monkeypatch.setattr(checkify, "debug_check", None)  # eager calls hold no check
    told()
