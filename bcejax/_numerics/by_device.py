"""One function, computed in the way that suits the device.

XLA's CPU and its accelerators want sums over classes written differently, and slices of
an axis that is sharded over devices would be gathered. So there is one way for a single
CPU, one for everything else, and if need be one for a single accelerator. Which of them
is right is known when a program is compiled and not when it is traced, so all are
traced, and the lowering to XLA takes one.
`jax.lax.platform_dependent` does the same by platform, but cannot tell one CPU from
several.
"""

from math import prod

import jax
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

_by_device = Primitive("by_device")
_by_device.multiple_results = True


def by_device(
    one_cpu, elsewhere, *arrays, one_accelerator=None
) -> tuple[jax.Array, ...]:
    """`one_cpu(*arrays)` or `elsewhere(*arrays)`, two tuples of arrays alike.

    On a single accelerator `one_accelerator(*arrays)`, if it is given.

    To be called where nothing is differentiated: inside the function of a derivative
    rule.
    """
    ways = {"one_cpu": jax.make_jaxpr(one_cpu)(*arrays)}
    ways["elsewhere"] = ways["one_accelerator"] = jax.make_jaxpr(elsewhere)(*arrays)
    if one_accelerator is not None:
        ways["one_accelerator"] = jax.make_jaxpr(one_accelerator)(*arrays)
    return tuple(_by_device.bind(*arrays, **ways))


@_by_device.def_impl
def _run(*arrays, one_cpu, one_accelerator, elsewhere):
    return jaxpr_as_fun(elsewhere)(*arrays)


@_by_device.def_abstract_eval
def _results(*_, one_cpu, one_accelerator, elsewhere):
    return elsewhere.out_avals


def _batch(arrays, axes, **ways):
    def batched(jaxpr):
        each = jax.vmap(jaxpr_as_fun(jaxpr), axes)
        return lambda *arrays: tuple(each(*arrays))

    each_way = {name: batched(jaxpr) for name, jaxpr in ways.items()}
    results = by_device(
        each_way["one_cpu"],
        each_way["elsewhere"],
        *arrays,
        one_accelerator=each_way["one_accelerator"],
    )
    return results, [0] * len(results)


batching.primitive_batchers[_by_device] = _batch


def _jvp(primals, tangents, **ways):
    # Two calls, so that a derivative that is linear in the tangents knows the results.
    moving = [not isinstance(tangent, ad.Zero) for tangent in tangents]
    dots = [t for m, t in zip(moving, tangents, strict=True) if m]

    def moved(jaxpr):
        def of_all(*arrays):
            primals, dots = arrays[: len(moving)], list(arrays[len(moving) :])

            def of_moving(*some):
                some = iter(some)
                pairs = zip(moving, primals, strict=True)
                arrays = [next(some) if m else p for m, p in pairs]
                return tuple(jaxpr_as_fun(jaxpr)(*arrays))

            some = [p for m, p in zip(moving, primals, strict=True) if m]
            return jax.jvp(of_moving, some, dots)[1]

        return of_all

    each_way = {name: moved(jaxpr) for name, jaxpr in ways.items()}
    return _by_device.bind(*primals, **ways), by_device(
        each_way["one_cpu"],
        each_way["elsewhere"],
        *primals,
        *dots,
        one_accelerator=each_way["one_accelerator"],
    )


ad.primitive_jvps[_by_device] = _jvp


def _lower(context, *arrays, one_cpu, one_accelerator, elsewhere):
    ways = {"cpu": one_cpu, "several": elsewhere}
    way = ways.get(_single_device(context.module_context), one_accelerator)
    return mlir.lower_fun(jaxpr_as_fun(way), multiple_results=True)(context, *arrays)


def _single_device(module) -> str:
    """The platform of the one device that a program is for, or "several"."""
    platform, devices = platform_and_devices(module)
    return platform if devices == 1 else "several"


SEVERAL = 2  # devices, where their number is not known


def platform_and_devices(module) -> tuple[str, int]:
    """The platform that a program is for, and how many devices share its arrays.

    What the lowering knows of that is not a documented part of JAX: whatever is missing
    counts as several devices. tests/test_softmax.py sees which way is taken.
    """
    platforms = tuple(getattr(module, "platforms", ()))
    if len(platforms) != 1:
        return "several", SEVERAL
    where = getattr(module, "axis_context", None)
    devices = getattr(where, "num_devices", None)  # of a jit over whole arrays
    if devices is None:  # inside shard_map, where each device has arrays of its own
        mesh = getattr(where, "mesh", None)
        manual = getattr(where, "manual_axes", None)
        if mesh is None or manual is None:
            return platforms[0], SEVERAL
        shared = [n for name, n in mesh.shape.items() if name not in manual]
        devices = prod(shared)
    return platforms[0], devices


mlir.register_lowering(_by_device, _lower)
