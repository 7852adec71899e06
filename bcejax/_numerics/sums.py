"""What all ways to add over classes have in common: the axis, and the largest class.

Of arrays `[..., classes, ...]` the sums are arrays `[..., ...]`, here called rows.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Sums(ABC):
    """Sums over classes along an axis, which is counted from the end."""

    axis: int

    @abstractmethod
    def top(self, x: jax.Array) -> jax.Array:
        """The largest of each row. On XLA's CPU it may pass over NaN; no sum does."""

    @abstractmethod
    def total(self, term, arrays, rows) -> jax.Array:
        """Σ_k of term(k, arrays at k, rows), a number a row."""

    @abstractmethod
    def all_but_one_top(self, x, top, measure, rows) -> jax.Array:
        """Σ of measure(x, rows) ≥ 0 over all but one of the largest, worth 1."""

    @abstractmethod
    def weighted(self, y, measure, arrays, rows, level) -> jax.Array:
        """Σ y (measure(arrays, rows) + level) over the classes with y ≠ 0."""

    @abstractmethod
    def at(self, x: jax.Array, label: jax.Array) -> jax.Array:
        """x of the class `label` of each row; NaN where there is no such class."""

    @abstractmethod
    def result(self, rows: jax.Array) -> jax.Array:
        """The rows, as an equation returns them."""

    def beside(self, *rows: jax.Array) -> list[jax.Array]:
        """The rows, in a shape that broadcasts to that of the classes."""
        return [jnp.expand_dims(row, self.axis) for row in rows]

    def ties(self, x: jax.Array, top: jax.Array) -> jax.Array:
        """How many classes are the largest."""
        return self.total(lambda _, x, t: (x == t).astype(x.dtype), (x,), (top,))

    def top_and_others(self, x, finite, mass) -> tuple[jax.Array, jax.Array]:
        """The largest of each row, and Σ mass(x, finite(largest)) over all but one."""
        top = self.top(x)
        return top, self.all_but_one_top(x, top, mass, (finite(top),))

    def top_and_rest(self, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The largest of each row, and the sum of all others."""
        top = self.top(y)
        smaller = self.total(lambda _, y, t: jnp.where(y == t, 0, y), (y,), (top,))
        return top, smaller + (self.ties(y, top) - 1) * top

    def top_and_at(self, x: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The largest of each row, and x of the class `label`."""
        return self.top(x), self.at(x, label)
