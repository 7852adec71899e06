"""Fits of arrays that are sharded over devices: the same answer, and no row moved."""

import re
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bcejax import logistic_regression, metrics
from bcejax.logistic_regression import _large, _newton, _rows, fit, shard_rows

MOVES = "all-gather|all-to-all|collective-permute"


def made(n=601, d=3):
    random = np.random.default_rng(0)
    x = random.normal(size=(n, d)).astype(np.float32)
    return x, (x @ np.arange(d) > random.normal(size=n)).astype(np.float32)


def mesh(axis_type=AxisType.Explicit):
    return jax.make_mesh((jax.device_count(),), ("rows",), axis_types=(axis_type,))


def moved(function, *arguments) -> list[int]:
    """How many numbers each operation hands from device to device, sums aside."""
    program = jax.jit(function).lower(*arguments).compile().as_text()
    shapes = re.findall(rf"= \(?\w+\[([\d,]*)\][^=]* (?:{MOVES})(?:-start)?\(", program)
    assert re.search("all-reduce", program)
    return [int(np.prod([int(k) for k in shape.split(",") if k])) for shape in shapes]


@pytest.fixture
def uncached():
    """What was traced with other constants of the modules does not count."""
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.parametrize(
    ("split", "axis_type", "solver"),
    [
        pytest.param("rows", AxisType.Auto, "newton", marks=pytest.mark.full),
        pytest.param("columns", AxisType.Explicit, "newton", marks=pytest.mark.full),
        pytest.param("rows", AxisType.Explicit, "newton", marks=pytest.mark.full),
        pytest.param("rows", AxisType.Explicit, "lbfgs", marks=pytest.mark.full),
        pytest.param("columns", AxisType.Auto, "newton", marks=pytest.mark.full),
        pytest.param("columns", AxisType.Explicit, "lbfgs", marks=pytest.mark.full),
    ],
)
def test_no_device_gets_the_features_of_another(
    monkeypatch, uncached, split, axis_type, solver
):
    monkeypatch.setattr(_rows, "BLOCK", 300)
    monkeypatch.setattr(_large, "SMALL", 0)  # a sample is drawn
    if split == "columns":
        monkeypatch.setattr(_newton, "MOST_COLUMNS", 1)  # conjugate gradients
    x, y = made(4000, 8)
    spec = {"rows": ("rows",), "columns": (None, "rows")}[split]
    sharding = NamedSharding(mesh(axis_type), PartitionSpec(*spec))
    of_labels = NamedSharding(sharding.mesh, PartitionSpec(*spec[:1]))
    arguments = jax.device_put(x, sharding), jax.device_put(y, of_labels)

    def fitted(x, y):
        return fit(x, y, solver=solver, l2=0.01)

    # The shares of the rows, of which one draws a sample, are as many as the rows.
    assert max(moved(fitted, *arguments), default=0) <= len(x)
    model, expected = jax.jit(fitted)(*arguments), fitted(x, y)
    assert model.converged
    np.testing.assert_allclose(model.weights, expected.weights, atol=1e-4)


@pytest.mark.full
def test_rows_that_do_not_divide_are_filled_up():
    x, y = made()
    data = shard_rows(mesh(), x, y)
    assert len(data["features"]) == 602
    np.testing.assert_array_equal(data["sample_weight"], [1] * 601 + [0])
    assert data["features"].sharding.shard_shape((602, 3)) == (301, 3)
    model, expected = fit(**data), fit(x, y)
    np.testing.assert_allclose(model.weights, expected.weights, rtol=1e-5)
    whole = logistic_regression.summary(expected, x, y)
    table = logistic_regression.summary(model, **data)
    np.testing.assert_allclose(table.log_likelihood, whole.log_likelihood, rtol=1e-5)
    for line, other in zip(table.coefficients, whole.coefficients, strict=True):
        np.testing.assert_allclose(line[1:5], other[1:5], rtol=1e-4, atol=1e-6)
    logits = logistic_regression.predict_logits(model, data["features"])
    score = metrics.roc_auc(logits, data["labels"], weights=data["sample_weight"])
    expected = metrics.roc_auc(np.asarray(logits)[:601], y)
    np.testing.assert_allclose(score, expected, rtol=1e-6)


def test_weights_and_offsets_go_along_and_what_is_not_needed_stays_away():
    x, y = made(600)
    assert set(shard_rows(mesh(), x, y)) == {"features", "labels"}
    weight, offset = np.arange(600) % 3, 0.5
    data = shard_rows(mesh(), x, y, sample_weight=weight, offset=offset)
    expected = fit(x, y, sample_weight=weight, offset=offset)
    np.testing.assert_allclose(fit(**data).weights, expected.weights, rtol=1e-5)


def test_a_table_may_be_sharded():
    x, y = made(7, 2)
    data = shard_rows(mesh(), pd.DataFrame(x, columns=["a", "b"]), pd.Series(y))
    np.testing.assert_array_equal(np.asarray(data["features"])[:7], x)


def test_arrays_of_different_lengths_are_refused():
    x, y = made()
    with pytest.raises(ValueError, match=r"labels must have the 601 rows .* \(600,\)"):
        shard_rows(mesh(), x, y[1:])


@pytest.mark.full
def test_eight_devices():
    """That no device gets the features of another, in a process that has eight."""
    code = (
        "import jax, pytest, sys; jax.config.update('jax_num_cpu_devices', 8);"
        "sys.exit(pytest.main(sys.argv[1:]))"
    )
    options = "-q", "-n0", "--noconftest", "-k", "no_device"
    options += tuple(
        f"--override-ini={name}=" for name in ("addopts", "filterwarnings")
    )
    subprocess.run([sys.executable, "-c", code, *options, __file__], check=True)
