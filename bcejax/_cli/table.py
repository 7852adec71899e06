"""Tables in files: CSV, tab-separated or Parquet, read and written."""

import difflib
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from bcejax._cli import UserError, about, listed, output

SEPARATORS = {".csv": ",", ".tsv": "\t"}
# Arrow infers types from the first block, so that block is the whole file: otherwise
# 1.5 after many rows of integers would be an error. Its sizes end below 2³¹ bytes.
# Only one thread counts rows, to say which is wrong.
READING = csv.ReadOptions(block_size=2**31 - 1, use_threads=False)


def read(path: Path, as_text: Iterable[str] = ()) -> pa.Table:
    """The table in a file or standard input; `as_text` keeps characters of CSV."""
    with about(path):
        table = _table(path, as_text)
        twice = [name for name, n in Counter(table.column_names).items() if n > 1]
        if twice:
            raise UserError(
                f"names of columns must differ, but {listed(twice)} stands more than "
                "once: is the first line the names?"
            )
        if table.num_rows == 0:
            raise UserError(f"there are {table.num_columns} columns but no rows")
    return table


def _table(path: Path, as_text: Iterable[str]) -> pa.Table:
    name, source = path.name.lower(), path
    if name == "-":
        name, source = ".csv", sys.stdin.buffer
    plain, packed = name.removesuffix(".gz"), name.endswith(".gz")
    if plain.endswith(".parquet"):
        return parquet.read_table(path)
    separator = SEPARATORS.get(plain[-4:])
    if separator is None:
        raise UserError("the ending must be .csv, .tsv (or either .gz) or .parquet")
    with pa.input_stream(source, compression="gzip" if packed else None) as file:
        data = pa.BufferReader(file.read_buffer())
    parsing = csv.ParseOptions(delimiter=separator)
    types = dict.fromkeys(as_text, pa.string())
    meaning = csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    try:
        return csv.read_csv(data, READING, parsing, meaning)
    except pa.ArrowInvalid as error:
        cause = (
            f": is a line a comment, a number written 1,5, or {separator!r} not what "
            "stands between the columns?"
        )
        raise UserError(str(error) + cause * ("Expected" in str(error))) from None


def write(path: Path, columns: dict) -> None:
    ending = path.suffix.lower()
    with output.complete(path) as file:
        if ending == ".parquet":
            parquet.write_table(pa.table(columns), file)
        else:
            options = csv.WriteOptions(delimiter=SEPARATORS[ending])
            csv.write_csv(pa.table(columns), file, options)


def require(table: pa.Table, names: Iterable[str], source: str) -> None:
    """Refuse a table that lacks one of `names`; `source` says who asked for them."""
    missing = [name for name in names if name not in table.column_names]
    if missing:
        near = difflib.get_close_matches(missing[0], table.column_names)
        hint = f"did you mean {listed(near)}?" if near else ""
        hint = hint or f"there are {listed(table.column_names)}"
        raise UserError(f"{source} holds no column {listed(missing)}; {hint}")
