"""The coordinates of `_scaling` for the parameters of many classes.

A point is a vector of d + 1 coordinates for each class, (d + 1, classes) flattened. A
class that has no rows, in a fit with a bias, has its optimum at a bias of −∞ and
weights of 0: the point keeps it at 0, and its `floor` is added to the bias.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bcejax.logistic_regression._problem import Params
from bcejax.logistic_regression._scaling import Scaling

OF_CLASSES: Any = Params._make((1, 0))  # the axes of the classes


class ClassScaling(NamedTuple):
    columns: Scaling
    floor: jax.Array  # (classes,), 0, or −∞ for a class without rows

    def params(self, point: jax.Array) -> Params:
        params = self.direction(point)
        return params._replace(bias=params.bias + self.floor)

    def direction(self, v: jax.Array) -> Params:
        """How the parameters move with a point that moves by v."""
        return jax.vmap(self.columns.params, 1, OF_CLASSES)(self.matrix(v))

    def point(self, params: Params) -> jax.Array:
        bias = jnp.where(self.floor < 0, 0, params.bias)
        return self._flat(self.columns.point, params._replace(bias=bias))

    def gradient(self, slope: Params) -> jax.Array:
        return self._flat(self.columns.gradient, slope)

    def slope(self, gradient: jax.Array) -> Params:
        return jax.vmap(self.columns.slope, 1, OF_CLASSES)(self.matrix(gradient))

    def balanced(self, v: jax.Array) -> jax.Array:
        """v without what moves all classes alike, and the logits not against another.

        Nothing but rounding points there, which H does not see and H⁻¹ would enlarge.
        """
        there = self.floor == 0
        v = jnp.where(there, self.matrix(v), 0)
        mean = jnp.sum(v, 1, keepdims=True) / jnp.sum(there)
        return jnp.where(there, v - mean, 0).ravel()

    def matrix(self, v: jax.Array) -> jax.Array:
        return v.reshape(-1, len(self.floor))

    def _flat(self, function, params: Params) -> jax.Array:
        return jax.vmap(function, (OF_CLASSES,), 1)(params).ravel()
