"""Sums over classes as element-wise sums of slices: for one CPU.

XLA's CPU takes a reduction over classes in scalar steps as soon as it holds a select,
and hands one without a select to a library (YNNPACK) that drops NaN from a maximum and
may take a wrong iota: docs/xla.md. A sum that is written as a + b + c + … of slices is
neither: it is one element-wise loop over rows, which LLVM vectorises, selects and all.

Few classes are a slice each. Many are taken in slices of several, whose place in the
slice is a lane: first each lane is summed, then the lanes. Slices are cut along the
axis that the classes have in memory. Where that is not the last one, a slice is whole
rows of memory.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bcejax._numerics.by_reduction import ByReduction

# Measured in benchmarks/softmax_formulations.py. Compile time grows with the number of
# slices.
FEW = 32  # classes that are slices of their own
FEW_NOT_LAST = 64  # the same, if the axis of the classes is not the last one
LANES = 16  # the width of a slice, at least
MOST_SLICES = 15  # of 16 and more XLA's CPU stores what is sliced: docs/xla.md


class BySlices(ByReduction):
    def top(self, x: jax.Array) -> jax.Array:
        if not self._few(x):
            return jnp.max(x, self.axis)
        return used_twice(_fold(jnp.maximum, self._each_class(x)))

    def total(self, term, arrays, rows) -> jax.Array:
        lanes = self._lanes(term, arrays, rows)
        if not self._few(arrays[0]):
            lanes = self._sum_of_lanes(used_twice(lanes))
        return used_twice(lanes)

    def all_but_one_top(self, x, top, measure, rows) -> jax.Array:
        def rest(_, x, top, *rows):
            return jnp.where(x == top, 0, measure(x, *rows))

        def is_top(_, x, top):
            return (x == top).astype(x.dtype)

        lanes = self._lanes(rest, (x,), (top, *rows))
        ties = self._lanes(is_top, (x,), (top,))
        if self._few(x):
            return used_twice(lanes + (ties - 1))
        # One of the largest is left out of each lane that has any. XLA's CPU would need
        # a second loop over x to say which lanes those are: they are marked by their
        # sign.
        lanes += jnp.maximum(ties - 1, 0)
        lanes = used_twice(jnp.where(ties > 0, -lanes, lanes))
        left_out = self._sum_of_lanes(jnp.signbit(lanes).astype(x.dtype))
        return used_twice(self._sum_of_lanes(jnp.abs(lanes)) + (left_out - 1))

    def weighted(self, y, measure, arrays, rows, level) -> jax.Array:
        def cost(_, y, *rest):
            *arguments, level = rest
            return jnp.where(y == 0, 0, y * (measure(*arguments) + level))

        return self.total(cost, (y, *arrays), (*rows, level))

    def at(self, x: jax.Array, label: jax.Array) -> jax.Array:
        if self._few(x):
            # A sum. A gather would be fused with the loss, and keep LLVM from
            # vectorising it.
            return super().at(x, label)
        (label,) = self.beside(label)
        found = jnp.take_along_axis(x, label, self.axis, mode="fill")
        return jnp.squeeze(found, self.axis)

    def result(self, rows: jax.Array) -> jax.Array:
        return result(rows)

    def _few(self, x: jax.Array) -> bool:
        return x.shape[self.axis] <= (FEW if self.axis == -1 else FEW_NOT_LAST)

    def _lanes(self, term, arrays, rows) -> jax.Array:
        """The sums over slices, `[..., lanes, ...]`, or `[..., ...]` if a slice is one
        class."""
        if self._few(arrays[0]):
            classes = zip(*map(self._each_class, arrays), strict=True)
            return _fold(jnp.add, [term(k, *x, *rows) for k, x in enumerate(classes)])
        rows, terms = self.beside(*rows), []
        for k, is_new, parts in self._slices(*arrays):
            part = term(k, *parts, *rows)
            terms.append(part if is_new is None else jnp.where(is_new, part, 0))
        return _fold(jnp.add, terms)

    def _slices(self, *arrays):
        """Of each slice its classes, which of them are not in another, and itself."""
        n = arrays[0].shape[self.axis]
        width = max(LANES, -(-n // (MOST_SLICES * LANES)) * LANES)
        along = (-1, *(1,) * (-1 - self.axis))
        done = 0
        for stop in [*range(width, n, width), n]:
            # The last slice is of the same width, so that it overlaps the one before.
            start = stop - width
            k = np.arange(start, stop, dtype=np.int32).reshape(along)
            at = partial(jax.lax.slice_in_dim, axis=self.axis)
            parts = [at(a, start, stop) for a in arrays]
            yield k, None if start == done else k >= done, parts
            done = stop

    def _sum_of_lanes(self, lanes: jax.Array) -> jax.Array:
        """Their sum, a number a row, by slices again until they are few."""
        while not self._few(lanes):
            lanes = used_twice(self._lanes(lambda _, lane: lane, (lanes,), ()))
        return _fold(jnp.add, self._each_class(lanes))

    def _each_class(self, x: jax.Array) -> list[jax.Array]:
        return [
            jax.lax.index_in_dim(x, k, self.axis, keepdims=False)
            for k in range(x.shape[self.axis])
        ]


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


def _fold(combine, terms) -> jax.Array:
    """In pairs, then pairs of pairs: rounding errors grow with log n and not with n."""
    terms = list(terms)
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [combine(*pair) for pair in pairs] + terms[len(terms) // 2 * 2 :]
    return terms[0]
