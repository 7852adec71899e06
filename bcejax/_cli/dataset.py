"""From a file and the options of `fit` to rows to train on and rows to test on."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from sklearn.model_selection import train_test_split

from bcejax._cli import Refused, columns, files
from bcejax._cli.columns import Feature, Label
from bcejax._cli.files import listed
from bcejax._cli.training import Data


class Table(NamedTuple):
    """A file as numbers, and what was learnt from its training rows on the way."""

    label: Label
    features: list[Feature]
    levels: dict[str, list[str]]
    imputed: dict[str, float]
    filled: int  # how many values were missing
    train: Data
    test: Data | None


def load(options) -> Table:
    table = files.read(options.file, options.one_hot)
    plain = _plain_columns(table, options)
    label = columns.label(table[options.label], options.label, options.positive)
    labels = columns.classes(table[options.label], label)
    weight, offset = _weight(table, options, labels), np.zeros(labels.size)
    if options.offset is not None:
        offset = columns.vector(table, "--offset", options.offset)
    train, test = _split(labels, options)

    levels = {
        name: columns.levels(table.select([name]).take(train), name)
        for name in options.one_hot
    }
    features = [Feature(name) for name in plain]
    for name, found in levels.items():
        columns.check_levels(table, name, found)
        features += [Feature(name, level) for level in found[1:]]
    _check_features(features)
    values = columns.matrix(table, features)
    filled, imputed = int(np.isnan(values).sum()), {}
    if options.impute:
        imputed = columns.training_means(values[train], features, weight[train])
    columns.fill(values, features, imputed)
    data = Data(values, labels, weight, offset)
    parts = data.rows(train), None if test is None else data.rows(test)
    _check_weights(parts)
    return Table(label, features, levels, imputed, filled, *parts)


def _plain_columns(table: pa.Table, options) -> list[str]:
    """The columns that no option gives another role."""
    roles = [("--label", options.label)]
    roles += [("--weight", options.weight)] if options.weight is not None else []
    roles += [("--offset", options.offset)] if options.offset is not None else []
    roles += [("--exclude", name) for name in dict.fromkeys(options.exclude)]
    roles += [("--one-hot", name) for name in dict.fromkeys(options.one_hot)]
    taken = {}
    for option, name in roles:
        files.require(table, [name], f"{option}: {options.file}")
        if name in taken:
            raise Refused(f"column {name!r} cannot be both {taken[name]} and {option}")
        taken[name] = option
    return [name for name in table.column_names if name not in taken]


def _weight(table: pa.Table, options, labels: np.ndarray) -> np.ndarray:
    if options.weight is None:
        return np.ones(labels.size)
    weight = columns.vector(table, "--weight", options.weight)
    if weight.min() < 0:
        raise Refused(
            f"--weight {options.weight} must be 0 or more, got {weight.min():g}"
        )
    return weight


def _check_weights(parts: tuple[Data, Data | None]) -> None:
    for part in filter(None, parts):
        if len(set(part.labels[part.weight > 0])) < 2:
            raise Refused("--weight is 0 in all rows of a class: both are needed")


def _split(labels: np.ndarray, options):
    """Which rows to train on and to test on."""
    rows = np.arange(labels.size)
    if not options.test_fraction:
        return rows, None
    try:
        train, test = train_test_split(
            rows,
            test_size=options.test_fraction,
            stratify=labels,
            random_state=options.seed,
        )
    except ValueError as error:
        reason = files.one_line(error)
        raise Refused(f"--test-fraction {options.test_fraction}: {reason}") from None
    return np.sort(train), np.sort(test)


def _check_features(features: list[Feature]) -> None:
    names = [feature.name for feature in features]
    if not names:
        raise Refused("no column is left to fit: all have another role")
    if "" in names:
        raise Refused(
            "a column has no name (row numbers, as pandas writes them?): name it, or "
            "leave it out with --exclude ''"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise Refused(
            f"--one-hot makes {listed(twice)}, the name of a column: rename it"
        )


def without_constants(table: Table) -> tuple[Table, list[str]]:
    """The table of the columns that vary in training, and a warning of the others."""
    values = table.train.features[table.train.weight > 0]
    varied = values.max(axis=0) > values.min(axis=0)
    if varied.all():
        return table, []
    if not varied.any():
        raise Refused("no column is left to fit: each is the same in every row")
    keep = np.flatnonzero(varied)
    constant = [table.features[i].name for i in np.flatnonzero(~varied)]
    features = [table.features[i] for i in keep]
    names = {feature.name for feature in features}
    train, test = (
        part and part._replace(features=part.features[:, keep])
        for part in (table.train, table.test)
    )
    imputed = {name: mean for name, mean in table.imputed.items() if name in names}
    warning = (
        f"left out, for a column that is the same in every training row cannot be told "
        f"from the intercept: {listed(constant)}"
    )
    table = table._replace(features=features, imputed=imputed, train=train, test=test)
    return table, [warning]
