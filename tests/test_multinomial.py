"""The fit of many classes, against other libraries, formulas and itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from jax.sharding import AxisType
from mpmath import mp
from scipy.optimize import linprog, minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from bcejax.logistic_regression import (
    _class_newton,
    _rows,
    fit,
    fit_multinomial,
    predict_logits,
    predict_probs,
    shard_rows,
)
from bcejax.logistic_regression._products import parts_of

rng = np.random.default_rng(0)
N, D, K = 240, 4, 3
X = np.float32(rng.normal(size=(N, D)) * [1, 1, 10, 0.1] + [0, 3, 0, 0])
TRUE = rng.normal(size=(D, K)) / [[1], [1], [10], [0.1]]
Y = np.argmax(X @ TRUE + rng.gumbel(size=(N, K)), 1)
LABELS = np.eye(K)[Y]


def objective(x, y, weights, bias, l2=0.0, share=None):
    """Dense labels y; as on the blackboard, in float64."""
    x, y, weights, bias = (np.asarray(a, np.float64) for a in (x, y, weights, bias))
    losses = -np.sum(y * log_softmax(x @ weights + bias, 1), 1)
    squares = np.sum(np.asarray(l2)[..., None] / 2 * weights**2)
    return np.average(losses, weights=share) + squares


def optimum(x, y, l2, share=None):
    """(weights, bias) by BFGS of scipy, in float64."""
    d, k = x.shape[1], y.shape[1]

    def of_vector(v):
        weights, bias = v[: d * k].reshape(d, k), v[d * k :]
        p = softmax(x @ weights + bias, 1) - y
        p *= (np.full(len(x), 1 / len(x)) if share is None else share / sum(share))[
            :, None
        ]
        slope = x.T @ p + np.broadcast_to(l2, d)[:, None] * weights
        return objective(x, y, weights, bias, l2, share), np.append(slope, p.sum(0))

    found = minimize(of_vector, np.zeros((d + 1) * k), jac=True, tol=1e-12)
    return found.x[: d * k].reshape(d, k), found.x[d * k :]


def close(model, expected, rtol=2e-4):
    for got, wanted in zip(model[:2], expected, strict=True):
        np.testing.assert_allclose(
            got, wanted, rtol=rtol, atol=rtol * abs(wanted).max()
        )


@pytest.fixture
def uncached():
    """What was traced with other constants of the modules does not count."""
    jax.clear_caches()
    yield
    jax.clear_caches()


# The optimum


def test_the_optimum_is_that_of_scikit_learn():
    c = 1 / (0.02 * N)
    peer = LogisticRegression(C=c, tol=1e-10, max_iter=9999).fit(np.float64(X), Y)
    model = fit_multinomial(X, Y, l2=0.02)
    assert model.converged and not model.separated
    close(model, (peer.coef_.T, peer.intercept_ - peer.intercept_.mean()))
    expected = objective(X, LABELS, model.weights, model.bias, 0.02)
    np.testing.assert_allclose(model.loss, expected, rtol=1e-6)
    probs = predict_probs(model, X)
    np.testing.assert_allclose(probs, peer.predict_proba(X), atol=2e-5)
    np.testing.assert_allclose(np.sum(model.weights, 1), 0, atol=1e-5)


@pytest.mark.full
def test_two_classes_are_the_fit_of_two_classes():
    y = (Y > 0).astype(int)
    of_two, of_many = fit(X, y, l2=0.01), fit_multinomial(X, y, l2=0.02)
    weights, bias = of_many.weights, of_many.bias
    np.testing.assert_allclose(weights[:, 1] - weights[:, 0], of_two.weights, rtol=1e-5)
    np.testing.assert_allclose(bias[1] - bias[0], of_two.bias, rtol=1e-5)
    np.testing.assert_allclose(of_many.loss, of_two.loss, rtol=1e-6)


@pytest.mark.full
@pytest.mark.parametrize(
    ("solver", "l2"),
    [("newton-cg", 0.0), ("newton-cg", (0.0, 0.1, 0.01, 1.0)), ("lbfgs", 0.03)],
)
def test_dense_labels_weights_and_penalties_of_columns(solver, l2):
    y = rng.dirichlet([1, 2, 0.5], N)
    share = rng.integers(0, 4, N) * 1.0
    found = optimum(np.float64(X), y, l2, share)
    model = fit_multinomial(
        X, y, l2=l2, sample_weight=share, solver=solver, tol=1e-7, max_steps=2000
    )
    assert model.converged
    close(
        model, (found[0] - found[0].mean(1, keepdims=True), found[1] - found[1].mean())
    )


@pytest.mark.full
def test_the_coefficients_of_anes96_are_those_of_statsmodels():
    import statsmodels.api as sm

    data = sm.datasets.anes96.load_pandas()
    peer = sm.MNLogit(data.endog, sm.add_constant(data.exog)).fit(disp=0, tol=1e-12)
    model = fit_multinomial(data.exog, data.endog, tol=1e-9)
    assert model.converged and model.options.columns == tuple(data.exog.columns)
    weights = (model.weights - model.weights[:, :1])[:, 1:]
    np.testing.assert_allclose(weights, peer.params[1:], rtol=2e-4, atol=1e-6)
    bias = (model.bias - model.bias[0])[1:]
    np.testing.assert_allclose(bias, peer.params[:1].squeeze(), rtol=1e-4)
    np.testing.assert_allclose(-model.loss * len(data.endog), peer.llf, rtol=1e-6)
    # G. S. Maddala's example, as statsmodels documents it: log-likelihood −1461.92.
    np.testing.assert_allclose(-model.loss * len(data.endog), -1461.9227, rtol=1e-6)


@pytest.mark.full
def test_float32_has_four_digits_of_float64_on_standardised_columns():
    x = np.float64(X - X.mean(0)) / X.std(0)
    wide = fit_multinomial(x, Y, l2=1e-3, tol=1e-9)
    narrow = fit_multinomial(np.float32(x), Y, l2=1e-3)
    close(narrow, (np.asarray(wide.weights), np.asarray(wide.bias)), 1e-5)


@pytest.mark.full
def test_a_constant_added_to_a_column_moves_the_bias_alone():
    model, moved = (fit_multinomial(x, Y, l2=0.02) for x in (X, X + np.float32(100)))
    np.testing.assert_allclose(moved.weights, model.weights, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        predict_logits(moved, X + np.float32(100)), predict_logits(model, X), atol=2e-3
    )


# How it is computed


@pytest.mark.full
def test_the_rows_in_blocks_give_the_same(monkeypatch, uncached):
    options = {"l2": 0.02, "sample_weight": 1.0 + (np.arange(N) % 3)}
    whole = fit_multinomial(X, Y, **options)
    jax.clear_caches()
    monkeypatch.setattr(_rows, "BLOCK", 200)
    model = fit_multinomial(X, Y, **options)
    np.testing.assert_allclose(model.weights, whole.weights, rtol=1e-4, atol=1e-5)


@pytest.mark.full
def test_the_logits_of_all_rows_are_not_stored(monkeypatch, uncached):
    monkeypatch.setattr(_class_newton, "MOST_LOGITS", 0)
    n, classes = 20_000, 300
    x, y = (
        jax.ShapeDtypeStruct(s, t) for s, t in (((n, 8), "float32"), ((n,), "int32"))
    )

    def one(x, y):
        return fit_multinomial(x, y, classes=classes, l2=0.1)

    program = jax.jit(one).lower(x, y).compile()
    assert program.memory_analysis().temp_size_in_bytes < 4 * n * classes


@pytest.mark.full
def test_vmap_over_penalties_and_folds_and_jit_are_single_fits():
    l2s, folds = jnp.array([1.0, 0.1, 0.01]), jnp.arange(3)

    def one(l2, fold):
        weight = jnp.arange(N) % 3 != fold
        return fit_multinomial(X, Y, classes=K, l2=l2, sample_weight=weight)

    many = jax.jit(jax.vmap(one))(l2s, folds)
    for i in range(3):
        single = one(l2s[i], folds[i])
        np.testing.assert_allclose(
            many.weights[i], single.weights, rtol=1e-3, atol=1e-4
        )
    assert np.all(many.converged)


@pytest.mark.full
def test_sharded_rows_meet_in_sums_alone():
    kind = (AxisType.Explicit,)
    mesh = jax.make_mesh((jax.device_count(),), ("rows",), axis_types=kind)
    data = shard_rows(mesh, X, Y)

    def one(**data):
        return fit_multinomial(**data, classes=K, l2=0.02)

    program = jax.jit(one).lower(**data).compile()
    text = program.as_text()
    assert "all-reduce" in text
    assert "all-gather(" not in text and "all-to-all(" not in text
    alone = fit_multinomial(X, Y, l2=0.02)
    np.testing.assert_allclose(program(**data).weights, alone.weights, atol=1e-5)


@pytest.mark.full
def test_features_of_16_bits_are_multiplied_with_24():
    narrow = jnp.asarray(X, "bfloat16")
    model = fit_multinomial(narrow, Y, l2=0.02)
    wide = fit_multinomial(narrow.astype("float32"), Y, l2=0.02)
    assert model.weights.dtype == jnp.float32
    np.testing.assert_allclose(model.weights, wide.weights, rtol=1e-5, atol=1e-6)


@pytest.mark.full
def test_features_of_16_bits_are_not_copied_to_wider_ones():
    n, d = 40_000, 200
    x, y = jax.ShapeDtypeStruct((n, d), "bfloat16"), jax.ShapeDtypeStruct((n,), "int32")

    def one(x, y):
        return fit_multinomial(x, y, classes=3, l2=0.1)

    program = jax.jit(one).lower(x, y).compile()
    assert program.memory_analysis().temp_size_in_bytes < 4 * n * d


def test_three_numbers_of_bfloat16_are_one_of_float32():
    b = jnp.asarray(rng.normal(size=1000) * 10.0 ** rng.integers(-20, 20, 1000), "f4")
    total = sum(
        part.astype("float32")
        for part in reversed(jax.jit(parts_of, static_argnums=1)(b, 3))
    )
    np.testing.assert_allclose(total, b, rtol=2.0**-23)


@pytest.mark.full
def test_optax_in_batches_comes_near():
    key = jax.random.key(0)
    x = (X - X.mean(0)) / X.std(0)
    best = fit_multinomial(x, Y, l2=0.1)
    adam = optax.adam(0.02)
    model = fit_multinomial(
        x, Y, l2=0.1, solver=adam, batch_size=60, key=key, max_steps=200
    )
    assert best.loss <= model.loss < best.loss * 1.001


# Verdicts


def separated(x, y, k):
    """By a linear program: a direction along which no row loses and some row gains."""
    z = np.append(x, np.ones((len(x), 1)), 1)
    rows = []
    for zi, yi in zip(z, y, strict=True):
        for other in set(range(k)) - {yi}:
            gain = np.zeros((z.shape[1], k))
            gain[:, yi] += zi
            gain[:, other] -= zi
            rows.append(gain.ravel())
    rows = np.array(rows)
    found = linprog(-rows.sum(0), A_ub=-rows, b_ub=np.zeros(len(rows)), bounds=(-1, 1))
    return -found.fun > 1e-6


@pytest.mark.full
def test_the_verdicts_are_those_of_a_linear_program():
    random, tries = np.random.default_rng(3), 150
    x = random.integers(-2, 3, (tries, 14, 2))
    noise = random.integers(0, 4, (tries, 1)) * random.normal(size=(tries, 14))
    y = np.digitize(x.sum(2) + noise, [-1, 1])
    y[:, :3] = np.arange(3)
    truth = np.array([separated(*pair, 3) for pair in zip(x, y, strict=True)])
    fits = jax.jit(jax.vmap(lambda x, y: fit_multinomial(x, y, classes=3)))
    models = fits(np.float32(x), y)
    np.testing.assert_array_equal(models.separated, truth)
    assert 0.2 < truth.mean() < 0.8
    np.testing.assert_array_equal(models.converged, ~truth)


def test_a_single_column_is_fitted_as_among_several():
    # Its logits are a multiplication, which every loop of a program could round anew.
    x = np.arange(12.0)[:, None]
    y = np.arange(12) % 5 // 2
    single, among = (fit_multinomial(a, y) for a in (x, np.append(x, 0 * x, 1)))
    assert single.converged and single.steps == among.steps
    np.testing.assert_allclose(single.weights, among.weights[:1], atol=1e-5)


@pytest.mark.full
def test_without_stored_logits_separation_is_seen_too(monkeypatch, uncached):
    monkeypatch.setattr(_class_newton, "MOST_LOGITS", 0)
    x = np.arange(12.0)[:, None]
    model = fit_multinomial(x, np.arange(12) // 4)
    assert model.separated and not model.converged


@pytest.mark.full
def test_a_class_without_rows_has_probability_0():
    model = fit_multinomial(X, Y, classes=K + 1, l2=0.02)
    assert model.converged
    np.testing.assert_array_equal(model.weights[:, K], 0)
    assert model.bias[K] == -np.inf
    close(
        model._replace(weights=model.weights[:, :K], bias=model.bias[:K]),
        fit_multinomial(X, Y, l2=0.02)[:2],
        1e-3,
    )
    np.testing.assert_array_equal(predict_probs(model, X)[:, K], 0)


# What is refused

BAD = {
    "from 1 on": ({"labels": Y + 1}, "every class .* got no row of class 0.*encode"),
    "halves": ({"labels": Y + 0.5}, "integers 0, 1, 2, …, got .* in row 0.*encode"),
    "minus one": ({"labels": Y - 1}, "got -1 in row .*np.unique"),
    "NaN": ({"labels": np.where(X[:, 0] > 1, np.nan, Y)}, "got nan .*leave out"),
    "more than classes": ({"classes": 2}, "integers 0 to 1, got 2 in row"),
    "a gap": ({"labels": 2 * Y}, "no row of class 1 and 1 more"),
    "an empty class": ({"classes": 5}, "no row of class 3 and 1 more.*give l2"),
    "one class": ({"labels": 0 * Y}, "two classes or more, got 0 in all rows"),
    "no number": ({"classes": 2.5}, "classes must be an integer.* got 2.5"),
    "one column": ({"labels": LABELS[:, :1]}, "a column for each class, at least two"),
    "sums": ({"labels": LABELS / 2}, "probabilities of the classes.*row 0"),
    "columns": ({"labels": LABELS, "classes": 4}, r"\(240, 3\) for 4 classes"),
    "rows": ({"labels": Y[1:]}, r"one class per row of features.*\(239,\)"),
    "a precision": ({"precision": "low"}, "precision must be one of"),
    "a solver": ({"solver": "newton"}, "solver must be"),
    "a start": ({"init": (np.zeros(D), 0.0)}, "init must hold weights"),
    "a penalty": ({"l2": np.zeros(2)}, "l2 must be a scalar or hold"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=list(BAD))
def test_what_cannot_be_meant_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        fit_multinomial(**({"features": X, "labels": Y} | change))


@pytest.mark.full
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.where(X > 5, np.nan, X)}, "features must be finite, got nan"),
        ({"l2": -1.0}, "l2 must be 0 or more"),
        ({"sample_weight": -np.ones(N)}, "sample_weight must be 0 or more"),
    ],
)
def test_values_are_refused_as_by_the_fit_of_two_classes(change, message):
    with pytest.raises(ValueError, match=message):
        fit_multinomial(**({"features": X, "labels": Y} | change))


def test_text_is_refused_and_jit_asks_for_the_number_of_classes():
    with pytest.raises(TypeError, match="labels must be numbers, got text"):
        fit_multinomial(X, np.array(["a", "b", "c"])[Y])
    with pytest.raises(ValueError, match="classes must say how many there are"):
        jax.eval_shape(lambda y: fit_multinomial(X, y), Y)


@pytest.mark.full
def test_a_table_is_found_by_its_names():
    names = list("abcd")
    table = pd.DataFrame(X, columns=names)
    model = fit_multinomial(table, pd.Series(Y), l2=0.02)
    assert model.options.columns == tuple(names)
    turned = predict_logits(model, table[names[::-1]])
    np.testing.assert_array_equal(turned, predict_logits(model, X))
    with pytest.raises(ValueError, match='lacks the column "a"'):
        predict_probs(model, table[names[1:]])
    with pytest.raises(ValueError, match="model must hold one"):
        predict_logits(jax.tree.map(lambda a: jnp.stack([a, a]), model), X)


def optimum_to_sixty_digits(x, y, k, l2):
    """By Newton's method in mpmath; the bias of class 0 is held at 0 on the way."""
    n, d = x.shape
    free = [(j, c) for j in range(d + 1) for c in range(k) if (j, c) != (d, 0)]
    rows = [[mp.mpf(v) for v in row] + [mp.mpf(1)] for row in x.tolist()]
    at = {place: mp.mpf(0) for place in free} | {(d, 0): mp.mpf(0)}
    for _ in range(12):
        gradient, hessian = mp.matrix(len(free), 1), mp.matrix(len(free))
        for z, label in zip(rows, y, strict=True):
            mass = [
                mp.exp(sum(z[j] * at[j, c] for j in range(d + 1))) for c in range(k)
            ]
            p = [m / sum(mass) for m in mass]
            for a, (i, c) in enumerate(free):
                gradient[a] += z[i] * (p[c] - (c == label)) / n
                for b, (j, e) in enumerate(free):
                    hessian[a, b] += z[i] * z[j] * p[c] * ((c == e) - p[e]) / n
        for a, place in enumerate(free):
            if place[0] < d:
                gradient[a] += l2 * at[place]
                hessian[a, a] += l2
        step = mp.lu_solve(hessian, gradient)
        for a, place in enumerate(free):
            at[place] -= step[a]
    assert mp.norm(gradient) < mp.mpf(10) ** -55
    table = np.array([[float(at[j, c]) for c in range(k)] for j in range(d + 1)])
    return table[:d], table[d] - table[d].mean()


def test_a_small_case_to_sixty_digits(x64):
    x = np.array([[0.5, 1], [-1, 2], [2, 0.25], [1, -1], [-2, -0.5], [0, 3], [1.5, 1]])
    y, l2 = np.array([0, 1, 2, 2, 0, 1, 1]), 0.03125
    with mp.workdps(60):
        weights, bias = optimum_to_sixty_digits(x, y, 3, mp.mpf(l2))
    model = fit_multinomial(x, y, l2=l2, tol=1e-15)
    np.testing.assert_allclose(model.weights, weights, rtol=1e-13)
    np.testing.assert_allclose(model.bias, bias, rtol=1e-13)
