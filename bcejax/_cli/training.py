"""The fit behind `python -m bcejax fit`, its standard errors and its penalty.

A standardised penalty acts on the coefficient per standard deviation, which is that of
the column times the deviation: it is l2 · deviation² on the coefficient of the column.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from bcejax import bce_with_logits, logistic_regression
from bcejax._cli import UserError
from bcejax._cli.dataset import Rows
from bcejax._cli.model import Line, Model
from bcejax.logistic_regression import Fit, Summary

FOLDS, PENALTIES = 5, np.logspace(-7, 1, 50)
TOGETHER = 2**26  # numbers that the fits of one vmap may hold: half a gigabyte
MOST_COLUMNS = 2000  # of which the covariance, a d × d matrix, does not take minutes

# Near what rounding leaves of the gradient; the search ends where it gets no nearer.
_fit = partial(logistic_regression.fit, tol=1e-10, max_steps=1000)


def fit(model: Model, rows: Rows, seed: int) -> tuple[Fit, Summary | None, float]:
    """Fill the model in. Returns what tells how well, and the loss that chose l2."""
    scaler = StandardScaler().fit(rows.features, sample_weight=rows.weight)
    units, out_of_fold = np.square(scaler.scale_) if model.standardized else 1.0, np.nan
    if np.isnan(model.l2):
        model.l2, out_of_fold = choose_l2(rows, units, seed)
    x, y, weight, offset = rows
    options = {"l2": model.l2 * units, "sample_weight": weight, "offset": offset}
    found, summary = _fit(x, y, **options), None
    if not np.isfinite(found.weights).all():
        raise UserError(
            "the coefficients overflowed: a penalty (--l2) keeps them finite"
        )
    names, errors = [f.name for f in model.features], [None] * (x.shape[1] + 1)
    if len(names) <= MOST_COLUMNS:
        summary = logistic_regression.summary(found, x, y, names=names, **options)
        errors = [line.standard_error for line in summary.coefficients]
    model.intercept = Line(float(found.bias), errors.pop())
    columns = np.asarray(found.weights), scaler.mean_, scaler.scale_
    for feature, error, *line in zip(model.features, errors, *columns, strict=True):
        feature.standard_error = error
        feature.coefficient, feature.mean, feature.scale = map(float, line)
    return found, summary, out_of_fold


def choose_l2(rows: Rows, units, seed: int) -> tuple[float, float]:
    """The penalty of least loss out of fold, and that loss, in nats a row."""
    x, y, weight, offset = map(jnp.asarray, rows)
    least = int(min(y.sum(), (1 - y).sum()))
    if least < FOLDS:
        raise UserError(
            f"--l2 cv must have {FOLDS} rows of each class, one for each fold, "
            f"got {least} of the rarer one"
        )
    fold_of = np.empty(y.size, int)
    split = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for fold, (_, held) in enumerate(split.split(rows.features, rows.labels)):
        fold_of[held] = fold

    def loss(pair):
        fold, l2 = pair
        held = fold_of == fold
        seen = jnp.where(held, 0, weight)
        found = _fit(x, y, l2=l2 * units, sample_weight=seen, offset=offset)
        logits = logistic_regression.predict_logits(found, x) + offset
        counts = held & (weight > 0)
        return jnp.sum(weight * bce_with_logits(logits, y), where=counts)

    pairs = np.repeat(np.arange(FOLDS), PENALTIES.size), np.tile(PENALTIES, FOLDS)
    together = int(np.clip(TOGETHER // x.size, 1, FOLDS * PENALTIES.size))
    losses = jax.jit(lambda pairs: jax.lax.map(loss, pairs, batch_size=together))(pairs)
    total = np.asarray(losses).reshape(FOLDS, -1).sum(axis=0) / weight.sum()
    best = np.nan_to_num(total, nan=np.inf).argmin()
    return float(PENALTIES[best]), float(total[best])
