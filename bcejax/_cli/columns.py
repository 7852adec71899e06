"""Columns of a table as numbers: labels, weights, and the matrix of features.

What a fit learns here, the levels of categories and the means that stand in for missing
values, is applied by the same functions when the model predicts.
"""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bcejax._cli import UserError, about, listed
from bcejax._cli.model import Label, Model

MOST_LEVELS = 2000  # of a category; with more it rather identifies the rows
FEWEST_ROWS = 10  # in which a column can look like an identifier
SENTINELS = 99, 999, 9999, 99999  # of either sign, written for what is missing
IDENTIFIER = re.compile(r"(?i:(^|[\W_])(id|key|index|no|nr|number))$|[a-z](ID|Id)$")


def texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values as text: as in the file, except that 1.0 is 1 and True is true."""
    with about("a column of text is not UTF-8"):
        return column.cast(pa.string())


def label(column: pa.ChunkedArray, name: str, positive: str | None) -> Label:
    """What the values of a column say about which of them is 1."""
    values = sorted(pc.unique(texts(column).drop_null()).to_pylist())
    if column.null_count or len(values) != 2:
        raise UserError(
            f"--label {name} must hold two values and none missing, "
            f"got {len(values)} ({listed(values)}), missing in {column.null_count} rows"
        )
    if positive is None and values in (["0", "1"], ["false", "true"]):
        positive = values[1]
    if positive not in values:
        raise UserError(
            f"--positive VALUE must say which value of --label {name} counts as 1, "
            f"{values[0]!r} or {values[1]!r}, got {positive!r}"
        )
    return Label(name, positive, values[1 - values.index(positive)])


def classes(column: pa.ChunkedArray, label: Label) -> np.ndarray:
    """1.0 where the label is positive, 0.0 where it is negative, else NaN."""
    codes = pc.index_in(texts(column), pa.array([label.negative, label.positive]))
    return numbers(codes, label.name)


def numbers(column, name: str) -> np.ndarray:
    """The column as float64, NaN where it is missing."""
    try:
        # Unsafe allows integers past 2⁵³, which are rounded.
        return np.asarray(column.cast(pa.float64(), safe=False))
    except pa.ArrowException as error:
        value, where = re.match("Failed .*?: '(.*)' as", str(error)), str(column.type)
        if pa.types.is_binary(column.type):
            where = "text that is not UTF-8"
        elif value:
            comma = " (a decimal comma?)" * bool(re.fullmatch(r"-?\d+,\d+", value[1]))
            row = texts(column).index(value[1]).as_py() + 1
            where = f"{value[1]!r}{comma} in row {row} of the data"
        raise UserError(
            f"column {name!r} must hold numbers, got {where}; --one-hot encodes a "
            "category, --exclude leaves a column out"
        ) from None


def vector(table: pa.Table, option: str, name: str | None, default: float):
    """A column that must hold a finite number in every row: a weight or an offset."""
    if name is None:
        return np.full(table.num_rows, default)
    values = numbers(table[name], name)
    wrong = np.sum(~np.isfinite(values))
    if wrong:
        raise UserError(f"{option} {name} is missing or infinite in {wrong} rows")
    return values


def levels(column: pa.ChunkedArray, name: str) -> list[str]:
    """The levels of a category, sorted; the first one has no coefficient."""
    found = pc.unique(texts(column).drop_null()).to_pylist()
    if len(found) > MOST_LEVELS:
        raise UserError(
            f"--one-hot {name} must have at most {MOST_LEVELS} levels, got "
            f"{len(found)}: does it identify the rows? --exclude leaves it out"
        )
    return sorted(found)


def _codes(column: pa.ChunkedArray, name: str, known: list[str]) -> np.ndarray:
    """Which of the known levels each row is at."""
    codes = pc.index_in(texts(column), pa.array(known))
    if codes.null_count:
        unseen = pc.unique(texts(column).filter(codes.is_null())).to_pylist()
        raise UserError(
            f"category {name!r} must be at a level of the rows it was fitted to, "
            f"{listed(known)}, got {listed(unseen)} (None is missing: give it a name)"
        )
    return codes.to_numpy()


def matrix(table: pa.Table, model: Model) -> np.ndarray:
    """`(rows, features)`, with NaN for what is missing."""
    columns = dict(zip(table.column_names, table.columns, strict=True))
    known = model.one_hot_levels
    codes = {name: _codes(columns[name], name, known[name]) for name in known}
    values = np.empty((table.num_rows, len(model.features)), order="F")
    for i, feature in enumerate(model.features):
        name, level = feature.column, feature.level
        if level is None:
            values[:, i] = numbers(columns[name], name)
        else:
            values[:, i] = codes[name] == known[name].index(level)
    return values


def means(values: np.ndarray, weight: np.ndarray, model: Model) -> dict[str, float]:
    """The weighted mean of each plain column over the rows in which it is known."""
    found = np.ma.average(np.ma.masked_invalid(values), axis=0, weights=weight)
    named = zip(model.features, found.filled(np.nan).tolist(), strict=True)
    return {feature.name: mean for feature, mean in named if feature.level is None}


def fill(values: np.ndarray, model: Model) -> None:
    """Put the mean of its column where a number is missing, and refuse what is left."""
    wrong = []
    for feature, column in zip(model.features, values.T, strict=True):
        column[np.isnan(column)] = model.imputation_means.get(feature.name, np.nan)
        count = np.sum(~np.isfinite(column))
        wrong += [f"{feature.name} ({count})"] * bool(count)
    if wrong:
        raise UserError(
            f"values are missing (empty, NA or NaN) or infinite in {listed(wrong)} of "
            f"{len(values)} rows: --impute mean, when the model is fitted, fills what "
            "is missing; --exclude leaves a column out"
        )


def suspicions(values: np.ndarray, model: Model) -> list[str]:
    """Warnings of columns that hold numbers, but may not hold measurements."""
    warnings = []
    for feature, x in zip(model.features, values.T, strict=True):
        if _like_identifier(feature.name, x):
            warnings.append(
                f"{feature.name!r} looks like an identifier, since each row has its "
                "own whole number: --exclude leaves a column out"
            )
        for end in {x.min(), x.max()}:
            rest = x[x != end] if abs(end) in SENTINELS else x[:0]
            if rest.size and np.abs(rest - end).min() > abs(end) / 2:
                warnings.append(
                    f"{feature.name!r} is {end:g} in {x.size - rest.size} rows, far "
                    "from the others: if that stands for no value, leave it empty"
                )
    return warnings


def _like_identifier(name: str, x: np.ndarray) -> bool:
    if x.size < FEWEST_ROWS or (x != np.rint(x)).any() or np.unique(x).size < x.size:
        return False
    counted = np.ptp(x) == x.size - 1 or (np.diff(x) > 0).all()
    return bool(counted or IDENTIFIER.search(name))
