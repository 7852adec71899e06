"""The fit behind `python -m bcejax fit`, its standard errors and its penalty.

A standardised penalty acts on the coefficient per standard deviation, which is that of
the column times the deviation: it is l2 · deviation² on the coefficient of the column.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import StratifiedKFold

from bcejax import logistic_regression
from bcejax._cli import UserError, about
from bcejax._cli.dataset import Dataset
from bcejax._cli.rows import Rows
from bcejax.logistic_regression import Fit, MultinomialFit, Summary
from bcejax.logistic_regression._given import Given
from bcejax.logistic_regression._newton import is_stored
from bcejax.logistic_regression._path_batches import losses_along
from bcejax.logistic_regression._summary import escapes_of

FOLDS, PENALTIES = 5, np.logspace(-7, 1, 50)

# Near what rounding leaves of the gradient; the search ends where it gets no nearer.
PRECISELY = {"tol": 1e-10, "max_steps": 1000}


class Trained(NamedTuple):
    fit: Fit | MultinomialFit
    summary: Summary | None  # None for very many columns or more than two classes
    escapes: tuple[int, ...] | None  # as in a summary
    out_of_fold: float | None  # the loss that chose the penalty, if one was to choose


def train(data: Dataset, seed: int) -> Trained:
    """Fit, and fill the model in."""
    model, moments = data.model, data.moments
    units = np.square(moments.deviation) if model.standardized else 1.0
    out_of_fold = None
    if model.l2 == "cv":
        model.l2, out_of_fold = _choose_l2(data, units, seed)
    stored = is_stored(len(model.features))
    fit = _fit_parts if data.held is None else _fit_rows
    with about("the fit"):
        found, summary, escapes = fit(data, model.l2 * units, stored)
    errors = [None] * (len(model.features) + 1)
    if summary:
        errors = [line.standard_error for line in summary.coefficients]
    model.fit = _described(found, data)
    model.intercept_standard_error = errors.pop()
    columns = np.stack(moments[1:], 1).tolist()
    for feature, error, line in zip(model.features, errors, columns, strict=True):
        feature.standard_error = error
        feature.mean, feature.scale = line
    return Trained(found, summary, escapes, out_of_fold)


def _described(found, data: Dataset):
    """With the names of the features, and whether there were weights and an offset.

    Of rows in memory all have a weight and an offset, if only 1 and 0.
    """
    options = replace(
        found.options,
        columns=tuple(data.model.names),
        weighted=data.weight is not None,
        shifted=data.model.offset is not None,
    )
    return found._replace(options=options)


def _fit_rows(data: Dataset, l2, stored: bool):
    """The fit, its summary unless H is too large, and what escapes."""
    x, y, weight, offset = data.all_rows
    others = {"sample_weight": weight, "offset": offset}
    if data.model.label.classes:
        given = {"classes": len(data.model.label.classes), "sample_weight": weight}
        found = logistic_regression.fit_multinomial(x, y, l2=l2, **given, **PRECISELY)
        return found, None, None
    found = logistic_regression.fit(x, y, l2=l2, **others, **PRECISELY)
    if not stored:  # the covariance, a d × d matrix, takes minutes
        return found, None, escapes_of(found, Given(x, y, l2, **others), True)
    names = data.model.names
    summary = logistic_regression.summary(found, x, y, names=names, **others)
    return found, summary, summary.escapes


def _fit_parts(data: Dataset, l2, stored: bool):
    batches, several = partial(_batches, data), jax.process_count() > 1
    found = logistic_regression.fit_batches(
        batches, l2=l2, across_processes=several, **PRECISELY
    )
    if not stored:
        return found, None, None
    summary = logistic_regression.summary(found, batches, names=data.model.names)
    return found, summary, summary.escapes


def _batches(data: Dataset, which: np.ndarray | None = None) -> Iterator[tuple]:
    """The rows to train on, or those of them that are chosen, part by part."""
    weighted, shifted, start = data.weight is not None, data.model.offset is not None, 0
    for rows in data.rows():
        stop = start + len(rows.labels)
        x, y, weight, offset = rows if which is None else rows.take(which[start:stop])
        yield x, y, weight if weighted else None, offset if shifted else None
        start = stop


def _choose_l2(data: Dataset, units, seed: int) -> tuple[float, float]:
    """The penalty of least loss out of fold, and that loss, in nats a row."""
    if data.held is None:
        losses_of = partial(_losses_of_parts, data)
    else:
        rows = Rows(*map(jnp.asarray, data.all_rows))
        losses_of = partial(_losses_of_rows, rows, data.model.label.classes)
    l2s, total, weight = np.multiply.outer(PENALTIES, units), 0, 0
    folds = _folds(data.labels(), seed)
    for fold in range(FOLDS):
        with about("--l2 cv"):  # as where a fold has no weight
            losses, of_fold = losses_of(folds == fold, l2s)
        total, weight = total + losses * of_fold, weight + of_fold
    losses = total / weight
    best = losses.argmin()
    return float(PENALTIES[best]), float(losses[best])


def _folds(labels: np.ndarray, seed: int) -> np.ndarray:
    """The fold of each row, a byte."""
    least = np.bincount(labels).min()
    if least < FOLDS:
        raise UserError(
            f"--l2 cv must have {FOLDS} rows of each class, one for each fold, "
            f"got {least} of the rarest one"
        )
    split = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    folds = np.empty(labels.size, np.int8)
    for fold, (_, places) in enumerate(split.split(labels, labels)):
        folds[places] = fold
    return folds


def _losses_of_rows(rows: Rows, classes, held, l2s) -> tuple[np.ndarray, float]:
    """The loss of the fold at each penalty, and its weight."""
    x, y, weight, offset = rows
    many = {"classes": len(classes)} if classes else {}
    shift = None if many else offset
    # By weights of 0, which do not count, all folds have the shape of one program.
    seen, tested = jnp.where(held, 0, weight), jnp.where(held, weight, 0)
    given = {"sample_weight": seen, "offset": shift, **many, **PRECISELY}
    path = logistic_regression.fit_path(
        x, y, l2s, held_out=(x, y, tested, shift), **given
    )
    return path.held_out_loss, tested.sum()


def _losses_of_parts(data: Dataset, held, l2s) -> tuple[np.ndarray, float]:
    """The same of rows that are read part by part."""
    rows = [partial(_batches, data, which) for which in (~held, held)]
    return losses_along(*rows, l2s, **PRECISELY)
