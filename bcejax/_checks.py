"""Which arguments are accepted.

Shapes and dtypes are checked while JAX traces, so they cost nothing at run time. Ranges
depend on values: `_range_check` has them.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

_FLOATS = (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64)


def floating(x: ArrayLike, name: str, hint: str = "") -> jax.Array:
    """`x` as an array, refused unless it is one of the four floating dtypes."""
    x = jnp.asarray(x)
    if x.dtype not in _FLOATS:
        raise TypeError(
            f"{name} must be bfloat16, float16, float32 or float64, "
            f"got {x.dtype}.{hint}"
        )
    return x


def real(x: ArrayLike, name: str) -> jax.Array:
    """`x` as an array, refused unless it is bool, integer or floating."""
    x = jnp.asarray(x)
    if x.dtype not in _FLOATS and not (
        x.dtype == jnp.bool_ or jnp.issubdtype(x.dtype, jnp.integer)
    ):
        raise TypeError(f"{name} must be bool, integer or floating, got {x.dtype}.")
    return x


def boolean(x: ArrayLike, name: str) -> jax.Array:
    """`x` as an array, refused unless it is bool."""
    x = jnp.asarray(x)
    if x.dtype != jnp.bool_:
        raise TypeError(f"{name} must be bool, got {x.dtype}: write `{name} != 0`.")
    return x


def same_shape_or_scalar(x: jax.Array, name: str, like: jax.Array, like_name: str):
    """`x` in the shape of `like`; only a scalar is broadcast."""
    if x.shape not in (like.shape, ()):
        raise ValueError(
            f"{name} must have the shape of {like_name} or be a scalar, "
            f"got {name} {x.shape} and {like_name} {like.shape}."
        )
    return jnp.broadcast_to(x, like.shape)


def broadcastable(x: jax.Array, name: str, like: jax.Array, like_name: str):
    """`x` broadcast to the shape of `like`, which itself never grows."""
    try:
        return jnp.broadcast_to(x, like.shape)
    except ValueError:
        raise ValueError(
            f"{name} must broadcast to the shape of {like_name}, "
            f"got {name} {x.shape} and {like_name} {like.shape}."
        ) from None


def widened(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype to compute in: float64 for float64, float32 for all others."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


def array(x):
    """Convert lists: jit would trace every number in one as a separate argument."""
    return jnp.asarray(x) if isinstance(x, (list, tuple)) else x
