"""Equations over an axis of classes, each computed in the way that suits the device."""

from functools import partial
from math import prod

import jax

from bcejax._numerics import by_pairs, by_reduction, by_slices
from bcejax._numerics.by_device import by_device


def over_classes(equation, *arrays) -> tuple[jax.Array, ...]:
    """`equation(sums, *arrays)` of arrays `[..., classes]` or `[...]`.

    The equation adds its terms by the functions of `sums`, which is one of three
    modules: `by_slices` on one CPU, `by_pairs` on one accelerator, `by_reduction`
    elsewhere.
    """
    elsewhere = partial(equation, by_reduction)
    with_classes = [a for a in arrays if a.ndim == arrays[0].ndim]
    if arrays[0].shape[-1] == 0 or any(map(_is_sharded_over_classes, with_classes)):
        return elsewhere(*arrays)
    return by_device(
        partial(equation, by_slices),
        elsewhere,
        *arrays,
        one_accelerator=partial(equation, by_pairs),
    )


def _is_sharded_over_classes(x: jax.Array) -> bool:
    # On a mesh with Explicit axes the type says so. On Auto axes only XLA knows.
    spec = tuple(getattr(getattr(jax.typeof(x), "sharding", None), "spec", ()))
    return len(spec) == x.ndim and spec[-1] is not None


def each(function, *arrays) -> jax.Array:
    """`function` of arrays of one shape, element by element.

    XLA's CPU loops over the last axis inside its loops over the others. If that has 10
    classes and the function is long, LLVM does not vectorise it, and it takes twice as
    long. Flattened behind barriers, which keep XLA from undoing that, it is one loop.
    """

    def flattened(*arrays):
        flat = jax.lax.optimization_barrier([a.reshape(-1) for a in arrays])
        result = jax.lax.optimization_barrier(function(*flat))
        return (result.reshape(arrays[0].shape),)

    (result,) = by_device(flattened, lambda *a: (function(*a),), *arrays)
    return result


def as_rows(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """The axes moved to the end, in the order given, and made one."""
    x = x.transpose(_permutation(x.ndim, axes))
    if len(axes) == 1:
        return x
    batch = x.shape[: x.ndim - len(axes)]
    return x.reshape(*batch, prod(x.shape[len(batch) :]))


def from_rows(rows: jax.Array, shape, axes: tuple[int, ...]) -> jax.Array:
    """What `as_rows` made of an array of this shape, as it was."""
    order = _permutation(len(shape), axes)
    moved = rows.reshape([shape[i] for i in order])
    return moved.transpose([order.index(i) for i in range(len(shape))])


def _permutation(ndim: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(i for i in range(ndim) if i not in axes) + axes
