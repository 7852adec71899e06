"""Derivatives as numbers, which tangents are multiplied by at the end."""

from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from bcejax._numerics.limits import times_or_zero


def numbers_first(equation: Callable) -> Callable:
    """`equation` of arrays of one shape, whose derivatives are computed as numbers.

    Reverse mode multiplies the factors of a derivative from the result backwards. Those
    of a loss with a power in it are then q^γ · ℓ · (1/q): if the first two underflow,
    the third cannot mend it, and if ℓ is ∞ beside a slope of 0, it is NaN. Here each
    partial derivative of the equation is taken by forward mode, in which the rules of
    `times_power` and `times_or_zero` hold. It is a number before a tangent comes to it,
    in every order. An argument may be None.
    """

    @partial(jax.custom_jvp, nondiff_argnums=(0,))
    @partial(jax.jit, static_argnums=0)  # traced once for all the rules that need it
    def derivative(path: tuple[int, ...], *arguments) -> jax.Array:
        return reduce(_along, path, equation)(*arguments)

    @partial(derivative.defjvp, symbolic_zeros=True)
    def rule(path, arguments, tangents):
        result_dot = jnp.zeros_like(arguments[0])
        for k, tangent in enumerate(tangents):
            if not isinstance(tangent, SymbolicZero | None):
                slope = derivative(tuple(sorted((*path, k))), *arguments)
                result_dot += times_or_zero(tangent, slope)
        return derivative(path, *arguments), result_dot

    return partial(derivative, ())


def _along(f: Callable, k: int) -> Callable:
    """The derivative of f in its argument number k."""

    def slope(*at):
        one = jnp.ones_like(at[k])
        return jax.jvp(lambda t: f(*at[:k], t, *at[k + 1 :]), (at[k],), (one,))[1]

    return slope
