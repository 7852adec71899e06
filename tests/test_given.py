"""What a fit is given: tables and their names, integers, and values that it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from jax.experimental import checkify

from bcejax.logistic_regression import (
    _newton,
    _rows,
    covariance,
    fit,
    predict_logits,
    predict_probs,
    summary,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
Y = (rng.random(60) < 1 / (1 + np.exp(-2 * X[:, 0]))).astype(int)
NAMES = ["age", "dose", "weight"]
SOLVERS = ["newton", "lbfgs"]


def frame(x=X):
    return pd.DataFrame(x, columns=NAMES)


@pytest.mark.parametrize("table", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_table_is_fitted_as_its_numbers_are_and_found_by_its_names(table):
    columns = dict(zip(NAMES, X.T, strict=True))
    model, plain = fit(table(columns), pd.Series(Y)), fit(X, Y)
    np.testing.assert_array_equal(model.weights, plain.weights)
    assert model.options.columns == tuple(NAMES) and plain.options.columns is None
    turned = table({name: columns[name] for name in ["dose", "weight", "age"]})
    np.testing.assert_array_equal(
        predict_logits(model, turned), predict_logits(plain, X)
    )
    np.testing.assert_array_equal(covariance(model, turned, Y), covariance(plain, X, Y))
    lines = summary(model, turned, Y).coefficients
    assert [line.name for line in lines] == [*NAMES, "bias"]
    with pytest.raises(ValueError, match='features lacks the column "age"'):
        predict_probs(model, table({"dose": X[:, 1], "weight": X[:, 2]}))


def test_integers_beyond_31_bits_do_not_wrap():
    # Incomes up to 5e9: the low half of such an integer has another sign.
    income = np.int64(1e9 * (X[:, :1] - X.min()))
    model = fit(income, Y)
    assert model.converged and model.weights[0] > 0
    in_units = fit(income / 1e9, Y)
    np.testing.assert_allclose(1e9 * model.weights, in_units.weights, rtol=1e-4)
    assert np.isfinite(summary(model, income, Y).deviance)


BAD = {
    "a label of 2": ({"labels": Y + 1}, "labels must be .* write labels == 2"),
    "a label of -1": ({"labels": 2 * Y - 1}, "labels must be .* write labels == 1"),
    "a label of NaN": ({"labels": np.where(X[:, 0] > 1, np.nan, Y)}, "got nan in row"),
    "NaN": ({"features": frame().where(X < 2)}, 'got nan in row .* column "'),
    "infinity": ({"features": np.where(X > 2, np.inf, X)}, "got inf in row .* of colu"),
    "a weight": (
        {"sample_weight": -1.0},
        "sample_weight must be 0 or more .* got -1.0",
    ),
    "weights of 0": ({"sample_weight": 0}, "sample_weight must not be 0 in all rows"),
    "a penalty": ({"l2": -0.5}, "l2 must be 0 or more and finite, got -0.5"),
    "penalties": ({"l2": [0, -1.0, 0]}, "got -1.0 for column 1"),
    "an offset": ({"offset": np.nan}, "offset must be finite, got nan in row 0"),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=list(BAD))
def test_values_that_cannot_be_meant_are_refused(change, message, solver):
    arguments = {"features": X, "labels": Y} | change
    with pytest.raises(ValueError, match=message):
        fit(**arguments, solver=solver)


@pytest.mark.full
def test_a_gradient_refuses_them_too():
    with pytest.raises(ValueError, match=r"labels must be .* got 2 in row 0"):
        jax.grad(lambda y: fit(X, y, l2=0.1).loss)(jnp.full(60, 2.0))


@pytest.mark.full
def test_traced_calls_refuse_nothing_and_do_not_converge():
    model = jax.jit(fit)(np.where(X > 2, np.nan, X), Y)
    assert not model.converged and np.isnan(model.loss)
    assert jax.vmap(lambda l2: fit(X, Y, l2=l2))(jnp.ones(2)).converged.all()


@pytest.mark.full
@pytest.mark.parametrize(
    ("solver", "stored", "blocks"),
    [
        ("newton", True, False),
        ("newton", True, True),
        ("newton", False, True),
        ("lbfgs", True, True),
    ],
)
def test_a_row_of_no_weight_may_hold_anything(solver, stored, blocks, monkeypatch):
    if not stored:
        monkeypatch.setattr(_newton, "MOST_COLUMNS", 1)
    if blocks:
        monkeypatch.setattr(_rows, "BLOCK", 30)
    jax.clear_caches()
    x, y, offset = X.copy(), Y.astype(float), np.zeros(60)
    weight = np.where(np.arange(60) < 50, 1.0, 0)
    x[50], x[51, 0], y[52], y[53], offset[54] = np.nan, np.inf, np.nan, 7, -np.inf
    options = {"l2": 0.01, "solver": solver}
    model = fit(x, y, sample_weight=weight, offset=offset, **options)
    kept = fit(X[:50], Y[:50], **options)
    assert model.converged and not np.isnan(model.newton_decrement)
    np.testing.assert_allclose(model.weights, kept.weights, rtol=1e-4)
    np.testing.assert_allclose(
        covariance(model, x, y, sample_weight=weight, offset=offset),
        covariance(kept, X[:50], Y[:50]),
        rtol=1e-3,
        atol=1e-6,
    )
    jax.clear_caches()


@pytest.mark.full
def test_a_label_of_no_weight_passes_checkify():
    labels, weight = np.append(Y, np.nan), np.append(np.ones(60), 0)
    features = np.append(X, X[:1], 0)
    checked = checkify.checkify(lambda y: fit(features, y, sample_weight=weight).loss)
    error, loss = checked(labels)
    error.throw()
    np.testing.assert_allclose(loss, fit(X, Y).loss, rtol=1e-5)
