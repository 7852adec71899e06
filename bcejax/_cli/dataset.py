"""From a table and the roles of its columns to rows to train on and rows to test on.

What a fit learns here, the levels of categories and the means that stand in for missing
values, is applied by the same functions when the model predicts.
"""

from itertools import compress
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.model_selection import train_test_split

from bcejax._cli import UserError, about, columns, listed
from bcejax._cli.model import Feature, Line, Model
from bcejax._cli.table import require

ROLES = "label", "weight", "offset", "exclude", "one_hot"  # of columns; and options


class Rows(NamedTuple):
    features: np.ndarray  # (n, d)
    labels: np.ndarray  # (n,), 0.0 or 1.0, NaN where it is not known
    weight: np.ndarray  # (n,)
    offset: np.ndarray  # (n,)

    def take(self, which: np.ndarray) -> "Rows":
        return Rows(*(part[which] for part in self))


class Dataset(NamedTuple):
    model: Model  # with what was learnt from the training rows until here
    train: Rows
    test: Rows  # perhaps none
    filled: int  # how many numbers were missing
    warnings: list[str]


def load(table: pa.Table, options: dict, **penalty) -> Dataset:
    """What the options of `fit` make of a table; `penalty` has fields of the model."""
    name, categories = options["label"], options.get("one_hot", ())
    plain = _plain(table, options)
    label = columns.label(table[name], name, options.get("positive"))
    labels = columns.classes(table[name], label)
    train, test = _split(labels, options["test_fraction"], options["seed"])
    levels = {name: columns.levels(table[name].take(train)) for name in categories}
    of_levels = ((name, level) for name in levels for level in levels[name][1:])
    model = Model(
        label=label,
        offset=options.get("offset"),
        intercept=Line(np.nan, None),
        features=[Feature.unfitted(*of) for of in (*zip(plain), *of_levels)],
        one_hot_levels=levels,
        imputation_means={},
        **penalty,
    )
    rows = encode(table, model, options.get("weight"))
    return _learnt(model, rows, train, test, options.get("impute"))


def _learnt(model: Model, rows: Rows, train, test, impute: str | None) -> Dataset:
    """The parts of the rows, complete, and in the model what the first one tells."""
    for part in filter(len, (train, test)):
        _check_weights(rows.take(part))
    missing = int(np.isnan(rows.features).sum())
    if impute:
        model.imputation_means = _means(rows.take(train), model)
    complete(rows, model)
    warnings = []
    for feature, x in zip(model.features, rows.features.T, strict=True):
        warnings += columns.suspicions(feature.name, x)
    seen = rows.features[train][rows.weight[train] > 0]
    varied = seen.max(axis=0) > seen.min(axis=0)
    warnings += _keep(model, varied)
    rows = rows._replace(features=rows.features[:, varied])
    return Dataset(model, rows.take(train), rows.take(test), missing, warnings)


def encode(table: pa.Table, model: Model, weight: str | None = None) -> Rows:
    """The rows of a table as the model sees them, with NaN for what is missing."""

    def column(name: str | None, default: float) -> np.ndarray:
        if name not in table.column_names:
            return np.full(table.num_rows, default)
        return columns.numbers(table[name], name)

    known = model.one_hot_levels
    at = {name: columns.category(table[name], name, known[name]) for name in known}
    features = np.empty((table.num_rows, len(model.features)), order="F")
    for x, feature in zip(features.T, model.features, strict=True):
        name, level = feature.column, feature.level
        if level is None:
            x[:] = columns.numbers(table[name], name)
        else:
            x[:] = pc.equal(at[name], level)
    labels = np.full(table.num_rows, np.nan)
    if model.label.name in table.column_names:
        labels = columns.classes(table[model.label.name], model.label)
    return Rows(features, labels, column(weight, 1.0), column(model.offset, 0.0))


def complete(rows: Rows, model: Model) -> None:
    """Put the mean of its column where a number is missing, and refuse what is left."""
    means = [model.imputation_means.get(f.name, np.nan) for f in model.features]
    np.copyto(rows.features, means, where=np.isnan(rows.features))
    names = [feature.name for feature in model.features] + [model.offset]
    counts = [np.sum(~np.isfinite(x)) for x in (*rows.features.T, rows.offset)]
    wrong = [f"{name} ({n})" for name, n in zip(names, counts, strict=True) if n]
    if wrong:
        raise UserError(
            f"values are missing (empty, NA or NaN) or infinite in {listed(wrong)} of "
            f"{rows.labels.size} rows: --impute mean, when the model is fitted, fills "
            "what is missing of a feature; --exclude leaves a column out"
        )


def _plain(table: pa.Table, options: dict) -> list[str]:
    """The columns to which no option gives a role."""
    taken = {}
    for role in ROLES:
        option, given = "--" + role.replace("_", "-"), options.get(role) or ()
        names = [given] if isinstance(given, str) else given
        require(table, names, f"{option}: the table")
        for name in names:
            other = taken.setdefault(name, option)
            if other != option:
                raise UserError(f"column {name!r} cannot be both {other} and {option}")
    plain = [name for name in table.column_names if name not in taken]
    if "" in plain:
        raise UserError(
            "a column has no name (row numbers, as pandas writes them?): name it, or "
            "leave it out with --exclude ''"
        )
    return plain


def _split(labels: np.ndarray, fraction: float, seed: int):
    """The rows to train on and to test on, of either class alike."""
    rows = np.arange(labels.size)
    if not fraction:
        return rows, rows[:0]
    with about("--test-fraction"):
        return train_test_split(
            rows, stratify=labels, test_size=fraction, random_state=seed
        )


def _check_weights(rows: Rows) -> None:
    least, most = rows.weight.min(), rows.weight.max()
    counts = np.bincount(rows.labels.astype(int), rows.weight, 2)
    if not (0 <= least <= most < np.inf and counts.min() > 0):  # True for NaN
        raise UserError(
            "--weight must be finite, 0 or more, and above 0 in some row of each "
            f"class, got {least:g} to {most:g}, and class sums {counts}"
        )


def _means(rows: Rows, model: Model) -> dict[str, float]:
    """The weighted mean of each plain column over the rows in which it is known."""
    known = np.ma.masked_invalid(rows.features)
    means = np.ma.average(known, axis=0, weights=rows.weight).filled(np.nan).tolist()
    named = zip(model.features, means, strict=True)
    return {feature.name: mean for feature, mean in named if feature.level is None}


def _keep(model: Model, varied: np.ndarray) -> list[str]:
    """Leave the other features out of the model, and warn of them."""
    constant = [f.name for f in compress(model.features, ~varied)]
    model.features = list(compress(model.features, varied))
    if not model.features:
        raise UserError("no column is left to fit: all have a role, or are constant")
    return constant and [
        "left out, because a column that is the same in every training row cannot be "
        f"told from the intercept: {listed(constant)}"
    ]
