"""The most probable class of a row, and whether it is right."""

import jax
import jax.numpy as jnp

from bcejax._numerics.softmax import softmax


def top_class(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """max p and 1 − max p of p = softmax(x), and the label's share of that class.

    For labels `(n,)` the share is 1 or 0, whether the class is right. Of classes that
    are equally probable the first counts.
    """
    p, q = softmax(-1, x)
    p, q, top = jnp.max(p, -1), jnp.min(q, -1), jnp.argmax(x, -1).astype(jnp.int32)
    if y.ndim == 1:
        # The number of classes stands for a label that is none of them.
        right = jnp.where(y < x.shape[1], (y == top).astype(x.dtype), jnp.nan)
    else:
        k = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
        right = jnp.sum(jnp.where(k == top[:, None], y, 0), -1)
    missing = jnp.any(jnp.isnan(x), -1)
    p, q, right = (jnp.where(missing, jnp.nan, a) for a in (p, q, right))
    return p, q, right
