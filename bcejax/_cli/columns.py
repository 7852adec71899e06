"""Columns of a table as numbers: the label, categories, and plain numbers."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bcejax._cli import UserError, about, listed
from bcejax._cli.model import Label

MOST_CLASSES = 1000  # of a label; with more it is rather a number or a name
FEW_CLASSES = 20  # with more, each must have some rows
ROWS_OF_CLASS = 5  # on average; with fewer it is rather a number or a name
MOST_LEVELS = 2000  # of a category; with more it rather identifies the rows
FEWEST_ROWS = 10  # in which a column can look like an identifier
SENTINELS = 99, 999, 9999, 99999  # of either sign, written for what is missing
IDENTIFIER = re.compile(r"(?i:(^|[\W_])(id|key|index|no|nr|number))$|[a-z](ID|Id)$")


def texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values as text: as in the file, except that 1.0 is 1 and True is true."""
    with about("a column of text is not UTF-8"):
        return column.cast(pa.string())


def values(column: pa.ChunkedArray) -> set[str]:
    return set(pc.unique(texts(column).drop_null()).to_pylist())


def label(values: list[str], missing: int, rows: int, name: str, positive) -> Label:
    """What the values of a column of so many rows say about its classes."""
    if missing or len(values) < 2:
        raise UserError(
            f"--label {name} must hold two values or more and none missing, "
            f"got {len(values)} ({listed(values)}), missing in {missing} rows"
        )
    if len(values) > 2:
        return _label_of_many(values, rows, name)
    if positive is None and values in (["0", "1"], ["false", "true"]):
        positive = values[1]
    if positive not in values:
        raise UserError(
            f"--positive VALUE must say which value of --label {name} counts as 1, "
            f"{values[0]!r} or {values[1]!r}, got {positive!r}"
        )
    return Label(name, positive, values[1 - values.index(positive)])


def _label_of_many(values: list[str], rows: int, name: str) -> Label:
    """Its classes, in the order of the numbers if all are numbers."""
    most = max(FEW_CLASSES, min(MOST_CLASSES, rows // ROWS_OF_CLASS))
    try:
        values = sorted(values, key=float)
        whole = all(float(value).is_integer() for value in values)
    except ValueError:  # text
        whole = True
    if not whole or len(values) > most:
        raise UserError(
            f"--label {name} must hold classes: no fractions, and at most {most} "
            f"values in {rows} rows, got {len(values)} ({listed(values)}): to predict "
            "a number, or a name, is no matter of logistic regression"
        )
    return Label(name, classes=values)


def classes(column: pa.ChunkedArray, label: Label) -> np.ndarray:
    """The place of the value in `label.values`, 1.0 of the positive one, or NaN."""
    codes = pc.index_in(texts(column), pa.array(label.values))
    return numbers(codes, label.name)


def check_label(found: np.ndarray, table: pa.Table, label: Label) -> None:
    """Refuse a label of neither value, as in a file that has changed meanwhile."""
    if np.isnan(found).any():
        other = texts(table[label.name])[int(np.isnan(found).argmax())]
        raise UserError(
            f"label {label.name!r} must be {' or '.join(map(repr, label.values[:5]))}, "
            f"got {other.as_py()!r}"
        )


def numbers(column, name: str, first: int = 1) -> np.ndarray:
    """The column as float64, NaN where it is missing. It begins with row `first`."""
    try:
        # Unsafe allows integers past 2⁵³, which are rounded.
        return np.asarray(column.cast(pa.float64(), safe=False))
    except pa.ArrowException as error:
        value, where = re.match("Failed .*?: '(.*)' as", str(error)), str(column.type)
        if pa.types.is_binary(column.type):
            where = "text that is not UTF-8"
        elif value:
            comma = " (a decimal comma?)" * bool(re.fullmatch(r"-?\d+,\d+", value[1]))
            row = texts(column).index(value[1]).as_py() + first
            where = f"{value[1]!r}{comma} in row {row} of the data"
        raise UserError(
            f"column {name!r} must hold numbers, got {where}; --one-hot encodes a "
            "category, --exclude leaves a column out"
        ) from None


def check_number(levels: set[str], name: str) -> None:
    """Refuse a category of too many levels."""
    if len(levels) > MOST_LEVELS:
        raise UserError(
            f"--one-hot {name} must have at most {MOST_LEVELS} levels, got "
            f"{len(levels)}: does it identify the rows? --exclude leaves it out"
        )


def check_levels(column: pa.ChunkedArray, name: str, known: list[str]) -> None:
    """Refuse a category that is at a level which is not known."""
    found = texts(column)
    unknown = pc.invert(pc.is_in(found, pa.array(known)))
    unseen = pc.unique(found.filter(unknown)).to_pylist()
    if unseen:
        raise UserError(
            f"category {name!r} must be at a level of the rows it was fitted to, "
            f"{listed(known)}, got {listed(unseen)} (None is missing: give it a name)"
        )


def suspicions(name: str, x: np.ndarray) -> list[str]:
    """Warnings of a column that holds numbers, but may not hold measurements."""
    warnings = []
    if _like_identifier(name, x):
        warnings.append(
            f"{name!r} looks like an identifier, since each row has its own whole "
            "number: --exclude leaves a column out"
        )
    for end in {x.min(), x.max()} & {sign * s for s in SENTINELS for sign in (-1, 1)}:
        rest = x[x != end]
        if rest.size and np.abs(rest - end).min() > abs(end) / 2:
            warnings.append(
                f"{name!r} is {end:g} in {x.size - rest.size} rows, far from the "
                "others: if that stands for no value, leave it empty"
            )
    return warnings


def _like_identifier(name: str, x: np.ndarray) -> bool:
    if x.size < FEWEST_ROWS or (x != np.rint(x)).any() or np.unique(x).size < x.size:
        return False
    counted = np.ptp(x) == x.size - 1 or (np.diff(x) > 0).all()
    return bool(counted or IDENTIFIER.search(name))
