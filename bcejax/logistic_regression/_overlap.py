"""Whether the data have an optimum, shown by steps of Newton's method.

Put any numbers v in the place of the rows' logits. Let s be 1 for a label of 1 and −1
for one of 0, and r = |σ(v) − y| > 0 what is left of the row there. Newton's step p
moves the row by m = s z·p to its own side, and H p = −g, as a sum over the rows, says

    Σ αᵢ sᵢ zᵢ = 0    with    αᵢ = shareᵢ rᵢ (1 − (1 − rᵢ) mᵢ).                  (a)

If no m reaches 1, all α are positive. Then there is no direction δ with s z·δ ≥ 0 for
every row and > 0 for one, because the sum of αᵢ sᵢ zᵢ·δ is 0. So the data are not
separated (Stiemke's lemma). If p moves no row to the wrong side of 0 and some row by a
half, then p is such a direction, and they are (Albert and Anderson 1984). Rows with a
label between 0 and 1 must not move at all, and their α may have any sign.

If p shows neither, v follows it and the next step is taken from there. The first v are
the logits of the fit. A row that is far on its own side has an α that is lost in the
rounding of the other rows, and proves nothing: so afterwards no v goes further than
rounding allows. v need not be linear in the features.

Reference:
  A. Albert and J. A. Anderson, On the existence of maximum likelihood estimates in
  logistic regression models, Biometrika 71 (1984), 1-10.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bcejax._bce import bce_dx
from bcejax.logistic_regression._factor import least_ridge, scaled_factor
from bcejax.logistic_regression._large import Sample
from bcejax.logistic_regression._newton import State, is_stored, newton_step
from bcejax.logistic_regression._objective import hessian, logits_of
from bcejax.logistic_regression._outcome import Found, Shown
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._rows import linear, sum_over_blocks, sum_over_rows
from bcejax.logistic_regression._scaling import Scaling
from bcejax.logistic_regression._together import where_needed

HALF = 0.5  # a logit: less is less than 1, whatever the rounding
BACK = 1e-6  # of the largest move, by which rounding may move a row to the wrong side,
ROUNDINGS = 32  # or so many roundings, if that is more
BEGIN = 4.0  # logits on its own side, where a row that is further begins
WRONG = 2.0  # logits on the wrong side, beyond which no row is
STRIDE = 4.0  # logits, the most that a row moves at once
FIRST = 0.5  # of the digits of the dtype, which α may differ by where the fit ended
DEPTH = 0.8  # and afterwards
MOST_STEPS = 50
MOST_STEPS_OF_ALL = 20  # where H of all rows is the cost
FULL = 30  # ridges, above which a pivot of H is not one of rounding
CG_LAST_RESIDUAL = 0.01  # of the gradient, where H is not stored


class View(NamedTuple):
    logits: jax.Array  # v
    steps: jax.Array
    overlaps: jax.Array
    separated: jax.Array
    decrement: jax.Array


def shown(data: Problem, sample: Sample, found: Found) -> Shown:
    """What is known of the data where a search has ended."""
    rows, at = sample
    if rows is not data:
        return shown_of_many(data, sample, found)
    none, no = jnp.zeros_like(at.intercept), jnp.zeros((), bool)
    params = found.params
    ahead = all_on_their_side(data, params)
    view = View(counted_logits(params, data), jnp.int32(0), no, ahead, none)
    view = look_on(data, at, params, view, MOST_STEPS)
    return Shown(view.separated, view.decrement)


def look_on(data: Problem, at: Scaling, params: Params, view: View, most_steps) -> View:
    """Looks from a view until one of them decides."""
    free = without_penalised(at, data.l2)

    def goes_on(view: View):
        decided = view.overlaps | view.separated | ~jnp.isfinite(view.decrement)
        return ~decided & (view.steps < most_steps) | (view.steps == 0)

    def look(view: View):
        first = view.steps == 0
        here = at._replace(unit=jnp.where(first, at.unit, free.unit))
        now = data._replace(offset=view.logits)
        slope = slope_at_offset(now)
        of_penalty = jnp.where(first, data.l2 * params.weights, 0)
        gradient = here.gradient(slope._replace(weights=slope.weights + of_penalty))
        none = jnp.zeros_like(view.decrement)
        state = State(jnp.zeros_like(gradient), none, gradient, view.steps)
        step = newton_step(now, here, state, CG_LAST_RESIDUAL)
        move = counted(linear(here.params(step), data.features), data)
        overlaps, separated = verdicts(data, move)
        # The first step may move what is penalised, and rows may be too far to count.
        near = jnp.max(own_side(data) * view.logits) <= near_enough(data.share.dtype)
        most = jnp.where(first, BEGIN, deepest(data.share.dtype))
        return View(
            moved(data, view.logits, jnp.where(first, 0, move), most),
            view.steps + 1,
            overlaps & (near | ~first),
            view.separated | separated & (~first | jnp.all(data.l2 == 0)),
            jnp.where(first, decrement(step, gradient), view.decrement),
        )

    return jax.lax.while_loop(goes_on, look, view)


def counted_logits(params: Params, data: Problem) -> jax.Array:
    return counted(logits_of(params, data), data)


# Many rows


def shown_of_many(data: Problem, sample: Sample, found: Found) -> Shown:
    """The same, where H of all rows is the cost.

    A look from where the search ended has H of the sample. It may show a direction in
    which the data are separated, as every row is asked. That they overlap is shown by
    the sample alone, if it does and has no other direction in which no row moves: then
    no more rows can undo it. Only where neither is shown are there looks with H of all
    rows; or, where H is not stored, none. If all weights have a penalty the bias is
    left, and that would have put every row on its own side.
    """
    rows, at = sample
    first = first_look(data, sample, found)
    if not is_stored(len(at.unit)):
        return first
    no = jnp.zeros((), bool)

    def looks(part: Problem, most_steps: int) -> View:
        v = moved(part, counted_logits(found.params, part), 0, BEGIN)
        view = View(v, jnp.int32(1), no, no, first.decrement)
        return look_on(part, at, found.params, view, most_steps)

    unsettled = jnp.any(data.l2 == 0) & ~first.separated & jnp.isfinite(first.decrement)
    unsettled &= where_needed(
        unsettled, lambda: ~(looks(rows, MOST_STEPS).overlaps & is_full(rows, at)), no
    )
    separated = where_needed(
        unsettled, lambda: looks(data, MOST_STEPS_OF_ALL).separated, first.separated
    )
    return Shown(separated, first.decrement)


def is_full(rows: Problem, at: Scaling) -> jax.Array:
    """Whether every direction without a penalty moves one of these rows.

    By the pivots of H at logits of 0, which a ridge keeps from being 0.
    """
    free = without_penalised(at, rows.l2)
    still = rows._replace(offset=jnp.zeros_like(rows.share))
    h = hessian(still, free, jnp.zeros(len(free.unit) + 1, rows.share.dtype))
    ridge = least_ridge(h)
    pivots = jnp.square(jnp.diagonal(scaled_factor(h, jnp.asarray(ridge)).lower))
    stays = jnp.append(free.unit, free.intercept) == 0
    return jnp.all((pivots > FULL * ridge) | stays)


class Extremes(NamedTuple):
    """Of all the rows, or of a part of them."""

    most: jax.Array  # the largest gain by a step
    least: jax.Array  # the least one
    farthest: jax.Array  # logit on its own side
    ahead: jax.Array  # whether the parameters put every row on its own side

    @staticmethod
    def of_none(dtype) -> "Extremes":
        none = jnp.zeros((), dtype)
        return Extremes(none, none, none, jnp.ones((), bool))

    def also(self, other: "Extremes") -> "Extremes":
        return Extremes(
            jnp.maximum(self.most, other.most),
            jnp.minimum(self.least, other.least),
            jnp.maximum(self.farthest, other.farthest),
            self.ahead & other.ahead,
        )


def first_look(data: Problem, sample: Sample, found: Found) -> Shown:
    """What the step from where the search ended shows, in one pass over all rows."""
    rows, at = sample
    state = State(at.point(found.params), found.loss, found.gradient, found.steps)
    step = newton_step(rows, at, state, CG_LAST_RESIDUAL)
    given = found.params, at.params(step)
    seen = sum_over_blocks(extremes_of_rows, given, data, join=Extremes.also)
    _, separated = first_verdicts(seen, data.l2)
    return Shown(separated, decrement(step, found.gradient))


def extremes_of_rows(given: tuple[Params, Params], data: Problem) -> Extremes:
    """By the parameters where a search has ended, and a step from there."""
    params, step = given
    gain = gain_of_rows(data, counted(linear(step, data.features), data))
    ahead = own_side(data) * counted(logits_of(params, data), data)
    on_their_side = all_on_their_side(data, params)
    return Extremes(jnp.max(gain), jnp.min(gain), jnp.max(ahead), on_their_side)


def first_verdicts(seen: Extremes, l2: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`verdicts`, but the step may move what is penalised, and rows may be too far."""
    overlaps, separated = verdicts_of(seen.most, seen.least)
    overlaps &= seen.farthest <= near_enough(l2.dtype)
    return overlaps, seen.ahead | separated & jnp.all(l2 == 0)


