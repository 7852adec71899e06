"""The door of the heads, losses of `features @ kernel + bias` with many classes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bcejax._arguments import floating, real, widened
from bcejax._numerics.linear import Layer
from bcejax._range_check import in_range


class Head(NamedTuple):
    """A linear layer, of rows and classes, made ready for the chunks."""

    layer: Layer
    depth: int  # d
    arrays: dict[str, tuple[jax.Array | None, int | None]]  # and the axis that is cut
    rows: int
    classes: int
    dtype: jnp.dtype  # of what is computed, and of the result

    @property
    def width(self) -> int:
        """How many numbers a chunk holds for each class: logits, kernel."""
        return self.rows + self.depth


def chunk_size_of(size: int | None) -> int | None:
    """How many classes a chunk is asked to have, an int, or None to choose."""
    if size is None:
        return None
    if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
        raise ValueError(f"chunk_size must be an int from 1 on, or None, got {size}.")
    return int(size)


def head_of(features: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None) -> Head:
    """The arguments of a linear layer, checked, features and bias widened."""
    features = floating(features, "features")
    kernel = floating(kernel, "kernel")
    if features.ndim != 2 or kernel.ndim != 2:
        raise ValueError(
            "features must be (rows, d) and kernel (d, classes), "
            f"got features {features.shape} and kernel {kernel.shape}: vmap over more."
        )
    if features.shape[1] != kernel.shape[0]:
        raise ValueError(
            "features (rows, d) and kernel (d, classes) must have the same d, "
            f"got features {features.shape} and kernel {kernel.shape}."
            + _transposed(features, kernel)
        )
    classes = kernel.shape[1]
    if classes == 0:
        raise ValueError(f"kernel {kernel.shape} must have at least one class.")
    promoted = jnp.promote_types(features.dtype, kernel.dtype)
    if bias is not None:
        bias = real(bias, "bias")
        if bias.shape != (classes,):
            raise ValueError(
                "bias must have the shape (classes,), "
                f"got bias {bias.shape} and kernel {kernel.shape}."
            )
        if bias.dtype == jnp.float64:
            promoted = bias.dtype
    dtype = widened(promoted)
    alike = features.dtype == kernel.dtype and promoted == features.dtype
    layer = Layer(features.dtype if alike else dtype)
    arrays = {
        "features": (features.astype(dtype), None),
        "kernel": (kernel, 1),
        "bias": (None if bias is None else bias.astype(dtype), 0),
        "place": (jnp.arange(classes, dtype=jnp.int32), 0),
    }
    return Head(layer, kernel.shape[0], arrays, features.shape[0], classes, dtype)


def _transposed(features: jax.Array, kernel: jax.Array) -> str:
    if features.shape[1] != kernel.shape[1]:
        return ""
    return " A kernel with one row a class has to be transposed: write `kernel.T`."


def of_each(head: Head, x: ArrayLike | None, name: str, check=real):
    """An argument that broadcasts to `(rows, classes)`, and the axis that is cut."""
    if x is None:
        return None, None
    array, shape = check(x, name), (head.rows, head.classes)
    try:
        fits = array.ndim <= 2 and jnp.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} must broadcast to (rows, classes), "
            f"got {name} {array.shape} and (rows, classes) {shape}."
        )
    array = array.reshape((1,) * (2 - array.ndim) + array.shape)
    return array, 1 if array.shape[1] == head.classes else None


def labels_of(head: Head, labels: ArrayLike) -> tuple[str, jax.Array]:
    """Which kind of labels they are, and the labels, known to be in their range."""
    y, shape = real(labels, "labels"), (head.rows, head.classes)
    if y.shape == shape:
        return "dense", in_range(y, "labels", 0, 1)
    of_rows = y.ndim == 2 and y.shape[0] == head.rows
    if of_rows and jnp.issubdtype(y.dtype, jnp.integer):
        return "sparse", in_range(y, "labels", -1, head.classes - 1)
    raise ValueError(
        "labels must be dense, (rows, classes), or the integer numbers of the positive "
        f"classes, (rows, k), got labels {y.shape} of {y.dtype} and (rows, classes) "
        f"{shape}."
    )


def class_numbers(head: Head, labels: ArrayLike) -> jax.Array:
    """Labels that are the number of a class, one a row, known to be in their range."""
    y = jnp.asarray(labels)
    if not jnp.issubdtype(y.dtype, jnp.integer):
        raise TypeError(f"labels must be integer, got {y.dtype}.")
    if y.shape != (head.rows,):
        raise ValueError(
            "labels must have the shape (rows,), "
            f"got labels {y.shape} and (rows, classes) {(head.rows, head.classes)}."
        )
    return in_range(y, "labels", 0, head.classes - 1)


def within(y: jax.Array, classes: int, lowest: int) -> tuple[jax.Array, jax.Array]:
    """Numbers of classes in int32, −1 for those out of range, and which those are."""
    limits = jnp.iinfo(y.dtype)
    known = (y >= max(lowest, limits.min)) & (y <= min(classes - 1, limits.max))
    number = jnp.where(known, y, 0).astype(jnp.int32)
    return jnp.where(known, number, -1), ~known


def refuse(labels: ArrayLike, classes: int, lowest: int) -> None:
    """In an eager call raise an error for the first number that is no class."""
    if isinstance(labels, jax.core.Tracer) or not classes:
        return
    if isinstance(labels, jax.Array) and not labels.is_fully_addressable:
        return
    y = np.asarray(labels)
    if y.dtype.kind not in "iu" or y.size == 0:
        return
    if y.min() >= lowest and y.max() < classes:
        return
    place = tuple(np.argwhere((y < lowest) | (y >= classes))[0].tolist())
    value = y[place]
    where = f"row {place[0]}" + (f", column {place[1]}" if len(place) > 1 else "")
    raise ValueError(
        f"labels must be numbers of classes, {_allowed(classes, lowest)}, got {value} "
        f"in {where}.{_cause(int(value), classes, lowest)}"
    )


def _allowed(classes: int, lowest: int) -> str:
    return f"0 to {classes - 1}" + (", or −1 for none" if lowest < 0 else "")


def _cause(value: int, classes: int, lowest: int) -> str:
    if value == classes:
        return " Classes are counted from 0: subtract 1 if these begin with 1."
    if value < 0 and lowest < 0:
        return " Rows with fewer positives are padded with −1."
    if value < 0:
        return (
            " Leave out the rows without a label, or give them any class and leave out "
            "their loss: jnp.where(known, loss, 0)."
        )
    return ""
