"""Firth's penalty and profiles of the likelihood: published tables, and brute force."""

from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from designs import TABLE
from scipy.optimize import brentq, minimize
from scipy.special import expit
from scipy.stats import chi2

from bcejax.logistic_regression import _firth, covariance, fit, summary

full = pytest.mark.full
NAMES = ["NV", "PI", "EH"]
COUNTED = np.loadtxt(Path(__file__).with_name("sex2.csv"), delimiter=",", skiprows=5)


def endometrial():
    return TABLE[:, :3], TABLE[:, 3]


def few_rows():
    """30 rows of two columns: separated by a line, of rare levels, far from 0."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2))
    yield x, np.float64(x.sum(1) > 0)
    yield np.float64(rng.random((30, 2)) < 0.2) * [1e-3, 100], rng.random(30) < 0.4
    yield 1990.0 + rng.integers(0, 20, (30, 2)), rng.random(30) < 0.5


def minus_log_posterior(x, y, w=1.0, firth=True, offset=0.0):
    """−Σ w log likelihood − ½ log det I of coefficients with the bias last."""
    z = np.column_stack([x, np.ones(len(x))])
    w = w * np.ones(len(y))

    def of_coefficients(beta):
        logits = z @ beta + offset
        loss = w @ (np.logaddexp(0, logits) - y * logits)
        p = expit(logits)
        information = (z.T * (w * p * (1 - p))) @ z
        return loss - firth * np.linalg.slogdet(information)[1] / 2

    return of_coefficients


def flat(model):
    return np.append(np.float64(model.weights), np.float64(model.bias))


def told(table):
    return {c.name: c for c in table.coefficients}


# What is published

ENDOMETRIAL = np.array([2.92927330, -0.03475175, -2.60416387, 3.77455951])


def test_the_endometrial_table_of_logistf(x64):
    """The published coefficients end before their optimum, by 1e-7 of them."""
    x, y = endometrial()
    model = fit(x, y, firth=True, tol=1e-12)
    assert model.converged and not model.separated and model.options.firth
    table = summary(model, x, y, names=NAMES, kind="profile")
    lines = told(table)
    np.testing.assert_allclose(flat(model), ENDOMETRIAL, rtol=1e-7, atol=1e-8)
    found = [c.standard_error for c in table.coefficients]
    published = [1.55076, 0.03958, 0.77602, 1.48869]
    np.testing.assert_allclose(found, published, rtol=0, atol=5e-6)
    for name, low, high in (
        ("NV", 0.6097244, 7.85463171),
        ("PI", -0.1244587, 0.04045547),
        ("EH", -4.3651832, -1.23272106),
        ("bias", 1.0825371, 7.20928050),
    ):
        found = lines[name].low, lines[name].high
        np.testing.assert_allclose(found, (low, high), rtol=0, atol=1e-7)
    # Those of firthmodels 0.8.2, which keeps the column in the penalty, as we do.
    for name, p in (
        ("NV", 9.12366755e-3),
        ("PI", 3.87482202e-1),
        ("EH", 2.50686721e-5),
        ("bias", 4.19362789e-3),
    ):
        assert np.isclose(lines[name].p_value, p, rtol=1e-7)
    assert np.isclose(table.penalised_log_likelihood, -24.0373, rtol=0, atol=5e-5)
    assert "Logistic regression with Firth's penalty, n = 79, converged" in str(table)
    assert "penalised log-likelihood -24.0373" in str(table)
    assert table.escapes == (0,) * 4


SEX2 = np.append(  # age, oc, vic, vicl, vis, dia and the bias
    [-1.10598131, -0.06881673, 2.26887464, -2.11140817, -0.78831694, 3.09601166],
    0.12025405,
)
ENDS = np.array(
    [
        [-1.9737884, -0.30742514],
        [-0.9414363, 0.78920202],
        [1.2730216, 3.43543273],
        [-3.2608611, -1.11773495],
        [-1.6080879, 0.01518468],
        [0.7745682, 8.03029352],
        [-0.8185591, 1.07315122],
    ]
)


@full
def test_the_sex2_table_of_logistf_by_counts_offsets_and_other_units(x64):
    patterns, labels, counts = COUNTED[:, :6], COUNTED[:, 6], COUNTED[:, 7]
    x = np.vstack([patterns, np.full(6, np.nan)])  # a row of weight 0 is none
    y, counts = np.append(labels, 1), np.append(counts, 0)

    def fitted(x, offset):
        options = {"sample_weight": counts, "offset": offset}
        return fit(x, y, **options, firth=True, tol=1e-12), options

    model, options = fitted(x, np.zeros(37))
    np.testing.assert_allclose(flat(model), SEX2, rtol=3e-7)
    assert np.isclose(-239 * model.loss, -132.5394, rtol=0, atol=5e-5)
    table = summary(model, x, y, **options, kind="profile")
    ends = [(c.low, c.high) for c in table.coefficients]
    np.testing.assert_allclose(ends, ENDS, rtol=0, atol=3e-7)
    # An offset that is linear in the features is taken back by the coefficients.
    moved, _ = fitted(x, np.nan_to_num(x @ np.arange(6) + 1))
    np.testing.assert_allclose(
        flat(moved) + np.array([*range(6), 1]), flat(model), rtol=1e-9
    )
    units = 10.0 ** np.arange(-3, 3)
    scaled, _ = fitted(x * units + 100, np.zeros(37))
    np.testing.assert_allclose(scaled.weights * units, model.weights, rtol=1e-8)
    gap = 239 * (model.loss - scaled.loss)
    np.testing.assert_allclose(gap, np.log(units).sum(), rtol=1e-8)


# What it must be by its definition


@full
def test_the_exact_score_is_zero(x64):
    """By 40 digits of the penalised likelihood and differences of it."""
    for x, y in few_rows():
        model = fit(x, y, firth=True, tol=1e-11)
        assert model.converged and not model.separated
        assert model.steps <= 12  # Fisher's are 40 where the rows are separated
        z = mpmath.matrix(np.column_stack([x, np.ones(30)]).tolist())

        def loss(*beta, z=z, y=y):
            logits = z * mpmath.matrix(beta)
            p = [1 / (1 + mpmath.exp(-t)) for t in logits]
            curved = mpmath.matrix(z)
            for i in range(z.rows):
                curved[i, :] = p[i] * (1 - p[i]) * z[i, :]
            seen = [q if t else 1 - q for q, t in zip(p, y, strict=True)]
            half = mpmath.log(mpmath.det(z.T * curved)) / 2
            return -sum(map(mpmath.log, seen)) - half

        with mpmath.workdps(40):
            beta = [mpmath.mpf(float(b)) for b in flat(model)]
            assert np.isclose(float(loss(*beta)) / 30, float(model.loss), rtol=1e-11)
            errors = np.sqrt(np.diag(covariance(model, x, y)))
            for j, error in enumerate(errors):
                steps = mpmath.eye(3)[j, :] * mpmath.mpf(10) ** -12 * error
                ahead, behind = (
                    loss(*[b + side * t for b, t in zip(beta, steps, strict=True)])
                    for side in (1, -1)
                )
                slope = (ahead - behind) / 2e-12
                assert abs(float(slope)) < 1e-6  # per standard error, of 1 in the loss


@full
def test_columns_that_others_span_do_not_count(x64):
    x, y = endometrial()
    none = fit(x, y, fit_intercept=False, firth=True, tol=1e-12)
    assert none.bias == 0 and none.converged
    table = np.column_stack([x[:, 1:], np.ones(79)])
    model = fit(table, y, firth=True)
    twins = fit(x[:, [1, 2, 1]], y, firth=True)
    assert model.converged and twins.converged
    assert model.weights[2] == 0 and twins.weights[2] == 0
    np.testing.assert_allclose(model.weights, twins.weights, rtol=1e-12)
    loss = minus_log_posterior(x[:, 1:], y)(flat(model)[[0, 1, 3]])
    assert np.isclose(79 * model.loss, loss, rtol=1e-12)
    lines = summary(twins, x[:, [1, 2, 1]], y, kind="profile").coefficients
    for line in (lines[0], lines[2]):
        assert (line.low, line.high, line.p_value) == (-np.inf, np.inf, 1)
    assert -np.inf < lines[1].low < lines[1].value < lines[1].high < 0


@full
def test_separated_data_have_finite_coefficients_under_vmap_and_in_float32():
    x, y = (np.float32(a) for a in next(few_rows()))
    counts = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), 20)
    one = jax.jit(lambda w: fit(x, y, sample_weight=w, firth=True))
    many = jax.vmap(one)(np.float32(counts))
    assert many.converged.all() and not many.separated.any()
    assert (np.abs(many.weights) < 30).all()
    for i in range(0, 20, 5):
        alone = one(np.float32(counts[i]))
        np.testing.assert_allclose(many.weights[i], alone.weights, rtol=2e-4)
    # From far off, where the penalty is infinite, the search begins at 0.
    far = fit(x, y, init=(np.float32([1e4, 1e4]), np.float32(0)), firth=True)
    near = one(np.ones(30, np.float32))
    np.testing.assert_allclose(far.weights, near.weights, rtol=1e-3)


@full
def test_fishers_steps_where_newtons_would_cost_much(x64, monkeypatch):
    x, y = endometrial()
    monkeypatch.setattr(_firth, "MOST_PRODUCTS", 0)
    jax.clear_caches()
    model = fit(x, y, firth=True, tol=1e-9)
    assert model.converged and model.steps > 8
    np.testing.assert_allclose(flat(model), ENDOMETRIAL, rtol=1e-6)


@full
def test_what_a_firth_fit_refuses(x64):
    x, y = next(few_rows())
    for options, message in (
        ({"l2": 0.1}, "l2 must be left at 0 with firth=True"),
        ({"solver": "lbfgs"}, "solver must be \"newton\" with firth=True, got 'lbfgs'"),
        ({"batch_size": 2}, "takes all rows at once"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(x, y, firth=True, **options)
    with pytest.raises(ValueError, match="l2 must be left at 0"):
        jax.jit(lambda l2: fit(x, y, l2=l2, firth=True))(0.0)
    with pytest.raises(ValueError, match="labels must be 0, 1 or a probability"):
        fit(x, 2 * y, firth=True)
    model = fit(x, y, firth=True)
    with pytest.raises(ValueError, match="those of the fit, whose loss is"):
        summary(model, 2 * x, y)
    with pytest.raises(ValueError, match="l2 must be left at 0"):
        summary(model, x, y, l2=0.5)
    separated = model._replace(converged=np.False_)
    with pytest.raises(ValueError, match='must have converged for kind "profile"'):
        summary(separated, x, y, kind="profile")


# Profiles


def profiled(loss, best, j, level):
    """p-value and interval by minimisation over the others and bisection."""
    others = np.delete(np.arange(len(best)), j)
    precise = {"xatol": 1e-10, "fatol": 1e-12, "maxiter": 10**4, "maxfev": 10**4}

    def ratio(t):
        def of_others(b):
            return loss(np.insert(b, j, t))

        start = best[others]
        found = minimize(of_others, start, method="Nelder-Mead", options=precise)
        return 2 * (found.fun - loss(best))

    need, ends = chi2.ppf(level, 1), []
    for side in (-1, 1):
        reach = side
        while ratio(best[j] + reach) < need:
            reach *= 2
        ends += [brentq(lambda t: ratio(t) - need, best[j], best[j] + reach)]
    return chi2.sf(ratio(0.0), 1), ends


@full
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_profiles_are_those_of_brute_force(x64, l2):
    rng = np.random.default_rng(3)
    x = rng.normal((0, 3), size=(25, 2))
    y = np.float64(rng.random(25) < expit(x[:, 0] - 0.5))
    w, offset = rng.integers(1, 4, 25), rng.normal(size=25)
    options = {"sample_weight": w, "offset": offset}
    model = fit(x, y, **options, l2=np.float64(l2), tol=1e-12)
    table = summary(model, x, y, **options, kind="profile", level=0.9)
    of_data = minus_log_posterior(x, y, w, False, offset)

    def loss(beta):
        return of_data(beta) + w.sum() * l2 / 2 * np.sum(beta[:-1] ** 2)

    for j, line in enumerate(table.coefficients):
        p, ends = profiled(loss, flat(model), j, 0.9)
        assert np.isclose(line.p_value, p, rtol=1e-5)
        np.testing.assert_allclose((line.low, line.high), ends, rtol=1e-5)
        assert np.sign(line.z) == np.sign(line.value)
    assert not table.firth and "Firth" not in str(table)
    assert np.isclose(table.penalised_log_likelihood, -loss(flat(model)), rtol=1e-12)
    assert "standard errors: fisher; tests and intervals: profile" in str(table)


@full
def test_a_profile_of_float32_has_its_digits():
    x, y = (jnp.asarray(a, jnp.float32) for a in endometrial())
    table = summary(fit(x, y, firth=True), x, y, names=NAMES, kind="profile")
    line = told(table)["NV"]
    np.testing.assert_allclose((line.low, line.high), (0.60972, 7.85463), rtol=2e-3)
