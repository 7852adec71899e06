"""From a table and the roles of its columns to rows to train on and rows to test on."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from sklearn.model_selection import train_test_split

from bcejax._cli import UserError, columns
from bcejax._cli.model import Feature, Line, Model
from bcejax._cli.table import listed, one_line, require


class Rows(NamedTuple):
    features: np.ndarray  # (n, d)
    labels: np.ndarray  # (n,), 0.0 or 1.0
    weight: np.ndarray  # (n,)
    offset: np.ndarray  # (n,)


class Dataset(NamedTuple):
    model: Model  # with what was learnt from the training rows until here
    train: Rows
    test: Rows  # perhaps none
    filled: int  # how many numbers were missing
    warnings: list[str]


def load(
    table: pa.Table, roles: dict, positive, impute, test_fraction, seed, **fields
) -> Dataset:
    """What the options of `fit` make of a table; `fields` are those of the model."""
    plain = _plain_columns(table, roles)
    label = columns.label(table[roles["label"]], roles["label"], positive)
    labels = columns.classes(table[label.name], label)
    weight = columns.vector(table, "--weight", roles["weight"], 1.0)
    offset = columns.vector(table, "--offset", roles["offset"], 0.0)
    if weight.min() < 0:
        raise UserError(f"--weight must be 0 or more, got {weight.min():g}")
    train, test = _split(labels, test_fraction, seed)

    categories = roles["one_hot"]
    levels = {n: columns.levels(table[n].take(train), n) for n in categories}
    features = [Feature.unfitted(name) for name in plain]
    for name in levels:
        features += [Feature.unfitted(name, level) for level in levels[name][1:]]
    model = Model(
        label=label,
        offset=roles["offset"],
        intercept=Line(np.nan, None),
        features=features,
        one_hot_levels=levels,
        imputation_means={},
        **fields,
    )
    values = columns.matrix(table, model)
    filled = int(np.isnan(values).sum())
    if impute:
        model.imputation_means = columns.means(values[train], weight[train], model)
    columns.fill(values, model)
    warnings = columns.suspicions(values, model)
    values = _without_constants(values, train[weight[train] > 0], model, warnings)
    rows = Rows(values, labels, weight, offset)
    parts = [Rows(*(part[index] for part in rows)) for index in (train, test)]
    for part in parts:
        if part.labels.size and len(set(part.labels[part.weight > 0])) < 2:
            raise UserError("--weight is 0 in all rows of a class: both are needed")
    return Dataset(model, *parts, filled, warnings)


def _plain_columns(table: pa.Table, roles: dict) -> list[str]:
    """The columns that no option gives another role."""
    taken = {}
    for role, given in roles.items():
        option = "--" + role.replace("_", "-")
        names = [given] if isinstance(given, str) else given or ()
        require(table, names, f"{option}: the table")
        for name in dict.fromkeys(names):
            other = taken.setdefault(name, option)
            if other != option:
                raise UserError(f"column {name!r} cannot be both {other} and {option}")
    plain = [name for name in table.column_names if name not in taken]
    if not plain and not roles["one_hot"]:
        raise UserError("no column is left to fit: all have another role")
    if "" in plain:
        raise UserError(
            "a column has no name (row numbers, as pandas writes them?): name it, or "
            "leave it out with --exclude ''"
        )
    return plain


def _split(labels: np.ndarray, test_fraction: float, seed: int):
    """The numbers of the rows to train on and of those to test on."""
    rows = np.arange(labels.size)
    if not test_fraction:
        return rows, rows[:0]
    try:
        parts = train_test_split(
            rows, test_size=test_fraction, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise UserError(f"--test-fraction {test_fraction}: {one_line(error)}") from None
    return map(np.sort, parts)


def _without_constants(values, train, model: Model, warnings: list[str]) -> np.ndarray:
    """The columns, also in the model, that are not the same in all rows of training."""
    varied = values[train].max(axis=0) > values[train].min(axis=0)
    names = [feature.name for feature in model.features]
    constant = [names[i] for i in np.flatnonzero(~varied)]
    if not varied.any():
        raise UserError("no column is left to fit: each is the same in every row")
    if constant:
        warnings.append(
            "left out, because a column that is the same in every training row cannot "
            f"be told from the intercept: {listed(constant)}"
        )
        model.features = [model.features[i] for i in np.flatnonzero(varied)]
        for name in constant:
            model.imputation_means.pop(name, None)
    return values[:, varied]
