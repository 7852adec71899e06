"""Columns of a table as numbers: labels, weights, and the matrix of features.

What a fit learns here, the levels of categories and the means that stand in for missing
values, is applied by the same functions when the model predicts.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bcejax._cli import Refused
from bcejax._cli.files import listed

MOST_LEVELS = 2000  # of a category; beyond, it rather identifies the rows


class Feature(NamedTuple):
    """A number of each row: a column, or whether a category is at this level."""

    column: str
    level: str | None = None

    @property
    def name(self) -> str:
        return self.column if self.level is None else f"{self.column}={self.level}"


class Label(NamedTuple):
    """A column of two values, and which of them counts as 1."""

    name: str
    positive: str
    negative: str


def label(column: pa.ChunkedArray, name: str, positive: str | None) -> Label:
    """What the values of a column say about which of them is 1."""
    missing = _missing(column)
    if missing:
        raise Refused(f"--label {name} is missing in {missing} rows: it must be known")
    values = sorted(pc.unique(column).to_pylist())
    texts = [_text(value) for value in values]
    if len(values) > 2:
        raise Refused(
            f"--label {name} must hold two values, got {len(values)}: {listed(texts)}"
        )
    if len(values) == 1:
        raise Refused(
            f"--label {name} must hold two classes, got one: {texts[0]!r} in every row"
        )
    if positive is None and (set(values) == {0, 1} or texts == ["0", "1"]):
        positive = texts[1]  # of the sorted values 0 and 1, or False and True
    if positive is None:
        raise Refused(
            f"--label {name} holds {texts[0]!r} and {texts[1]!r}: "
            "--positive VALUE says which of them counts as 1"
        )
    if positive not in texts:
        raise Refused(
            f"--positive {positive}: --label {name} holds {texts[0]!r} and {texts[1]!r}"
        )
    negative = texts[1 - texts.index(positive)]
    return Label(name, positive, negative)


def classes(column: pa.ChunkedArray, label: Label) -> np.ndarray:
    """1.0 where the label is positive, else 0.0."""
    values = pc.unique(column).to_pylist()
    (positive,) = (value for value in values if _text(value) == label.positive)
    return _floats(pc.equal(column, pa.scalar(positive, column.type)))


def vector(table: pa.Table, option: str, name: str) -> np.ndarray:
    """A column that must hold a finite number in every row: a weight or an offset."""
    refuse_text(table, [name])
    values = _floats(table[name])
    if not np.isfinite(values).all():
        count = np.sum(~np.isfinite(values))
        raise Refused(f"{option} {name} is missing or infinite in {count} rows")
    return values


def levels(table: pa.Table, name: str) -> list[str]:
    """The levels of a category, sorted; the first one has no coefficient."""
    column = _categories(table, name)
    found = sorted(pc.unique(column).to_pylist())
    if len(found) > MOST_LEVELS:
        raise Refused(
            f"--one-hot {name} must have at most {MOST_LEVELS} levels, "
            f"got {len(found)}: does it identify the rows? --exclude leaves it out"
        )
    return found


def check_levels(table: pa.Table, name: str, known: list[str]) -> None:
    unseen = set(pc.unique(_categories(table, name)).to_pylist()) - set(known)
    if unseen:
        raise Refused(
            f"column {name!r} holds {listed(sorted(unseen))}, not seen when the model "
            f"was fitted: it knows {listed(known)}"
        )


def matrix(table: pa.Table, features: list[Feature]) -> np.ndarray:
    """`(rows, features)`, with NaN for what is missing."""
    plain = [feature.column for feature in features if feature.level is None]
    refuse_text(table, plain)
    values = np.empty((table.num_rows, len(features)), order="F")
    columns = dict(zip(table.column_names, table.columns, strict=True))
    for i, (name, level) in enumerate(features):
        if level is None:
            values[:, i] = _floats(columns[name])
        else:
            values[:, i] = _floats(pc.equal(columns[name].cast(pa.string()), level))
    _refuse_infinite(values, features)
    return values


def fill(values: np.ndarray, features: list[Feature], means: dict[str, float]) -> None:
    """Put the mean of its column where a number is missing, or refuse without one."""
    counts = np.isnan(values).sum(axis=0)
    empty = [i for i in np.flatnonzero(counts) if features[i].name not in means]
    if empty:
        raise Refused(
            "values are missing (empty, NA or NaN) in "
            f"{_counted(counts, empty, features)} of {len(values)} rows: "
            "--impute mean, when the model is fitted, fills them; --exclude COLUMN "
            "leaves a column out"
        )
    for i in np.flatnonzero(counts):
        column = values[:, i]
        column[np.isnan(column)] = means[features[i].name]


def training_means(
    values: np.ndarray, features: list[Feature], weight: np.ndarray
) -> dict[str, float]:
    """The weighted mean of each column, of the rows where it is not missing."""
    there = ~np.isnan(values)
    total = weight @ there
    if not total.all():
        names = [features[i].name for i in np.flatnonzero(total == 0)]
        raise Refused(
            f"there is nothing to impute {listed(names)} from: all is missing"
        )
    means = weight @ np.where(there, values, 0) / total
    named = zip(features, means.tolist(), strict=True)
    return {feature.name: mean for feature, mean in named if feature.level is None}


def refuse_text(table: pa.Table, names: Iterable[str]) -> None:
    columns = dict(zip(table.column_names, table.columns, strict=True))
    wrong = [name for name in names if not _numeric(columns[name])]
    if wrong:
        shown = ", ".join(_first_text(columns[name], name) for name in wrong[:5])
        more = f" and {len(wrong) - 5} more" * (len(wrong) > 5)
        raise Refused(
            f"not a column of numbers: {shown}{more}; --one-hot COLUMN encodes "
            "categories, --exclude COLUMN leaves a column out"
        )


def _first_text(column: pa.ChunkedArray, name: str) -> str:
    """The column, and where its first value stands that is no number."""
    if pa.types.is_binary(column.type):
        return f"{name!r} (not UTF-8)"
    if not _textual(column):
        return f"{name!r} ({column.type})"
    values = column.cast(pa.string()).to_pylist()
    found = (i for i, value in enumerate(values) if value and not _is_number(value))
    row = next(found, 0)
    return f"{name!r} ({values[row]!r} in row {row + 1} of the data)"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) or "inf" in text.lower()
    except ValueError:
        return False


def _refuse_infinite(values: np.ndarray, features: list[Feature]) -> None:
    counts = np.isinf(values).sum(axis=0)
    if counts.any():
        shown = _counted(counts, np.flatnonzero(counts), features)
        raise Refused(f"values are infinite in {shown} of {len(values)} rows")


def _counted(counts, where, features: list[Feature]) -> str:
    shown = ", ".join(f"{features[i].name!r} ({counts[i]})" for i in where[:5])
    return shown + f" and {len(where) - 5} more columns" * (len(where) > 5)


def _categories(table: pa.Table, name: str) -> pa.ChunkedArray:
    column = table[name]
    if not (_textual(column) or _numeric(column)):
        raise Refused(f"--one-hot {name}: a column of {column.type} has no levels")
    if column.null_count:
        raise Refused(
            f"--one-hot {name} misses {column.null_count} values (empty, NA or NaN): "
            "give them a name of their own in the file"
        )
    return column.cast(pa.string())


def _numeric(column: pa.ChunkedArray) -> bool:
    kind, types = column.type, pa.types
    return (
        types.is_floating(kind)
        or types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)  # nothing in it that is not missing
    )


def _textual(column: pa.ChunkedArray) -> bool:
    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    # Unsafe allows integers past 2⁵³, which are rounded.
    return column.cast(pa.float64(), safe=False).to_numpy()


def _missing(column: pa.ChunkedArray) -> int:
    if _numeric(column):
        return int(np.isnan(_floats(column)).sum())
    return column.null_count


def _text(value) -> str:
    """As in the file, but that 1.0 is 1 and Python's True is true."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
