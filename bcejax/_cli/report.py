"""What `python -m bcejax` prints of a fit, and what it warns of."""

import dataclasses

import numpy as np

from bcejax import metrics, sigmoid
from bcejax._cli import training
from bcejax._cli.dataset import Dataset
from bcejax._cli.model import Model
from bcejax._cli.table import listed
from bcejax.logistic_regression import Fit, Summary

SHOWN = 40  # coefficients; of more, those that stand out most
VAGUE = 1e4  # standard errors of a coefficient per standard deviation, over 1/√n


def data(data: Dataset, path) -> str:
    model, train = data.model, data.train
    positive = np.average(train.labels, weights=train.weight)
    text = (
        f"data         {path}, label {model.label.name!r}, 1 = {model.label.positive!r}\n"
        f"             {train.labels.size} training and {data.test.labels.size} test "
        f"rows, {len(model.features)} columns, {positive:.1%} positive"
    )
    for name, levels in model.one_hot_levels.items():
        text += f"\none-hot      {name!r}: {listed(levels)}, compared with the first"
    if data.filled:
        text += f"\nimputed      {data.filled} missing values, by training means"
    return text


def penalty(model: Model, loss_out_of_fold: float) -> str:
    text = f"penalty      l2 = {model.l2:.4g}"
    text += " on standardised columns" * model.standardized
    if np.isnan(loss_out_of_fold):
        return text
    grid = training.PENALTIES
    return (
        f"{text}\n             of {grid.size} from {grid[0]:g} to {grid[-1]:g}: "
        f"least log loss out of {training.FOLDS} folds, {loss_out_of_fold:.4f} nats"
    )


def coefficients(summary: Summary | None, model: Model) -> str:
    """The summary; of many columns, the largest per standard deviation."""
    count = len(model.features)
    if summary and count <= SHOWN:
        return str(summary)
    size = np.abs(model.column("coefficient") * model.column("scale"))
    largest = np.argsort(-size, kind="stable")[:SHOWN]
    if summary:
        lines = tuple(summary.coefficients[i] for i in [*largest, -1])
        text = str(dataclasses.replace(summary, coefficients=lines))
    else:
        lines = [model.features[i] for i in largest]
        text = "\n".join(f"{line.coefficient:+12.4g}   {line.name}" for line in lines)
    return (
        f"{text}\n{largest.size} of {count} coefficients, those that move the logit "
        "most, per standard deviation of the column"
    )


def scores(part: str, logits, labels, weights=None, threshold: float = 0.5) -> str:
    right = (np.asarray(sigmoid(logits)) >= threshold) == labels
    measures = {
        "log loss": metrics.log_loss(logits, labels, weights=weights),
        "Brier score": metrics.brier_score(logits, labels, weights=weights),
        "ROC AUC": metrics.roc_auc(logits, labels, weights=weights),
        "accuracy": np.average(right, weights=weights),
    }
    return f"{part:13}" + ", ".join(f"{name} {x:.4f}" for name, x in measures.items())


def doubts(found: Fit, summary: Summary | None, model: Model, weight) -> list[str]:
    """The reason not to trust the coefficients, or some figures, if there is one."""
    if found.separated:
        return [
            "the data are separable: columns combine to tell the classes of all rows, or "
            "of some, apart without an error, so coefficients grow for ever, and stand "
            "where the search stopped; a penalty (--l2) makes them finite"
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
        f"the data hardly determine the coefficients of {listed(vague)}: columns repeat "
        "one another, or tell some of the rows apart without an error; a penalty "
        "(--l2) settles them"
    ]
