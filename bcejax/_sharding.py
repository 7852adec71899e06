"""Arrays of which every device of a mesh holds all elements.

The rows of an argument may be sharded over the devices of a mesh. Parameters, sums over
rows, and rows that have to be sorted are replicated on that mesh. The type of the
argument names the mesh; where it names none, nothing has to be done.
"""

import jax
from jax.sharding import NamedSharding, PartitionSpec, auto_axes


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


def left_to_xla(function, like: jax.Array):
    """`function`, for which XLA chooses all shardings, on the mesh of `like`.

    The type of an array on Explicit axes says how it is sharded, and JAX refuses a
    product whose sharding would not follow from those of its factors. On Auto axes XLA
    finds one. The results are replicated.
    """
    mesh = jax.typeof(like).sharding.mesh
    on_auto = auto_axes(function, axes=mesh.axis_names, out_sharding=PartitionSpec())

    def on_mesh(*arguments):
        with jax.sharding.use_abstract_mesh(mesh):
            return on_auto(*arguments)

    return on_mesh
