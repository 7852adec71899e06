"""Arrays of which every device of a mesh holds all elements.

The rows of an argument may be sharded over the devices of a mesh. Parameters, sums over
rows, and rows that have to be sorted are replicated on that mesh. The type of the
argument names the mesh; where it names none, nothing has to be done.
"""

import jax
from jax.sharding import NamedSharding, PartitionSpec


def replication(like: jax.Array) -> NamedSharding | None:
    """The sharding of a replicated array, on the mesh of `like` if that has one."""
    mesh = jax.typeof(like).sharding.mesh
    return None if mesh.empty else NamedSharding(mesh, PartitionSpec())


def replicated(tree, like: jax.Array):
    """The arrays of `tree`, replicated on the mesh of `like`."""
    sharding = replication(like)
    return jax.sharding.reshard(tree, sharding) if sharding else tree


def is_split(x: jax.Array, axis: int) -> bool:
    """Whether this axis is sharded, as far as the type says: over Explicit axes."""
    spec = tuple(jax.typeof(x).sharding.spec)
    return axis < len(spec) and spec[axis] is not None


def in_auto_axes(function, rows_of: jax.Array | None, *arrays):
    """`function(*arrays)`, in which XLA shards what a mesh with Explicit axes holds.

    There every operation has to say how its result is sharded, which slices of a
    sharded axis cannot. The result has the rows of `rows_of`, or is a scalar for None.
    Where no mesh has Explicit axes, nothing is done.
    """
    kinds = (jax.typeof(a).sharding for a in jax.tree.leaves(arrays))
    mesh = next((kind.mesh for kind in kinds if not kind.mesh.empty), None)
    if mesh is None or not mesh.explicit_axes:
        return function(*arrays)
    spec = PartitionSpec()
    if rows_of is not None:
        spec = PartitionSpec(*jax.typeof(rows_of).sharding.spec[:1])
    return jax.sharding.auto_axes(
        function, axes=mesh.explicit_axes, out_sharding=NamedSharding(mesh, spec)
    )(*arrays)
