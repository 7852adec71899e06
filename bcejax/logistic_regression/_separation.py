"""Which coefficients have no finite optimum, decided exactly by a linear program.

A direction δ of the coefficients that are not penalised is one of recession if moving
along it lowers no row's likelihood. With s = 1 for labels of 1 and s = −1 for those of
0, that is

    s (x·δ) ≥ 0 for every row,    x·δ = 0 for rows with a label between 0 and 1.

If some row has s (x·δ) > 0, then going on along δ improves the loss for ever, and the
data are separated (Albert and Anderson 1984). Konis (2007) asks a linear program for
the δ in −1 ≤ δ ≤ 1 with the largest Σ s (x·δ): that sum is 0 if and only if there is an
optimum, and otherwise the coefficients with δ ≠ 0 run away.
"""

import jax
import numpy as np
from jax.typing import ArrayLike
from scipy.optimize import linprog

from bcejax._values import complain
from bcejax.logistic_regression._given import read
from bcejax.logistic_regression._problem import checked_problem

# HiGHS keeps constraints to 1e-7; the columns here have a largest value of 1. What is
# smaller than this is not a direction but the rounding of one.
LEAST = 1e-5


def separation(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    l2: ArrayLike = 0.0,
    sample_weight: ArrayLike | None = None,
    fit_intercept: bool = True,
) -> np.ndarray:
    """Which coefficients would grow without end in a fit of these data, and where to.

    Exact where `Fit.separated` is a verdict of floating-point numbers, but not for jit:
    it solves a linear program on the host, whose time grows with the number of
    different rows.

    Args:
      features: `(n, d)`, real: an array or a table.
      labels: `(n,)`, real, in [0, 1].
      l2: scalar or `(d,)`, not negative. A penalised coefficient stays finite.
      sample_weight: `(n,)` or a scalar, not negative. Rows of weight 0 do not count.
      fit_intercept: whether there is a bias.
    Returns:
      `(d + 1,)` integers of NumPy, the bias last: 1 for a coefficient that runs to +∞,
      −1 for one to −∞, 0 for one that stays. All 0 if the data have an optimum.
    Raises:
      TypeError: if an argument is not real.
      ValueError: if a shape does not fit that of `features`, or a value cannot be
        meant, such as a label outside [0, 1] or a NaN.
    Example:
      >>> separation([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
      array([ 1, -1])
      >>> separation([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
      array([0, 0])

    Reference:
      A. Albert and J. A. Anderson, On the existence of maximum likelihood estimates in
      logistic regression models, Biometrika 71 (1984), 1-10. K. Konis, Linear
      programming algorithms for detecting separated data in binary logistic regression
      models, DPhil thesis, University of Oxford, 2007.
    """
    given, names = read(features, labels, l2, sample_weight, None)
    jax.eval_shape(checked_problem, *given)  # refuses shapes that do not fit
    complain(given.features, given.labels, given.weight_or_1, 0, given.l2, names)
    x, y, l2, weight = (
        np.asarray(a, np.float64)
        for a in (given.features, given.labels, given.l2, given.weight_or_1)
    )
    counted = np.broadcast_to(weight > 0, y.shape)
    x = np.append(x, np.ones((len(x), 1)), 1)[counted]
    free = np.append(np.broadcast_to(l2 == 0, x.shape[1] - 1), fit_intercept)
    found = np.zeros(x.shape[1], int)
    if np.any(free):
        found[free] = np.sign(_direction(x[:, free], y[counted])).astype(int)
    return found


def _direction(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """δ of the free columns, 0 where it is not a direction."""
    largest = np.max(np.abs(x), 0)
    x = x / np.where(largest > 0, largest, 1)
    between = (y > 0) & (y < 1)
    ahead = np.unique(np.where(y == 1, 1, -1)[~between, None] * x[~between], axis=0)
    border = np.unique(x[between], axis=0)
    gain = ahead.sum(0)
    found = _solve(-gain, ahead, border)
    if -found.fun <= LEAST:
        return np.zeros(x.shape[1])
    # Collinear columns may move against each other and gain nothing. So of all δ of
    # that gain the one of the smallest Σ|δ| is taken, δ written as a − b with a, b ≥ 0.
    ahead, border = (np.hstack([rows, -rows]) for rows in (ahead, border))
    enough = np.append(gain, -gain) / -found.fun
    ones = np.ones(2 * x.shape[1])
    least = _solve(ones, ahead, border, enough, 1 - LEAST, bounds=(0, 1))
    direction = np.subtract(*np.split(least.x, 2))
    return np.where(np.abs(direction) > LEAST, direction, 0)


def _solve(cost, ahead, border, gain=None, enough=0.0, bounds=(-1, 1)):
    """The δ of least cost with ahead·δ ≥ 0, border·δ = 0 and gain·δ ≥ enough."""
    least = np.zeros(len(ahead))
    if gain is not None:
        ahead, least = np.vstack([ahead, gain]), np.append(least, enough)
    equal = {"A_eq": border, "b_eq": np.zeros(len(border))} if len(border) else {}
    below = {"A_ub": -ahead, "b_ub": -least} if len(ahead) else {}
    return linprog(cost, **below, **equal, bounds=bounds, method="highs")
