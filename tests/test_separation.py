"""separation(): which coefficients run away, against the opposite linear program."""

import numpy as np
import pytest
from designs import TABLE, dummies, few_rows, integers, rare_level
from scipy.optimize import linprog

from bcejax.logistic_regression import separation

X = np.arange(4.0)[:, None]


def has_an_optimum(x, y, intercept=True):
    """Stiemke's lemma: weights w ≥ 1 with Σ w s x = 0 exist if no direction separates.

    With such weights of the rows the gradient can vanish, which is what an optimum is.
    """
    x = np.append(x, np.full((len(x), 1), intercept), 1)
    sides = [np.where(y == 1, 1, -1)[:, None] * x, -x[(y > 0) & (y < 1)]]
    sides[0][(y > 0) & (y < 1)] = x[(y > 0) & (y < 1)]
    rows = np.concatenate(sides)
    found = linprog(
        np.zeros(len(rows)), A_eq=rows.T, b_eq=np.zeros(x.shape[1]), bounds=(1, None)
    )
    return found.status == 0


@pytest.mark.parametrize("design", [integers, dummies, rare_level, few_rows])
def test_the_verdict_is_that_of_the_dual_program(design):
    verdicts = []
    for seed in range(40):
        x, y = design(np.random.default_rng(seed))
        separated = np.any(separation(x, y))
        assert separated != has_an_optimum(x, y), seed
        verdicts.append(separated)
    assert len(set(verdicts)) == 2


def test_soft_labels_hold_the_border():
    rng = np.random.default_rng(0)
    for _ in range(40):
        x, y = integers(rng)
        y = np.where(rng.random(12) < 0.2, 0.5, y)
        assert np.any(separation(x, y)) != has_an_optimum(x, y)


def test_a_neovasculised_endometrium_has_a_high_grade():
    # No woman with neovasculisation, the first column, has a low grade.
    x, y = TABLE[:, :3], TABLE[:, 3]
    assert separation(x, y).tolist() == [1, 0, 0, 0]
    assert separation(-x, y).tolist() == [-1, 0, 0, 0]
    assert separation(x[:, 1:], y).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("labels", "options", "expected"),
    [
        ([0, 0, 1, 1], {}, [1, -1]),
        ([1, 1, 0, 0], {}, [-1, 1]),
        ([0, 1, 0, 1], {}, [0, 0]),
        ([0, 0, 0.5, 1], {}, [1, -1]),
        ([0, 0, 1, 1], {"l2": 0.1}, [0, 0]),
        ([0, 0, 1, 1], {"l2": [0.1]}, [0, 0]),
        ([1, 1, 1, 1], {"l2": 0.1}, [0, 1]),
        ([1, 1, 1, 1], {"l2": 0.1, "fit_intercept": False}, [0, 0]),
        ([0, 0, 1, 1], {"fit_intercept": False}, [0, 0]),
        ([1, 0, 1, 1], {"sample_weight": [0, 1, 1, 1]}, [1, -1]),
    ],
)
def test_what_moves_and_where_to(labels, options, expected):
    assert separation(X, labels, **options).tolist() == expected


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_collinear_columns_do_not_run_against_each_other(unit):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        level, z = rng.random(40) < 0.2, rng.normal(size=40)
        y = np.where(level, 1, rng.integers(0, 2, 40))
        x = unit * np.stack([level, z, z, 2 * z], 1)
        assert separation(x, y)[:4].tolist() == [1, 0, 0, 0]


def test_a_row_of_no_weight_may_hold_anything():
    x, weight = np.append(X, [[np.nan]], 0), np.array([1, 1, 1, 1, 0])
    found = separation(x, [0, 0, 1, 1, 7], sample_weight=weight)
    assert found.tolist() == [1, -1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [1, 2, 1, 2]}, r"got 2 in row 1.* write labels == 2"),
        ({"labels": [1, -1, 1, 1]}, r"got -1 in row 1.* write labels == 1"),
        ({"labels": [0, 1, 2, 3]}, r"4 classes, 0, 1, 2, 3.*one of them"),
        ({"labels": [0, 1, np.nan, 1]}, r"got nan in row 2.*without a label"),
        ({"labels": [0, 1, 1]}, r"one value per row of features, got labels \(3,\)"),
        ({"features": X[:, 0]}, "features must have shape"),
        ({"features": np.where(X == 1, np.inf, X)}, "got inf in row 1 of column 0"),
        ({"sample_weight": [1, -1, 1, 1]}, r"got -1.0 in row 1"),
        ({"sample_weight": 0}, "must not be 0 in all rows"),
        ({"sample_weight": [1, 1]}, "sample_weight must have the shape of a column"),
        ({"l2": -1.0}, "l2 must be 0 or more and finite, got -1.0"),
        ({"l2": [0.0, 1.0]}, "one value per column"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, message):
    arguments = {"features": X, "labels": [0, 0, 1, 1], **change}
    with pytest.raises(ValueError, match=message):
        separation(**arguments)
