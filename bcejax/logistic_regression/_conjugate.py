"""The step −H⁻¹ g by conjugate gradients, for which H only multiplies vectors.

Unlike that of `jax.scipy.sparse`, which multiplies 0 by H first, this takes one product
for each direction, and measures what is left of g as the preconditioner M sees it:
√(rᵀ M r), next to which the error of pᵀ H p, twice what a step promises, is its square.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class State(NamedTuple):
    step: jax.Array
    left: jax.Array  # r = −g − H step
    direction: jax.Array
    size: jax.Array  # rᵀ M r
    turns: jax.Array


def conjugate_step(product, precondition, gradient, residual, most: int) -> jax.Array:
    """−H⁻¹ g, until `residual` of g is left, or after `most` products with H."""
    left = -gradient
    direction = precondition(left)
    size = left @ direction
    start = State(jnp.zeros_like(gradient), left, direction, size, jnp.int32(0))

    def goes_on(state: State):
        return (state.size > residual**2 * size) & (state.turns < most)

    def turn(state: State) -> State:
        step, left, direction, size, turns = state
        image = product(direction)
        length = size / (direction @ image)
        left = left - length * image
        towards = precondition(left)
        after = left @ towards
        direction = towards + after / size * direction
        return State(step + length * state.direction, left, direction, after, turns + 1)

    return jax.lax.while_loop(goes_on, turn, start).step
