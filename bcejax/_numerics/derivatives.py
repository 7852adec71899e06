"""Derivative rules, a term for each argument."""

from functools import partial, reduce
from operator import add

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

# A function of an axis, which is a number, and of arrays along it.
along_axis = partial(jax.custom_jvp, nondiff_argnums=(0,))


def derivatives(function: jax.custom_jvp, *terms) -> None:
    """Give `function` its derivative rule: the sum of one term for each argument.

    A term is `term(tangent, result, *arguments)`, or None for an argument that is not
    differentiated. It is a tuple if the result is one. An axis is passed on before the
    arguments, and has no term. `function.defjvps` takes the same terms, but calls them
    with a tangent of zeros for an argument that does not move. Those zeros meet an
    infinite slope of another argument when the rule itself is differentiated forward,
    and 0 · ∞ is NaN. Here the term is left out.
    """

    @partial(function.defjvp, symbolic_zeros=True)
    def rule(*axis_and_pair):
        *axis, arguments, tangents = axis_and_pair
        result = function(*axis, *arguments)
        moving = [
            term(tangent, result, *axis, *arguments)
            for term, tangent in zip(terms, tangents, strict=True)
            if term is not None and not isinstance(tangent, SymbolicZero)
        ]
        still = jax.tree.map(jnp.zeros_like, result)
        return result, reduce(partial(jax.tree.map, add), moving) if moving else still