def without_penalised(at: Scaling, l2: jax.Array) -> Scaling:
    """Coordinates in which only the weights without a penalty, and the bias, move."""
    return at._replace(unit=jnp.where(l2 > 0, 0, at.unit))


def near_enough(dtype) -> float:
    """How far a row may be on its own side for its α to count at the first step."""
    return FIRST * digits_of(dtype)


def deepest(dtype) -> float:
    """How far a row may go afterwards."""
    return DEPTH * digits_of(dtype)


def digits_of(dtype) -> float:
    return float(-np.log(jnp.finfo(dtype).eps))


def slope_at_offset(data: Problem) -> Params:
    """The gradient of the losses where the offsets are the logits."""

    def of_block(_, block):
        push = counted(block.share * bce_dx(block.offset, block.labels, None), block)
        return Params(sum_over_rows(push, block.features), jnp.sum(push))

    return sum_over_blocks(of_block, (), data)


def decrement(step: jax.Array, gradient: jax.Array) -> jax.Array:
    """√(gᵀ H⁻¹ g), of the step −H⁻¹ g."""
    # Conjugate gradients return 0 where the product with H is NaN: that proves nothing.
    failed = jnp.all(step == 0) & jnp.any(gradient != 0)
    return jnp.where(failed, jnp.nan, jnp.sqrt(jnp.maximum(-step @ gradient, 0)))


