"""Batches of any sizes, read over and over, as chunks of one size on the device.

The rows of the batches are copied into chunks, so that the chunks, and all that is
computed from them, are the same whatever the sizes of the batches are. The last chunk
is filled up with rows of share 0. One thread reads the next chunk and moves it to the
device while JAX works on the present one, and there are never more than two.

Values are looked at in the first pass. Later passes must give the same rows.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bcejax.logistic_regression._fingerprint import Fingerprint
from bcejax.logistic_regression._given import Given
from bcejax.logistic_regression._precision import precision_of
from bcejax.logistic_regression._problem import Problem, checked_features
from bcejax.logistic_regression._processes import gathered, gathered_words
from bcejax.logistic_regression._source import Names, Part, Source, checked_penalty

CHUNK = 2**20  # features: 4 MB of float32, two blocks of `_rows`
LEAST_ROWS = 16  # of a chunk
ALIGNMENT = 64  # bytes, at which JAX takes an array of NumPy on a CPU as it is


class Rows(NamedTuple):
    """Rows on the device, as the first fields of a `Problem`."""

    features: jax.Array  # (n, d)
    labels: jax.Array  # (n,)
    share: jax.Array  # (n,)
    offset: jax.Array  # (n,)


class Chunk(NamedTuple):
    rows: Rows
    weight: float  # Σ w


def without_penalty(rows: Rows) -> Problem:
    return Problem(*rows, l2=jnp.zeros((), rows.share.dtype))


@contextmanager
def opened(
    make_batches, l2, names: Names = None, across_processes: bool = False, others=()
) -> Iterator[tuple["Stream", jax.Array]]:
    """A stream of the rows, and the penalty, in the precision of the features.

    The columns are those of these names, or of the first batch; `others` are what the
    precision depends on too.
    """
    source = Source(make_batches)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(source.first, names).result()
        if across_processes:
            found = agreed(found)
        if found is None:
            raise ValueError("make_batches must give a batch with rows, got none.")
        given, names = found
        l2 = checked_penalty(l2, given, names)
        with precision_of(given, l2, *others):
            columns = given.features.shape[1]
            dtype = jax.eval_shape(checked_features, given.features).dtype
            stream = Stream(source, columns, names, dtype, pool)
            stream.across_processes = across_processes
            yield stream, jnp.asarray(l2, dtype)


def agreed(found: tuple[Given, Names] | None) -> tuple[Given, Names] | None:
    """The first batch of the first process that has one; only its layout counts."""
    layout = None
    if found is not None:
        (features, *_), names = found
        # Of JAX's own arrays the dtype does not ask for float64.
        wide = isinstance(features, np.ndarray) and features.dtype == np.float64
        layout = [features.shape[1], names, "float64" if wide else "float32"]
    layouts = {i: a for i, a in enumerate(gathered_words(layout)) if a is not None}
    if not layouts:
        return None
    first = min(layouts)
    columns, names, dtype = layouts[first]
    for number, other in layouts.items():
        if other[:2] != [columns, names]:
            raise ValueError(
                "all processes must have the same columns, but process "
                f"{first} has {names or columns}, and process {number} has "
                f"{other[1] or other[0]}."
            )
    features = np.zeros((1, columns), dtype)
    return Given(features, features[:, 0], np.zeros(()), None, None), names and tuple(
        names
    )


class Stream:
    """The rows of a source, for as many passes as are asked for.

    Attributes:
      passes: how many there were.
      known: the fingerprint of the first pass, which later passes must repeat.
      known_by: what gave that fingerprint, for messages.
      total: Σ w, or None in the first pass, where the shares of a chunk sum to 1.
      across_processes: whether other processes have other rows, of the same fit.
    """

    def __init__(
        self,
        source: Source,
        columns: int,
        names: Names,
        dtype,
        pool: ThreadPoolExecutor,
    ):
        self.source, self.columns, self.names = source, columns, names
        self.dtype, self.pool = np.dtype(dtype), pool
        self.device = next(iter(jnp.zeros(()).devices()))
        self.passes = 0
        self.known: Fingerprint | None = None
        self.known_by = "in the first pass"
        self.total: float | None = None
        self.across_processes = False

    def everywhere(self, found):
        """What all processes have found together, where this one has found `found`."""
        if not self.across_processes:
            return found
        return reduce(lambda a, b: a.also(b), gathered(found))

    def fold(self, add, start, *given):
        """`start` after `add(start, rows, *given)` of every chunk, in one pass.

        It has a method `also`, which puts together what two processes have found.
        """
        for chunk in self.chunks():
            start = add(start, chunk.rows, *given)
            jax.block_until_ready(start)
        return self.everywhere(start)

    def chunks(self) -> Iterator[Chunk]:
        """One pass. The next chunk is read while the caller works on one.

        The caller must be done with a chunk when it asks for the next one.
        """
        chunks = self._chunks()
        following = self.pool.submit(next, chunks, None)
        try:
            while (chunk := following.result()) is not None:
                following = self.pool.submit(next, chunks, None)
                yield chunk
        finally:
            self.pool.submit(chunks.close)
        self.passes += 1

    # In the thread of the pool

    def _chunks(self) -> Generator[Chunk]:
        size = max(CHUNK // self.columns, LEAST_ROWS)
        buffers = [Buffer(size, self.columns, self.dtype) for _ in range(2)]
        found = buffers[0].fingerprint(0)
        number = filled = 0
        layout = self.columns, self.names, self.dtype
        for part in self.source.parts(*layout, look=self.known is None):
            start = 0
            while start < len(part.labels):
                taken = min(len(part.labels) - start, size - filled)
                buffer = buffers[number % 2]
                buffer.fill(filled, part.rows(slice(start, start + taken)))
                start, filled = start + taken, filled + taken
                if filled == size:
                    found = found.also(buffer.fingerprint(filled))
                    yield self._on_device(buffer, filled, size)
                    number, filled = number + 1, 0
        if filled:
            buffer = buffers[number % 2]
            found = found.also(buffer.fingerprint(filled))
            size = size if number else min(size, power_of_2(filled))
            yield self._on_device(buffer, filled, size)
        self.known = found if self.known is None else self.known
        compare(found, self.known, self.known_by)

    def _on_device(self, buffer: "Buffer", filled: int, size: int) -> Chunk:
        weight = float(np.sum(buffer.weight[:filled]))
        rows = buffer.padded(filled, size, weight if self.total is None else self.total)
        # The thread does not see the contexts of the caller.
        with jax.enable_x64(self.dtype == np.float64), jax.default_device(self.device):
            return Chunk(jax.device_put(rows), weight)


def compare(found: Fingerprint, known: Fingerprint, known_by: str) -> None:
    rule = "make_batches must give the same rows in each pass"
    if found.rows != known.rows:
        raise ValueError(
            f"{rule}, got {found.rows} of positive weight after {known.rows} "
            f"{known_by}."
        )
    if not found.matches(known):
        raise ValueError(
            f"{rule}, got other values than {known_by}: the sums over their bits "
            "differ."
        )


class Buffer:
    """Room for the rows of a chunk, which is filled again and again."""

    def __init__(self, size: int, columns: int, dtype: np.dtype):
        self.features = aligned((size, columns), dtype)
        self.labels, self.share, self.offset = (
            aligned((size,), dtype) for _ in range(3)
        )
        self.weight = np.empty(size)

    def fill(self, start: int, part: Part) -> None:
        stop = start + len(part.labels)
        for name, values in part._asdict().items():
            getattr(self, name)[start:stop] = values

    def fingerprint(self, filled: int) -> Fingerprint:
        columns = self.features, self.labels, self.offset, self.weight
        return Fingerprint.of(*(a[:filled] for a in columns))

    def padded(self, filled: int, size: int, total: float) -> Rows:
        self.share[:filled] = self.weight[:filled] / total
        rows = self.features, self.labels, self.share, self.offset
        for a in rows:
            a[filled:size] = 0
        return Rows(*(a[:size] for a in rows))  # type: ignore[arg-type]


def power_of_2(rows: int) -> int:
    """The least one that so many rows fit in."""
    return max(1 << (rows - 1).bit_length(), LEAST_ROWS)


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    length = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(length + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + length].view(dtype).reshape(shape)
