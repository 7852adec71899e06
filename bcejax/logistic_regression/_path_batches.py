"""Fits along penalties to data that are read batch by batch, all in the same passes.

Each penalty has a search of its own, one of `_passes`. A pass evaluates what the
searches ask for that are not over, one after the other on each chunk of rows. So the
rows are read no more often than for one fit. The searches start on the path of a sample
of the rows, from which the optimum of all rows is two or three of Newton's steps away.
"""

from collections.abc import Callable, Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bcejax.logistic_regression._batches import drawn
from bcejax.logistic_regression._first_order import MEMORY
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
from bcejax.logistic_regression._stream import (
    CHUNK,
    Rows,
    Stream,
    opened,
    without_penalty,
)
from bcejax.logistic_regression._sums import Total
from bcejax.logistic_regression._survey import Survey, check_weight, survey

MOST_STORED = 2**24  # numbers that the searches of the same passes keep: 128 MB

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
    params = fits_along(make_batches, l2s, tol, max_steps)
    losses, weight = np.zeros(len(l2s)), 0.0
    with opened(held_out, 0.0, others=params) as (stream, _):
        for chunk in stream.chunks():
            losses += chunk.weight * np.float64(losses_of_all(params, chunk.rows))
            weight += chunk.weight
    check_weight(weight)
    return losses / weight, weight


def fits_along(make_batches: Batches, l2s, tol, max_steps) -> Params:
    """The coefficients of each penalty, `(penalties, d)`, and `(penalties,)` biases."""
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
        return jax.tree.map(lambda *a: jnp.concatenate(a), *found)


def stored_by_search(columns: int) -> int:
    """How many numbers a search keeps: the Hessian, or the memory of L-BFGS."""
    return columns * (columns if is_stored(columns) else 2 * MEMORY)


def path_of_sample(stream: Stream, rows: int, l2s: jax.Array) -> Params:
    sample = drawn(stream, min(rows, max(CHUNK // stream.columns, 1)))
    path = fit_path(sample.features, sample.labels, l2s, offset=sample.offset)
    return Params(*path.models[:2])


def optima(stream: Stream, seen: Survey, starts: Params, l2s, tol, max_steps) -> Params:
    newton = is_stored(stream.columns)

    def begin_one(start, l2):
        options = tol, max_steps, True, newton
        return begin(seen.mean, seen.deviation, start, l2, *options)

    setting, search = jax.vmap(begin_one)(starts, l2s)
    while np.any(search.goes_on):
        if np.any(search.goes_on & search.fell):
            none = Total.of_none(no_sums(search.trial, newton))
            total = stream.fold(add_sums_of_all, none, setting, search)
            search = advance_all(search, total, setting, newton)
        else:
            none = Total.of_none(no_losses(search.trial))
            total = stream.fold(add_losses_of_all, none, setting, search)
            search = shorten_all(search, total, setting)
    return jax.vmap(params_of)(setting.at, search.state.point)


@jax.jit
def add_sums_of_all(totals: Total, rows: Rows, setting: Setting, search: Search):
    def add(total: Total, at, search: Search) -> Total:
        return add_sums(total, rows, at, search.trial)

    asked = search.goes_on & search.fell
    return where_asked(add, asked, totals, setting.at, search)


@jax.jit
def add_losses_of_all(totals: Total, rows: Rows, setting: Setting, search: Search):
    def add(total: Total, at, search: Search) -> Total:
        return add_losses(total, rows, at, search)

    asked = search.goes_on & ~search.fell
    return where_asked(add, asked, totals, setting.at, search)


def where_asked(add: Callable, asked: jax.Array, totals: Total, *given) -> Total:
    """One search after the other, as all at once would not fit into a cache."""

    def of_one(one):
        asked, total, *others = one
        return jax.lax.cond(asked, lambda: add(total, *others), lambda: total)

    return jax.lax.map(of_one, (asked, totals, *given))


@partial(jax.jit, static_argnames="newton")
def advance_all(search: Search, total: Total, setting: Setting, newton: bool):
    moved = jax.vmap(partial(advance, newton=newton))(search, total, setting)
    return chosen(search.goes_on & search.fell, moved, search)


@jax.jit
def shorten_all(search: Search, total: Total, setting: Setting) -> Search:
    shorter = jax.vmap(with_length)(search, total, setting)
    return chosen(search.goes_on & ~search.fell, shorter, search)


def chosen(asked: jax.Array, there: Search, here: Search) -> Search:
    choose = jax.vmap(lambda which, a, b: jnp.where(which, a, b))
    return jax.tree.map(partial(choose, asked), there, here)


@jax.jit
def losses_of_all(params: Params, rows: Rows) -> jax.Array:
    data = without_penalty(rows)
    return jax.lax.map(lambda one: objective(one, data), params)
