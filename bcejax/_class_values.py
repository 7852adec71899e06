"""Labels of many classes: what they may be, and what is said of others.

A label is the number of a class, 0 to classes − 1, or a row of probabilities, one for
each class.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bcejax._arguments import widened
from bcejax._host import Array, as_computed_with
from bcejax._range_check import in_range
from bcejax._values import first_of, place_of

SUM = 1e-3  # by which the probabilities of a row may miss 1
ENCODE = (
    "encode them, by np.unique(labels, return_inverse=True)[1] or scikit-learn's "
    "LabelEncoder"
)


def class_index(labels: jax.Array, counts: jax.Array, classes: int) -> jax.Array:
    """The number of the class in int32, and `classes` for a label that is none.

    In a row that does not count, a label that is no class is replaced by 0.
    """
    known = (labels >= 0) & (labels < classes) & (labels == jnp.floor(labels))
    labels = jnp.where(known | counts, labels, 0)
    labels = in_range(labels, "labels", 0, classes - 1)
    return jnp.where(known | ~counts, labels, classes).astype(jnp.int32)


def are_probabilities(rows: jax.Array) -> jax.Array:
    """Of each row, whether it has no negative number and the sum 1."""
    return jnp.all(rows >= 0, 1) & (jnp.abs(jnp.sum(rows, 1) - 1) <= SUM)


def complain_of_indices(labels: np.ndarray, counted: np.ndarray, count) -> None:
    most = np.inf if count is None else count - 1
    whole = (labels >= 0) & (labels <= most) & (labels == np.floor(labels))
    row = first_of(counted & (~whole | np.isinf(labels)))
    if row is None:
        return
    rule = "0, 1, 2, …" if count is None else f"0 to {count - 1}"
    found = np.unique(labels[counted])
    raise ValueError(
        f"labels must be classes, the integers {rule}, got {labels[row]:g} in row "
        f"{place_of(row)}"
        + (
            ": leave out the rows without a label, or give them weight 0."
            if np.isnan(labels[row])
            else f". They hold {len(found)} values: {ENCODE}, or give a probability "
            "of each class, (n, classes)."
        )
    )


def complain_of_probabilities(labels: Array, counted: np.ndarray) -> None:
    y = jnp.asarray(labels)
    y = y.astype(widened(y.dtype))
    row = first_of(counted & ~np.asarray(are_probabilities(y)))
    if row is not None:
        raise ValueError(
            "labels must be probabilities of the classes, not negative and with the "
            f"sum 1, got {as_computed_with(y[row])} in row {place_of(row)}."
        )
