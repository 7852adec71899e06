"""When a search stops, and what a fit then says of where it stopped.

A search of any solver stops

  at the tolerance  when no component of the gradient exceeds `tol`. For Newton's method
                    none may exceed PER_DEVIATION · tol per deviation of its column
                    either, as the component of a column of scale 1e-6 is always tiny;
  at the rounding   of the loss, for Newton's method: when a step makes no difference
                    any more (`progress`);
  at `max_steps`    or when the gradient is NaN.

The fit has converged if the tolerance is met, or if the loss is within its rounding of
the least: near the optimum what is left to gain is gᵀH⁻¹g / 2, half the square of the
Newton decrement. And the data must not be separated, in which case there is no optimum.
"""

from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bcejax._bce import bce_dx
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._rows import linear
from bcejax.logistic_regression._scaling import Scaling

NOISE = 4  # roundings of the loss, which do not tell whether it has fallen
PER_DEVIATION = 100  # tolerances of the gradient per deviation of a column
FASTER = 0.5  # of the gradient must be left after a step that makes a difference
FAR = 0.05  # how far the step of separated data moves some row, a logit
BACK = 1e-3  # of that distance, by which rounding may move a row to the wrong side


@jax.tree_util.register_static
@dataclass(frozen=True)
class Options:
    """What a fit was made with: a pytree without leaves, the same for all of a vmap.

    Attributes:
      fit_intercept: whether there is a bias.
      weighted: whether the rows had weights.
      shifted: whether there was an offset.
      columns: names of the features, if they came as a table.
    """

    fit_intercept: bool = True
    weighted: bool = False
    shifted: bool = False
    columns: tuple[str, ...] | None = None


class Fit(NamedTuple):
    """A fitted model and how the search ended; a pytree, so it can be vmapped over.

    Attributes:
      weights: `(d,)`, coefficients β of the features.
      bias: `()`, the intercept b; 0 without one.
      loss: `()`, the minimised objective, penalty included, in nats a row.
      gradient_norm: `()`, largest absolute component of the gradient of `loss`.
      steps: `()`, how many steps were taken over all rows.
      converged: `()`, whether `gradient_norm` is within the tolerance, or the loss
        within its rounding of the least, and the data are not separated.
      newton_decrement: `()`, √(gᵀ H⁻¹ g). Half its square is what the loss still is
        above its least value, near it. H is that of a sample of very many rows.
      separated: `()`, whether there is a direction in which the weights can grow for
        ever, and no row's loss does: then there is no optimum.
      l2: `()` or `(d,)`, the penalty.
      options: the other options of the fit, and the names of the columns.
    """

    weights: jax.Array
    bias: jax.Array
    loss: jax.Array
    gradient_norm: jax.Array
    steps: jax.Array
    converged: jax.Array
    newton_decrement: jax.Array
    separated: jax.Array
    l2: jax.Array | float = 0.0
    options: Options = Options()


# When to stop


def max_norm(gradient) -> jax.Array:
    """The largest component, of all arrays."""
    leaves = [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient)]
    return reduce(jnp.maximum, leaves)


def norm_by_deviations(at: Scaling, gradient: jax.Array) -> jax.Array:
    """The largest component, of the gradient in the parameters and per deviation."""
    return max_norm((at.slope(gradient), gradient / PER_DEVIATION))


def unfinished(norm: jax.Array, steps: jax.Array, tol, max_steps) -> jax.Array:
    # False for NaN too: a search that has left the numbers does not come back.
    return (steps < max_steps) & (norm > tol)


def rounding_of(loss: jax.Array) -> jax.Array:
    return NOISE * jnp.finfo(loss.dtype).eps * jnp.abs(loss)