def counted(x: jax.Array, data: Problem) -> jax.Array:
    """`x`, and 0 for a row of no share, whatever it holds."""
    return jnp.where(data.share == 0, 0, x)


def is_hard(data: Problem) -> jax.Array:
    """Whether a row has a side: a label of 0 or 1."""
    return (data.labels == 0) | (data.labels == 1)


def own_side(data: Problem) -> jax.Array:
    return jnp.where(data.labels == 0, -1, 1).astype(data.labels.dtype)


def moved(data: Problem, logits, move, top) -> jax.Array:
    """v after a step: a row with a side may go to `top`, others stay near 0."""
    side = own_side(data)
    ahead = side * logits + jnp.clip(side * move, -STRIDE, STRIDE)
    return side * jnp.clip(ahead, -WRONG, jnp.where(is_hard(data), top, WRONG))


def verdicts(data: Problem, move: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether a step shows that the data overlap, and that they are separated."""
    gain = gain_of_rows(data, move)
    return verdicts_of(jnp.max(gain), jnp.min(gain))


def verdicts_of(most: jax.Array, least: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same, of the largest and the least gain of all rows."""
    ahead = least >= -allowed_back(most.dtype) * most
    return most < HALF, (most >= HALF) & ahead


def gain_of_rows(data: Problem, move: jax.Array) -> jax.Array:
    """How far a step moves each row to its own side. One without a side has none."""
    return jnp.where(is_hard(data), own_side(data) * move, -jnp.abs(move))


def allowed_back(dtype) -> float:
    """The share of the largest gain by which a row may move to the wrong side."""
    return max(BACK, ROUNDINGS * float(jnp.finfo(dtype).eps))


def all_on_their_side(data: Problem, params: Params) -> jax.Array:
    """Whether the parameters without a penalty put every row on its own side of 0."""
    free = params._replace(weights=jnp.where(data.l2 > 0, 0, params.weights))
    ahead = own_side(data) * linear(free, data.features)
    return jnp.all((is_hard(data) & (ahead > 0)) | (data.share == 0))
