"""The search by an optax optimiser, full batch, in one compiled loop."""

from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

WHITENED = "lbfgs in whitened coordinates"


class State(NamedTuple):
    """Where a search stands."""

    params: Any
    loss: jax.Array  # of these params
    gradient: Any
    steps: jax.Array
    solver_state: Any


def _transformation(solver: str | optax.GradientTransformation):
    """An optax optimiser that accepts what a line search needs."""
    if solver == "lbfgs":
        return optax.lbfgs(memory_size=20)
    if solver == WHITENED:  # of curvature 1 in all directions: its first step is right
        return optax.lbfgs(memory_size=20, scale_init_precond=False)
    if not isinstance(solver, optax.GradientTransformation):
        kind = f'"{solver}"' if isinstance(solver, str) else f"a {type(solver)}"
        raise (ValueError if isinstance(solver, str) else TypeError)(
            f'solver must be "newton", "lbfgs" or an optax optimiser, got {kind}.'
        )
    return optax.with_extra_args_support(solver)


def begin(solver, params, loss_of) -> State:
    loss, gradient = jax.value_and_grad(loss_of)(params)
    solver_state = _transformation(solver).init(params)
    return State(params, loss, gradient, jnp.int32(0), solver_state)


def advance(solver, state: State, loss_of) -> State:
    """One step of the search."""
    updates, solver_state = _transformation(solver).update(
        state.gradient,
        state.solver_state,
        state.params,
        value=state.loss,
        grad=state.gradient,
        value_fn=loss_of,
    )
    params = optax.apply_updates(state.params, updates)
    if solver in (
        "lbfgs",
        WHITENED,
    ):  # whose line search ended here and has computed both
        value_and_grad = optax.value_and_grad_from_state(loss_of)
        loss, gradient = value_and_grad(params, state=solver_state)
    else:
        loss, gradient = jax.value_and_grad(loss_of)(params)
    return State(params, loss, gradient, state.steps + 1, solver_state)


def max_norm(gradient) -> jax.Array:
    leaves = [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient)]
    return reduce(jnp.maximum, leaves)


def descend(solver, start, loss_of, tol, max_steps, norm=max_norm) -> State:
    """Steps until `norm` of the gradient is within `tol`."""

    def unfinished(state):
        # False for NaN too: a search that left the numbers does not come back.
        return (state.steps < max_steps) & (norm(state.gradient) > tol)

    return jax.lax.while_loop(
        unfinished,
        lambda state: advance(solver, state, loss_of),
        begin(solver, start, loss_of),
    )
