"""One function, computed in one way alone and in another where `vmap` makes many.

Which way is right is known when a function is mapped and not when it is traced. So
there is a primitive whose rule of batching takes the other way. `custom_vmap` does the
same, but is closed to derivatives: `jax.grad` would not see the values inside.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

FLOAT0 = jax.dtypes.float0


def where_needed(needed: jax.Array, function, otherwise):
    """`function()` where it is needed, and else `otherwise`, which looks like it.

    `jax.lax.cond` would do for one fit. Where `vmap` makes many, each with a condition
    of its own, it copies for each of them all that the function reads, so all rows of
    the data. A loop that turns once or not at all does not.
    """
    done = jnp.zeros_like(needed)
    return jax.lax.while_loop(
        lambda now: now[0], lambda _: (done, function()), (needed, otherwise)
    )[1]


class _Together(Primitive):
    multiple_results = True

    def to_lojax(self, *leaves, alone, together):
        # JAX calls this where a way holds one of its composite primitives.
        return jaxpr_as_fun(alone)(*leaves)


_together = _Together("together")


def alone_or_together(function):
    """`function(together, *arguments)`, where `together` says if `vmap` makes many.

    It takes and returns pytrees of arrays, and must not close over traced ones.
    """

    def call(*arguments):
        leaves, structure = jax.tree.flatten(arguments)
        results = []

        def flat(together, *leaves):
            result = function(together, *structure.unflatten(leaves))
            results[:] = [jax.tree.structure(result)]
            return tuple(jax.tree.leaves(result))

        alone = jax.make_jaxpr(partial(flat, False))(*leaves)
        found = _together.bind(*leaves, alone=alone, together=partial(flat, True))
        return jax.tree.unflatten(results[0], found)

    return call


@_together.def_impl
def _run(*leaves, alone, together):
    return jaxpr_as_fun(alone)(*leaves)


@_together.def_abstract_eval
def _results(*_, alone, together):
    return alone.out_avals


def _batch(leaves, axes, *, alone, together):
    many = jax.vmap(together, axes)(*leaves)
    return many, [0] * len(many)


batching.primitive_batchers[_together] = _batch


def _jvp(primals, tangents, *, alone, together):
    moving = [not isinstance(tangent, ad.Zero) for tangent in tangents]

    def of_moving(*moved):
        moved = iter(moved)
        leaves = [next(moved) if m else p for m, p in zip(moving, primals, strict=True)]
        return jaxpr_as_fun(alone)(*leaves)

    moved = [p for m, p in zip(moving, primals, strict=True) if m]
    dots = [t for m, t in zip(moving, tangents, strict=True) if m]
    found, found_dots = jax.jvp(of_moving, moved, dots)
    pairs = zip(found, found_dots, strict=True)
    return found, [still(x) if dot.dtype == FLOAT0 else dot for x, dot in pairs]


def still(x: jax.Array):
    """The tangent of an integer, which does not move."""
    return ad.Zero(jax.typeof(x).update(dtype=FLOAT0))


ad.primitive_jvps[_together] = _jvp

mlir.register_lowering(
    _together,
    lambda context, *leaves, alone, together: mlir.lower_fun(
        jaxpr_as_fun(alone), multiple_results=True
    )(context, *leaves),
)
