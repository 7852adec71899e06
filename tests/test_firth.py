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

from bcejax.logistic_regression import covariance, fit, summary

full = pytest.mark.full
NAMES = ["NV", "PI", "EH"]
COUNTED = np.loadtxt(Path(__file__).with_name("sex2.csv"), delimiter=",", skiprows=5)
TOLD = "value", "standard_error", "low", "high"


def endometrial():
    return TABLE[:, :3], TABLE[:, 3]


def sex2():
    """239 rows: 36 patterns, each as often as it was seen."""
    rows = np.repeat(COUNTED, COUNTED[:, -1].astype(int), axis=0)
    return rows[:, :6], rows[:, 6]


def designs():
    rng = np.random.default_rng(0)
    line = np.arange(4.0)[:, None]
    yield line, np.array([0, 0, 1, 1.0])
    x = rng.normal(size=(20, 3))
    yield x, np.float64(x.sum(1) > 0)
    yield np.float64(rng.random((30, 3)) < 0.2) * [1, 100, 1e-3], rng.integers(0, 2, 30)
    yield 1990 + rng.integers(0, 20, (40, 2)), rng.integers(0, 2, 40)


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


def test_the_endometrial_table_of_logistf(x64):
    """The published coefficients end before their optimum, by 1e-7 of them."""
    x, y = endometrial()
    model = fit(x, y, firth=True, tol=1e-12)
    assert model.converged and not model.separated and model.options.firth
    table = summary(model, x, y, names=NAMES, kind="profile")
    lines = told(table)
    for name, value, error in (
        ("NV", 2.92927330, 1.55076),
        ("PI", -0.03475175, 0.03958),
        ("EH", -2.60416387, 0.77602),
        ("bias", 3.77455951, 1.48869),
    ):
        assert np.isclose(lines[name].value, value, rtol=1e-7, atol=1e-8)
        assert np.isclose(lines[name].standard_error, error, rtol=0, atol=5e-6)
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


