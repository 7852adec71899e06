"""Values that cannot be meant: which one it is, where it stands, and the likely cause.

A compiled function returns whether anything is wrong at all, next to its result. Only
if so is this read, on the host, where a message may take its time. Within jit and vmap
nobody can be told.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from bcejax._host import as_computed_with


def complain(features, labels, weight, offset, l2, names: Sequence[str] | None) -> None:
    """Raise a ValueError that names the first value that cannot be meant, if any.

    Rows of weight 0 do not count, whatever they hold, but their own weight.
    """
    features, labels, weight, offset, l2 = map(
        as_computed_with, (features, labels, weight, offset, l2)
    )
    _complain_of_l2(l2, names)
    weight = np.broadcast_to(weight, labels.shape)
    complain_of_weights(weight, "sample_weight")
    counted = weight > 0
    complain_of_labels(labels, counted)
    _complain_of_features(features, counted, names)
    offset = np.broadcast_to(offset, labels.shape)
    row = first_of(counted & ~np.isfinite(offset))
    if row is not None:
        raise ValueError(
            f"offset must be finite, got {offset[row]} in row {place_of(row)}."
        )


def _complain_of_l2(l2: np.ndarray, names) -> None:
    wrong = ~((l2 >= 0) & (l2 < np.inf))
    if not np.any(wrong):
        return
    if l2.ndim == 0:
        raise ValueError(f"l2 must be 0 or more and finite, got {l2}.")
    column = int(np.argmax(wrong))
    raise ValueError(
        f"l2 must be 0 or more and finite, got {l2[column]} for "
        f"{_column(column, names)}."
    )


def complain_of_weights(weights: np.ndarray, name: str) -> None:
    row = first_of(~((weights >= 0) & (weights < np.inf)))
    if row is not None:
        raise ValueError(
            f"{name} must be 0 or more and finite, got {weights[row]} in row "
            f"{place_of(row)}."
        )
    if not np.any(weights > 0):
        raise ValueError(f"{name} must not be 0 in all rows, which are {weights.size}.")


def complain_of_labels(labels: np.ndarray, counted: np.ndarray) -> None:
    row = first_of(counted & ~((labels >= 0) & (labels <= 1)))
    if row is None:
        return
    raise ValueError(
        f"labels must be 0, 1 or a probability between, got {labels[row]:g} in row "
        f"{place_of(row)}.{_cause(labels[counted])}"
    )


def _cause(labels: np.ndarray) -> str:
    """What such labels usually are."""
    found = np.unique(labels)
    if np.any(np.isnan(found)):
        return " Leave out the rows without a label, or give them weight 0."
    shown = ", ".join(f"{value:g}" for value in found[:6])
    if len(found) == 2:
        return (
            f" They hold two values, {shown}: write labels == {found[1]:g} for the "
            f"probability of {found[1]:g}."
        )
    if len(found) <= 100 and np.all(found == np.round(found)):
        return (
            f" They hold {len(found)} classes, {shown}{' …' * (len(found) > 6)}: a "
            "logistic regression tells one of them from the others, "
            f"labels == {found[-1]:g}."
        )
    return ""


def _complain_of_features(features: np.ndarray, counted: np.ndarray, names) -> None:
    wrong = ~np.isfinite(features) & counted[:, None]
    if not np.any(wrong):
        return
    row, column = np.argwhere(wrong)[0]
    value, number = features[row, column], int(np.sum(wrong))
    rows = int(np.sum(np.any(wrong, axis=1)))
    others = f" ({number} such values in {rows} rows)" if number > 1 else ""
    raise ValueError(
        f"features must be finite, got {value} in row {row} of "
        f"{_column(column, names)}{others}: leave out such rows, or replace what is "
        "missing."
    )


def _column(column: int, names) -> str:
    return f"column {column}" if names is None else f'column "{names[column]}"'


def first_of(wrong: np.ndarray) -> tuple[int, ...] | None:
    return tuple(np.argwhere(wrong)[0].tolist()) if np.any(wrong) else None


def place_of(index: tuple[int, ...]) -> str:
    return ", ".join(map(str, index))


@contextmanager
def in_batch(number: int) -> Iterator[None]:
    """Name the batch in an error, by its number."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"batch {number}: {error}") from None
