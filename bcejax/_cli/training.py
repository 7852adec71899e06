"""Fit on columns of any scale: in centred coordinates, reported in those of the file.

Centring leaves the penalised optimum where it is, as the bias is not penalised.
Dividing by the standard deviations as well leaves it there only without a penalty, or
is what `--standardize` asks for; else the penalty would not be the one asked for.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import StratifiedKFold

from bcejax import bce_with_logits, logistic_regression
from bcejax._cli import Refused
from bcejax.logistic_regression import _summary

FOLDS, PENALTIES = 5, np.logspace(-7, 1, 50)
TOGETHER = 2**26  # numbers that the fits of one vmap may hold: half a gigabyte
# Beyond so many columns, d × d matrices and their decomposition take minutes.
MOST_COLUMNS = 2000
VAGUE = 1e4  # standard errors of a standardised coefficient, over 1/√n


class Data(NamedTuple):
    features: np.ndarray  # (n, d)
    labels: np.ndarray  # (n,), 0.0 or 1.0
    weight: np.ndarray  # (n,)
    offset: np.ndarray  # (n,)

    def rows(self, index) -> "Data":
        return Data(*(part[index] for part in self))


class Scaling(NamedTuple):
    """(x − mean) / divisor is what is fitted."""

    mean: np.ndarray
    deviation: np.ndarray
    divisor: np.ndarray


def scaling(data: Data, divide: bool) -> Scaling:
    share = data.weight / data.weight.sum()
    mean = share @ data.features
    centred = data.features - mean
    largest = np.abs(centred[data.weight > 0]).max(axis=0)  # its square may overflow
    deviation = largest * np.sqrt(share @ np.square(centred / largest))
    return Scaling(mean, deviation, deviation if divide else np.ones_like(mean))


def scaled(data: Data, by: Scaling) -> Data:
    return data._replace(features=(data.features - by.mean) / by.divisor)


def _tolerance(data: Data) -> float:
    """Of the gradient: near what rounding leaves of it, for columns of any size."""
    wide = data.features.shape[1] > MOST_COLUMNS
    rounding = np.finfo(float).eps * np.abs(data.features).max()
    return max(1e-7 if wide else 1e-10, float(rounding))


def _search(data: Data, l2, weight, tolerance) -> logistic_regression.Fit:
    wide = data.features.shape[1] > MOST_COLUMNS
    return logistic_regression.fit(
        data.features,
        data.labels,
        l2=l2,
        sample_weight=weight,
        offset=data.offset,
        tol=tolerance,
        max_steps=1000,
        **({"solver": "lbfgs"} if wide else {}),  # no d × d Hessian
    )


def fit(data: Data, l2: float) -> logistic_regression.Fit:
    """The minimiser in the coordinates of `data`."""
    return _search(data, l2, data.weight, _tolerance(data))


def unscaled(fit: logistic_regression.Fit, by: Scaling) -> logistic_regression.Fit:
    weights = fit.weights / by.divisor
    return fit._replace(weights=weights, bias=fit.bias - by.mean @ weights)


def choose_l2(data: Data, seed: int) -> tuple[float, float]:
    """The penalty of least loss out of fold, and that loss, in nats a row."""
    least = int(min(data.labels.sum(), (1 - data.labels).sum()))
    if least < FOLDS:
        raise Refused(
            f"--l2 cv must have {FOLDS} rows of each class, one for each fold, "
            f"got {least} of the rarer one"
        )
    split = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    held = np.zeros((FOLDS, data.labels.size), bool)
    for fold, (_, out) in enumerate(split.split(data.features, data.labels)):
        held[fold, out] = True
    losses = _losses_out_of_fold(data, held)
    total = np.where(np.isnan(losses), np.inf, losses).sum(axis=0) / data.weight.sum()
    return float(PENALTIES[total.argmin()]), float(total.min())


def _losses_out_of_fold(data: Data, held: np.ndarray) -> np.ndarray:
    """`(folds, penalties)`: the sum over the rows that the fit has not seen."""
    tolerance = _tolerance(data)

    @jax.jit
    def losses(data, held, folds, penalties):
        def loss(pair):
            fold, l2 = pair
            seen = jnp.where(held[fold], 0, data.weight)
            fit = _search(data, l2, seen, tolerance)
            logits = logistic_regression.predict_logits(fit, data.features)
            of_rows = data.weight * bce_with_logits(logits + data.offset, data.labels)
            return jnp.sum(of_rows, where=held[fold] & (data.weight > 0))

        together = int(np.clip(TOGETHER // data.features.size, 1, folds.size))
        return jax.lax.map(loss, (folds, penalties), batch_size=together)

    folds = np.repeat(np.arange(FOLDS), PENALTIES.size)
    found = losses(data, held, folds, np.tile(PENALTIES, FOLDS))
    return np.asarray(found).reshape(FOLDS, PENALTIES.size)


def summarise(
    fit: logistic_regression.Fit, data: Data, by: Scaling, l2: float, names: list[str]
) -> logistic_regression.Summary:
    """The summary of a scaled fit, with coefficients of the columns of the file."""
    _, labels, weight, offset = data
    given = {"l2": l2, "sample_weight": weight, "offset": offset}
    if (by.divisor == 1).all() or l2 == 0:
        return logistic_regression.summary(
            unscaled(fit, by), data.features, labels, names=names, **given
        )
    # The penalty has its meaning in the scaled coordinates only. It makes the
    # covariance finite there, so that the map back is a product.
    x = scaled(data, by).features
    summary = logistic_regression.summary(fit, x, labels, names=names, **given)
    back = np.diag(np.append(1 / by.divisor, 1))
    back[-1, :-1] = -by.mean / by.divisor
    covariance = np.asarray(logistic_regression.covariance(fit, x, labels, **given))
    variance = np.einsum("ij,jk,ik->i", back, covariance, back, optimize=True)
    raw = unscaled(fit, by)
    coefficients = _summary.coefficient_lines(
        [*names, "bias"], np.append(raw.weights, raw.bias), variance, summary.level
    )
    return dataclasses.replace(summary, coefficients=coefficients)


def vague(
    summary: logistic_regression.Summary, by: Scaling, weight: np.ndarray
) -> list[str]:
    """Names of the coefficients that the data hardly determine."""
    errors = [line.standard_error for line in summary.coefficients[: by.mean.size]]
    size = np.array(errors) * by.deviation * np.sqrt(weight.sum())
    names = [line.name for line in summary.coefficients]
    return [names[i] for i in np.flatnonzero(~(size < VAGUE))]
