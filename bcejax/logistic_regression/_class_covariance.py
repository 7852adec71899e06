"""The covariance of a fit of many classes: of its contrasts with class 0.

With γₖ = Bₖ − B₀ for k = 1, …, K − 1, the bias among them, let the contrasts move by v,
v₀ = 0. The logits of row i move by uᵢₖ = zᵢ·vₖ, zᵢ = (features, 1), and with the names
of `_covariance`

    W vᵀH v  =  Σ wᵢ Σₖ pᵢₖ (uᵢₖ − Σⱼ pᵢⱼ uᵢⱼ)²  +  W Σⱼ l2ⱼ Σₖ (vₖⱼ − meanₖ vₖⱼ)²,  (1)
    gᵢₖ      =  (pᵢₖ − yᵢₖ) zᵢ + l2 Bₖ,    k = 1, …, K − 1.                         (2)

The penalty is that of B, whose sum over the classes is 0: Bₖ = γₖ − meanₖ γₖ.

Each class has coordinates of its own, in which its block of H has a diagonal of ones:
the `Design` of the curvatures wᵢ pᵢₖ (1 − pᵢₖ) and of the penalty l2 (1 − 1/K).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.linalg import block_diag

from bcejax._numerics import softmax
from bcejax.logistic_regression._class_objective import (
    SUMS,
    each,
    push_of_rows,
    shared,
)
from bcejax.logistic_regression._compiled import AT_ONCE, compiled
from bcejax.logistic_regression._design import (
    Design,
    centred_design,
    dot,
    inverse_root,
    middle_of,
    variance_of,
)
from bcejax.logistic_regression._given import (
    Given,
    check_options,
    checked_intercept,
    is_sound,
)
from bcejax.logistic_regression._many_classes import checked_classes, read_classes
from bcejax.logistic_regression._outcome import MultinomialFit
from bcejax.logistic_regression._predict import check_columns
from bcejax.logistic_regression._problem import Params, Problem, total_weight
from bcejax.logistic_regression._products import Products
from bcejax.logistic_regression._rows import sum_over_blocks, sum_over_rows
from bcejax.logistic_regression._scaling import positive_or_one

MOST = 2048  # contrasts, whose matrices take some ten seconds to decompose


def classes_again(
    model: MultinomialFit, features, labels, l2, sample_weight, offset, fit_intercept
) -> tuple[Given, tuple[str, ...] | None, bool]:
    """As `read_again`, of a fit of many classes."""
    if callable(features):
        raise ValueError("features must be in memory for many classes, not batches.")
    if offset is not None:
        raise ValueError("offset must be left out: a fit of many classes has none.")
    fit_intercept = checked_intercept(model, fit_intercept)
    check_options(model, {"sample_weight": sample_weight is not None})
    classes, columns = model.weights.shape[-1], model.options.columns
    l2 = model.l2 if l2 is None else l2
    given, names, _ = read_classes(
        features, labels, classes, l2, sample_weight, columns, complete=False
    )
    d = np.shape(given.features)[1]
    check_columns(model, d)
    count = (d + fit_intercept) * (classes - 1)
    if count > MOST:
        raise ValueError(
            f"a covariance of many classes is one of up to {MOST:,} contrasts, got "
            f"{count:,}: {classes - 1} classes beside class 0, of {d + fit_intercept} "
            "coefficients each. Take fewer columns, or bootstraps of the fit."
        )
    return given, names, fit_intercept


@compiled(AT_ONCE, static_argnames=("fit_intercept", "kind"))
def compiled_contrasts(
    model: MultinomialFit, given: Given, fit_intercept, kind, groups=None
):
    """The covariance, the logits of the rows, and whether the values are sound."""
    classes = model.weights.shape[1]
    data = checked_classes(given, classes).readable()
    total = total_weight(given.sample_weight, data)
    weights, bias = (jnp.asarray(a, data.share.dtype) for a in model[:2])
    features = data.features.astype(data.share.dtype)
    logits = Products("highest").logits(Params(weights, bias), features)
    # The objective takes logits in the place of the offset.
    data = data._replace(features=features, offset=logits)

    p, q = softmax.softmax_equation(SUMS, logits)
    curvature = shared(p * q, data)
    # As in `_covariance`, of which the inverse could overflow on the way.
    top = jnp.maximum(curvature.max(), data.l2.max())
    top = stop_gradient(positive_or_one(top))
    designs = designs_of_classes(data, curvature / top, data.l2 / top, fit_intercept)
    back = block_diag(*designs.back)

    def information(basis):
        of_rows = information_of_rows(designs, data, top, basis)
        return of_rows + information_of_penalty(designs, data.l2 / top, basis)

    root, lost = inverse_root(information, designs.rounding.ravel())
    middle = None
    if kind != "fisher":
        scores = scores_of_rows(designs, data, weights, top, back, root)
        determined = jnp.sum(jnp.any(root != 0, 0))
        middle = middle_of(kind, scores, data.share, total, determined, groups)
    variance = variance_of(back, root, lost, middle, top, total)
    rows = jnp.where(data.share != 0, data.share + jnp.sum(p, 1), 0)
    # The labels have been looked at, or nobody can be told.
    return variance, logits, is_sound(given._replace(labels=jnp.zeros(())), rows)


def designs_of_classes(data: Problem, curvature, l2, fit_intercept: bool) -> Design:
    """Coordinates of the classes from 1 on, along the first axis."""
    of_class = partial(centred_design, fit_intercept=fit_intercept)
    own = l2 * (1 - 1 / curvature.shape[1])
    return jax.vmap(of_class, (None, 1, None))(data, curvature[:, 1:], own)


def columns_of_classes(designs: Design, data: Problem) -> jax.Array:
    """`(K − 1, n, k)`."""
    return jax.vmap(lambda design: design.columns(data))(designs)


def beside_zero(of_others: jax.Array) -> jax.Array:
    """Moves of all classes, of those of the classes from 1 on."""
    return jnp.concatenate([jnp.zeros_like(of_others[:1]), of_others])


def in_blocks(basis: jax.Array, designs: Design) -> jax.Array:
    """The rows of a basis by class: `(K − 1, k, m)`."""
    return basis.reshape(*designs.penalty.shape, -1)


def information_of_rows(designs: Design, data: Problem, top, basis) -> jax.Array:
    """The first sum of (1), over top: vᵀHv for each v of the basis, and each pair."""

    def of_block(given, block):
        designs, parts, top = given
        p, _ = softmax.softmax_equation(SUMS, block.offset)
        move = beside_zero(dot(columns_of_classes(designs, block), parts))
        move = softmax.centred(0, p.T[..., None], move)
        rows = jnp.sqrt(shared(p, block) / top).T[..., None] * move
        return jnp.sum(jax.vmap(sum_over_rows)(rows, rows), 0)

    given = designs, in_blocks(basis, designs), top
    width = data.offset.shape[1] * basis.shape[1]
    return sum_over_blocks(of_block, given, data, copies=True, width=width)


def information_of_penalty(designs: Design, l2, basis) -> jax.Array:
    """The second sum of (1), over top."""
    unit = designs.at.unit[..., None]
    move = beside_zero(unit * in_blocks(basis, designs)[:, : unit.shape[1]])
    move = jnp.sqrt(each(l2)) * (move - jnp.mean(move, 0))
    return jnp.sum(jax.vmap(sum_over_rows)(move, move), 0)


def scores_of_rows(designs: Design, data: Problem, weights, top, back, root):
    """Rᵀ gᵢ of each row, of the root R and (2), over top."""
    slope = push_of_rows(data.offset, data._replace(share=jnp.ones_like(data.share)))
    slope = slope[:, 1:].T[..., None] / top
    of_rows = jnp.moveaxis(slope * columns_of_classes(designs, data), 0, 1)
    of_rows = of_rows.reshape(len(of_rows), -1)
    d, k = len(weights), designs.penalty.shape[1]
    pull = (each(data.l2) / top * weights)[:, 1:].T
    pull = jnp.pad(pull, ((0, 0), (0, k - d))).ravel()
    return dot(of_rows + dot(pull, back), root)
