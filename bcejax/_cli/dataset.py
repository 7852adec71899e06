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

UNFITTED = np.nan, None, np.nan, np.nan  # the numbers of a feature until the fit


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
    plain = _plain(table, options)
    column = table[options["label"]]
    label = columns.label(column, options["label"], options.get("positive"))
    share, seed = options["test_fraction"], options["seed"]
    train, test = _split(columns.classes(column, label), share, seed)
    names = options.get("one_hot", ())
    levels = {name: columns.levels(table[name].take(train), name) for name in names}
    features = [Feature(name, name, None, *UNFITTED) for name in plain]
    for name in levels:
        for level in levels[name][1:]:
            features.append(Feature(f"{name}={level}", name, level, *UNFITTED))
    model = Model(
        label=label,
        offset=options.get("offset"),
        intercept=Line(np.nan, None),
        features=features,
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
    for name, x in zip(model.names, rows.features.T, strict=True):
        warnings += columns.suspicions(name, x)
    seen = rows.features[train][rows.weight[train] > 0]
    varied = seen.max(axis=0) > seen.min(axis=0)
    if not varied.all():
        warnings.append(
            "left out, because a column that is the same in every training row cannot "
            f"be told from the intercept: {listed(compress(model.names, ~varied))}"
        )
    model.features = list(compress(model.features, varied))
    if not model.features:
        raise UserError("no column is left to fit: all have a role, or are constant")
    rows = rows._replace(features=rows.features[:, varied])
    return Dataset(model, rows.take(train), rows.take(test), missing, warnings)


def encode(table: pa.Table, model: Model, weight: str | None = None) -> Rows:
    """The rows of a table as the model sees them, with NaN for what is missing."""

    def column(name: str | None, default: float) -> np.ndarray:
        if name is None:
            return np.full(table.num_rows, default)
        return columns.numbers(table[name], name)

    for name, known in model.one_hot_levels.items():
        columns.check_levels(table[name], name, known)
    features = [_values(table[f.column], f) for f in model.features]
    features = np.array(features, float).reshape(-1, table.num_rows).T
    labels = column(None, np.nan)
    if model.label.name in table.column_names:
        labels = columns.classes(table[model.label.name], model.label)
    return Rows(features, labels, column(weight, 1.0), column(model.offset, 0.0))


def _values(column: pa.ChunkedArray, feature: Feature) -> np.ndarray:
    if feature.level is None:
        return columns.numbers(column, feature.column)
    return np.asarray(pc.equal(columns.texts(column), feature.level))


def complete(rows: Rows, model: Model) -> None:
    """Put the mean of its column where a number is missing, and refuse what is left."""
    means = [model.imputation_means.get(f.name, np.nan) for f in model.features]
    np.copyto(rows.features, means, where=np.isnan(rows.features))
    named = zip(
        [*model.names, model.offset], [*rows.features.T, rows.offset], strict=True
    )
    counts = {name: np.sum(~np.isfinite(x)) for name, x in named}
    wrong = [f"{name} ({count})" for name, count in counts.items() if count]
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
