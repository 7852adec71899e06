"""Tables in files, CSV, tab-separated or Parquet: read whole or in parts, written."""

import difflib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import csv, dataset, parquet

from bcejax._cli import UserError, about, listed, output

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PART_ROWS = 2**16  # of a file that is read in parts
# Arrow infers types from the first block. Where a file is read whole, that block is the
# whole file: otherwise 1.5 after many rows of integers would be an error. Its sizes end
# below 2³¹ bytes. Only one thread counts rows, to say which is wrong.
WHOLE = csv.ReadOptions(block_size=2**31 - 1, use_threads=False)
# Bytes in memory, at the most, for one of a file that is fitted whole.
COPIES = {".csv": 12, ".tsv": 12, ".gz": 48, ".parquet": 24}

Chosen = Callable[[list[str]], Iterable[str]]  # of the names of the columns


class Part(NamedTuple):
    table: pa.Table
    source: str
    first: int  # row of the file, counted from 1

    def about(self):
        """Say of an error which file it is about."""
        return about(self.source)


class Tables(NamedTuple):
    """The rows of some files, whole or part by part, for any number of passes."""

    parts: Callable  # from the names of some columns, or None for all, to `Part`s
    names: list[str]
    whole: bool

    def require(self, names: Iterable[str], source: str) -> None:
        """Refuse where one of `names` is missing; `source` says who asked for them."""
        missing = [name for name in names if name not in self.names]
        if missing:
            near = difflib.get_close_matches(missing[0], self.names)
            hint = f"did you mean {listed(near)}?" if near else ""
            hint = hint or f"there are {listed(self.names)}"
            raise UserError(f"{source} holds no column {listed(missing)}; {hint}")


def of_table(table: pa.Table, source="") -> Tables:
    return Tables(lambda names=None: [Part(table, source, 1)], table.column_names, True)


def opened(
    path: Path,
    memory: float,
    as_text: Chosen = lambda names: (),
    processes: tuple[int, int] = (0, 1),
) -> Tables:
    """The tables in a file, a directory or standard input.

    A file that may take more than `memory` bytes, and a directory, are read in parts.
    `as_text` chooses the columns of CSV that keep their characters. The first of some
    processes reads the first file, the second the next one, and so on in turns.
    """
    number, count = processes
    with about(path):
        if count > 1:
            return _in_parts(_files(path), as_text, slice(number, None, count))
        if str(path) == "-" or (path.is_file() and memory_for(path) <= memory):
            tables = of_table(_whole(path, as_text), str(path))
            return tables._replace(names=_checked(tables.parts()[0].table))
        return _in_parts(_files(path), as_text)


def memory_for(path: Path) -> float:
    return path.stat().st_size * COPIES.get(path.suffix.lower(), 0)


