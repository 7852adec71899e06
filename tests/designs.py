"""Random data that are separated about as often as not, for tests of the verdicts.

Each takes a random generator of NumPy and returns features and labels.
"""

from pathlib import Path

import numpy as np

TABLE = np.loadtxt(
    Path(__file__).with_name("endometrial.csv"), delimiter=",", skiprows=6
)


def integers(rng):
    return rng.integers(-2, 3, (12, 2)), rng.integers(0, 2, 12)


def dummies(rng):
    x = np.float64(rng.random((30, 3)) < 0.25)
    return x, rng.random(30) < 0.15 + 0.2 * x.sum(1)


def rare_level(rng):
    x = rng.normal(size=(80, 4))
    x[:, 0] = rng.random(80) < 0.05
    return x, rng.integers(0, 2, 80)


def few_rows(rng):
    return rng.normal(size=(8, 2)), rng.integers(0, 2, 8)


def endometrial(rng):
    rows = rng.integers(0, 79, 79)
    return TABLE[rows, : rng.choice([2, 3])], TABLE[rows, 3]
