"""Logits of a linear layer, accumulated in float32 or float64."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Layer(NamedTuple):
    """How features and kernel are multiplied."""

    dtype: jnp.dtype  # of the factors: 16 bits, or that of the features
    classes: int = 1  # the axis of the kernel that holds the classes

    def logits(self, features, kernel, bias=None) -> jax.Array:
        """`[rows, classes]`, in the dtype of the features, which is a wide one."""
        if self.dtype == features.dtype:
            x = _wide_product(self, features, kernel)
        else:
            x = _product(self, features, kernel)
        return x if bias is None else x + bias.astype(x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _product(layer: Layer, features: jax.Array, kernel: jax.Array) -> jax.Array:
    """The product of 16-bit factors, of which the features have been widened.

    Widening is exact. The features come wide so that the sum over the chunks of their
    gradient has 24 bits, and is rounded once, where the features were widened.
    """
    narrow = features.astype(layer.dtype), kernel.astype(layer.dtype)
    return _dot(layer, *narrow, features.dtype)


# Not left to autodiff, which would round the gradient of each chunk to 16 bits.
@_product.defjvp
def _product_jvp(layer, primals, tangents):
    return _product(layer, *primals), jax.jvp(
        partial(_wide_product, layer), primals, tangents
    )[1]


def _wide_product(layer: Layer, features: jax.Array, kernel: jax.Array) -> jax.Array:
    return _dot(layer, features, kernel.astype(features.dtype), features.dtype)


def _dot(layer: Layer, features, kernel, dtype) -> jax.Array:
    return jax.lax.dot_general(
        features,
        kernel,
        (((1,), (1 - layer.classes,)), ((), ())),
        preferred_element_type=dtype,
    )
