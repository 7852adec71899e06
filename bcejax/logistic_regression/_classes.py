"""Weights of the classes, and the way back to the shares that the classes have.

A row of weight w and label y, a probability, is w y of a row of class 1 and w (1 − y)
of one of class 0. With v₀ and v₁ the weights of the classes,

    w (v₁ y ℓ(x, 1) + v₀ (1 − y) ℓ(x, 0))  =  w m ℓ(x, v₁ y/m),
    m  =  v₁ y + v₀ (1 − y),

so they turn into other weights and, where labels lie between 0 and 1, other labels.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bcejax._arguments import floating, real
from bcejax._host import numbers, real_array
from bcejax._sigmoid import logit
from bcejax.logistic_regression._outcome import ClassWeight


def checked_class_weight(class_weight: str | Mapping | None) -> ClassWeight:
    """None, "balanced", or the weights of the classes 0 and 1."""
    if class_weight is None:
        return None
    if isinstance(class_weight, str) and class_weight == "balanced":
        return "balanced"
    if not isinstance(class_weight, Mapping) or not set(class_weight) <= {0, 1}:
        raise ValueError(
            'class_weight must be "balanced" or a mapping from the classes 0 and 1, '
            f"such as {{0: 1, 1: 10}}, got {class_weight!r}."
        )
    of_0, of_1 = (float(class_weight.get(label, 1)) for label in (0, 1))
    if not (0 < of_0 < np.inf and 0 < of_1 < np.inf):
        raise ValueError(
            f"class_weight must be positive and finite, got {class_weight!r}."
        )
    return of_0, of_1


def weighted_by_class(labels, weight, class_weight: Any) -> tuple:
    """Labels and weights of rows in which the weights of their classes are contained.

    Rows that do not count, or whose labels or weights cannot be meant, stay what they
    are, so that the message that refuses them tells what came.
    """
    xp: Any = jnp if any(isinstance(a, jax.Array) for a in (labels, weight)) else np
    y = xp.asarray(labels) * 1.0
    w = xp.broadcast_to(1.0 if weight is None else weight, y.shape) * 1.0
    sound = (y >= 0) & (y <= 1) & (w > 0)
    v = class_weight
    if v == "balanced":
        of_0 = xp.sum(xp.where(sound, w * (1 - y), 0))
        of_1 = xp.sum(xp.where(sound, w * y, 0))
        v = [(of_0 + of_1) / 2 / xp.where(c > 0, c, 1) for c in (of_0, of_1)]
    mass = v[1] * y + v[0] * (1 - y)
    share = v[1] * y / xp.where(mass > 0, mass, 1)
    return xp.where(sound, share, y), xp.where(sound, w * mass, w)


def prior_shift(
    logits: ArrayLike, share: ArrayLike, *, trained: ArrayLike = 0.5
) -> jax.Array:
    """Logits x + logit(share) − logit(trained), for another share of label 1.

    Class weights, and leaving out rows of one class, move all logits by the same, and
    the probabilities with them. This moves them back, or to a population in which label
    1 is rarer or more frequent, but looks the same otherwise.

    Args:
      logits: `[...]`, floating point, of any classifier.
      share: scalar, or of the shape of `logits`: of label 1 where the probabilities are
        to hold, such as `labels.mean()`.
      trained: the share where the classifier was trained, by its weights: ½ after
        `class_weight="balanced"`, and v₁ n₁ / (v₀ n₀ + v₁ n₁) for weights v of n₀ and
        n₁ rows.
    Returns:
      `[...]`, dtype of `logits`.
    Raises:
      TypeError: if `logits` is not floating point, or a share not real.
      ValueError: outside jit and vmap, if a share does not lie between 0 and 1.
    Example:
      >>> print(prior_shift(jnp.array([-1.0, 0.0]), 0.01))
      [-5.595 -4.595]

    Reference:
      M. Saerens, P. Latinne and C. Decaestecker, Adjusting the outputs of a classifier
      to new a priori probabilities, Neural Computation 14 (2002), 21-41.
    """
    x = floating(real_array(logits, "logits"), "logits", "")
    shift = jnp.zeros((), x.dtype)
    for name, value, sign in (("share", share, 1), ("trained", trained, -1)):
        p = real(numbers(value, name), name)
        if not isinstance(p, jax.core.Tracer) and not jnp.all((p > 0) & (p < 1)):
            raise ValueError(f"{name} must lie between 0 and 1, got {value}.")
        if p.shape not in ((), x.shape):
            raise ValueError(
                f"{name} must be a scalar or have the shape of logits, "
                f"got {p.shape} beside {x.shape}."
            )
        shift += sign * logit(p.astype(jnp.promote_types(x.dtype, jnp.float32)))
    return (x + shift).astype(x.dtype)
