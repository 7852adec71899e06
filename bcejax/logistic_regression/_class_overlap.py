"""Whether data of many classes have an optimum: `_overlap`, for a gain in each class.

For a row with the label y let mₖ be how far a step moves the logit of class k, beyond
that of y: −mₖ is what the row gains on that class. Newton's step p solves H p = −g,
which says, as a sum over the rows and over the classes k ≠ y,

    Σ αᵢₖ (zᵢ ⊗ (eₖ − e_y)) = 0    with    αᵢₖ = shareᵢ pᵢₖ (1 + mᵢₖ − Σⱼ pᵢⱼ mᵢⱼ).

If all α are positive, no direction lets a row gain on a class while no row loses to
one, and the data are not separated. If p itself is such a direction, they are (Albert
and Anderson 1984). A label that is a probability of each class has several classes with
a positive one, its support: beyond their mean the others take the place of k ≠ y, and
among themselves the logits of the support must not move.

Where p shows neither, the logits follow it, as in `_overlap`, if all of them may be
stored. If not, this one look has to do.

If all weights have a penalty, only the biases can run away, which `floor` has settled.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bcejax._numerics import softmax
from bcejax.logistic_regression._class_newton import (
    are_stored,
    newton_step,
    preconditioner,
)
from bcejax.logistic_regression._class_objective import (
    SUMS,
    each,
    is_index,
    logits_of,
    loss_and_slope_of_rows,
    over_blocks,
)
from bcejax.logistic_regression._class_scaling import ClassScaling
from bcejax.logistic_regression._large import Sample
from bcejax.logistic_regression._newton import CG_RESIDUAL
from bcejax.logistic_regression._outcome import Shown
from bcejax.logistic_regression._overlap import (
    BEGIN,
    CG_LAST_RESIDUAL,
    DEPTH,
    FIRST,
    HALF,
    MOST_STEPS,
    STRIDE,
    WRONG,
    allowed_back,
    decrement,
)
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._products import Products

EXACT = 1e-6  # of the gradient: as far back as a row may move that gains nothing


class View(NamedTuple):
    logits: tuple[jax.Array | None, ...]  # v, of all rows, and of the sample
    steps: jax.Array
    overlaps: jax.Array
    separated: jax.Array
    decrement: jax.Array


def class_shown(
    products: Products, data: Problem, sample: Sample, at: ClassScaling, params: Params
) -> Shown:
    """What is known of the data where a search has ended, at `params`."""
    parts = (data,) if sample.rows is data else (data, sample.rows)
    stored = are_stored(data, params)
    unit = at.columns.unit
    bounded, unbounded = jnp.all(data.l2 > 0), jnp.all(data.l2 == 0)
    digits = float(-np.log(jnp.finfo(data.share.dtype).eps))

    def goes_on(view: View):
        decided = view.overlaps | view.separated | ~jnp.isfinite(view.decrement)
        again = ~decided & ~bounded & (view.steps < MOST_STEPS)
        return again & stored | (view.steps == 0)

    def look(view: View):
        first = view.steps == 0
        free = jnp.where(first | (data.l2 == 0), unit, 0)
        here = at._replace(columns=at.columns._replace(unit=free))
        now = [p._replace(offset=v) for p, v in zip(parts, view.logits, strict=True)]
        gradient = here.gradient(slope_of(products, params, now[0], first))
        point = here.point(params)
        residual = jnp.where(
            bounded, CG_RESIDUAL, EXACT if stored else CG_LAST_RESIDUAL
        )
        inverse = preconditioner(products, now[-1], here, point)
        step = newton_step(products, now[0], here, inverse, point, gradient, residual)
        direction = here.direction(step)
        facts = over_blocks(
            partial(facts_of_rows, products),
            (params, direction),
            now[0],
            join=larger,
        )
        # The first step may move what is penalised, and rows may be too far to count.
        near = facts.ahead <= FIRST * digits
        separated = facts.separated() & (~first | unbounded)
        top = jnp.where(first, BEGIN, DEPTH * digits)
        along = jax.tree.map(lambda x: jnp.where(first, 0, x), direction)
        return View(
            tuple(moved(products, along, p, top) for p in now),
            view.steps + 1,
            facts.overlap() & (near | ~first),
            view.separated | separated | (first & unbounded & (facts.behind < 0)),
            jnp.where(first, decrement(step, gradient), view.decrement),
        )

    none, no = jnp.zeros_like(params.bias[0]), jnp.zeros((), bool)
    logits = [logits_of(products, params, p) if stored else None for p in parts]
    view = View(tuple(logits), jnp.int32(0), no, no, none)
    view = jax.lax.while_loop(goes_on, look, view)
    return Shown(view.separated, view.decrement)


def slope_of(products, params: Params, data: Problem, with_penalty) -> Params:
    _, slope = over_blocks(partial(loss_and_slope_of_rows, products), params, data)
    of_penalty = jnp.where(with_penalty, each(data.l2) * params.weights, 0)
    return slope._replace(weights=slope.weights + of_penalty)


class Facts(NamedTuple):
    """The largest of some numbers of all rows and classes that count."""

    pull: jax.Array  # Σⱼ pⱼ mⱼ − mₖ, or −mₖ if that is more
    gain: jax.Array
    loss: jax.Array  # −gain
    ahead: jax.Array  # how far the logits of the label are ahead
    behind: jax.Array  # and how far behind; ∞ for a label that is no single class

    def overlap(self) -> jax.Array:
        return self.pull < HALF

    def separated(self) -> jax.Array:
        back = allowed_back(self.gain.dtype) * self.gain
        return (self.gain >= HALF) & (self.loss <= back)


def larger(a: Facts, b: Facts) -> Facts:
    return jax.tree.map(jnp.maximum, a, b)


def facts_of_rows(products, given: tuple[Params, Params], data: Problem) -> Facts:
    params, direction = given
    v = logits_of(products, params, data)
    p, _ = softmax.softmax_equation(SUMS, v)
    lead, move = (
        beyond_label(v, data),
        beyond_label(move_of(products, direction, data), data),
    )
    support = support_of(v, data)
    others = ~support & (v > -jnp.inf) & (data.share != 0)[:, None]
    hard = (jnp.sum(support, -1) == 1) | (data.share == 0)

    def largest(x, of):
        return jnp.max(jnp.where(of, x, -jnp.inf))

    expected = jnp.sum(p * move, -1, keepdims=True)
    inside = jnp.max(jnp.where(support & ~others, jnp.abs(move), 0))
    return Facts(
        pull=largest(jnp.maximum(expected, 0) - move, others),
        gain=largest(-move, others),
        loss=jnp.maximum(largest(move, others), inside),
        ahead=largest(-lead, others),
        behind=jnp.where(jnp.all(hard), largest(lead, others), jnp.inf),
    )


def moved(products, direction: Params, data: Problem, top) -> jax.Array | None:
    """v after a step, beyond that of the label: others go down to −`top` at most."""
    v = data.offset
    if v is None:
        return None
    ahead = -beyond_label(v, data)
    gain = -beyond_label(move_of(products, direction, data), data)
    top = jnp.where(support_of(v, data), WRONG, top)
    after = -jnp.clip(ahead + jnp.clip(gain, -STRIDE, STRIDE), -WRONG, top)
    return jnp.where(v > -jnp.inf, after, v)


def move_of(products, direction: Params, data: Problem) -> jax.Array:
    """How far the logits of each row move, but those of a row of no share."""
    move = products.logits(direction, data.features)
    return jnp.where((data.share == 0)[:, None], 0, move)


def beyond_label(x: jax.Array, data: Problem) -> jax.Array:
    """x of each class beyond the mean of x over the classes of the label."""
    support = support_of(x, data)
    total = jnp.sum(jnp.where(support, x, 0), -1, keepdims=True)
    return x - total / jnp.sum(support, -1, keepdims=True)


def support_of(x: jax.Array, data: Problem) -> jax.Array:
    """Which classes the label says may be right."""
    if is_index(data):
        return softmax.marks_label(-1, x, data.labels)
    return data.labels > 0
