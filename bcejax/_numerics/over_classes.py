"""Equations over an axis of classes, each computed in the way that suits the device."""

from functools import partial
from math import prod

import jax

from bcejax._numerics.by_device import by_device
from bcejax._numerics.by_pairs import ByPairs
from bcejax._numerics.by_reduction import ByReduction
from bcejax._numerics.by_slices import BySlices


def over_classes(equation, axis: int, *arrays) -> tuple[jax.Array, ...]:
    """`equation(sums, *arrays)` of arrays with classes along `axis`, or without.

    The axis is counted from the end of an array that has it, the first at least. The
    equation adds its terms by the functions of `sums`, which are `BySlices` on one CPU,
    `ByPairs` on one accelerator, `ByReduction` elsewhere.
    """
    elsewhere = partial(equation, ByReduction(axis))
    with_classes = [a for a in arrays if a.ndim == arrays[0].ndim]
    is_sharded = any(_is_sharded_along(axis, a) for a in with_classes)
    if arrays[0].shape[axis] == 0 or is_sharded:
        return elsewhere(*arrays)
    return by_device(
        partial(equation, BySlices(axis)),
        elsewhere,
        *arrays,
        one_accelerator=partial(equation, ByPairs(axis)),
    )


def _is_sharded_along(axis: int, x: jax.Array) -> bool:
    # On a mesh with Explicit axes the type says so. On Auto axes only XLA knows.
    spec = tuple(getattr(getattr(jax.typeof(x), "sharding", None), "spec", ()))
    return len(spec) == x.ndim and spec[axis] is not None


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


def axis_of(axes: tuple[int, ...], ndim: int) -> int:
    """The axis of the classes in what `one_axis` makes, counted from the end."""
    return axes[0] - ndim if len(axes) == 1 else -1


def one_axis(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Several axes moved to the end, in the order given, and made one.

    A single one stays where it is, and the array as it lies in memory.
    """
    if len(axes) == 1:
        return x
    x = x.transpose(_permutation(x.ndim, axes))
    batch = x.shape[: x.ndim - len(axes)]
    return x.reshape(*batch, prod(x.shape[len(batch) :]))


def from_one_axis(x: jax.Array, shape, axes: tuple[int, ...]) -> jax.Array:
    """What `one_axis` made of an array of this shape, as it was."""
    if len(axes) == 1:
        return x
    order = _permutation(len(shape), axes)
    moved = x.reshape([shape[i] for i in order])
    return moved.transpose([order.index(i) for i in range(len(shape))])


def _permutation(ndim: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(i for i in range(ndim) if i not in axes) + axes
