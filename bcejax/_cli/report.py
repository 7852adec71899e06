"""What `python -m bcejax` prints of a fit, and what it warns of."""

import numpy as np

from bcejax import metrics, sigmoid
from bcejax._cli import listed
from bcejax._cli.dataset import Dataset
from bcejax._cli.model import Model
from bcejax._cli.rows import Scored
from bcejax._cli.training import FOLDS, PENALTIES, Trained
from bcejax.logistic_regression import _newton
from bcejax.logistic_regression._table import aligned, number, shortened

SHOWN = 40  # coefficients, where there are too many for a summary
COLUMNS, LETTERS = 5, 10  # classes in a table of coefficients, and of their names
VAGUE = 1e4  # standard errors of a coefficient per standard deviation, over 1/√n


def data(data: Dataset, source) -> str:
    model, train = data.model, data.train
    tested = data.test.rows if data.test else 0
    meaning = f"1 = {model.label.positive!r}"
    share = f"{train.classes[1] / train.classes.sum():.1%} positive"
    if model.label.classes:
        meaning = f"classes {listed(model.label.classes)}"
        share = f"{train.classes.max() / train.classes.sum():.1%} of the largest class"
    text = (
        f"data         {source}, label {model.label.name!r}, {meaning}\n"
        f"             {train.rows} training and {tested} test rows, "
        f"{len(model.features)} columns, {share}"
    )
    for name, levels in model.one_hot_levels.items():
        text += f"\none-hot      {name!r}: {listed(levels)}, compared with the first"
    filled = train.missing + (data.test.missing if data.test else 0)
    if filled:
        text += f"\nimputed      {filled} missing values, by training means"
    return text


def coefficients(trained: Trained, model: Model) -> str:
    """The penalty and the summary; of many columns, the largest coefficients."""
    text = ""
    if model.l2:
        text = f"penalty      l2 = {model.l2:.4g}"
        text += " on standardised columns" * model.standardized + "\n"
    if trained.out_of_fold is not None:
        text += (
            f"             of {PENALTIES.size} from {PENALTIES[0]:g} to "
            f"{PENALTIES[-1]:g}: least log loss out of {FOLDS} folds, "
            f"{trained.out_of_fold:.4f} nats\n"
        )
    if trained.summary:
        return f"{text}\n{trained.summary}\n"
    if model.label.classes:
        return text + _of_classes(trained, model)
    for i in model.largest(SHOWN):
        text += f"\n{model.coefficients[i]:+12.4g}   {model.names[i]}"
    return (
        f"{text}\n{SHOWN} of {len(model.features)} coefficients, the largest per "
        "standard deviation\n"
    )


def _of_classes(trained: Trained, model: Model) -> str:
    """The coefficients of each class, or of many where they are."""
    names, classes = [*model.names, "bias"], model.label.classes
    end = "converged" if trained.fit.converged else "NOT CONVERGED: trust no figure"
    text = f"\nSoftmax regression, {end}\n\n"
    if len(names) > SHOWN or len(classes) > COLUMNS:
        size = f"{len(names)} × {len(classes)}"
        return f"{text}{size} coefficients, which --out MODEL.json writes\n"
    table = np.vstack([model.coefficients, model.fit.bias]).tolist()
    cells = [[n, *map(number, x)] for n, x in zip(names, table, strict=True)]
    return text + aligned([["", *shortened(classes, LETTERS)], *cells]) + "\n"


OF_TWO = {
    "log loss": metrics.log_loss,
    "Brier score": metrics.brier_score,
    "ROC AUC": metrics.roc_auc,
}
OF_MANY = {
    "log loss": metrics.log_loss,
    "accuracy": metrics.accuracy,
    "calibration error": metrics.expected_calibration_error,
}


def scores(part: str, rows: Scored, threshold: float = 0.5) -> str:
    logits, labels, weight = rows
    measures = OF_MANY if logits.ndim == 2 else OF_TWO
    found = {name: f(logits, labels, weights=weight) for name, f in measures.items()}
    if logits.ndim == 1:
        right = (np.asarray(sigmoid(logits)) >= threshold) == labels
        found["accuracy"] = np.average(right, weights=weight)
    return f"{part:13}" + ", ".join(f"{name} {x:.4f}" for name, x in found.items())


def doubts(trained: Trained, model: Model, weight: float) -> list[str]:
    """The reason not to trust the coefficients, or some figures, if there is one."""
    found, escapes, names = trained.fit, trained.escapes, np.array(model.names)
    if found.separated if escapes is None else any(escapes):
        return [
            "the data are separable: columns combine to tell the classes of all rows, "
            "or of some, apart without an error, so coefficients grow for ever"
            f"{_directions(model, escapes)}, and stand where the search stopped; a "
            "penalty (--l2) makes them finite"
        ]
    if not found.converged:
        return [
            f"the fit has not converged in {found.steps} steps, its gradient is still "
            f"{found.gradient_norm:.1e}: a larger penalty (--l2) helps"
        ]
    if model.label.classes:
        return []
    if trained.summary is None:
        most = _newton.MOST_COLUMNS
        return [f"no standard errors for more than {most} columns: they take too long"]
    size = model.column("standard_error") * model.column("scale")
    size *= np.sqrt(weight)
    vague = names[~(size < VAGUE)].tolist()
    return vague and [
        f"the data hardly determine the coefficients of {listed(vague)}: columns "
        "repeat one another, or tell some of the rows apart without an error; a "
        "penalty (--l2) settles them"
    ]


def _directions(model: Model, escapes: tuple[int, ...] | None) -> str:
    """Which coefficients go where, if that is known."""
    names, words = np.array([*model.names, "bias"]), ""
    for to, end in ((1, "+∞"), (-1, "−∞")):
        runaways = names[np.equal(escapes, to)] if escapes else names[:0]
        words += f", of {listed(runaways.tolist())} to {end}" * bool(runaways.size)
    return words
