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
