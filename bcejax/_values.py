"""Values that cannot be meant: which one it is, where it stands, and the likely cause.

A fit asks in its compiled pass whether anything is wrong at all. Only if so is this
read, on the host, where a message may take its time.
"""

from collections.abc import Sequence

import numpy as np


def complain(features, labels, weight, offset, l2, names: Sequence[str] | None) -> None:
    """Raise a ValueError that names the first value that cannot be meant, if any.

    Rows of weight 0 do not count, whatever they hold, but their own weight.
    """
    labels, weight, offset, l2 = (
        np.asarray(a, np.float64) for a in (labels, weight, offset, l2)
    )
    _complain_of_l2(l2, names)
    weight = np.broadcast_to(weight, labels.shape)
    _complain_of_weight(weight)
    counted = weight > 0
    _complain_of_labels(labels, counted)
    _complain_of_features(np.asarray(features), counted, names)
    offset = np.broadcast_to(offset, labels.shape)
    row = _first(counted & ~np.isfinite(offset))
    if row is not None:
        raise ValueError(f"offset must be finite, got {offset[row]} in row {row}.")


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


def _complain_of_weight(weight: np.ndarray) -> None:
    row = _first(~((weight >= 0) & (weight < np.inf)))
    if row is not None:
        raise ValueError(
            f"sample_weight must be 0 or more and finite, got {weight[row]} in row "
            f"{row}."
        )
    if not np.any(weight > 0):
        raise ValueError(
            f"sample_weight must not be 0 in all rows, which are {weight.size}."
        )


def _complain_of_labels(labels: np.ndarray, counted: np.ndarray) -> None:
    row = _first(counted & ~((labels >= 0) & (labels <= 1)))
    if row is None:
        return
    raise ValueError(
        f"labels must be 0, 1 or a probability between, got {labels[row]:g} in row "
        f"{row}.{_cause(labels[counted])}"
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


def _first(wrong: np.ndarray) -> int | None:
    return int(np.argmax(wrong)) if np.any(wrong) else None
