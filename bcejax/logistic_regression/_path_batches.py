"""Fits along penalties to data that are read batch by batch, all in the same passes.

Each penalty has a search of its own, one of `_passes`. A pass does for every search
that is not over what it asks for, one after the other on each chunk of rows. So the
rows are read no more often than for the longest of the fits; or a few times as often,
where the Hessians of all penalties take more than MOST_STORED. The searches start on
the path of a sample of the rows, from which the optimum of all rows is a few of
Newton's steps away.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bcejax.logistic_regression._batches import drawn
from bcejax.logistic_regression._first_order import MEMORY
from bcejax.logistic_regression._large import FITTED_ROWS
from bcejax.logistic_regression._looks import params_of
from bcejax.logistic_regression._newton import is_stored
from bcejax.logistic_regression._objective import objective
from bcejax.logistic_regression._passes import (
    Search,
    Setting,
    add_losses,
    add_sums,
    advance,
    begin,
    no_losses,
    no_sums,
    with_length,
)
from bcejax.logistic_regression._path import fit_path
from bcejax.logistic_regression._problem import Params
from bcejax.logistic_regression._source import Names
from bcejax.logistic_regression._stream import (
    CHUNK,
    Rows,
    Stream,
    opened,
    without_penalty,
)
from bcejax.logistic_regression._sums import Total
from bcejax.logistic_regression._survey import Survey, check_weight, survey

# Numbers that the searches of the same passes keep: 64 MB, and some times that for what
# rounding leaves out of the sums and for the steps.
MOST_STORED = 2**23

Batches = Callable[[], Iterable]


def losses_along(
    make_batches: Batches, held_out: Batches, l2s, *, tol: float, max_steps: int
) -> tuple[np.ndarray, float]:
    """The mean loss of held-out rows by the fit of each penalty, and their Σ w.

    Args:
      make_batches: as of `fit_batches`.
      held_out: the same of the held-out rows.
      l2s: `(penalties,)` or `(penalties, d)`, above 0.
      tol, max_steps: as of `fit_batches`, for each of the fits.
    """
    params, names = fits_along(make_batches, l2s, tol, max_steps)
    losses, weight = np.zeros(len(l2s)), 0.0
    with opened(held_out, 0.0, names, others=params) as (stream, _):
        for chunk in stream.chunks():
            losses += chunk.weight * np.float64(losses_of_all(params, chunk.rows))
            weight += chunk.weight
    check_weight(weight)
    return losses / weight, weight


def fits_along(make_batches: Batches, l2s, tol, max_steps) -> tuple[Params, Names]:
    """Weights `(penalties, d)`, biases `(penalties,)`, and the names of the columns."""
    with opened(make_batches, 0.0, others=(l2s, tol, max_steps)) as (stream, _):
        l2s = jnp.asarray(l2s, stream.dtype)
        like = jnp.zeros(stream.columns, stream.dtype)
        seen = survey(stream, Params(like, like[0]), True)
        stream.total = seen.weight
        start = path_of_sample(stream, seen.fingerprint.rows, l2s)
        size = max(MOST_STORED // stored_by_search(stream.columns), 1)
        parts = [slice(i, i + size) for i in range(0, len(l2s), size)]
        found = [
            optima(stream, seen, Params(*(a[p] for a in start)), l2s[p], tol, max_steps)
            for p in parts
        ]
        return jax.tree.map(lambda *a: jnp.concatenate(a), *found), stream.names


def stored_by_search(columns: int) -> int:
    """How many numbers a search keeps: the Hessian, or the memory of L-BFGS."""
    return columns * (columns if is_stored(columns) else 2 * MEMORY)


def path_of_sample(stream: Stream, rows: int, l2s: jax.Array) -> Params:
    size = max(CHUNK // stream.columns, FITTED_ROWS * stream.columns)
    sample = drawn(stream, min(rows, size))
    path = fit_path(sample.features, sample.labels, l2s, offset=sample.offset)
    return Params(*path.models[:2])


def optima(stream: Stream, seen: Survey, starts: Params, l2s, tol, max_steps) -> Params:
    newton = is_stored(stream.columns)

    def begin_one(start, l2):
        options = tol, max_steps, True, newton
        return begin(seen.mean, seen.deviation, start, l2, *options)

    setting, search = jax.vmap(begin_one)(starts, l2s)
    none = Asked.of_none(search.trial, newton)
    search = advance_all(stream.fold(add_asked, none, setting, search), setting, search)
    # Of few rows of a class a sample may be separated, and start far from anywhere.
    zeros = jax.vmap(begin_one)(jax.tree.map(jnp.zeros_like, starts), l2s)[1]
    search = chosen(search.state.loss <= seen.losses[1], search, zeros)
    while np.any(search.goes_on):
        asked = stream.fold(add_asked, none, setting, search)
        search = advance_all(asked, setting, search)
    return jax.vmap(params_of)(setting.at, search.state.point)


class Asked(NamedTuple):
    """What a pass finds for each search: one of the two.

    Attributes:
      sums: at its trial.
      losses: of shorter steps, where the loss has not fallen at the last trial.
    """

    sums: Total
    losses: Total

    @staticmethod
    def of_none(points: jax.Array, stored: bool) -> "Asked":
        sums, losses = no_sums(points, stored), no_losses(points)
        return Asked(Total.of_none(sums), Total.of_none(losses))


@jax.jit
def add_asked(asked: Asked, rows: Rows, setting: Setting, search: Search) -> Asked:
    def add_to_sums(total: Total, at, search: Search) -> Total:
        return add_sums(total, rows, at, search.trial)

    def add_to_losses(total: Total, at, search: Search) -> Total:
        return add_losses(total, rows, at, search)

    given, here = (setting.at, search), search.goes_on
    return Asked(
        where_asked(add_to_sums, here & search.fell, asked.sums, *given),
        where_asked(add_to_losses, here & ~search.fell, asked.losses, *given),
    )


def where_asked(add: Callable, asked: jax.Array, totals: Total, *given) -> Total:
    """One search after the other, as all at once would not fit into a cache."""

    def of_one(one):
        asked, total, *others = one
        return jax.lax.cond(asked, lambda: add(total, *others), lambda: total)

    return jax.lax.map(of_one, (asked, totals, *given))


@jax.jit
def advance_all(asked: Asked, setting: Setting, search: Search) -> Search:
    newton = search.memory is None
    moved = jax.vmap(partial(advance, newton=newton))(search, asked.sums, setting)
    shorter = jax.vmap(with_length)(search, asked.losses, setting)
    there = chosen(search.fell, moved, shorter)
    return chosen(search.goes_on, there, search)


def chosen(which: jax.Array, there: Search, here: Search) -> Search:
    choose = jax.vmap(jnp.where)
    return jax.tree.map(partial(choose, which), there, here)


@jax.jit
def losses_of_all(params: Params, rows: Rows) -> jax.Array:
    data = without_penalty(rows)
    return jax.lax.map(lambda one: objective(one, data), params)
