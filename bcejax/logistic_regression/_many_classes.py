"""The door of a fit of many classes: how many there are, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np

from bcejax._arguments import real, widened
from bcejax._class_values import (
    ENCODE,
    class_index,
    complain_of_indices,
    complain_of_probabilities,
)
from bcejax._host import Array, as_computed_with, matrix
from bcejax._range_check import in_range
from bcejax._values import complain_of_weights
from bcejax.logistic_regression._compiled import is_eager
from bcejax.logistic_regression._given import Given, read
from bcejax.logistic_regression._problem import (
    Problem,
    checked_l2,
    checked_matrix,
    checked_weight,
    shares,
)
from bcejax.logistic_regression._rows import sum_over_blocks


def read_classes(
    features, labels, classes, l2, sample_weight, names=None, *, complete=True
) -> tuple[Given, tuple[str, ...] | None, int]:
    """The data as arrays, the names of the columns, and how many classes there are.

    Labels are looked at where their values are known, which is not so within jit. They
    must be `complete`, with rows of every class, if a model is to be fitted to them.
    """
    labels, _ = matrix(labels, "labels")
    given, names = read(features, labels, l2, sample_weight, None, names)
    if np.ndim(labels) not in (1, 2) or len(labels) != np.shape(given.features)[0]:
        raise ValueError(
            "labels must hold one class per row of features, or a probability for each "
            f"class, got labels {np.shape(labels)} and features "
            f"{np.shape(given.features)}."
        )
    count = checked_count(classes, labels)
    if not is_eager((given.labels, given.weight_or_1, given.l2)):
        if count is None:
            raise ValueError(
                "classes must say how many there are within jit and vmap, where the "
                "labels are not known."
            )
        return given, names, count
    weight = np.broadcast_to(as_computed_with(given.weight_or_1), len(labels))
    complain_of_weights(weight, "sample_weight")
    if np.ndim(labels) == 2:
        complain_of_probabilities(labels, weight > 0)
        totals = np.asarray(jnp.sum(jnp.asarray(labels)[weight > 0], 0))
    else:
        y = as_computed_with(labels)[weight > 0]
        complain_of_indices(as_computed_with(labels), weight > 0, count)
        totals = np.bincount(y.astype(int), minlength=count or 0)
    if complete:
        complain_of_absent(totals, classes, given.l2)
    return given, names, len(totals)


def checked_count(classes, labels: Array) -> int | None:
    """How many classes there are, as far as `classes` and the shape say."""
    if classes is not None and (not isinstance(classes, int) or classes < 2):
        raise ValueError(
            f"classes must be an integer, the number of classes, from 2 on, got "
            f"{classes!r}."
        )
    if np.ndim(labels) == 1:
        return classes
    count = np.shape(labels)[1]
    if count < 2 or classes not in (None, count):
        raise ValueError(
            "labels must have a column for each class, at least two, got "
            f"{np.shape(labels)}" + (f" for {classes} classes." if classes else ".")
        )
    return count


def complain_of_absent(totals: np.ndarray, classes, l2) -> None:
    """Of classes without rows, unless a penalty and `classes` say that it is meant."""
    absent = np.flatnonzero(totals == 0)
    if len(totals) == 1:
        raise ValueError(
            "labels must hold two classes or more, got 0 in all rows: a model of one "
            "class has nothing to tell apart."
        )
    penalised = bool(np.all(as_computed_with(l2) > 0))
    if not len(absent) or (classes is not None and penalised):
        return
    more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    way_out = (
        "give l2, or leave the class out"
        if classes is not None
        else f"{ENCODE}, or say how many classes there are by classes={len(totals)}, "
        "with l2"
    )
    raise ValueError(
        f"labels must hold every class from 0 to {len(totals) - 1}, got no row of "
        f"class {absent[0]}{more}, whose probability can only fall to 0: {way_out}."
    )


def checked_classes(given: Given, classes: int) -> Problem:
    """The data, or an error that names the argument that does not fit.

    Features of bfloat16 and float16 stay so. A label that is no class counts as the
    number of classes, of which the loss is NaN.
    """
    features, labels, l2, sample_weight, _ = given
    features = checked_matrix(features)
    if not jnp.issubdtype(features.dtype, jnp.floating):
        features = features.astype(widened(features.dtype))
    weight = checked_weight(sample_weight, features)
    labels, counts = real(labels, "labels"), weight != 0
    if labels.ndim == 1:
        labels = class_index(labels, counts, classes)
    else:
        labels = labels.astype(widened(labels.dtype))
        labels = jnp.where(counts[:, None], labels, 1 / classes)
        labels = in_range(labels, "labels", 0, jnp.inf)
        labels = labels / jnp.sum(labels, 1, keepdims=True)
    share, finite = shares(sample_weight, weight, features)
    return Problem(features, labels, share, None, checked_l2(l2, features), finite)


def is_there(data: Problem, classes: int) -> jax.Array:
    """Whether a class has rows: `(classes,)`."""

    def of_block(_, block):
        if block.labels.ndim == 2:
            rows = block.labels > 0
        else:
            rows = block.labels[:, None] == jnp.arange(classes)
        return jnp.sum(rows & (block.share != 0)[:, None], 0)

    return sum_over_blocks(of_block, (), data, width=classes) > 0
