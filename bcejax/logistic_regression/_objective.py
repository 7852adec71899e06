"""What a fit minimises, its gradient and its Hessian.

With xᵢ = featuresᵢ·β + b + offsetᵢ the logit of a row and sᵢ its share,

    f      =  Σ sᵢ ℓ(xᵢ, yᵢ)  +  Σⱼ (l2ⱼ/2) βⱼ²
    ∂f/∂β  =  Σ sᵢ (σ(xᵢ) − yᵢ) featuresᵢ  +  l2 β,     ∂f/∂b = Σ sᵢ (σ(xᵢ) − yᵢ)
    H      =  Σ cᵢ zᵢ zᵢᵀ  +  diag(l2 unit², 0),        cᵢ = sᵢ σ(xᵢ) σ(−xᵢ)

H is that in the coordinates of `_scaling`, zᵢ the features of a row there and its 1.
"""

import jax
import jax.numpy as jnp

from bcejax._bce import bce_dx, bce_unweighted
from bcejax._numerics.sigmoid import sigmoid_slope
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._rows import linear, sum_over_blocks, sum_over_rows
from bcejax.logistic_regression._scaling import Scaling, positive_or_one

MOST_PENALTY = 1e-8  # of the largest float: products with it do not overflow


def objective(params: Params, data: Problem) -> jax.Array:
    """f at `params`. One pass over the features finds it and its gradient."""
    return _objective(params, data)


@jax.custom_vjp
def _objective(params: Params, data: Problem) -> jax.Array:
    loss = sum_over_blocks(loss_of_rows, params, data)
    return loss + penalty(params, data)


def _forward(params: Params, data: Problem):
    # Not left to autodiff, which would keep the logits of all blocks for a second pass.
    loss, slope = sum_over_blocks(loss_and_slope_of_rows, params, data)
    slope = slope._replace(weights=slope.weights + data.l2 * params.weights)
    return loss + penalty(params, data), slope


def _backward(slope: Params, loss_bar: jax.Array):
    return jax.tree.map(lambda leaf: loss_bar * leaf, slope), None


_objective.defvjp(_forward, _backward)


def loss_of_rows(params: Params, data: Problem) -> jax.Array:
    return mean_loss(logits_of(params, data), data)


def loss_and_slope_of_rows(params: Params, data: Problem) -> tuple[jax.Array, Params]:
    logits = logits_of(params, data)
    push = jnp.where(data.share != 0, data.share * bce_dx(logits, data.labels, None), 0)
    slope = Params(sum_over_rows(push, data.features), jnp.sum(push))
    return mean_loss(logits, data), slope


def mean_loss(logits: jax.Array, data: Problem) -> jax.Array:
    losses = bce_unweighted(logits, data.labels)
    # Rows of share 0 are left out rather than multiplied by 0: their loss may be ∞.
    return jnp.sum(data.share * losses, where=data.share != 0)


def penalty(params: Params, data: Problem) -> jax.Array:
    return jnp.sum(data.l2 / 2 * jnp.square(params.weights))


def logits_of(params: Params, data: Problem) -> jax.Array:
    return linear(params, data.features) + data.offset


def curvature_of_rows(params: Params, data: Problem) -> jax.Array:
    """cᵢ = sᵢ σ(xᵢ) σ(−xᵢ), and 0 for a row of share 0, whatever it holds."""
    of_rows = data.share * sigmoid_slope(logits_of(params, data))
    return jnp.where(data.share == 0, 0, of_rows)


def hessian(data: Problem, at: Scaling, point: jax.Array) -> jax.Array:
    """H, stored."""
    return curved(curvature_of_rows, at.params(point), data, at)


def curved(curvature, params, data: Problem, at: Scaling, width: int = 0) -> jax.Array:
    """Σ cᵢ zᵢ zᵢᵀ + diag(l2 unit², 0), with `curvature` of params and rows for c.

    It takes `width` numbers for each row.
    """
    table = at.table

    def sum_over(at):
        def of_block(given, block):
            params, at = given
            z = at.rows(block)
            return sum_over_rows(curvature(params, block)[:, None] * z, z)

        return sum_over_blocks(of_block, (params, at), data, copies=True, width=width)

    if table is None:
        h = sum_over(at)
    else:
        h = jax.lax.cond(
            table.good,
            lambda: at.from_table(table, sum_over(table)),
            lambda: sum_over(at),
        )
    return jnp.where(jnp.eye(len(h), dtype=bool), h + penalty_curvature(data, at), h)


def hessian_product(data: Problem, at: Scaling, point: jax.Array):
    """v ↦ H v, in one pass over the rows: Σ cᵢ (zᵢ·v) zᵢ + diag(l2 unit², 0) v."""
    curved = data._replace(share=curvature_of_rows(at.params(point), data))
    of_penalty = penalty_curvature(data, at)

    def product(v):
        def of_block(params, block):
            push = block.share * linear(params, block.features)
            return Params(sum_over_rows(push, block.features), jnp.sum(push))

        # The parameters at.params(v) are those whose logits are zᵢ·v.
        sums = sum_over_blocks(of_block, at.params(v), curved)
        return at.gradient(sums) + of_penalty * v

    return product


def hessian_diagonal(data: Problem, at: Scaling, point: jax.Array) -> jax.Array:
    """An estimate of the diagonal of H: exact if cᵢ does not depend on zᵢ.

    The squares of each column of z have mean 1.
    """
    of_rows = jnp.sum(curvature_of_rows(at.params(point), data))
    return positive_or_one(of_rows + penalty_curvature(data, at))


def penalty_curvature(data: Problem, at: Scaling) -> jax.Array:
    """The diagonal of diag(l2 unit², 0), which exceeds the dtype for a tiny column."""
    of_weights = jnp.square(jnp.sqrt(data.l2) * at.unit)
    most = MOST_PENALTY * jnp.finfo(of_weights.dtype).max
    return jnp.append(jnp.minimum(of_weights, most), 0)


def stretch_at_zero(data: Problem, at: Scaling, curvature=1 / 4) -> jax.Array:
    """By what to multiply a point so that the curvature at logits of 0 is about 1.

    `curvature` is that of a row: σ(0) σ(−0), or about 1/classes of more than two.
    """
    return jnp.sqrt(curvature + penalty_curvature(data, at))
