"""Whether data that are read batch by batch have an optimum: `_overlap`, in passes.

`_overlap` keeps a number v for each row, which follows the steps. Here a pass finds the
numbers anew, from the parameters and all the steps up to then. It says what the last
step shows, and what the next one is made of. The first look needs no Hessian, because
the search has left its step, and it decides for most data.

With more than MOST_COLUMNS columns there is no Hessian, and one look.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bcejax.logistic_regression._factor import step_of_hessian
from bcejax.logistic_regression._objective import hessian, logits_of
from bcejax.logistic_regression._overlap import (
    BEGIN,
    Extremes,
    counted,
    deepest,
    extremes_of_rows,
    first_verdicts,
    gain_of_rows,
    moved,
    slope_at_offset,
    verdicts_of,
    without_penalised,
)
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._rows import linear
from bcejax.logistic_regression._scaling import Scaling
from bcejax.logistic_regression._stream import Rows, Stream, without_penalty
from bcejax.logistic_regression._sums import Total

MOST_LOOKS = 20  # each of which is a pass


class Look(NamedTuple):
    extremes: Extremes
    sums: Total  # of the gradient and the Hessian

    def also(self, other: "Look") -> "Look":
        return Look(self.extremes.also(other.extremes), self.sums.also(other.sums))


def are_separated(
    stream: Stream, at: Scaling, l2, params: Params, step: jax.Array, stored: bool
) -> jax.Array:
    """`shown` of `_overlap`: of a search that has ended at `params`, with this step."""
    none = Extremes.of_none(l2.dtype)
    seen = stream.fold(add_first_look, none, l2, params, params_of(at, step))
    overlaps, separated = first_verdicts(seen, l2)
    if not stored or not jnp.all(jnp.isfinite(step)):
        return separated
    free = without_penalised(at, l2)
    steps = jnp.zeros((MOST_LOOKS, len(step)), l2.dtype)
    begin = Look(none, Total.of_none((step, jnp.zeros_like(step * step[:, None]))))
    for count in range(MOST_LOOKS):
        if overlaps | separated:
            break
        look = stream.fold(add_look, begin, params, free, steps, jnp.int32(count))
        if count > 0:
            seen = look.extremes
            overlaps, separated = verdicts_of(seen.most, seen.least)
        gradient, h = look.sums.sum
        steps = steps.at[count].set(step_of_hessian(h, gradient))
    return separated


@jax.jit
def params_of(at: Scaling, step: jax.Array) -> Params:
    return at.params(step)


@jax.jit
def add_first_look(seen: Extremes, rows: Rows, l2, params: Params, step: Params):
    return seen.also(extremes_of_rows((params, step), Problem(*rows, l2=l2)))


@jax.jit
def add_look(look: Look, rows: Rows, params: Params, free: Scaling, steps, count):
    """The look after so many steps: at what the last one shows, and for the next."""
    data = without_penalty(rows)

    def follow(i, before):
        logits, _ = before
        move = counted(linear(free.params(steps[i]), data.features), data)
        return moved(data, logits, move, deepest(move.dtype)), move

    logits = counted(logits_of(params, data), data)
    begin = moved(data, logits, jnp.zeros_like(logits), BEGIN)
    logits, move = jax.lax.fori_loop(0, count, follow, (begin, jnp.zeros_like(logits)))
    gain, none = gain_of_rows(data, move), Extremes.of_none(move.dtype)
    extremes = none._replace(most=jnp.max(gain), least=jnp.min(gain))
    now = data._replace(offset=logits)
    gradient = free.gradient(slope_at_offset(now))
    h = hessian(now, free, jnp.zeros_like(gradient))
    return Look(look.extremes.also(extremes), look.sums.plus((gradient, h)))
