"""Sums over a long axis, chunk by chunk, whose derivatives are such sums themselves.

A head of a million classes computes an array of logits that nobody wants to keep. Here
`function` sees one chunk of the classes at a time. Its arguments are whole or cut along
an axis, and its results are added up or put side by side along an axis:

    added[r]  = Σ_j function(whole, chunk_j of what is cut)[r],
    beside[r] = the results of the chunks, each in its place.

Automatic differentiation of a loop keeps what every turn has computed, and so all
logits. This primitive is closed under differentiation instead. The derivative of a sum
over chunks is the sum over the same chunks of the derivative of `function`. Transposed,
an argument that is whole gives a result that is added up, and one that is cut a result
in chunks; the same the other way round. So every derivative, forward or reverse, of any
order, is again one pass over the chunks, which reads the arguments and computes what it
needs of them anew. Nothing but arguments passes from a value to its derivative.

Over several devices each may hold a part of the axis. A chunk is then cut out of every
part at the same time, so that no device needs what another one has.

The same algebra holds for a ring. There each device of an axis of a mesh has one chunk,
and hands it on to its neighbour until all chunks have been everywhere. What belongs to
a chunk, such as its gradient, travels with it and is complete when it comes home.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from bcejax._numerics.by_device import platform_and_devices
from bcejax._numerics.chunk_sizes import chosen_size, parts_of
from bcejax._numerics.varying import all_varying, varying, varying_axes

Axes = tuple[int | None, ...]
AxisName = str | tuple[str, ...]


class Plan(NamedTuple):
    """What is computed of the chunks. No array is in here."""

    function: Callable  # of arrays, to a tuple of arrays
    cut: Axes  # the axis that each argument is cut along; None if it is whole
    beside: Axes  # the axis that each result is put side by side along; None: added
    chunk_size: int | None
    width: int  # how many numbers a chunk holds for each place of the axis, about
    join: Callable | None = None  # in place of sums: of results, stacked along axis 0
    start: tuple[float, ...] | None = None  # what joining begins with, in place of 0
    ring: AxisName | None = None  # the devices that hold the chunks, which go round


_over_chunks = Primitive("over_chunks")
_over_chunks.multiple_results = True


def over_chunks(plan: Plan, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The results of the plan. With `join` it is not differentiated."""
    alike = all_varying(arrays)
    shapes = tuple(jax.make_jaxpr(plan.function)(*alike).out_avals)
    return tuple(_over_chunks.bind(*alike, plan=plan, shapes=shapes))


@_over_chunks.def_abstract_eval
def _abstract(*_, plan, shapes):
    return shapes


# Derivatives


def _jvp(primals, tangents, *, plan, shapes):
    results = _over_chunks.bind(*primals, plan=plan, shapes=shapes)
    moving = tuple(not isinstance(t, ad.Zero) for t in tangents)
    moved = [t for t in tangents if not isinstance(t, ad.Zero)]
    along = plan._replace(
        function=partial(_along, plan.function, moving),
        cut=(*plan.cut, *_those(plan.cut, moving)),
        start=None,
    )
    return results, list(over_chunks(along, *primals, *moved))


def _along(function, moving, *arguments):
    """The derivative of `function` along the tangents, which stand behind primals."""
    primals, moved = arguments[: len(moving)], arguments[len(moving) :]

    def of_moving(*values):
        return tuple(function(*_filled(moving, values, primals)))

    return jax.jvp(of_moving, tuple(_those(primals, moving)), tuple(moved))[1]


ad.primitive_jvps[_over_chunks] = _jvp


def _transpose(cotangents, *arguments, plan, shapes):
    linear = tuple(map(ad.is_undefined_primal, arguments))
    given = tuple(not isinstance(t, ad.Zero) for t in cotangents)
    known = [a for a in arguments if not ad.is_undefined_primal(a)]
    kinds = [a.aval for a in arguments if ad.is_undefined_primal(a)]
    of_linear = _those(plan.cut, linear)
    fixed = tuple(not is_linear for is_linear in linear)
    back = plan._replace(
        function=partial(
            _transposed, plan.function, linear, given, tuple(kinds), plan.cut
        ),
        cut=(*_those(plan.cut, fixed), *_those(plan.beside, given)),
        beside=tuple(of_linear),
        start=None,
    )
    found = iter(over_chunks(back, *known, *_those(cotangents, given)))
    return [next(found) if is_linear else None for is_linear in linear]


def _transposed(function, linear, given, kinds, cut, *arguments):
    """The transpose of `function`, which is linear in some of its arguments."""
    known = arguments[: linear.count(False)]
    fixed = tuple(not is_linear for is_linear in linear)
    size = next(
        a.shape[axis]
        for a, axis in zip(known, _those(cut, fixed), strict=True)
        if axis is not None
    )

    def of_linear(*values):
        rest = iter(known)
        every = [None if is_linear else next(rest) for is_linear in linear]
        results = function(*_filled(linear, values, every))
        return tuple(_those(results, given))

    at = [
        _zeros(kind, axis, size)
        for kind, axis in zip(kinds, _those(cut, linear), strict=True)
    ]
    # Linear functions have one derivative everywhere. (`jax.linear_transpose` would say
    # it more plainly, but refuses what varies within shard_map.)
    _, pulled_back = jax.vjp(of_linear, *at)
    return pulled_back(tuple(arguments[linear.count(False) :]))


def _zeros(kind, axis: int | None, size: int) -> jax.Array:
    shape = list(kind.shape)
    if axis is not None:
        shape[axis] = size
    return varying(jnp.zeros(shape, kind.dtype), varying_axes(kind))


