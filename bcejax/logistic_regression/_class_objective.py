"""What a fit of many classes minimises, its gradient, and products with its Hessian.

With xᵢ = featuresᵢ B + b the logits of a row, one for each class, pᵢ = softmax(xᵢ), yᵢ
the label as a probability of each class, and sᵢ the share of the row,

    f      =  Σ sᵢ Σₖ −yᵢₖ log pᵢₖ  +  Σⱼ (l2ⱼ/2) Σₖ Bⱼₖ²
    ∂f/∂B  =  Σ sᵢ featuresᵢᵀ (pᵢ − yᵢ)  +  l2 B,        ∂f/∂b = Σ sᵢ (pᵢ − yᵢ)
    H v    =  Σ sᵢ zᵢᵀ pᵢ (mᵢ − pᵢ·mᵢ)  +  l2 unit² v,    mᵢ = zᵢ v

H is that in the coordinates of `_class_scaling`, zᵢ the features of a row there with
its 1. Each of these is one pass over the features. The logits are those of a block of
rows, and computed anew in every pass: stored, those of all rows may be larger than the
features.
"""

from functools import partial

import jax
import jax.numpy as jnp

from bcejax._numerics import softmax
from bcejax._numerics.by_reduction import ByReduction
from bcejax.logistic_regression._class_scaling import ClassScaling
from bcejax.logistic_regression._objective import penalty_curvature
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._products import Products
from bcejax.logistic_regression._rows import sum_over_blocks

# The equations are those of the softmax losses. Their sums are plain reductions, on a
# CPU too: a block lies in its cache, its products take longer, and the ways of summing
# that are made for larger arrays take longer to compile.
SUMS = ByReduction(-1)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def objective(products: Products, params: Params, data: Problem) -> jax.Array:
    loss = over_blocks(partial(loss_of_rows, products), params, data)
    return loss + penalty(params, data)


def _forward(products, params: Params, data: Problem):
    # Not left to autodiff, which would keep the logits of all blocks for a second pass.
    loss_and_slope = partial(loss_and_slope_of_rows, products)
    loss, slope = over_blocks(loss_and_slope, params, data)
    slope = slope._replace(weights=slope.weights + each(data.l2) * params.weights)
    return loss + penalty(params, data), slope


def _backward(_, slope: Params, loss_bar: jax.Array):
    return jax.tree.map(lambda leaf: loss_bar * leaf, slope), None


objective.defvjp(_forward, _backward)


def over_blocks(function, given, data: Problem, **options):
    """The sum of `function(given, block)`, whose blocks hold some logits of each row.

    `given` is the parameters, or several of their kind.
    """
    classes = jax.tree.leaves(given, is_leaf=is_params)[0].bias.size
    return sum_over_blocks(function, given, data, copies=True, width=classes, **options)


def is_params(tree) -> bool:
    return isinstance(tree, Params)


def loss_of_rows(products, params: Params, data: Problem) -> jax.Array:
    return mean_loss(logits_of(products, params, data), data)


def loss_and_slope_of_rows(products, params: Params, data: Problem):
    x = logits_of(products, params, data)
    slope = products.sums(push_of_rows(x, data), data.features)
    return mean_loss(x, data), slope


def logits_of(products: Products, params: Params, data: Problem) -> jax.Array:
    """The logits of the parameters, or others that stand in the place of the offset."""
    if data.offset is not None:
        return data.offset
    return products.logits(params, data.features)


def mean_loss(x: jax.Array, data: Problem) -> jax.Array:
    if is_index(data):
        (losses,) = softmax.integer_equation(SUMS, x, data.labels)
    else:
        (losses,) = softmax.dense_equation(SUMS, x, data.labels.astype(x.dtype))
    # Rows of share 0 are left out rather than multiplied by 0: their loss may be ∞.
    return jnp.sum(data.share * losses, where=data.share != 0)


def push_of_rows(x: jax.Array, data: Problem) -> jax.Array:
    """sᵢ (pᵢ − yᵢ), which keeps its digits where the label is all but certain."""
    if is_index(data):
        (push,) = softmax.integer_dx_equation(SUMS, x, data.labels)
    else:
        y = data.labels.astype(x.dtype)
        p, q = softmax.softmax_equation(SUMS, x)
        push = p * softmax.label_rest_equation(SUMS, y)[0] - y * q
    return shared(push, data)


def shared(x: jax.Array, data: Problem) -> jax.Array:
    """sᵢ xᵢ, and 0 for a row of share 0, whatever it holds."""
    share = data.share[:, None]
    return jnp.where(share != 0, share * x, 0)


def is_index(data: Problem) -> bool:
    """Whether a label is the number of a class, and not a probability of each."""
    return data.labels.ndim == 1


def penalty(params: Params, data: Problem) -> jax.Array:
    return jnp.sum(each(data.l2) / 2 * jnp.square(params.weights))


def each(of_columns: jax.Array) -> jax.Array:
    """A number for each column, or one for all, beside one for each class."""
    return of_columns[..., None]


# Curvature


def hessian_product(products: Products, data: Problem, at: ClassScaling, point):
    """v ↦ H v, in one pass over the rows."""
    params = at.params(point)
    of_penalty = each(penalty_curvature(data, at.columns))

    def product(v):
        def of_block(given, block):
            params, direction = given
            p, _ = softmax.softmax_equation(SUMS, logits_of(products, params, block))
            move = products.logits(direction, block.features)
            push = shared(p * softmax.centred(-1, p, move), block)
            return products.sums(push, block.features)

        sums = over_blocks(of_block, (params, at.direction(v)), data)
        return at.gradient(sums) + (of_penalty * at.matrix(v)).ravel()

    return product


def curvature_of_rows(products, params: Params, data: Problem) -> jax.Array:
    """cᵢ, the curvature of a row in one class, on average.

    diag(pᵢ) − pᵢ pᵢᵀ has the trace 1 − Σ pᵢₖ², and adds nothing where all logits move
    alike. So Σ cᵢ zᵢ zᵢᵀ for each class is near H, and it is H of two classes.
    """
    p, q = softmax.softmax_equation(SUMS, logits_of(products, params, data))
    return shared(jnp.sum(p * q, -1, keepdims=True), data)[:, 0] / (p.shape[-1] - 1)