def free_memory() -> float:
    """Bytes that a new process could have, or ∞ where nothing says how many."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8")
        return float(re.search(r"MemAvailable: +(\d+) kB", lines)[1]) * 1024
    except (OSError, TypeError):
        return float("inf")


def _checked(table: pa.Table) -> list[str]:
    if table.num_rows == 0:
        raise UserError(f"there are {table.num_columns} columns but no rows")
    return table.column_names


def _check_names(names: list[str]) -> None:
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise UserError(
            f"names of columns must differ, but {listed(twice)} stands more than "
            "once: is the first line the names?"
        )


def _ending(path: Path) -> str:
    """.csv, .tsv or .parquet."""
    name = path.name.lower().removesuffix(".gz")
    ending = next((e for e in (*SEPARATORS, ".parquet") if name.endswith(e)), None)
    if ending is None or path.name.lower().endswith(".parquet.gz"):
        raise UserError("the ending must be .csv, .tsv (or either .gz) or .parquet")
    return ending


def _csv_options(separator: str, as_text: Iterable[str], types=()):
    types = dict(types) | dict.fromkeys(as_text, pa.string())
    meaning = csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    return csv.ParseOptions(delimiter=separator), meaning


def _whole(path: Path, as_text: Chosen) -> pa.Table:
    source = path
    if str(path) == "-":
        path, source = Path("-.csv"), sys.stdin.buffer
    ending = _ending(path)
    if ending == ".parquet":
        table = parquet.read_table(path)
        _check_names(table.column_names)
        return table
    packed = "gzip" if path.name.lower().endswith(".gz") else None
    with pa.input_stream(source, compression=packed) as file:
        data = pa.BufferReader(file.read_buffer())
    with _csv_errors(SEPARATORS[ending]):
        parsing, _ = _csv_options(SEPARATORS[ending], ())
        one_thread = csv.ReadOptions(use_threads=False)
        names = csv.open_csv(data, one_thread, parsing).schema.names
        _check_names(names)
        data.seek(0)
        return csv.read_csv(
            data, WHOLE, *_csv_options(SEPARATORS[ending], as_text(names))
        )


@contextmanager
def _csv_errors(separator: str, names: Iterable[str] = ()):
    try:
        yield
    except pa.ArrowInvalid as error:
        cause = (
            f": is a line a comment, a number written 1,5, or {separator!r} not what "
            "stands between the columns?"
        )
        message, numbered = str(error), dict(enumerate(names))
        column = re.search(r"CSV column #(\d+)", message)
        if column and int(column[1]) in numbered:
            message = f"column {numbered[int(column[1])]!r}: {message}"
        raise UserError(message + cause * ("Expected" in message)) from None


# In parts


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not file.name.startswith((".", "_"))
    )
    if not found:
        raise UserError("there are no files in it")
    for file in found:
        with about(file):
            if _ending(file) != _ending(found[0]):
                raise UserError(f"all files must be of one kind, as {found[0]} is")
    return found


def _in_parts(files: list[Path], as_text: Chosen, own=slice(None)) -> Tables:
    with about(files[0]):
        kind = _format(files[0], as_text)
        names = dataset.dataset(files[0], format=kind).schema.names
        _check_names(names)

    def parts(chosen: Iterable[str] | None = None) -> Iterator[Part]:
        chosen = names if chosen is None else list(chosen)
        for file in files[own]:
            with about(file), _csv_errors(SEPARATORS.get(_ending(file)), names):
                yield from _parts_of(file, kind, names, chosen)

    return Tables(parts, names, False)


def _format(file: Path, as_text: Chosen):
    """How to read all files, with the types of columns that the first block shows."""
    ending = _ending(file)
    if ending == ".parquet":
        return "parquet"
    separator = SEPARATORS[ending]
    parsing, meaning = _csv_options(separator, ())
    first = dataset.CsvFileFormat(parsing, convert_options=meaning)
    schema = dataset.dataset(file, format=first).schema
    # A column of integers may hold 1.5 in a later block, and an empty one numbers.
    types = {
        field.name: pa.float64()
        for field in schema
        if pa.types.is_integer(field.type) or pa.types.is_null(field.type)
    }
    parsing, meaning = _csv_options(separator, as_text(schema.names), types)
    return dataset.CsvFileFormat(parsing, convert_options=meaning)


def _parts_of(file: Path, kind, names: list[str], chosen: list[str]) -> Iterator[Part]:
    data, first = dataset.dataset(file, format=kind), 1
    lacking, more = set(names) - {*data.schema.names}, {*data.schema.names} - set(names)
    if lacking or more:
        parts = {"lacks": sorted(lacking), "has more": sorted(more)}
        said = "; ".join(
            f"{verb} {listed(found)}" for verb, found in parts.items() if found
        )
        raise UserError(f"columns must be those of the first file, but it {said}")
    for batch in data.to_batches(
        columns=chosen, batch_size=PART_ROWS, batch_readahead=1, fragment_readahead=1
    ):
        if batch.num_rows:
            yield Part(pa.Table.from_batches([batch]), str(file), first)
        first += batch.num_rows


# Written


@contextmanager
def writer(path: Path) -> Iterator[Callable[[dict], None]]:
    """A function that writes columns, called for some rows after the others."""
    ending, opened = path.suffix.lower(), []
    with output.complete(path) as file:

        def write(columns: dict) -> None:
            table = pa.table(columns)
            if not opened and ending == ".parquet":
                opened.append(parquet.ParquetWriter(file, table.schema))
            elif not opened:
                options = csv.WriteOptions(delimiter=SEPARATORS[ending])
                opened.append(csv.CSVWriter(file, table.schema, write_options=options))
            opened[0].write_table(table)

        try:
            yield write
        finally:
            for one in opened:
                one.close()
