"""From tables and the roles of their columns to rows to train on and rows to test on.

What a fit learns here, the levels of categories and the means that stand in for missing
values, is applied by the same functions when the model predicts. A table in memory is
one part; of files that are read in parts the same is learnt in a pass for each thing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import compress

import jax
import numpy as np
import pyarrow.compute as pc
from sklearn.model_selection import train_test_split

from bcejax._cli import UserError, about, columns, listed
from bcejax._cli.model import Feature, Model
from bcejax._cli.rows import Rows, Scored, Stats
from bcejax._cli.table import Part, Tables
from bcejax.logistic_regression._processes import gathered, gathered_words
from bcejax.logistic_regression._survey import Moments

ROLES = "label", "weight", "offset", "exclude", "one_hot"  # of columns; and options


@dataclass
class Dataset:
    model: Model  # with what was learnt from the training rows
    tables: Tables
    weight: str | None  # the column
    is_test: np.ndarray | None = None  # of all rows, or None where none is
    held: list[Rows] | None = None  # all rows, of a table in memory
    train: Stats | None = None
    test: Stats | None = None
    moments: Moments | None = None  # of the columns of the training rows
    warnings: list[str] = field(default_factory=list)

    def rows(self, test: bool = False) -> Iterator[Rows]:
        """The rows to train on, or those to test on, part by part."""
        parts = self.rows_of_parts() if self.held is None else self.held
        for divided in self._divided(parts):
            if len(divided) > test:
                yield divided[test]

    @property
    def all_rows(self) -> Rows:
        """Those to train on, of a table in memory."""
        return next(self.rows())

    def labels(self) -> np.ndarray:
        """The classes of the rows to train on, as int16."""
        labels = _classes(self.tables, self.model.label)
        return labels if self.is_test is None else labels[~self.is_test]

    def scored(self, test: bool) -> Scored:
        return Scored.of(self.model, self.rows(test))

    def incomplete(self) -> Iterator[list[Rows]]:
        """Rows to train on and to test on, with NaN for what is missing."""
        return self._divided(rows for _, rows in self._encoded())

    def complete(self) -> Iterator[list[Rows]]:
        """The same, but what is missing is filled in, or refused."""
        return self._divided(self.rows_of_parts())

    def _divided(self, parts: Iterable[Rows]) -> Iterator[list[Rows]]:
        start = 0
        for rows in parts:
            stop = start + len(rows.labels)
            if self.is_test is None:
                yield [rows]
            else:
                tested = self.is_test[start:stop]
                yield [rows.take(~tested), rows.take(tested)]
            start = stop

    def _encoded(self) -> Iterator[tuple[Part, Rows]]:
        for part in self.tables.parts(None):
            with part.about():
                rows = encode(part, self.model, self.weight)
                columns.check_label(rows.labels, part.table, self.model.label)
            yield part, rows

    def rows_of_parts(self) -> Iterator[Rows]:
        for part, rows in self._encoded():
            with part.about():
                complete(rows, self.model, part.first)
            yield rows

    def find_moments(self) -> Moments:
        found = Moments.of_none(len(self.model.features))
        for x, _, weight, _ in self.rows():
            total = weight.sum()
            if total > 0:
                mean = np.average(x, 0, weight)
                deviation = np.sqrt(np.average(np.square(x - mean), 0, weight))
                found = found.also(Moments.of(total, mean, deviation))
        return _of_all(found)


def load(tables: Tables, options: dict, **penalty) -> Dataset:
    """What the options of `fit` make of tables; `penalty` has fields of the model."""
    plain = _plain(tables, options)
    label = _label(tables, options["label"], options.get("positive"))
    if label.classes:
        _check_many(tables, label, options)
    is_test = _split(tables, label, options["test_fraction"], options["seed"])
    names = options.get("one_hot", ())
    levels = _levels(tables, names, is_test)
    features = [Feature(name, name, None) for name in plain]
    for name in levels:
        for level in levels[name][1:]:
            features.append(Feature(f"{name}={level}", name, level))
    model = Model(
        label=label,
        offset=options.get("offset"),
        features=features,
        one_hot_levels=levels,
        imputation_means={},
        **penalty,
    )
    data = Dataset(model, tables, options.get("weight"), is_test)
    _learn(data, options.get("impute"))
    if tables.whole:
        data.held = list(data.rows_of_parts())
    data.moments = data.find_moments()
    return data


def _check_many(tables: Tables, label, options: dict) -> None:
    """Refuse what more than two classes do not have."""
    wrong = {f"--{o}": options.get(o) for o in ("positive", "offset", "plot")}
    wrong["a directory, or a file that takes more than --memory,"] = not tables.whole
    for what in (name for name, given in wrong.items() if given):
        raise UserError(
            f"{what} is for a label that holds two values, and --label {label.name} "
            f"has {len(label.classes)} ({listed(label.classes)})"
        )


def _learn(data: Dataset, impute: str | None) -> None:
    """Fill in what the training rows tell, and warn of columns."""
    model, first, count = data.model, None, len(data.model.label.values)
    stats = {0: Stats.of(_no_rows(model), count)}
    for divided in data.incomplete() if impute else data.complete():
        first = divided[0] if first is None else first
        for test, rows in enumerate(divided):
            found = Stats.of(rows, count)
            stats[test] = stats[test].also(found) if test in stats else found
    data.train, data.test = _of_all(stats[0]), stats.get(1)
    data.train.check_weights(count)
    if data.test:
        data.test.check_weights(2)  # of many classes a rare one may have no test row
    if impute:
        with np.errstate(invalid="ignore"):
            means = data.train.sum / data.train.known
        named = zip(model.features, means.tolist(), strict=True)
        model.imputation_means = {f.name: m for f, m in named if f.level is None}
    _warn(data, _no_rows(model) if first is None else first)


def _no_rows(model: Model) -> Rows:
    none = np.empty(0)
    return Rows(np.empty((0, len(model.features))), none, none, none)


def _warn(data: Dataset, rows: Rows) -> None:
    """Warn by the rows of the first part, and leave out what is constant."""
    model = data.model
    complete(rows, model)
    for name, x in zip(model.names, rows.features.T, strict=True):
        data.warnings += columns.suspicions(name, x) if x.size else []
    varied = data.train.most > data.train.least
    if not varied.all():
        data.warnings.append(
            "left out, because a column that is the same in every training row cannot "
            f"be told from the intercept: {listed(compress(model.names, ~varied))}"
        )
    model.features = list(compress(model.features, varied))
    if not model.features:
        raise UserError("no column is left to fit: all have a role, or are constant")


def _label(tables: Tables, name: str, positive: str | None):
    values, missing, rows = set(), 0, 0
    for part in tables.parts([name]):
        with part.about():
            values |= columns.values(part.table[name])
        missing += part.table[name].null_count
        rows += part.table.num_rows
        if len(values) > columns.MOST_LEVELS:
            break
    found, *counts = zip(*_words_of_all([sorted(values), missing, rows]), strict=True)
    values = sorted(set().union(*found))
    return columns.label(values, *map(sum, counts), name, positive)


def _levels(tables: Tables, names, is_test) -> dict[str, list[str]]:
    """The levels of categories in the training rows, sorted; the first is the base."""
    found, start = {name: set() for name in names}, 0
    for part in tables.parts(names) if names else ():
        stop = start + part.table.num_rows
        train = slice(None) if is_test is None else np.flatnonzero(~is_test[start:stop])
        for name in names:
            column = part.table[name]
            with part.about():
                column = column if is_test is None else column.take(train)
                found[name] |= columns.values(column)
            columns.check_number(found[name], name)
        start = stop
    everywhere = _words_of_all({name: sorted(found[name]) for name in names})
    levels = {name: {level for a in everywhere for level in a[name]} for name in names}
    for name in names:
        columns.check_number(levels[name], name)
    return {name: sorted(levels[name]) for name in names}


def _words_of_all(words) -> list:
    """What JSON can hold, from each of the processes."""
    return gathered_words(words) if jax.process_count() > 1 else [words]


def _of_all(found):
    """What all processes have found together."""
    everywhere = gathered(found) if jax.process_count() > 1 else [found]
    return reduce(lambda a, b: a.also(b), everywhere)


def encode(part: Part, model: Model, weight: str | None = None) -> Rows:
    """The rows of a table as the model sees them, with NaN for what is missing."""
    table, _, first = part

    def column(name: str | None, default: float) -> np.ndarray:
        if name is None:
            return np.full(table.num_rows, default)
        return columns.numbers(table[name], name, first)

    for name, known in model.one_hot_levels.items():
        columns.check_levels(table[name], name, known)
    features = [_values(table[f.column], f, first) for f in model.features]
    features = np.array(features, float).reshape(-1, table.num_rows).T
    labels = column(None, np.nan)
    if model.label.name in table.column_names:
        labels = columns.classes(table[model.label.name], model.label)
    return Rows(features, labels, column(weight, 1.0), column(model.offset, 0.0))


def _values(column, feature: Feature, first: int) -> np.ndarray:
    if feature.level is None:
        return columns.numbers(column, feature.column, first)
    return np.asarray(pc.equal(columns.texts(column), feature.level))


def complete(rows: Rows, model: Model, first: int = 1) -> None:
    """Put the mean of its column where a number is missing, and refuse what is left."""
    means = [model.imputation_means.get(f.name, np.nan) for f in model.features]
    np.copyto(rows.features, means, where=np.isnan(rows.features))
    named = zip(
        [*model.names, model.offset], [*rows.features.T, rows.offset], strict=True
    )
    found = {name: np.flatnonzero(~np.isfinite(x)) for name, x in named}
    wrong = {name: places for name, places in found.items() if places.size}
    if wrong:
        counts = [f"{name} ({places.size})" for name, places in wrong.items()]
        row = first + min(places[0] for places in wrong.values())
        raise UserError(
            f"values are missing (empty, NA or NaN) or infinite in {listed(counts)} of "
            f"{rows.labels.size} rows, first in row {row}: --impute mean, when the "
            "model is fitted, fills what is missing of a feature; --exclude leaves a "
            "column out"
        )


def _plain(tables: Tables, options: dict) -> list[str]:
    """The columns to which no option gives a role."""
    taken = {}
    for role in ROLES:
        option, given = "--" + role.replace("_", "-"), options.get(role) or ()
        names = [given] if isinstance(given, str) else given
        tables.require(names, f"{option}: the table")
        for name in names:
            other = taken.setdefault(name, option)
            if other != option:
                raise UserError(f"column {name!r} cannot be both {other} and {option}")
    plain = [name for name in tables.names if name not in taken]
    if "" in plain:
        raise UserError(
            "a column has no name (row numbers, as pandas writes them?): name it, or "
            "leave it out with --exclude ''"
        )
    return plain


def _split(tables: Tables, label, fraction: float, seed: int) -> np.ndarray | None:
    """Which rows are for the test, of each class alike."""
    if not fraction:
        return None
    labels = _classes(tables, label)
    is_test = np.zeros(labels.size, bool)
    with about("--test-fraction"):
        _, test = train_test_split(
            np.arange(labels.size),
            stratify=labels,
            test_size=fraction,
            random_state=seed,
        )
    is_test[test] = True
    return is_test


def _classes(tables: Tables, label) -> np.ndarray:
    """The number of the class of every row, which takes two bytes."""
    parts = tables.parts([label.name])
    labels = [columns.classes(part.table[label.name], label) for part in parts]
    return np.concatenate([some.astype(np.int16) for some in labels])
