"""Newton's steps for many classes, by conjugate gradients.

Their preconditioner is one matrix for every class, Σ cᵢ zᵢ zᵢᵀ + diag(l2 unit²) of a
sample of the rows, with cᵢ the average curvature of a class. It is H if there are two
classes, or if no row prefers a class; otherwise a step takes a few products more.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from bcejax.logistic_regression._class_objective import (
    curvature_of_rows,
    hessian_product,
    objective,
    over_blocks,
)
from bcejax.logistic_regression._class_scaling import ClassScaling
from bcejax.logistic_regression._conjugate import conjugate_step
from bcejax.logistic_regression._factor import growing_factor, least_ridge
from bcejax.logistic_regression._newton import (
    CG_RESIDUAL,
    CG_STEPS,
    Minimised,
    State,
    length_by_curvature,
)
from bcejax.logistic_regression._objective import curved, penalty_curvature
from bcejax.logistic_regression._problem import Problem
from bcejax.logistic_regression._products import Products
from bcejax.logistic_regression._scaling import positive_or_one

MOST_FACTORED = 4096  # columns for which the preconditioner is a matrix


def softmax_of(products: Products, data: Problem, rows: Problem, at) -> Minimised:
    """What Newton's search minimises; the preconditioner is of `rows`."""

    def value_and_gradient(point):
        loss, slope = jax.value_and_grad(partial(objective, products))(
            at.params(point), data
        )
        return loss, at.gradient(slope)

    def step(state: State, ridge):
        of_gradient = partial(newton_step, products, data, rows, at)
        p = of_gradient(state.point, state.gradient, residual=CG_RESIDUAL)
        return p, jnp.ones_like(ridge, bool)

    def longest(state: State, step):
        curvature = partial(curvature_of_rows, products)
        params = at.params(state.point)
        total = over_blocks(lambda *a: jnp.sum(curvature(*a)), params, rows)
        return length_by_curvature(total, state, step)

    return Minimised(at, value_and_gradient, step, longest)


def newton_step(products, data, rows, at: ClassScaling, point, gradient, residual):
    """−H⁻¹ g, to a residual of so much of g."""
    curvature, params = partial(curvature_of_rows, products), at.params(point)
    ridge = least_ridge(at.matrix(point))
    if len(at.columns.unit) <= MOST_FACTORED:
        width = len(at.floor)
        factor = growing_factor(curved(curvature, params, rows, at.columns, width))
        diagonal = jnp.square(factor.root)[:, None]

        def precondition(v):
            root = factor.root[:, None]
            solved = cho_solve((factor.lower, True), at.matrix(v) / root) / root
            return solved.ravel()
    else:
        total = over_blocks(lambda *a: jnp.sum(curvature(*a)), params, rows)
        # Exact on average if cᵢ does not depend on zᵢ, whose squares have mean 1.
        of_columns = total + penalty_curvature(data, at.columns)
        diagonal = positive_or_one(of_columns)[:, None]

        def precondition(v):
            return (at.matrix(v) / diagonal).ravel()

    product = hessian_product(products, data, at, point)
    return conjugate_step(
        lambda v: product(v) + (ridge * diagonal * at.matrix(v)).ravel(),
        lambda v: at.balanced(precondition(at.balanced(v))),
        gradient,
        residual,
        CG_STEPS,
    )
