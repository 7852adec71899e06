"""The door for the arguments of losses: convert, check, widen, mask, compute, round.

A public function names its arguments, each with the range of its values, and hands them
with its core, the equation, to one of these:

    elementwise       a result for each element of the first argument,
    elementwise_pair  of two floating arguments of one shape, in their promoted dtype,
    along_classes     for arrays of logits with classes along an axis.

What suits neither takes the checks alone. Shapes and dtypes are checked while JAX
traces, so they cost nothing at run time. Ranges depend on values: `_range_check` has
them. 16 bits are widened to float32 before the core and rounded once, after it.

Masked elements are masked twice: before the core, so that no NaN enters it or its
derivatives, and behind it, for the zero itself.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from numpy.lib.array_utils import normalize_axis_tuple

from bcejax._numerics.limits import finite_or_most
from bcejax._numerics.over_classes import axis_of, from_one_axis, one_axis
from bcejax._numerics.widening import converting_apart
from bcejax._range_check import in_range

_FLOATS = (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64)


# Checks


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


def scalar(x: ArrayLike, name: str) -> jax.Array:
    """`x` as an array, refused unless it is real and a scalar."""
    x = real(x, name)
    if x.shape != ():
        raise ValueError(f"{name} must be a scalar, got shape {x.shape}.")
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


def mask(where: ArrayLike | None, like: jax.Array, like_name: str) -> jax.Array | None:
    """`where` as an array of bool in the shape of `like`, or None."""
    if where is None:
        return None
    return broadcastable(boolean(where, "where"), "where", like, like_name)


def widened(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype to compute in: float64 for float64, float32 for all others."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


def array(x):
    """Convert lists: jit would trace every number in one as a separate argument."""
    return jnp.asarray(x) if isinstance(x, (list, tuple)) else x


def hashable(axis):
    """An axis, by number or name, or several: jit takes a tuple of them, not a list."""
    several = isinstance(axis, Sequence) and not isinstance(axis, str)
    return tuple(axis) if several else axis


def alike(
    arguments: dict[str, ArrayLike], hint: str = ""
) -> tuple[list[jax.Array], jnp.dtype]:
    """One or two floating arguments of one shape, 16 bits widened, and their dtype.

    The dtype is the one that JAX promotes them to. The caller rounds its result to it.
    """
    arrays = [floating(x, name, hint) for name, x in arguments.items()]
    first, last = arrays[0], arrays[-1]
    if first.shape != last.shape:
        first_name, last_name = arguments
        raise ValueError(
            f"{first_name} and {last_name} must have the same shape, "
            f"got {first_name} {first.shape} and {last_name} {last.shape}."
        )
    dtype = jnp.promote_types(first.dtype, last.dtype)
    return [x.astype(widened(dtype)) for x in arrays], dtype


# The doors


class Argument(NamedTuple):
    """An argument of a public function, and what is accepted for it."""

    name: str
    value: ArrayLike | None
    range: tuple[float, float] | None = None  # of its values; None for any
    fit: Callable = broadcastable  # how its shape fits that of the first argument

    def in_range(self, x: jax.Array | None) -> jax.Array | None:
        if x is None or self.range is None:
            return x
        if self.range[1] == jnp.inf:
            x = finite_or_most(x)  # so that 0 · weight is 0 for another class
        return in_range(x, self.name, *self.range)


def binary_labels(labels: ArrayLike) -> Argument:
    """The argument `labels` of a loss with one label for each logit."""
    return Argument("labels", labels, (0, 1), same_shape_or_scalar)


def elementwise(
    core: Callable, *arguments: Argument, where: ArrayLike | None = None
) -> jax.Array:
    """`core(*arguments)`, element by element, in the shape and dtype of the first.

    The first argument is floating, the others are real and fit its shape, and None
    stays None. Where `where` is False the result and every derivative are 0.
    """
    values = tuple(array(a.value) for a in arguments)
    return _elementwise(core, _rules(arguments), values, array(where))


def elementwise_pair(core: Callable, **arguments: ArrayLike) -> jax.Array:
    """`core` of two floating arguments, element by element, in their promoted dtype."""
    return _elementwise_pair(core, {name: array(x) for name, x in arguments.items()})


def along_classes(
    core: Callable,
    axis: int | Sequence[int],
    where: ArrayLike | None,
    *arguments: Argument,
    otherwise: float = 0,
) -> jax.Array:
    """`core(*rows)` of arguments with classes along `axis`, in the dtype of the logits.

    An argument without a range is an array of logits, and one with a range holds a mass
    for each class. Where `where` is False there is no such class: its logit becomes −∞
    and its mass 0. The core returns a number for each row, or one for each class. It is
    `otherwise` for a row without any class, or for a class that is left out.
    """
    values = tuple(array(a.value) for a in arguments)
    return _along_classes(
        core, hashable(axis), _rules(arguments), otherwise, values, array(where)
    )


def _rules(arguments: tuple[Argument, ...]) -> tuple[Argument, ...]:
    # What jit compiles for: the arguments without their values.
    return tuple(a._replace(value=None) for a in arguments)


def order_of(names: Sequence[str]) -> str:
    """The end of a message, for a caller who has confused logits and labels."""
    if "labels" not in names:
        return ""
    return f" The order of arguments is ({', '.join(names[:2])})."


@partial(jax.jit, static_argnums=(0, 1))
def _elementwise(core, rules, values, where) -> jax.Array:
    name, *_ = names = [rule.name for rule in rules]
    x = floating(values[0], name, order_of(names))
    dtype = widened(x.dtype)

    def fitted(rule, value):
        if value is None:
            return None
        return rule.fit(real(value, rule.name), rule.name, x, name)

    where = mask(where, x, name)

    def masked_core(where, *arguments):
        if where is not None:
            arguments = jax.tree.map(lambda a: jnp.where(where, a, 0), arguments)
        result = core(*map(Argument.in_range, rules, arguments))
        return result if where is None else jnp.where(where, result, 0)

    arguments = x, *map(fitted, rules[1:], values[1:])
    if x.dtype == jnp.bfloat16:
        return converting_apart(masked_core, where, *arguments).astype(x.dtype)
    arguments = jax.tree.map(lambda a: a.astype(dtype), arguments)
    return masked_core(where, *arguments).astype(x.dtype)


@partial(jax.jit, static_argnums=0)
def _elementwise_pair(core, arguments: dict) -> jax.Array:
    arrays, dtype = alike(arguments)
    return core(*arrays).astype(dtype)


class Classes(NamedTuple):
    """Which axes hold the classes of an array, and which classes there are."""

    axes: tuple[int, ...]
    where: jax.Array | None

    def logits(self, x: jax.Array) -> jax.Array:
        """`x` in rows, −∞ for a class that is left out."""
        if self.where is not None:
            # A row without any class stays finite, so that no gradient has a 0/0.
            any_class = jnp.any(self.where, self.axes, keepdims=True)
            hidden = jnp.where(any_class, -jnp.inf, 0)
            x = jnp.where(self.where, x, hidden.astype(x.dtype))
        return one_axis(x, self.axes)

    def one_a_row(self, rows: jax.Array, otherwise: float = 0) -> jax.Array:
        """`rows`, but `otherwise` for those without any class."""
        if self.where is None:
            return rows
        return jnp.where(jnp.any(self.where, self.axes), rows, otherwise)

    def one_a_class(self, rows: jax.Array, shape, otherwise: float) -> jax.Array:
        """The rows of an array of that shape, but `otherwise` for what is left out."""
        result = from_one_axis(rows, shape, self.axes)
        return (
            result if self.where is None else jnp.where(self.where, result, otherwise)
        )


def classes_of(axis, x: jax.Array, where, name: str) -> Classes:
    """The classes of `x` along `axis`, of which there must be one at least."""
    where = mask(where, x, name)
    axes = normalize_axis_tuple(axis, x.ndim)
    if prod(x.shape[i] for i in axes) == 0:
        raise ValueError(f"{name} {x.shape} must have classes along axis {axis}.")
    return Classes(axes, where)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _along_classes(core, axis, rules, otherwise, values, where) -> jax.Array:
    given = list(zip(rules, values, strict=True))
    logits = {rule.name: value for rule, value in given if rule.range is None}
    arrays, dtype = alike(logits, order_of([rule.name for rule in rules]))
    x, name = arrays[0], rules[0].name
    classes = classes_of(axis, x, where, name)

    def masses(rule, value):
        y = real(value, rule.name)
        if y.shape != x.shape:
            raise ValueError(
                f"{rule.name} must have the shape of {name}, "
                f"got {rule.name} {y.shape} and {name} {x.shape}."
            )
        y = y.astype(x.dtype)
        if classes.where is not None:
            y = jnp.where(classes.where, y, 0)
        return one_axis(rule.in_range(y), classes.axes)

    rows = [classes.logits(x) for x in arrays]
    rows += [masses(rule, value) for rule, value in given if rule.range is not None]
    result = core(axis_of(classes.axes, x.ndim), *rows)
    if result.ndim == rows[0].ndim:
        result = classes.one_a_class(result, x.shape, otherwise)
    else:
        result = classes.one_a_row(result, otherwise)
    return result.astype(dtype)
