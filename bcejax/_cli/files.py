"""Tables in files, CSV or Parquet, and one-line answers to files that are neither."""

import difflib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from bcejax._cli import Refused
from bcejax._cli.whole import whole

# A type is inferred from the first block, so that block is the whole file: else 1.5
# after many rows of integers would be an error. Arrow's sizes end below 2³¹ bytes.
LARGEST_BLOCK = 2**31 - 1
WIDE = 10_000  # columns, past which Arrow's threads hinder one another
NAMED = 5  # how many names a message lists


def read(path: Path, as_text: Iterable[str] = ()) -> pa.Table:
    """The table in a file; columns `as_text` keep the characters of a CSV file."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise Refused(f"{path}: the ending must be .csv or .parquet")
    _check_readable(path)
    try:
        table = _read_csv(path, as_text) if kind == ".csv" else parquet.read_table(path)
        names = table.column_names  # decoded here, not before
    except (pa.ArrowException, ValueError, OSError) as error:
        what = "no CSV table in UTF-8" if kind == ".csv" else "no Parquet table"
        raise Refused(f"{path} is {what}: {one_line(error)}") from None
    _check_names(path, names)
    if table.num_rows == 0:
        raise Refused(f"{path} holds {len(names)} columns but no rows")
    return _decoded(table)


def _read_csv(path: Path, as_text: Iterable[str]) -> pa.Table:
    with path.open("rb") as file:
        commas = file.readline().count(b",")
    return csv.read_csv(
        path,
        read_options=csv.ReadOptions(
            block_size=min(path.stat().st_size + 1, LARGEST_BLOCK),
            use_threads=commas < WIDE,
        ),
        convert_options=csv.ConvertOptions(
            column_types={name: pa.string() for name in as_text},
            strings_can_be_null=True,
        ),
    )


def _decoded(table: pa.Table) -> pa.Table:
    """Texts that Parquet stores as numbers into a dictionary, as texts."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(i).cast(field.type.value_type)
            table = table.set_column(i, field.name, column)
    return table


def _check_readable(path: Path) -> None:
    if not path.exists():
        near = path.parent.is_dir() and nearest(path.name, os.listdir(path.parent))
        raise Refused(f"{path}: there is no such file{near or ''}")
    if not path.is_file():
        raise Refused(f"{path} is not a file")
    if not os.access(path, os.R_OK):
        raise Refused(f"{path}: there is no permission to read it")
    if path.stat().st_size == 0:
        raise Refused(f"{path} is empty")


def _check_names(path: Path, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise Refused(
            f"{path}: names of columns must differ, but {listed(twice)} "
            "stands more than once: is the first line the names?"
        )
    if len(names) == 1 and any(sign in names[0] for sign in ";\t|"):
        raise Refused(
            f"{path} must separate its columns by commas, got the line {names[0]!r}"
        )


def require(table: pa.Table, names: Iterable[str], source: str) -> None:
    """Refuse a table that lacks one of `names`; `source` says who asked for them."""
    there = set(table.column_names)
    missing = [name for name in names if name not in there]
    if not missing:
        return
    hint = nearest(missing[0], table.column_names)
    if not hint:
        hint = f"; there are {listed(table.column_names)}"
    raise Refused(f"{source} holds no column {listed(missing)}{hint}")


def nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def listed(names: Iterable[str]) -> str:
    """The names in quotes, or the first of many."""
    names = list(names)
    text = ", ".join(map(repr, names[:NAMED]))
    return text + f" and {len(names) - NAMED} more" * (len(names) > NAMED)


def one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:199] + "…"


def check_output(option: str, path: Path, *inputs: Path) -> None:
    """Refuse before the work is done what could not be written after it."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise Refused(f"{option} {path}: there is no folder {path.parent}")
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise Refused(f"{option} {path}: cannot write there")
    for given in inputs:
        if path.exists() and given.exists() and path.samefile(given):
            raise Refused(f"{option} {path} would overwrite what is read")


def write_predictions(path: Path, probabilities, logits) -> None:
    columns = {"probability": probabilities, "logit": logits}
    table = pa.table({name: np.asarray(column) for name, column in columns.items()})
    with whole(path) as unfinished:
        csv.write_csv(table, unfinished)