ad.primitive_transposes[_over_chunks] = _transpose


def _those(values, chosen) -> list:
    return [v for v, is_chosen in zip(values, chosen, strict=True) if is_chosen]


def _filled(chosen, values, otherwise) -> list:
    """`otherwise`, with `values` in the places that are chosen."""
    value = iter(values)
    return [next(value) if c else o for c, o in zip(chosen, otherwise, strict=True)]


def _batch(arrays, axes, *, plan, shapes):
    batched = [axis is not None for axis in axes]
    arrays = [
        jnp.moveaxis(a, axis, 0) if is_batched else a
        for a, axis, is_batched in zip(arrays, axes, batched, strict=True)
    ]
    in_axes = [0 if is_batched else None for is_batched in batched]
    many = next(a.shape[0] for a, b in zip(arrays, batched, strict=True) if b)
    each = plan._replace(
        function=jax.vmap(plan.function, in_axes),
        cut=tuple(map(_behind, plan.cut, batched)),
        beside=tuple(_behind(axis, True) for axis in plan.beside),
        width=plan.width * many,
    )
    return over_chunks(each, *arrays), [0] * len(shapes)


def _behind(axis: int | None, another: bool) -> int | None:
    return axis if axis is None or not another else axis + 1


batching.primitive_batchers[_over_chunks] = _batch


# What is computed


def _lower(context, *arrays, plan, shapes):
    platform, devices = platform_and_devices(context.module_context)
    run = partial(_run, plan=plan, shapes=shapes, platform=platform, devices=devices)
    return mlir.lower_fun(run, multiple_results=True)(context, *arrays)


mlir.register_lowering(_over_chunks, _lower)


@_over_chunks.def_impl
def _eagerly(*arrays, plan, shapes):
    return _run(*arrays, plan=plan, shapes=shapes, platform="cpu", devices=1)


def _run(*arrays, plan, shapes, platform, devices):
    if plan.ring is not None:
        return _round(*arrays, plan=plan, shapes=shapes)
    length = next(
        a.shape[axis]
        for a, axis in zip(arrays, plan.cut, strict=True)
        if axis is not None
    )
    parts = parts_of(length, devices)
    function, behind = plan.function, int(parts > 1)
    if parts > 1:  # a chunk of each part in the same turn of the loop
        arrays = [
            a if axis is None else _in_parts(a, axis, parts)
            for a, axis in zip(arrays, plan.cut, strict=True)
        ]
        function = jax.vmap(function, plan.cut, tuple(a or 0 for a in plan.beside))

    def turn(at, size, state):
        chunk = [
            a
            if axis is None
            else jax.lax.dynamic_slice_in_dim(a, at, size, axis + behind)
            for a, axis in zip(arrays, plan.cut, strict=True)
        ]
        new = function(*chunk)
        if plan.join is not None:
            both = [jnp.stack(pair) for pair in zip(state, new, strict=True)]
            return list(plan.join(*both))
        return [
            old + n
            if axis is None
            else jax.lax.dynamic_update_slice_in_dim(old, n, at, axis + behind)
            for old, n, axis in zip(state, new, plan.beside, strict=True)
        ]

    each = length // parts
    size = plan.chunk_size or chosen_size(plan.width, platform)
    size = max(1, min(size, each))
    turns, rest = divmod(each, size)
    start = plan.start or [0] * len(shapes)
    state = list(map(partial(_empty, parts), shapes, plan.beside, start))
    if turns == 1:
        state = turn(0, size, state)
    elif turns:
        state = jax.lax.fori_loop(
            0, turns, lambda i, state: turn(i * size, size, state), state
        )
    if rest:
        state = turn(turns * size, rest, state)
    return state if parts == 1 else _of_all_parts(plan, shapes, state)


def _in_parts(a: jax.Array, axis: int, parts: int) -> jax.Array:
    """`a` with (parts, places of a part) in the place of the axis."""
    return a.reshape(*a.shape[:axis], parts, -1, *a.shape[axis + 1 :])


def _empty(parts: int, shape, axis: int | None, value: float) -> jax.Array:
    """A result, of each part, before the first turn."""
    empty = jnp.full(shape.shape, value, shape.dtype)
    if parts > 1:
        whole = jnp.broadcast_to(empty, (parts, *shape.shape))
        empty = whole if axis is None else _in_parts(empty, axis, parts)
    return varying(empty, varying_axes(shape))


def _of_all_parts(plan, shapes, state):
    if plan.join is not None:
        return list(plan.join(*state))
    return [
        jnp.sum(found, 0) if axis is None else found.reshape(shape.shape)
        for found, axis, shape in zip(state, plan.beside, shapes, strict=True)
    ]


def _round(*arrays, plan, shapes):
    """The sum over the chunks of all devices of a ring, each of which is a chunk."""
    devices = jax.lax.axis_size(plan.ring)
    to_next = [(k, (k - 1) % devices) for k in range(devices)]

    def handed_on(values, axes):
        return [
            v if axis is None else jax.lax.ppermute(v, plan.ring, to_next)
            for v, axis in zip(values, axes, strict=True)
        ]

    def turn(_, carried):
        arrays, state = carried
        state = [
            old + new for old, new in zip(state, plan.function(*arrays), strict=True)
        ]
        return handed_on(arrays, plan.cut), handed_on(state, plan.beside)

    start = [
        _empty(1, shape, axis, 0)
        for shape, axis in zip(shapes, plan.beside, strict=True)
    ]
    return jax.lax.fori_loop(0, devices, turn, (list(arrays), start))[1]
