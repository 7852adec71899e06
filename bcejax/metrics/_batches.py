"""Metrics of rows that come batch by batch."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bcejax._host import Array, as_computed_with, numbers, real_array
from bcejax._values import in_batch
from bcejax.metrics._scores import (
    Confusion,
    accuracy,
    brier_score,
    confusion,
    log_loss,
)

MEANS = log_loss, brier_score, accuracy


def of_batches(metric: Callable, batches: Iterable, **options):
    """A metric of rows that come batch by batch: that of all of them together.

    Of `log_loss`, `brier_score`, `accuracy` and `confusion` the results of the batches
    are put together, in float64, and no rows are kept. Each new size of a batch
    compiles a program. Other metrics rank the rows or sort them into bins: for these,
    logits, labels and weights of all rows are copied to the host, 16 to 24 bytes a row
    of two classes, and twice that while they are put together.

    Args:
      metric: a function of this module.
      batches: iterated once. Each is (logits, labels) or (logits, labels, weights), as
        the metric takes them, of any number of rows, 0 included.
      options: of the metric.
    Returns:
      What the metric returns.
    Raises:
      TypeError: if a batch is not a tuple of two or three, and for what the metric
        refuses.
      ValueError: if there are no rows of positive weight, and for what the metric
        refuses. The batch is named by its number, counted from 0, but where a value
        of rows that are kept is wrong.
    Example:
      >>> batches = [(jnp.array([-2.0, 0.5]), [0, 1]), (jnp.array([jnp.inf]), [1])]
      >>> print(of_batches(log_loss, batches), of_batches(accuracy, batches))
      0.2003 1.0
    """
    rows = _batches(batches)
    if metric is not confusion and metric not in MEANS:
        return metric(**_together(rows), **options)
    total, weight, doubts = 0.0, 0.0, []
    for number, batch in rows:
        with in_batch(number), warnings.catch_warnings(record=True) as doubt:
            warnings.simplefilter("always")
            found = metric(batch.logits, batch.labels, weights=batch.weights, **options)
        doubts.append(doubt)
        of_batch = np.sum(batch.weights)
        total = total + (1 if metric is confusion else of_batch) * np.float64(found)
        weight += of_batch
    _check_weight(weight)
    if all(doubts):  # a few logits may look like probabilities by chance
        warnings.warn(doubts[0][0].message, stacklevel=2)
    if metric is confusion:
        return Confusion(*jnp.asarray(total, found[0].dtype))
    return jnp.asarray(total / weight, found.dtype)


class Batch(NamedTuple):
    logits: Array  # (n,) or (n, classes)
    labels: Array  # the same
    weights: np.ndarray  # (n,), float64


def _batches(batches: Iterable) -> Iterator[tuple[int, Batch]]:
    """Those with a row that counts, numbered."""
    for number, batch in enumerate(batches):
        with in_batch(number):
            read = _read(batch)
        if np.any(read.weights != 0):
            yield number, read


def _read(batch) -> Batch:
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise TypeError(
            "a batch must be (logits, labels) or (logits, labels, weights), got "
            f"{type(batch).__name__}."
        )
    logits, labels, weights = [*batch, 1.0][:3]
    logits, labels = real_array(logits, "logits"), numbers(labels, "labels")
    weights = as_computed_with(numbers(1.0 if weights is None else weights, "weights"))
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"logits must be floating point, got {logits.dtype}.")
    rows = logits.shape[:1]
    if labels.ndim == 0:
        labels = np.broadcast_to(np.asarray(labels), rows)
    for name, column in (("labels", labels), ("weights", weights)):
        if column.ndim and column.shape[:1] != rows:
            raise ValueError(
                f"{name} must be a scalar or hold one value per row of logits, got "
                f"{name} {column.shape} and logits {logits.shape}."
            )
    return Batch(logits, labels, np.broadcast_to(weights, rows))


def _together(rows: Iterator[tuple[int, Batch]]) -> dict[str, np.ndarray]:
    # Copied, as an iterator may fill one buffer again and again.
    held = [[np.array(a) for a in batch] for _, batch in rows]
    _check_weight(len(held))
    columns = zip(Batch._fields, zip(*held, strict=True), strict=True)
    return {name: np.concatenate(parts) for name, parts in columns}


def _check_weight(weight: float) -> None:
    if weight == 0:
        raise ValueError("batches must hold a row of positive weight, got none.")