SEX2 = np.array(
    [-1.10598131, -0.06881673, 2.26887464, -2.11140817, -0.78831694, 3.09601166]
    + [0.12025405]
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
def test_the_sex2_table_of_logistf(x64):
    x, y = sex2()
    model = fit(x, y, firth=True, tol=1e-12)
    np.testing.assert_allclose(flat(model), SEX2, rtol=2e-7)
    assert np.isclose(-239 * model.loss, -132.5394, rtol=0, atol=5e-5)
    table = summary(model, x, y, kind="profile")
    ends = [(c.low, c.high) for c in table.coefficients]
    np.testing.assert_allclose(ends, ENDS, rtol=0, atol=2e-7)


# What it must be by its definition


@full
@pytest.mark.parametrize("case", range(4))
def test_the_exact_score_is_zero(x64, case):
    """By 40 digits of the penalised likelihood and differences of it."""
    x, y = list(designs())[case]
    model = fit(x, y, firth=True, tol=1e-13)
    assert model.converged and not model.separated
    z = mpmath.matrix(np.column_stack([x, np.ones(len(x))]).tolist())

    def loss(*beta):
        logits = z * mpmath.matrix(beta)
        p = [1 / (1 + mpmath.exp(-t)) for t in logits]
        curved = mpmath.matrix(z)
        for i in range(z.rows):
            curved[i, :] = p[i] * (1 - p[i]) * z[i, :]
        likelihood = sum(mpmath.log(q if t else 1 - q) for q, t in zip(p, y, strict=True))
        return -likelihood - mpmath.log(mpmath.det(z.T * curved)) / 2

    with mpmath.workdps(40):
        beta = [mpmath.mpf(float(b)) for b in flat(model)]
        assert np.isclose(float(loss(*beta)) / len(y), float(model.loss), rtol=1e-12)
        step = mpmath.mpf(10) ** -12
        errors = np.sqrt(np.diag(covariance(model, x, y)))
        for j, error in enumerate(errors):
            ahead, behind = list(beta), list(beta)
            ahead[j] += step * error
            behind[j] -= step * error
            slope = (loss(*ahead) - loss(*behind)) / (2 * step)
            assert abs(float(slope)) < 1e-6  # per standard error, of 1 in the loss


@full
def test_newtons_steps_are_few_and_the_penalty_counts_rows(x64):
    x, y = list(designs())[1]
    model = fit(x, y, firth=True, tol=1e-10)
    assert model.steps <= 12  # Fisher's are 48
    twice = fit(np.tile(x, (2, 1)), np.tile(y, 2), firth=True, tol=1e-10)
    counts = 2 * np.ones(20)
    counted = fit(x, y, sample_weight=counts, firth=True, tol=1e-10)
    np.testing.assert_allclose(counted.weights, twice.weights, rtol=1e-9)
    np.testing.assert_allclose(counted.loss, twice.loss, rtol=1e-12)
    assert not np.allclose(counted.weights, model.weights, rtol=0.1)


@full
def test_weights_offsets_and_units_of_columns(x64):
    x, y = sex2()
    model = fit(x, y, firth=True, tol=1e-12)
    patterns, labels, counts = COUNTED[:, :6], COUNTED[:, 6], COUNTED[:, 7]
    hole = np.vstack([patterns, np.full(6, np.nan)])  # a row of weight 0 is none
    options = {"sample_weight": np.append(counts, 0), "firth": True, "tol": 1e-12}
    grouped = fit(hole, np.append(labels, 1), **options)
    np.testing.assert_allclose(flat(grouped), flat(model), rtol=1e-10)
    np.testing.assert_allclose(grouped.loss, model.loss, rtol=1e-12)
    # An offset that is linear in the features is taken back by the coefficients.
    moved = fit(x, y, offset=x @ np.arange(6) + 1, firth=True, tol=1e-12)
    np.testing.assert_allclose(flat(moved) + [*range(6), 1], SEX2, rtol=3e-7)
    units = 10.0 ** np.arange(-3, 3)
    scaled = fit(x * units + 100, y, firth=True, tol=1e-12)
    np.testing.assert_allclose(scaled.weights * units, model.weights, rtol=1e-9)
    half_log_det = np.log(units).sum()
    np.testing.assert_allclose(239 * (model.loss - scaled.loss), half_log_det)


@full
def test_without_a_bias_and_with_a_column_that_is_constant(x64):
    x, y = endometrial()
    none = fit(x, y, fit_intercept=False, firth=True, tol=1e-12)
    assert none.bias == 0 and none.converged
    ones = fit(np.column_stack([x, np.ones(79)]), y, firth=True, fit_intercept=False)
    model = fit(np.column_stack([x, np.ones(79)]), y, firth=True)
    assert model.weights[3] == 0 and model.converged
    np.testing.assert_allclose(ones.weights, flat(model)[[0, 1, 2, 4]], rtol=1e-6)
    loss = minus_log_posterior(x, y)
    assert np.isclose(79 * model.loss, loss(flat(model)[[0, 1, 2, 4]]))
    twins = fit(x[:, [0, 0, 1]], y, firth=True)
    assert twins.converged and np.isfinite(twins.loss)
    np.testing.assert_allclose(*twins.weights[:2], rtol=1e-6)


@full
def test_separated_data_have_finite_coefficients_under_vmap_and_in_float32():
    rng = np.random.default_rng(1)
    x = np.float32(rng.normal(size=(30, 2)))
    y = np.float32(x @ [1, 2] > 0)
    counts = np.float32(rng.multinomial(30, np.full(30, 1 / 30), 20))
    one = jax.jit(lambda w: fit(x, y, sample_weight=w, firth=True))
    many = jax.vmap(one)(counts)
    assert many.converged.all() and not many.separated.any()
    for i in range(0, 20, 5):
        alone = one(counts[i])
        np.testing.assert_allclose(many.weights[i], alone.weights, rtol=2e-4)
    assert (np.abs(many.weights) < 30).all()
    # From far off, where the penalty is infinite, the search begins at 0.
    far = fit(x, y, init=(np.float32([1e4, 1e4]), np.float32(0)), firth=True)
    np.testing.assert_allclose(far.weights, fit(x, y, firth=True).weights, rtol=1e-3)


@full
def test_fishers_steps_where_newtons_would_cost_much(x64, monkeypatch):
    from bcejax.logistic_regression import _firth

    x, y = endometrial()
    model = fit(x, y, firth=True, tol=1e-9)
    monkeypatch.setattr(_firth, "MOST_PRODUCTS", 0)
    jax.clear_caches()
    slower = fit(x, y, firth=True, tol=1e-9)
    assert slower.converged and slower.steps > model.steps
    np.testing.assert_allclose(slower.weights, model.weights, rtol=1e-6)


@full
def test_what_a_firth_fit_refuses():
    x, y = np.ones((4, 1)) * np.arange(4)[:, None], np.array([0, 1, 0, 1])
    for options, message in (
        ({"l2": 0.1}, "l2 must be left at 0 with firth=True"),
        ({"solver": "lbfgs"}, 'solver must be "newton" with firth=True, got \'lbfgs\''),
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
    with pytest.raises(ValueError, match="l2 must be 0"):
        summary(model, x, y, l2=0.5)
    separated = fit(x, [0, 0, 1, 1])
    with pytest.raises(ValueError, match='must have converged for kind "profile"'):
        summary(separated, x, [0, 0, 1, 1], kind="profile")


# Profiles


def profiled(loss, best, j, level=0.95):
    """p-value and interval by minimisation over the others and bisection."""
    k = len(best)
    others = np.delete(np.arange(k), j)

    def root(t):
        def of_others(b):
            beta = np.zeros(k)
            beta[j], beta[others] = t, b
            return loss(beta)

        options = {"xatol": 1e-10, "fatol": 1e-12, "maxiter": 10**4, "maxfev": 10**4}
        found = minimize(
            of_others, best[others], method="Nelder-Mead", options=options
        )
        return 2 * (found.fun - loss(best))

    need, reach = chi2.ppf(level, 1), 1.0
    ends = []
    for side in (-1, 1):
        while root(best[j] + side * reach) < need:
            reach *= 2
        end = brentq(lambda t: root(t) - need, best[j], best[j] + side * reach)
        ends.append(end)
    return chi2.sf(root(0.0), 1), ends


@full
@pytest.mark.parametrize("firth", [False, True])
def test_profiles_are_those_of_brute_force(x64, firth):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(25, 2)) + [0, 3]
    y = np.float64(rng.random(25) < expit(x[:, 0] - 0.5))
    w, offset = rng.integers(1, 4, 25), rng.normal(size=25)
    options = {"sample_weight": w, "offset": offset}
    model = fit(x, y, **options, firth=firth, tol=1e-12)
    table = summary(model, x, y, **options, kind="profile", level=0.9)
    loss = minus_log_posterior(x, y, w, firth, offset)
    for j, line in enumerate(table.coefficients):
        p, ends = profiled(loss, flat(model), j, 0.9)
        assert np.isclose(line.p_value, p, rtol=1e-5)
        np.testing.assert_allclose((line.low, line.high), ends, rtol=1e-5)
        assert np.sign(line.z) == np.sign(line.value)


@full
def test_profiles_of_what_the_data_leave_open_and_of_penalised_fits(x64):
    x, y = endometrial()
    twins = x[:, [1, 1, 2]]
    table = summary(fit(twins, y), twins, y, kind="profile")
    alone = summary(fit(x[:, 1:], y), x[:, 1:], y, kind="profile")
    for line in table.coefficients[:2]:
        assert (line.low, line.high, line.p_value) == (-np.inf, np.inf, 1)
    for ours, theirs in zip(table.coefficients[2:], alone.coefficients[1:], strict=True):
        np.testing.assert_allclose(ours[3:7], theirs[3:7], rtol=1e-5)
    ridge = summary(fit(x, y, l2=0.1), x, y, kind="profile")  # separated, but for l2
    for line in ridge.coefficients:
        assert -np.inf < line.low < line.value < line.high < np.inf


@full
def test_a_profile_of_float32_has_its_digits():
    x, y = (jnp.asarray(a, jnp.float32) for a in endometrial())
    table = summary(fit(x, y, firth=True), x, y, names=NAMES, kind="profile")
    line = told(table)["NV"]
    np.testing.assert_allclose((line.low, line.high), (0.60972, 7.85463), rtol=2e-3)
