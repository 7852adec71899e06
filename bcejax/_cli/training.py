"""The fit behind `python -m bcejax fit`, its standard errors and its penalty.

A standardised penalty acts on the coefficient per standard deviation, which is that of
the column times the deviation: it is l2 · deviation² on the coefficient of the column.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from bcejax import logistic_regression, metrics
from bcejax._cli import UserError, about
from bcejax._cli.dataset import Rows
from bcejax._cli.model import Line, Model
from bcejax.logistic_regression import Fit, Summary
from bcejax.logistic_regression._given import Given
from bcejax.logistic_regression._newton import is_stored
from bcejax.logistic_regression._summary import escapes_of

FOLDS, PENALTIES = 5, np.logspace(-7, 1, 50)

# Near what rounding leaves of the gradient; the search ends where it gets no nearer.
_fit = partial(logistic_regression.fit, tol=1e-10, max_steps=1000)


class Trained(NamedTuple):
    fit: Fit
    summary: Summary | None  # None for very many columns
    escapes: tuple[int, ...] | None  # as in a summary
    out_of_fold: float | None  # the loss that chose the penalty, if one was to choose


def train(model: Model, rows: Rows, seed: int) -> Trained:
    """Fit, and fill the model in."""
    x, y, weight, offset = rows
    scaler = StandardScaler().fit(x, sample_weight=weight)
    units = np.square(scaler.scale_) if model.standardized else 1.0
    out_of_fold = None
    if model.l2 == "cv":
        model.l2, out_of_fold = _choose_l2(rows, units, seed)
    l2, others = model.l2 * units, {"sample_weight": weight, "offset": offset}
    with about("the fit"):
        found = _fit(x, y, l2=l2, **others)
    if is_stored(len(model.features)):
        summary = logistic_regression.summary(found, x, y, names=model.names, **others)
        escapes = summary.escapes
        errors = [line.standard_error for line in summary.coefficients]
    else:  # the covariance, a d × d matrix, takes minutes
        summary, errors = None, [None] * (len(model.features) + 1)
        escapes = escapes_of(found, Given(x, y, l2, **others), True)
    model.intercept = Line(float(found.bias), errors.pop())
    columns = np.stack([found.weights, scaler.mean_, scaler.scale_], 1).tolist()
    for feature, error, line in zip(model.features, errors, columns, strict=True):
        feature.standard_error = error
        feature.coefficient, feature.mean, feature.scale = line
    return Trained(found, summary, escapes, out_of_fold)


def _choose_l2(rows: Rows, units, seed: int) -> tuple[float, float]:
    """The penalty of least loss out of fold, and that loss, in nats a row."""
    x, y, weight, offset = map(jnp.asarray, rows)
    least = np.bincount(rows.labels.astype(int)).min()
    if least < FOLDS:
        raise UserError(
            f"--l2 cv must have {FOLDS} rows of each class, one for each fold, "
            f"got {least} of the rarer one"
        )
    losses = np.zeros((FOLDS, PENALTIES.size))
    split = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for fold, (_, held) in enumerate(split.split(rows.features, rows.labels)):
        held = jnp.zeros(y.size, bool).at[held].set(True)
        seen, tested = jnp.where(held, 0, weight), jnp.where(held, weight, 0)
        params = jnp.zeros(x.shape[1]), jnp.zeros(())
        for i in reversed(range(PENALTIES.size)):  # each fit starts at the last one
            given = {"l2": PENALTIES[i] * units, "sample_weight": seen}
            found = _fit(x, y, **given, offset=offset, init=params)
            params = found.weights, found.bias
            logits = logistic_regression.predict_logits(found, x) + offset
            with about("--l2 cv"):  # as where a fold has no weight
                losses[fold, i] = metrics.log_loss(logits, y, weights=tested)
        losses[fold] *= tested.sum()
    total = losses.sum(axis=0) / weight.sum()
    best = total.argmin()
    return float(PENALTIES[best]), float(total[best])
