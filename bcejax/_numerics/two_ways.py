"""One function, computed in two ways: one for a single CPU, one for everything else.

XLA's CPU and its accelerators want sums over classes written differently, and slices of
an axis that is sharded over devices would be gathered. Which of the two is right is
known when a program is compiled and not when it is traced, so both are traced, and the
lowering to XLA takes one. `jax.lax.platform_dependent` does the same by platform, but
cannot tell one CPU from several.
"""

import jax
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import batching, mlir

_two_ways = Primitive("two_ways")
_two_ways.multiple_results = True


def two_ways(one_cpu, elsewhere, *arrays) -> tuple[jax.Array, ...]:
    """`one_cpu(*arrays)` or `elsewhere(*arrays)`, two tuples of arrays alike.

    To be called where nothing is differentiated: inside the function of a derivative
    rule.
    """
    return tuple(
        _two_ways.bind(
            *arrays,
            one_cpu=jax.make_jaxpr(one_cpu)(*arrays),
            elsewhere=jax.make_jaxpr(elsewhere)(*arrays),
        )
    )


@_two_ways.def_impl
def _run(*arrays, one_cpu, elsewhere):
    return jaxpr_as_fun(elsewhere)(*arrays)


@_two_ways.def_abstract_eval
def _results(*_, one_cpu, elsewhere):
    return elsewhere.out_avals


def _batch(arrays, axes, **ways):
    def batched(jaxpr):
        each = jax.vmap(jaxpr_as_fun(jaxpr), axes)
        return lambda *arrays: tuple(each(*arrays))

    results = two_ways(batched(ways["one_cpu"]), batched(ways["elsewhere"]), *arrays)
    return results, [0] * len(results)


batching.primitive_batchers[_two_ways] = _batch


def _lower(context, *arrays, one_cpu, elsewhere):
    way = one_cpu if _is_one_cpu(context.module_context) else elsewhere
    return mlir.lower_fun(jaxpr_as_fun(way), multiple_results=True)(context, *arrays)


def _is_one_cpu(module) -> bool:
    # What the lowering knows is not a documented part of JAX: whatever is missing here
    # stands for another device. tests/test_softmax.py sees which way is taken.
    if tuple(getattr(module, "platforms", ())) != ("cpu",):
        return False
    where = getattr(module, "axis_context", None)
    devices = getattr(where, "num_devices", None)  # of a jit over whole arrays
    if devices is None:  # inside shard_map, where each device has arrays of its own
        mesh = getattr(where, "mesh", None)
        return mesh is not None and where.manual_axes == frozenset(mesh.axis_names)
    return devices == 1


mlir.register_lowering(_two_ways, _lower)
