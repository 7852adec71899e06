"""One function, computed in two ways: one for a single CPU, one for everything else.

XLA's CPU and its accelerators want sums over classes written differently, and slices of
an axis that is sharded over devices would be gathered. A single accelerator may have a
third way. Which of them is right is known when a program is compiled and not when it is
traced, so all are traced, and the lowering to XLA takes one.
`jax.lax.platform_dependent` does the same by platform, but cannot tell one CPU from
several.
"""

import jax
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import batching, mlir

_two_ways = Primitive("two_ways")
_two_ways.multiple_results = True


def two_ways(
    one_cpu, elsewhere, *arrays, one_accelerator=None
) -> tuple[jax.Array, ...]:
    """`one_cpu(*arrays)` or `elsewhere(*arrays)`, two tuples of arrays alike.

    On a single accelerator `one_accelerator(*arrays)`, if it is given.

    To be called where nothing is differentiated: inside the function of a derivative
    rule.
    """
    return tuple(
        _two_ways.bind(
            *arrays,
            one_cpu=jax.make_jaxpr(one_cpu)(*arrays),
            one_accelerator=jax.make_jaxpr(one_accelerator or elsewhere)(*arrays),
            elsewhere=jax.make_jaxpr(elsewhere)(*arrays),
        )
    )


@_two_ways.def_impl
def _run(*arrays, one_cpu, one_accelerator, elsewhere):
    return jaxpr_as_fun(elsewhere)(*arrays)


@_two_ways.def_abstract_eval
def _results(*_, one_cpu, one_accelerator, elsewhere):
    return elsewhere.out_avals


def _batch(arrays, axes, **ways):
    def batched(jaxpr):
        each = jax.vmap(jaxpr_as_fun(jaxpr), axes)
        return lambda *arrays: tuple(each(*arrays))

    each_way = {name: batched(jaxpr) for name, jaxpr in ways.items()}
    results = two_ways(
        each_way["one_cpu"],
        each_way["elsewhere"],
        *arrays,
        one_accelerator=each_way["one_accelerator"],
    )
    return results, [0] * len(results)


batching.primitive_batchers[_two_ways] = _batch


def _lower(context, *arrays, one_cpu, one_accelerator, elsewhere):
    ways = {"cpu": one_cpu, "several": elsewhere}
    way = ways.get(_single_device(context.module_context), one_accelerator)
    return mlir.lower_fun(jaxpr_as_fun(way), multiple_results=True)(context, *arrays)


def _single_device(module) -> str:
    """The platform of the one device that a program is for, or "several".

    What the lowering knows of that is not a documented part of JAX: whatever is missing
    counts as several devices. tests/test_softmax.py sees which way is taken.
    """
    platforms = tuple(getattr(module, "platforms", ()))
    where = getattr(module, "axis_context", None)
    devices = getattr(where, "num_devices", None)  # of a jit over whole arrays
    if devices is None:  # inside shard_map, where each device has arrays of its own
        mesh = getattr(where, "mesh", None)
        manual = getattr(where, "manual_axes", None)
        alone = mesh is not None and manual == frozenset(mesh.axis_names)
    else:
        alone = devices == 1
    return platforms[0] if alone and len(platforms) == 1 else "several"


mlir.register_lowering(_two_ways, _lower)
