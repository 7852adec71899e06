"""From a table and the roles of its columns to rows to train on and rows to test on."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from sklearn.model_selection import train_test_split

from bcejax._cli import UserError, about, columns, listed
from bcejax._cli.model import Feature, Line, Model
from bcejax._cli.table import require

ROLES = "label", "weight", "offset", "exclude", "one_hot"  # of columns; and options


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


def load(table: pa.Table, seed: int, options: dict, **fields) -> Dataset:
    """What the options of `fit` make of a table; `fields` are those of the model."""
    roles = {role: options[role] for role in ROLES}
    plain = _plain_columns(table, roles)
    label = columns.label(table[roles["label"]], roles["label"], options["positive"])
    labels = columns.classes(table[label.name], label)
    weight = columns.vector(table, "--weight", roles["weight"], 1.0)
    offset = columns.vector(table, "--offset", roles["offset"], 0.0)
    train, test = np.arange(labels.size), np.arange(0)
    if options["test_fraction"]:
        split = {"test_size": options["test_fraction"], "random_state": seed}
        with about("--test-fraction"):
            train, test = train_test_split(train, stratify=labels, **split)
    train, test = np.sort(train), np.sort(test)
    for part in filter(len, (train, test)):
        counts = np.bincount(labels[part].astype(int), weight[part], 2)
        if weight.min() < 0 or counts.min() == 0:
            raise UserError(
                "--weight must be 0 or more, and above 0 in some row of each class, "
                f"got {weight.min():g} at the least and class sums {counts}"
            )

    features, levels = [Feature.unfitted(name) for name in plain], {}
    for name in dict.fromkeys(roles["one_hot"]):
        levels[name] = columns.levels(table[name].take(train), name)
        features += [Feature.unfitted(name, level) for level in levels[name][1:]]
    learnt = {"features": features, "one_hot_levels": levels, "imputation_means": {}}
    begun = {"label": label, "offset": roles["offset"], "intercept": Line(np.nan, None)}
    model = Model(**begun, **learnt, **fields)
    values = columns.matrix(table, model)
    filled = int(np.isnan(values).sum())
    if options["impute"]:
        model.imputation_means = columns.means(values[train], weight[train], model)
    columns.fill(values, model)
    warnings = columns.suspicions(values, model)
    seen = values[train[weight[train] > 0]]
    varied = seen.max(axis=0) > seen.min(axis=0)
    warnings += _keep(model, varied)
    rows = Rows(values[:, varied], labels, weight, offset)
    parts = [Rows(*(part[index] for part in rows)) for index in (train, test)]
    return Dataset(model, *parts, filled, warnings)


def inputs(table: pa.Table, model: Model, file) -> Rows:
    """The rows of a table as a model sees them, without weights."""
    needed = {f.column: None for f in model.features if f.level is None}
    needed |= model.one_hot_levels | ({model.offset: None} if model.offset else {})
    require(table, needed, str(file))
    features = columns.matrix(table, model)
    columns.fill(features, model)
    labels = np.full(table.num_rows, np.nan)
    if model.label.name in table.column_names:
        labels = columns.classes(table[model.label.name], model.label)
    offset = columns.vector(table, "offset", model.offset, 0.0)
    return Rows(features, labels, np.ones(labels.size), offset)


def _plain_columns(table: pa.Table, roles: dict) -> list[str]:
    """The columns that no option gives another role."""
    taken = {}
    for role, given in roles.items():
        option = "--" + role.replace("_", "-")
        names = [given] if isinstance(given, str) else given or ()
        require(table, names, f"{option}: the table")
        for name in names:
            other = taken.setdefault(name, option)
            if other != option:
                raise UserError(f"column {name!r} cannot be both {other} and {option}")
    if "" in set(table.column_names) - set(taken):
        raise UserError(
            "a column has no name (row numbers, as pandas writes them?): name it, or "
            "leave it out with --exclude ''"
        )
    return [name for name in table.column_names if name not in taken]


def _keep(model: Model, varied: np.ndarray) -> list[str]:
    """Leave the other features out of the model, and warn of them."""
    constant = [f.name for f, v in zip(model.features, varied, strict=True) if not v]
    model.features = [f for f in model.features if f.name not in set(constant)]
    if not model.features:
        raise UserError("no column is left to fit: all have a role, or are constant")
    for name in constant:
        model.imputation_means.pop(name, None)
    return constant and [
        "left out, because a column that is the same in every training row cannot be "
        f"told from the intercept: {listed(constant)}"
    ]
