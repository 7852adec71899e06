"""What is minimised: the weighted mean loss of a linear model plus an l2 penalty."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bcejax import _checks
from bcejax._bce import _bce_unweighted

Params = tuple[jax.Array, jax.Array]  # weights (d,) and bias ()


class Problem(NamedTuple):
    """Checked data, all of one floating dtype."""

    features: jax.Array  # (n, d)
    labels: jax.Array  # (n,)
    share: jax.Array  # (n,), of each row in the mean: sums to 1
    offset: jax.Array  # (n,)
    l2: jax.Array  # ()


def problem(features, labels, l2, sample_weight, offset) -> Problem:
    """The data, or an error that names the argument that does not fit."""
    features = table(features)
    rows = features[:, 0]

    def column(x, name):
        return _checks.same_shape_or_scalar(
            _checks.real(x, name), name, rows, "a column of features"
        )

    labels = _checks.real(labels, "labels")
    if labels.shape != rows.shape:
        raise ValueError(
            "labels must hold one value per row of features, "
            f"got labels {labels.shape} and features {features.shape}."
        )
    weight = column(1 if sample_weight is None else sample_weight, "sample_weight")
    offset = column(0 if offset is None else offset, "offset")
    l2 = _checks.real(l2, "l2")
    if l2.ndim:
        raise ValueError(f"l2 must be a scalar, got shape {l2.shape}: vmap over it.")

    labels, weight, offset, l2 = (
        a.astype(features.dtype) for a in (labels, weight, offset, l2)
    )
    return Problem(features, labels, weight / weight.sum(), offset, l2)


def table(features) -> jax.Array:
    """Features as a matrix of float32 or float64."""
    features = _checks.real(features, "features")
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            "features must have shape (rows, columns), neither of them 0, "
            f"got {features.shape}: a single column is features[:, None]."
        )
    return features.astype(_checks.widened(features.dtype))


def linear(params: Params, features: jax.Array) -> jax.Array:
    weights, bias = params
    # HIGHEST because accelerators would otherwise round the factors to fewer bits.
    return jnp.matmul(features, weights, precision=jax.lax.Precision.HIGHEST) + bias


def objective(params: Params, problem: Problem) -> jax.Array:
    weights, _ = params
    logits = linear(params, problem.features) + problem.offset
    losses = _bce_unweighted(logits, problem.labels)
    # Rows of no weight are left out rather than multiplied by 0: their loss may be ∞.
    loss = jnp.sum(problem.share * losses, where=problem.share != 0)
    return loss + problem.l2 / 2 * jnp.sum(jnp.square(weights))


def separates(params: Params, problem: Problem) -> jax.Array:
    """Whether `params` separate the data: the loss has a limit at infinity, no optimum.

    They do if every label is 0 or 1 and what is not penalised, all of the model or with
    l2 > 0 its bias alone, puts every row on its own side of 0: scaling it up then
    always lowers the loss.
    """
    weights, bias = params
    logits = linear((jnp.where(problem.l2 > 0, 0, weights), bias), problem.features)
    right = ((problem.labels == 1) & (logits > 0)) | (
        (problem.labels == 0) & (logits < 0)
    )
    return jnp.all(right | (problem.share == 0))
