"""When a search stops, and what a fit then says of where it stopped.

A search of any solver stops

  at the tolerance  when no component of the gradient exceeds `tol`, and none
                    PER_DEVIATION · tol per deviation of its column, as the component
                    of a column of scale 1e-6 is always tiny. Newton's method goes on
                    all the same while its last step promised much (`is_far`);
  at the rounding   of the loss, for Newton's method: when a step makes no difference
                    any more (`progress`);
  at `max_steps`    or when the gradient is NaN.

Near the optimum what is left to gain is gᵀH⁻¹g / 2, half the square of the Newton
decrement. The fit has converged if the tolerance is met and what is left is at most the
share LEFT of the loss, or `tol` if that is more; or if what is left is within the
rounding of the loss. And the data must not be separated (`_overlap`, and
`_looks` for batches), in which case there is no optimum.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from bcejax.logistic_regression._compiled import is_eager
from bcejax.logistic_regression._problem import Params
from bcejax.logistic_regression._scaling import Scaling
from bcejax.logistic_regression._table import html_of_fit

NOISE = 4  # roundings of the loss, which do not tell whether it has fallen
PER_DEVIATION = 100  # tolerances of the gradient per deviation of a column
FASTER = 0.5  # of the gradient must be left after a step that makes a difference
LEFT = 1e-6  # of the loss, or `tol` if that is more: what may be left to gain


ClassWeight = Literal["balanced"] | tuple[float, float] | None


@jax.tree_util.register_static
@dataclass(frozen=True, kw_only=True)
class Options:
    """What a fit was made with: a pytree without leaves, the same for all of a vmap.

    Attributes:
      fit_intercept: whether there is a bias.
      weighted: whether the rows had weights.
      shifted: whether there was an offset.
      columns: names of the features, if they came as a table.
      firth: whether Firth's penalty was in the objective.
      class_weight: "balanced", or the weights of the classes 0 and 1, if they had any.
      across_processes: whether each of several processes had a part of the rows.
    """

    fit_intercept: bool = True
    weighted: bool = False
    shifted: bool = False
    columns: tuple[str, ...] | None = None
    firth: bool = False
    class_weight: ClassWeight = None
    across_processes: bool = False


class Fit(NamedTuple):
    """A fitted model and how the search ended; a pytree, so it can be vmapped over.

    Attributes:
      weights: `(d,)`, coefficients β of the features.
      bias: `()`, the intercept b; 0 without one.
      loss: `()`, the minimised objective, penalty included, in nats a row.
      gradient_norm: `()`, largest absolute component of the gradient of `loss`.
      steps: `()`, how many steps were taken over all rows.
      converged: `()`, whether the gradient is within the tolerance, what the loss can
        still fall, half the square of `newton_decrement`, is at most 1e-6 of it, or
        `tol` of it if that is more, and the data are not separated. A loss within its
        rounding of the least needs no gradient within the tolerance.
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

    def _repr_html_(self) -> str | None:
        """For notebooks, which print the arrays of many fits, or of a traced one."""
        single = jnp.ndim(self.loss) == 0 and is_eager(self)
        return html_of_fit(self) if single else None


class MultinomialFit(NamedTuple):
    """A fitted model of many classes and how the search ended; a pytree.

    Attributes:
      weights: `(d, classes)`, coefficients B of the features. Those of a column sum to
        0 over the classes.
      bias: `(classes,)`, the intercepts b, with the sum 0; 0 without one, and −∞ for a
        class that has no rows.
      loss: `()`, the minimised objective, penalty included, in nats a row.
      gradient_norm: `()`, largest absolute component of the gradient of `loss`.
      steps: `()`, how many steps were taken over all rows.
      converged: `()`, as that of a `Fit`.
      newton_decrement: `()`, √(gᵀ H⁻¹ g). Half its square is what the loss still is
        above its least value, near it.
      separated: `()`, whether there is a direction in which the weights can grow for
        ever, and no row's loss does: then there is no optimum. Of more than 4 million
        logits some such directions are missed.
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
    """Where a search of any solver ended."""

    params: Params
    loss: jax.Array
    gradient: jax.Array  # in the coordinates
    steps: jax.Array


class Shown(NamedTuple):
    """Whether the data are separated, and how far the search ended from the optimum."""

    separated: jax.Array
    decrement: jax.Array  # √(gᵀ H⁻¹ g) where the search ended


def outcome(found: Found, shown: Shown, at, l2, tol) -> Fit:
    left = shown.decrement**2 / 2
    within = norm_by_deviations(at, found.gradient) <= tol
    within &= left <= jnp.maximum(tol, LEFT) * jnp.abs(found.loss)
    least = left <= rounding_of(found.loss)
    return Fit(
        weights=found.params.weights,
        bias=found.params.bias,
        loss=found.loss,
        gradient_norm=max_norm(at.slope(found.gradient)),
        steps=found.steps,
        converged=(within | least) & ~shown.separated,
        newton_decrement=shown.decrement,
        separated=shown.separated,
        l2=l2,
    )