def progress(before, after) -> tuple[jax.Array, jax.Array]:
    """Whether to take a step and whether to take another, by losses and gradient norms.

    A step that makes a difference lowers the loss by more than its rounding, or leaves
    half of the gradient. One that makes none is the last, and is taken for a smaller
    gradient alone.
    """
    (loss_before, norm_before), (loss_after, norm_after) = before, after
    lower = loss_after < loss_before - rounding_of(loss_before)
    difference = lower | (norm_after < FASTER * norm_before)
    return difference | (norm_after < norm_before), difference


# What to say


class Found(NamedTuple):
    """Where a search of any solver ended, and the step Newton would take from there."""

    params: Params
    loss: jax.Array
    gradient: Params
    steps: jax.Array
    step: Params  # −H⁻¹ g
    decrement: jax.Array  # √(gᵀ H⁻¹ g)


def outcome(found: Found, data: Problem, tol) -> Fit:
    return verdict(found, separated(found.params, found.step, data), data.l2, tol)


def verdict(found: Found, apart: jax.Array, l2: jax.Array, tol) -> Fit:
    norm = max_norm(found.gradient)
    least = found.decrement**2 / 2 <= rounding_of(found.loss)
    return Fit(
        weights=found.params.weights,
        bias=found.params.bias,
        loss=found.loss,
        gradient_norm=norm,
        steps=found.steps,
        converged=((norm <= tol) | least) & ~apart,
        newton_decrement=found.decrement,
        separated=apart,
        l2=l2,
    )


def separated(params: Params, step: Params, data: Problem) -> jax.Array:
    """Whether the loss has a limit at infinity in place of an optimum.

    That is so if there is a direction of the parameters without a penalty, the bias and
    the weights whose l2 is 0, along which no row moves to the wrong side of 0 and some
    row moves (Albert and Anderson 1984): moving on for ever lowers the loss.
    Two directions are tried: the parameters themselves, which may put every row on its
    own side, and the next step of Newton's method, which finds the direction also where
    it leaves some rows on the border between the sides.

    Reference:
      A. Albert and J. A. Anderson, On the existence of maximum likelihood estimates in
      logistic regression models, Biometrika 71 (1984), 1-10.
    """

    return are_separated(moves_of_rows(params, step, data))


class Moves(NamedTuple):
    """How rows move to their own side, of all the data or of a part of them."""

    most: jax.Array  # of the rows whose gradient pulls
    least: jax.Array
    ahead: jax.Array  # whether the parameters put every row on its own side

    def also(self, other: "Moves") -> "Moves":
        """Those of both parts."""
        return Moves(
            jnp.maximum(self.most, other.most),
            jnp.minimum(self.least, other.least),
            self.ahead & other.ahead,
        )


def are_separated(moves: Moves) -> jax.Array:
    recedes = (moves.most > FAR) & (moves.least >= -BACK * moves.most)
    return recedes | moves.ahead


def moves_of_rows(params: Params, step: Params, data: Problem) -> Moves:
    def free(direction: Params) -> Params:
        return direction._replace(weights=jnp.where(data.l2 > 0, 0, direction.weights))

    # The logits of all three in one pass over the features.
    stacked = jax.tree.map(
        lambda *three: jnp.stack(three, -1), free(params), free(step), params
    )
    ahead, moved, logits = linear(stacked, data.features).T
    counts, positive, negative = data.share != 0, data.labels == 1, data.labels == 0
    on_its_side = (positive & (ahead > 0)) | (negative & (ahead < 0))

    # How far the step moves each row to its own side. Either side is wrong for a
    # label that is a probability.
    gain = jnp.where(positive, moved, jnp.where(negative, -moved, -jnp.abs(moved)))
    gain = jnp.where(counts, gain, 0)
    # How far a row moves tells nothing if its gradient has underflowed to 0.
    slope = jnp.abs(bce_dx(logits + data.offset, data.labels, None))
    pulls = slope > jnp.finfo(slope.dtype).tiny
    most = jnp.max(jnp.where(pulls, gain, 0))
    return Moves(most, jnp.min(gain), jnp.all(on_its_side | ~counts))
