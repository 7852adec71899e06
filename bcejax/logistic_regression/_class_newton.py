"""Newton's steps for many classes, by conjugate gradients.

Their preconditioner is one matrix for every class, Σ cᵢ zᵢ zᵢᵀ + diag(l2 unit²) of a
sample of the rows, with cᵢ the average curvature of a class. It is H if there are two
classes, or if no row prefers a class; otherwise a step takes a few products more. Along
penalties one such matrix serves all steps of a penalty.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bcejax.logistic_regression._class_objective import (
    curvature_of_rows,
    hessian_product,
    logits_of,
    objective,
    over_blocks,
)
from bcejax.logistic_regression._class_scaling import ClassScaling
from bcejax.logistic_regression._conjugate import conjugate_step
from bcejax.logistic_regression._factor import growing_factor, least_ridge
from bcejax.logistic_regression._inverse_factor import inverse_factor
from bcejax.logistic_regression._newton import (
    CG_RESIDUAL,
    CG_STEPS,
    Minimised,
    State,
    length_by_curvature,
)
from bcejax.logistic_regression._objective import curved, penalty_curvature
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._products import Products
from bcejax.logistic_regression._rows import HIGHEST
from bcejax.logistic_regression._scaling import positive_or_one

MOST_FACTORED = 4096  # columns for which the preconditioner is a matrix
MOST_LOGITS = 2**22  # of all rows, 16 MB, that are stored


def are_stored(data: Problem, params: Params) -> bool:
    """Whether the logits of all rows are, where they are asked for more than once.

    They are computed at once, for which narrow features are copied to wider ones.
    """
    numbers = len(data.features) * params.bias.size
    if data.features.dtype != data.share.dtype:
        numbers += data.features.size
    return numbers <= MOST_LOGITS


class Preconditioner(NamedTuple):
    """M = Wᵀ W, near H⁻¹ for each class."""

    root: jax.Array  # W, or its diagonal
    diagonal: jax.Array  # of M⁻¹

    def __call__(self, v: jax.Array) -> jax.Array:
        """M v, of the coordinates of each class."""
        if self.root.ndim == 1:
            return jnp.square(self.root)[:, None] * v
        half = jnp.matmul(self.root, v, precision=HIGHEST)
        return jnp.matmul(self.root.T, half, precision=HIGHEST)


def preconditioner(
    products: Products, rows: Problem, at: ClassScaling, point: jax.Array
) -> Preconditioner:
    """M of the average curvatures of the rows, where the search is at `point`."""
    params = at.params(point)
    if len(at.columns.unit) > MOST_FACTORED:
        total = total_curvature(products, params, rows)
        # Exact on average if cᵢ does not depend on zᵢ, whose squares have mean 1.
        diagonal = positive_or_one(total + penalty_curvature(rows, at.columns))
        return Preconditioner(1 / jnp.sqrt(diagonal), diagonal)
    curvature = partial(curvature_of_rows, products)
    h = curved(curvature, params, rows, at.columns, width=len(at.floor))
    root, inverse = growing_factor(h, inverse_factor)
    return Preconditioner(inverse / root, jnp.square(root))


def total_curvature(products: Products, params: Params, rows: Problem) -> jax.Array:
    def of_block(params, block):
        return jnp.sum(curvature_of_rows(products, params, block))

    return over_blocks(of_block, params, rows)


def softmax_of(
    products: Products, data: Problem, rows: Problem, at, held: Preconditioner | None
) -> Minimised:
    """What Newton's search minimises.

    The preconditioner is of `rows` in every step, unless one is `held`.
    """

    def value_and_gradient(point):
        loss, slope = jax.value_and_grad(partial(objective, products))(
            at.params(point), data
        )
        return loss, at.gradient(slope)

    def step(state: State, ridge):
        point, _, gradient, _ = state
        inverse, params, known = held, at.params(point), data
        if inverse is None:
            inverse = preconditioner(products, rows, at, point)
        if are_stored(data, params):
            known = data._replace(offset=logits_of(products, params, data))
        p = newton_step(products, known, at, inverse, point, gradient, CG_RESIDUAL)
        return p, jnp.ones_like(ridge, bool)

    def longest(state: State, step):
        total = total_curvature(products, at.params(state.point), rows)
        return length_by_curvature(total, state, step)

    return Minimised(at, jnp.all(data.l2 > 0), value_and_gradient, step, longest)


def newton_step(
    products, data, at: ClassScaling, inverse, point, gradient, residual
) -> jax.Array:
    """−H⁻¹ g, to a residual of so much of g."""
    product = hessian_product(products, data, at, point)
    ridge = least_ridge(at.matrix(point)) * inverse.diagonal[:, None]

    def precondition(v):
        return at.balanced(inverse(at.matrix(at.balanced(v))).ravel())

    return conjugate_step(
        lambda v: product(v) + (ridge * at.matrix(v)).ravel(),
        precondition,
        gradient,
        residual,
        CG_STEPS,
    )
