"""bfloat16 computed in float32, so that a loss and its gradient share no conversion.

XLA's CPU stores what a loss and its gradient have in common. Of bfloat16 logits that is
their conversion to float32, an array of twice their size: value and gradient of 10⁷
take 37 ms. If the derivative converts for itself, by an instruction that XLA does not
take for the same, they take 22 (benchmarks/formulations.py).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


def converting_apart(
    function: Callable, where: jax.Array | None, *arrays: jax.Array | None
) -> jax.Array:
    """`function(where, *arrays)` of arrays made float32; its derivative does so anew.

    `where` stays as it is, and so does None. (jax 0.10 cannot lower a derivative rule
    that closes over an array.)
    """

    @jax.custom_jvp
    def result(where, *arrays):
        wide = (a if a is None else a.astype(jnp.float32) for a in arrays)
        return function(where, *wide)

    @partial(result.defjvp, symbolic_zeros=True)
    def rule(arguments, tangents):
        (where, *arrays), (_, *tangents) = arguments, tangents
        moving = [i for i, t in enumerate(tangents) if _moves(t)]

        def of_moving(*moved):
            values = list(arrays)
            for i, value in zip(moving, moved, strict=True):
                values[i] = value
            again = (a if a is None else float32_again(a) for a in values)
            return function(where, *again)

        primal = result(where, *arrays)
        if not moving:
            return primal, jnp.zeros_like(primal)
        both = [[a[i] for i in moving] for a in (arrays, tangents)]
        return primal, jax.jvp(of_moving, *both)[1]

    return result(where, *arrays)


def _moves(tangent) -> bool:
    return not (tangent is None or isinstance(tangent, SymbolicZero))


@jax.custom_jvp
def float32_again(x: jax.Array) -> jax.Array:
    """`x.astype(float32)`, which XLA does not merge with another `x.astype(float32)`.

    bfloat16 is the upper half of a float32. Other dtypes are converted as usual.
    """
    if x.dtype != jnp.bfloat16:
        return x.astype(jnp.float32)
    bits = jax.lax.bitcast_convert_type(x, jnp.uint16).astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(bits << 16, jnp.float32)


float32_again.defjvps(lambda x_dot, _, x: x_dot.astype(jnp.float32))
