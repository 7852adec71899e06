"""Over which axes of a mesh an array varies, within shard_map.

There the type of an array says so, and the types of a loop's state must agree with what
a turn returns. Everywhere else all of this does nothing.
"""

from collections.abc import Iterable

import jax


def varying_axes(kind) -> tuple[str, ...]:
    """The axes that an array of this type varies over."""
    return tuple(kind.manual_axis_type.varying)


def varying(x: jax.Array, axes: tuple[str, ...]) -> jax.Array:
    """`x`, of a type that varies over these axes too."""
    more = tuple(a for a in axes if a not in varying_axes(jax.typeof(x)))
    return jax.lax.pcast(x, more, to="varying") if more else x


def all_varying(arrays: Iterable[jax.Array]) -> list[jax.Array]:
    """The arrays, each varying over all axes that one of them varies over.

    So that what JAX has to do where a type changes, a sum over devices in a derivative,
    is done once, and not in every turn of a loop.
    """
    arrays = list(arrays)
    axes = {axis for x in arrays for axis in varying_axes(jax.typeof(x))}
    return [varying(x, tuple(axes)) for x in arrays]
