"""What `python -m bcejax fit` prints, and what it warns of."""

import dataclasses

import numpy as np

from bcejax import logistic_regression, metrics
from bcejax._cli import training
from bcejax._cli.dataset import Table
from bcejax._cli.files import listed
from bcejax._cli.model_file import Model

SHOWN = 40  # coefficients; of more, those that stand out most


def data(table: Table, path) -> str:
    label, train = table.label, table.train
    rows = f"{len(train.labels)} training"
    if table.test:
        rows += f" and {len(table.test.labels)} test"
    lines = [
        f"data         {path}, label {label.name!r}, 1 = {label.positive!r}",
        f"             {rows} rows, {len(table.features)} columns, "
        f"{np.average(train.labels, weights=train.weight):.1%} positive",
    ]
    for name, levels in table.levels.items():
        lines.append(
            f"one-hot      {name!r}: {listed(levels)}; {levels[0]!r} dropped, "
            "the others are compared with it"
        )
    if table.filled:
        lines.append(f"imputed      {table.filled} missing values, by training means")
    return "\n".join(lines)


def penalty(l2: float, loss_out_of_fold: float | None, standardized: bool) -> str:
    text = f"penalty      l2 = {l2:.4g}" + " on standardised columns" * standardized
    if loss_out_of_fold is None:
        return text
    grid = training.PENALTIES
    edge = " (the end of the grid)" if l2 in (grid[0], grid[-1]) else ""
    return (
        f"{text}{edge}\n             of {grid.size} from {grid[0]:g} to {grid[-1]:g}: "
        f"least log loss out of {training.FOLDS} folds, {loss_out_of_fold:.4f} nats"
    )


def coefficients(summary: logistic_regression.Summary | None, model: Model) -> str:
    """The summary; of many columns, the largest per standard deviation."""
    if len(model.features) <= SHOWN and summary:
        return str(summary)
    size = np.abs(model.coefficients * model.scales)
    largest = np.argsort(-size, kind="stable")[:SHOWN]
    count = f"{len(largest)} of {len(model.features)} coefficients"
    rest = ", those that move the logit most, per standard deviation of the column"
    if summary:
        lines = [summary.coefficients[i] for i in [*largest, -1]]
        shown = dataclasses.replace(summary, coefficients=tuple(lines))
        return f"{shown}\n{count}{rest}"
    lines = [f"{count}{rest}", f"{model.intercept:+12.4g}   bias"]
    for i in largest:
        lines.append(f"{model.coefficients[i]:+12.4g}   {model.features[i].name}")
    return "\n".join(lines)


def scores(logits: np.ndarray, part: training.Data) -> str:
    labels, weights = part.labels, part.weight
    measures = {
        "log loss": metrics.log_loss(logits, labels, weights=weights),
        "Brier score": metrics.brier_score(logits, labels, weights=weights),
        "ROC AUC": metrics.roc_auc(logits, labels, weights=weights),
        "accuracy": np.average((logits > 0) == labels, weights=weights),
    }
    shown = ", ".join(f"{name} {value:.4f}" for name, value in measures.items())
    return f"test         {shown}"


def doubts(
    fit: logistic_regression.Fit,
    summary: logistic_regression.Summary | None,
    vague: list[str],
) -> list[str]:
    """Reasons not to trust the coefficients, or some figures."""
    if fit.separated:
        return [
            "the data are separable: columns combine to tell the classes of all rows, "
            "or of some, apart without an error, so coefficients grow for ever, and "
            "stand where the search stopped; a penalty (--l2) makes them finite"
        ]
    if not fit.converged:
        return [
            f"the fit has not converged in {fit.steps} steps, its gradient is still "
            f"{fit.gradient_norm:.1e}: a larger penalty (--l2) helps"
        ]
    if summary is None:
        return [
            f"no standard errors for more than {training.MOST_COLUMNS} columns: "
            "their matrix would take too long"
        ]
    if vague:
        return [
            f"the data hardly determine the coefficients of {listed(vague)}: columns "
            "repeat one another, or tell some of the rows apart without an error; a "
            "penalty (--l2) settles them"
        ]
    return []
