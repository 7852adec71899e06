"""What `python -m bcejax` prints of a fit, and what it warns of."""

import dataclasses

import numpy as np

from bcejax import metrics, sigmoid
from bcejax._cli import listed, training
from bcejax._cli.dataset import Dataset, Rows
from bcejax._cli.model import Model
from bcejax.logistic_regression import Fit, Summary

SHOWN = 40  # coefficients; of more, those that stand out most
VAGUE = 1e4  # standard errors of a coefficient per standard deviation, over 1/√n


def data(data: Dataset, path) -> str:
    model, train = data.model, data.train
    positive = np.average(train.labels, weights=train.weight)
    label, counts = model.label, [rows.labels.size for rows in (train, data.test)]
    text = (
        f"data         {path}, label {label.name!r}, 1 = {label.positive!r}\n"
        f"             {counts[0]} training and {counts[1]} test rows, "
        f"{len(model.features)} columns, {positive:.1%} positive"
    )
    for name, levels in model.one_hot_levels.items():
        text += f"\none-hot      {name!r}: {listed(levels)}, compared with the first"
    if data.filled:
        text += f"\nimputed      {data.filled} missing values, by training means"
    return text


def coefficients(summary: Summary | None, model: Model, out_of_fold: float) -> str:
    """The penalty and the summary; of many columns, the largest coefficients."""
    text, grid, count = "", training.PENALTIES, len(model.features)
    if model.l2:
        text = f"penalty      l2 = {model.l2:.4g}"
        text += " on standardised columns" * model.standardized + "\n"
    if np.isfinite(out_of_fold):
        text += (
            f"             of {grid.size} from {grid[0]:g} to {grid[-1]:g}: least log "
            f"loss out of {training.FOLDS} folds, {out_of_fold:.4f} nats\n"
        )
    size = np.abs(model.column("coefficient") * model.column("scale"))
    largest = np.argsort(-size, kind="stable")[:SHOWN]
    rest = ""
    if count > SHOWN:
        rest = f"\n{SHOWN} of {count} coefficients, the largest per standard deviation"
        if summary:
            lines = tuple(summary.coefficients[i] for i in [*largest, -1])
            summary = dataclasses.replace(summary, coefficients=lines)
    lines = [model.features[i] for i in largest]
    lines = "\n".join(f"{line.coefficient:+12.4g}   {line.name}" for line in lines)
    return f"{text}\n{summary or lines}{rest}\n"


def scores(part: str, logits, rows: Rows, threshold: float = 0.5) -> str:
    given = logits, rows.labels
    right = (np.asarray(sigmoid(logits)) >= threshold) == rows.labels
    measures = {
        "log loss": metrics.log_loss(*given, weights=rows.weight),
        "Brier score": metrics.brier_score(*given, weights=rows.weight),
        "ROC AUC": metrics.roc_auc(*given, weights=rows.weight),
        "accuracy": np.average(right, weights=rows.weight),
    }
    return f"{part:13}" + ", ".join(f"{name} {x:.4f}" for name, x in measures.items())


def doubts(found: Fit, summary: Summary | None, model: Model, weight) -> list[str]:
    """The reason not to trust the coefficients, or some figures, if there is one."""
    if found.separated:
        return [
            "the data are separable: columns combine to tell the classes of all rows, "
            "or of some, apart without an error, so coefficients grow for ever, and "
            "stand where the search stopped; a penalty (--l2) makes them finite"
        ]
    if not found.converged:
        return [
            f"the fit has not converged in {found.steps} steps, its gradient is still "
            f"{found.gradient_norm:.1e}: a larger penalty (--l2) helps"
        ]
    if summary is None:
        most = training.MOST_COLUMNS
        return [f"no standard errors for more than {most} columns: they take too long"]
    errors = np.array([line.standard_error for line in summary.coefficients[:-1]])
    size = errors * model.column("scale") * np.sqrt(weight.sum())
    vague = [model.features[i].name for i in np.flatnonzero(~(size < VAGUE))]
    return vague and [
        f"the data hardly determine the coefficients of {listed(vague)}: columns "
        "repeat one another, or tell some of the rows apart without an error; a "
        "penalty (--l2) settles them"
    ]
