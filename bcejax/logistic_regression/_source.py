"""Batches as people give them, read and checked: what of them a stream is made of.

An error names the batch, by its number counted from 0.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from bcejax._host import Array, numbers
from bcejax._values import complain, in_batch
from bcejax.logistic_regression._given import Given, read
from bcejax.logistic_regression._problem import checked_problem

Names = tuple[str, ...] | None


class Part(NamedTuple):
    """The rows of a batch that count, on the host."""

    features: np.ndarray  # (n, d), in the dtype of the fit
    labels: np.ndarray  # (n,)
    offset: np.ndarray  # (n,)
    weight: np.ndarray  # (n,), float64

    def rows(self, take) -> "Part":
        return Part(*(a[take] for a in self))


class Source:
    """`make_batches`, read anew for every pass.

    Attributes:
      weighted, shifted: whether a batch so far had weights, and an offset.
    """

    def __init__(self, make_batches: Callable[[], Iterable]):
        if not callable(make_batches):
            raise TypeError(
                "make_batches must be a function that returns a fresh iterator of "
                f"batches for each pass, got {type(make_batches).__name__}."
            )
        self.make_batches = make_batches
        self.weighted = self.shifted = False
        self._last_iterator: Iterator | None = None
        self._known_shapes: set = set()

    def first(self, names: Names) -> tuple[Given, Names] | None:
        """The first batch that has rows, and the names of its columns, if there is one.

        Of a table the columns of these names are taken, in this order.
        """
        for number, batch in self._batches():
            with in_batch(number):
                found = self._read(batch, names)
                if found is not None:
                    return found
        return None

    def parts(self, columns: int, names: Names, dtype, look: bool) -> Iterator[Part]:
        """One pass. `look` says whether to look for values that cannot be meant."""
        for number, batch in self._batches():
            with in_batch(number):
                found = self._read(batch, names)
                if found is None:
                    continue
                given, _ = found
                if given.features.shape[1] != columns:
                    raise ValueError(
                        f"features must have the {columns} columns of the first batch, "
                        f"got shape {given.features.shape}."
                    )
                part = counted(given, dtype, names, look)
            self.weighted |= given.sample_weight is not None
            self.shifted |= given.offset is not None
            yield part

    def _batches(self) -> Iterator[tuple[int, object]]:
        iterator = iter(self.make_batches())
        if iterator is self._last_iterator:
            raise ValueError(
                "make_batches must return a fresh iterator for each pass, got the same "
                "one again, which is exhausted: create it within the function."
            )
        self._last_iterator = iterator
        return enumerate(iterator)

    def _read(self, batch, names: Names) -> tuple[Given, Names] | None:
        """None if there are no rows."""
        if not isinstance(batch, tuple | list) or not 2 <= len(batch) <= 4:
            raise TypeError(
                "a batch must be (features, labels) or (features, labels, weight, "
                f"offset), got {described(batch)}."
            )
        features, labels, weight, offset = [*batch, None, None][:4]
        if len(features) == 0 and len(labels) == 0:
            return None
        given, names = read(features, labels, 0.0, weight, offset, names)
        self._check_shapes(given)
        return given, names

    def _check_shapes(self, given: Given) -> None:
        """And dtypes. Tracing takes a millisecond, so only where there are new ones."""
        rows = given.labels.shape[:1]
        key = tuple(
            None if a is None else (a.shape[:1] == rows, a.shape[1:], a.ndim, a.dtype)
            for a in given
        )
        if key not in self._known_shapes:
            jax.eval_shape(checked_problem, *given)
            self._known_shapes.add(key)


def checked_penalty(l2, like: Given, names: Names) -> Array:
    """`l2`, which is no part of any batch, for features `like` these."""
    l2 = numbers(l2, "l2")
    jax.eval_shape(checked_problem, *like._replace(l2=l2))
    if not np.all((np.asarray(l2) >= 0) & (np.asarray(l2) < np.inf)):
        complain(like.features, like.labels, 1, 0, l2, names)
    return l2


def counted(given: Given, dtype, names: Names, look: bool) -> Part:
    """The rows of a weight that is not 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        features = np.asarray(given.features).astype(dtype, copy=False)
        labels, offset, weight = (
            np.broadcast_to(np.asarray(a), len(features))
            for a in (given.labels, given.offset_or_0, given.weight_or_1)
        )
        part = Part(
            features,
            labels.astype(dtype),
            offset.astype(dtype),
            weight.astype(np.float64),
        )
        if not np.all(weight > 0):
            part = part.rows(weight > 0)
        if look and not (is_sound(part) and np.all((weight >= 0) & (weight < np.inf))):
            # Whether 1e39 counts as ∞ is for the dtype of the fit to say.
            with jax.enable_x64(dtype == np.float64):
                others = given.weight_or_1, given.offset_or_0, given.l2
                complain(given.features, given.labels, *others, names)
    return part


def is_sound(part: Part) -> bool:
    """Whether no value is wrong; also False if only the sum of features overflows."""
    labels, offset = part.labels, part.offset
    in_range = np.all((labels >= 0) & (labels <= 1)) and np.all(np.isfinite(offset))
    return bool(in_range and np.isfinite(np.sum(part.features)))


def described(batch) -> str:
    if isinstance(batch, tuple | list):
        return f"{len(batch)} elements"
    return type(batch).__name__
