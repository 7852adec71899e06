"""Sums over classes as element-wise sums of slices: for one CPU.

XLA's CPU takes a reduction over classes in scalar steps as soon as it holds a select,
and hands one without a select to a library (YNNPACK) that drops NaN from a maximum and
may take a wrong iota: docs/xla.md. A sum that is written as a + b + c + … of slices is
neither: it is one element-wise loop over rows, which LLVM vectorises, selects and all.

Up to `FEW` classes a slice is one class. Beyond, a slice is some `LANES` classes or
more, and its place in the slice is a lane: first each lane is summed, then the lanes.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bcejax._numerics.tops import tops_of

# Measured in benchmarks/softmax_formulations.py. Compile time grows with the number of
# slices.
FEW = 32  # classes that are slices of their own
LANES = 16  # the width of a slice, at least
MOST_SLICES = 32


def top(x: jax.Array) -> jax.Array:
    """The largest of each row. Beyond `FEW` classes it may pass over NaN."""
    if not _few(x):
        return jnp.max(x, -1)
    return used_twice(_fold(jnp.maximum, [x[..., at] for at, *_ in _slices(x)]))


def total(term, arrays, rows) -> jax.Array:
    """Σ_k of term(k, arrays at k, rows), a number a row."""
    lanes = _lanes(term, arrays, rows)
    return used_twice(lanes if _few(arrays[0]) else _sum_of_lanes(result(lanes)))


def all_but_one_top(x, top, measure, rows) -> jax.Array:
    """Σ of measure(x, rows) ≥ 0 over all but one of the largest classes, worth 1."""
    rest = _lanes(
        lambda _, x, t, *r: jnp.where(x == t, 0, measure(x, *r)), (x,), (top, *rows)
    )
    ties = _lanes(lambda _, x, t: (x == t).astype(x.dtype), (x,), (top,))
    if _few(x):
        return used_twice(rest + (ties - 1))
    # One of the largest is left out of each lane that has any. XLA's CPU would need a
    # second loop over x to say which lanes those are: they are marked by their sign.
    lanes = rest + jnp.maximum(ties - 1, 0)
    lanes = used_twice(jnp.where(ties > 0, -lanes, lanes))
    left_out = _sum_of_lanes(jnp.signbit(lanes).astype(x.dtype))
    return used_twice(_sum_of_lanes(jnp.abs(lanes)) + (left_out - 1))


def weighted(y, measure, arrays, rows, level) -> jax.Array:
    """Σ y (measure(arrays, rows) + level) over the classes with y ≠ 0."""

    def term(_, y, *rest):
        *arguments, level = rest
        return jnp.where(y == 0, 0, y * (measure(*arguments) + level))

    return total(term, (y, *arrays), (*rows, level))


def at(x: jax.Array, label: jax.Array) -> jax.Array:
    """x of the class `label` of each row; NaN where there is no such class."""
    return jnp.take_along_axis(x, label[..., None], -1, mode="fill")[..., 0]


top_and_others, top_and_rest, top_and_at = tops_of(top, total, at, all_but_one_top)


def used_twice(rows: jax.Array) -> jax.Array:
    """`rows`, which XLA's CPU then computes once and stores.

    It computes a cheap operation, such as the last addition of a sum, anew for each of
    its users, and with it all that the sum was fused with. A division counts as
    expensive; this is one by a 1 that XLA cannot see to be 1.
    """
    return rows / jnp.where(rows == rows, 1, jnp.nan).astype(rows.dtype)


def result(rows: jax.Array) -> jax.Array:
    """`rows`, which XLA's CPU then finishes before a reduction of the caller.

    It would fuse them into that reduction, and run the whole in scalar steps. A select
    is an operation that its reductions do not take in.
    """
    return jnp.where(rows == rows, rows, jnp.nan)


def _few(x: jax.Array) -> bool:
    return x.shape[-1] <= FEW


def _lanes(term, arrays, rows) -> jax.Array:
    """The sums over slices, `[..., lanes]`, or `[...]` if a slice is one class."""
    if not _few(arrays[0]):
        rows = [row[..., None] for row in rows]
    terms = []
    for at, k, is_new in _slices(arrays[0]):
        part = term(k, *(a[..., at] for a in arrays), *rows)
        terms.append(part if is_new is None else jnp.where(is_new, part, 0))
    return _fold(jnp.add, terms)


def _slices(x: jax.Array):
    """The index of each slice, its classes, and which of those are not in another."""
    n = x.shape[-1]
    if _few(x):
        return [(k, k, None) for k in range(n)]
    width = max(LANES, -(-n // (MOST_SLICES * LANES)) * LANES)
    numbers = np.arange(n, dtype=np.int32)
    starts = range(0, n - width + 1, width)
    slices = [slice(start, start + width) for start in starts]
    whole = [(at, numbers[at], None) for at in slices]
    if n % width == 0:
        return whole
    last = slice(n - width, n)  # of the same width, so that it overlaps the one before
    return [*whole, (last, numbers[last], numbers[last] >= slices[-1].stop)]


def _fold(combine, terms) -> jax.Array:
    """In pairs, then pairs of pairs: rounding errors grow with log n and not with n."""
    terms = list(terms)
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [combine(*pair) for pair in pairs] + terms[len(terms) // 2 * 2 :]
    return terms[0]


def _sum_of_lanes(lanes: jax.Array) -> jax.Array:
    """Their sum, a number a row, by slices again until they are few."""
    while not _few(lanes):
        lanes = result(_lanes(lambda _, lane: lane, (lanes,), ()))
    return _fold(jnp.add, [lanes[..., k] for k in range(lanes.shape[-1])])
