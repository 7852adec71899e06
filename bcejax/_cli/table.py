"""Tables in files: CSV, tab-separated or Parquet, read and written."""

import difflib
import re
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
LARGEST_BLOCK = 2**31 - 1


def read(path: Path, as_text: Iterable[str] = ()) -> pa.Table:
    """The table in a file or standard input; `as_text` keeps characters of CSV."""
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    with about(path):
        if path.name == "-":
            table = _parsed(sys.stdin.buffer.read(), ",", as_text)
        elif ending == ".parquet":
            table = parquet.read_table(path)
        elif ending in SEPARATORS:
            packed = "gzip" if path.suffix.lower() == ".gz" else None
            with pa.input_stream(str(path), compression=packed) as file:
                table = _parsed(file.read(), SEPARATORS[ending], as_text)
        else:
            raise UserError("the ending must be .csv, .tsv (or either .gz) or .parquet")
        names = Counter(table.column_names)
        if len(names) < table.num_columns:
            twice = [name for name, count in names.items() if count > 1]
            raise UserError(
                f"names of columns must differ, but {listed(twice)} stands more than "
                "once: is the first line the names?"
            )
        if table.num_rows == 0:
            raise UserError(f"there are {table.num_columns} columns but no rows")
    return table


def _parsed(data: bytes, separator: str, as_text: Iterable[str]) -> pa.Table:
    names = re.match(rb"[^\r\n]*", data)[0].decode("utf-8-sig")
    if names.startswith("#") or (
        separator not in names and re.search(r"[,;\t|]", names)
    ):
        raise UserError(
            "the first line must be the names of the columns, separated by "
            f"{'commas' if separator == ',' else 'tabs'}, got {names!r}"
        )
    try:
        return csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(  # only one thread counts rows, to say which is wrong
                block_size=min(len(data) + 1, LARGEST_BLOCK), use_threads=False
            ),
            csv.ParseOptions(delimiter=separator),
            csv.ConvertOptions(
                column_types=dict.fromkeys(as_text, pa.string()),
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        cause = ": is it a comment, or a decimal comma (1,5)?"
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
