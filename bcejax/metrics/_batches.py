"""Metrics of rows that come batch by batch."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bcejax._host import as_computed_with, numbers
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
    are put together, in float64, and no rows are kept. Other metrics rank the rows or
    sort them into bins: for these, logits, labels and weights of all rows are held on
    the host, which are 8 to 24 bytes a row of two classes. Each new size of a batch
    compiles a program.

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
        refuses. The batch is named by its number, counted from 0, but where the rows
        are held.
    Example:
      >>> batches = [([-2.0, 0.5], [0, 1]), ([jnp.inf], [1])]
      >>> print(of_batches(log_loss, batches), of_batches(accuracy, batches))
      0.2003 1.0
    """
    rows = _batches(batches)
    if metric is not confusion and metric not in MEANS:
        return metric(**_together(rows), **options)
    total = weight = 0.0
    for number, batch in rows:
        with in_batch(number):
            found = metric(*batch[:2], weights=batch.weights, **options)
        of_batch = np.sum(batch.weights, dtype=np.float64)
        share = 1.0 if metric is confusion else of_batch
        total = total + share * np.float64(found)
        weight += of_batch
    if weight == 0:
        raise ValueError("batches must hold a row of positive weight, got none.")
    if metric is confusion:
        return Confusion(*jnp.asarray(total, found[0].dtype))
    return jnp.asarray(total / weight, found.dtype)


class Batch(NamedTuple):
    logits: ArrayLike
    labels: ArrayLike
    weights: np.ndarray  # (n,)


def _batches(batches: Iterable) -> Iterator[tuple[int, Batch]]:
    """Those with a row that counts, numbered."""
    for number, batch in enumerate(batches):
        with in_batch(number):
            if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                raise TypeError(
                    "a batch must be (logits, labels) or (logits, labels, weights), "
                    f"got {type(batch).__name__}."
                )
        logits, labels, weights = [*batch, None][:3]
        weights = as_computed_with(1.0 if weights is None else weights)
        if weights.ndim == 0:
            weights = np.broadcast_to(weights, np.shape(logits)[:1])
        if np.any(weights != 0):
            yield number, Batch(logits, labels, weights)


def _together(rows: Iterator[tuple[int, Batch]]) -> dict[str, np.ndarray]:
    held = [batch for _, batch in rows]
    if not held:
        raise ValueError("batches must hold a row of positive weight, got none.")
    return {
        name: np.concatenate([np.asarray(numbers(a, name)) for a in part])
        for name, part in zip(Batch._fields, zip(*held, strict=True), strict=True)
    }
