"""Whether data that come in parts are separated, by one look at each part.

That is so if there is a direction of the parameters without a penalty, the bias and the
weights whose l2 is 0, along which no row moves to the wrong side of 0 and some row
moves (Albert and Anderson 1984). Two directions are tried: the parameters themselves,
which may put every row on its own side, and the next step of Newton's method, which
finds the direction also where it leaves some rows on the border between the sides.

`_overlap` decides more, but by many looks at the data.

Reference:
  A. Albert and J. A. Anderson, On the existence of maximum likelihood estimates in
  logistic regression models, Biometrika 71 (1984), 1-10.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bcejax._bce import bce_dx
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._rows import linear

FAR = 0.05  # how far the step of separated data moves some row, a logit
BACK = 1e-3  # of that distance, by which rounding may move a row to the wrong side


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
