"""What is minimised: the weighted mean loss of a linear model plus an l2 penalty."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from bcejax import _checks
from bcejax._bce import _bce_dx, _bce_unweighted
from bcejax._range_check import in_range

Params = tuple[jax.Array, jax.Array]  # weights (d,) and bias ()


BLOCK = 2**19  # features at once: 2 MB of float32, which two cores' caches hold


class Problem(NamedTuple):
    """Checked data, all of one floating dtype."""

    features: jax.Array  # (n, d)
    labels: jax.Array  # (n,)
    share: jax.Array  # (n,), of each row in the mean: sums to 1
    offset: jax.Array  # (n,)
    l2: jax.Array  # (), or (d,)

    def rows(self, take) -> "Problem":
        """`take` of everything that has one element for each row."""
        *of_rows, l2 = self
        return Problem(*map(take, of_rows), l2)


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
    if l2.shape not in ((), features.shape[1:]):
        raise ValueError(
            "l2 must be a scalar or hold one value per column of features, "
            f"got l2 {l2.shape} and features {features.shape}: vmap over several fits."
        )

    labels, weight, offset, l2 = (
        a.astype(features.dtype) for a in (labels, weight, offset, l2)
    )
    labels = in_range(labels, "labels", 0, 1)
    weight = in_range(weight, "sample_weight", 0, jnp.inf)
    l2 = in_range(l2, "l2", 0, jnp.inf)
    # Divided by the largest first, so that the sum does not overflow. Without a barrier
    # XLA of jax 0.10.0 divides by the product of both, which is infinite.
    weight = jax.lax.optimization_barrier(weight / weight.max())
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


def over_rows(a: jax.Array, b: jax.Array) -> jax.Array:
    """aᵀ b, on a mesh whole on each device."""
    highest = jax.lax.Precision.HIGHEST
    return jnp.matmul(a.T, b, precision=highest, out_sharding=_whole(b))


def pick(a: jax.Array, rows: jax.Array) -> jax.Array:
    """Some rows, on a mesh whole on each device."""
    return a.at[rows].get(out_sharding=_whole(a))


def on_each_device(tree, features: jax.Array):
    """Arrays, whole on each device of the mesh that the features are on, if it is."""
    sharding = _whole(features)
    return jax.sharding.reshard(tree, sharding) if sharding else tree


def _whole(a: jax.Array) -> NamedSharding | None:
    mesh = jax.typeof(a).sharding.mesh
    return None if mesh.empty else NamedSharding(mesh, PartitionSpec())


def objective(params: Params, problem: Problem) -> jax.Array:
    """The loss at `params`, with one pass over the features for value and gradient."""
    return _objective(params, problem)


@jax.custom_vjp
def _objective(params: Params, problem: Problem) -> jax.Array:
    weights, _ = params
    loss = over_blocks(lambda block: _row_losses(params, block), problem)
    return loss + jnp.sum(problem.l2 / 2 * jnp.square(weights))


def _forward(params: Params, problem: Problem):
    # Not left to autodiff, which would keep the logits of all blocks for a second pass.
    loss, (slope, bias_slope) = over_blocks(
        lambda block: jax.value_and_grad(_row_losses)(params, block), problem
    )
    weights, _ = params
    loss += jnp.sum(problem.l2 / 2 * jnp.square(weights))
    return loss, (slope + problem.l2 * weights, bias_slope)


def _backward(gradient: Params, loss_bar: jax.Array):
    return jax.tree.map(lambda leaf: loss_bar * leaf, gradient), None


_objective.defvjp(_forward, _backward)


def _row_losses(params: Params, block: Problem) -> jax.Array:
    losses = _bce_unweighted(
        linear(params, block.features) + block.offset, block.labels
    )
    # Rows of no weight are left out rather than multiplied by 0: their loss may be ∞.
    return jnp.sum(block.share * losses, where=block.share != 0)


def over_blocks(function, problem: Problem):
    """The sum of `function` over blocks of rows that stay in cache."""
    features = problem.features
    rows = max(BLOCK // features.shape[1], 1)
    if len(features) <= 2 * rows or not jax.typeof(features).sharding.mesh.empty:
        return function(problem)

    def block(start, size):
        return problem.rows(lambda a: jax.lax.dynamic_slice_in_dim(a, start, size))

    blocks, rest = divmod(len(features), rows)
    first = function(block(0, rest or rows))
    start = rest or rows

    def add(i, total):
        more = function(block(start + i * rows, rows))
        return jax.tree.map(jnp.add, total, more)

    return jax.lax.fori_loop(0, blocks - (rest == 0), add, first)


def separated(params: Params, step: Params, problem: Problem) -> jax.Array:
    """Whether the loss has a limit at infinity in place of an optimum.

    What is not penalised, the bias and the weights whose l2 is 0, can then put every
    row on its own side of 0, or leave it on the border: scaling it up for ever
    lowers the loss. `params` do so themselves, or do not for the rows on the border;
    the next `step` of Newton's method then moves none to the wrong side, and some far.
    """
    free = tuple(
        (jnp.where(problem.l2 > 0, 0, weights), bias)
        for weights, bias in (params, step)
    )
    stacked = jax.tree.map(lambda *three: jnp.stack(three, -1), *free, params)
    logits, moved, whole = linear(stacked, problem.features).T
    positive, negative = problem.labels == 1, problem.labels == 0
    right = (positive & (logits > 0)) | (negative & (logits < 0))
    ahead = jnp.where(positive, moved, jnp.where(negative, -moved, -jnp.abs(moved)))
    ahead = jnp.where(problem.share == 0, 0, ahead)
    # Far by the rows that still pull: others move for nothing.
    pull = jnp.abs(_bce_dx(whole + problem.offset, problem.labels, None))
    pulls = pull > jnp.finfo(pull.dtype).tiny
    far = jnp.max(jnp.where(pulls, ahead, 0))
    along = (far > 0.05) & (jnp.min(ahead) >= -1e-3 * far)
    return along | jnp.all(right | (problem.share == 0))
