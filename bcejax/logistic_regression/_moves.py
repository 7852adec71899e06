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
from bcejax.logistic_regression._objective import logits_of
from bcejax.logistic_regression._overlap import (
    all_on_their_side,
    allowed_back,
    counted,
    gain_of_rows,
)
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._rows import linear

FAR = 0.05  # how far the step of separated data moves some row, a logit


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
    back = allowed_back(moves.most.dtype)
    recedes = (moves.most > FAR) & (moves.least >= -back * moves.most)
    return recedes | moves.ahead


def moves_of_rows(params: Params, step: Params, data: Problem) -> Moves:
    free = step._replace(weights=jnp.where(data.l2 > 0, 0, step.weights))
    gain = counted(gain_of_rows(data, linear(free, data.features)), data)
    # How far a row moves tells nothing if its gradient has underflowed to 0.
    slope = jnp.abs(bce_dx(logits_of(params, data), data.labels, None))
    pulls = slope > jnp.finfo(slope.dtype).tiny
    most = jnp.max(jnp.where(pulls, gain, 0))
    return Moves(most, jnp.min(gain), all_on_their_side(data, params))
