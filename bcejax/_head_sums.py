"""Sums over the classes of a head, of a function of arrays by name."""

from functools import partial
from typing import NamedTuple

import jax

from bcejax._numerics.linear import Layer
from bcejax._numerics.over_chunks import AxisName, Plan, over_chunks


class Sums(NamedTuple):
    """How arrays are cut into chunks. No array is in here."""

    layer: Layer
    cut: tuple[tuple[str, int | None], ...]  # the axis of each array by name
    chunk_size: int | None
    width: int
    ring: AxisName | None = None  # the devices of a mesh that share the classes

    def __call__(self, function, values: dict, start=(0,), join=None):
        """`function(layer, **chunk)`, a tuple of arrays `[rows]`, added or joined."""
        axes = dict(self.cut)
        plan = Plan(
            partial(_by_name, partial(function, self.layer), tuple(values)),
            tuple(axes.get(name) for name in values),
            (None,) * len(start),
            self.chunk_size,
            self.width,
            join,
            start,
        )
        if self.ring is not None:
            plan = plan._replace(function=partial(over_chunks, plan), ring=self.ring)
        return over_chunks(plan, *values.values())


def _by_name(function, names, *arrays):
    return function(**dict(zip(names, arrays, strict=True)))


def prepared(head, chunk_size, arrays: dict) -> tuple[Sums, dict[str, jax.Array]]:
    """The arrays by name, without those that are None, and how they are summed."""
    given = {name: pair for name, pair in arrays.items() if pair[0] is not None}
    cut = tuple((name, axis) for name, (_, axis) in given.items())
    values = {name: value for name, (value, _) in given.items()}
    return Sums(head.layer, cut, chunk_size, head.width), values
