"""The one door of the metrics: rows of logits, labels and weights, checked."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bcejax._arguments import (
    floating,
    order_of,
    real,
    same_shape_or_scalar,
    scalar,
    widened,
)
from bcejax._class_values import (
    are_probabilities,
    class_index,
    complain_of_indices,
    complain_of_probabilities,
)
from bcejax._host import as_computed_with, numbers, real_array
from bcejax._range_check import in_range
from bcejax._values import complain_of_labels, complain_of_weights


def checked(
    core, logits, labels, weights, parameters=None, *, of_classes=False, **options
):
    """`core(logits, labels, weights, **parameters, **options)` of checked rows.

    The parameters are scalars by name and do not compile anew; the options are static.
    `of_classes` says that the core takes logits `(rows, classes)`, too.
    """
    logits, labels = real_array(logits, "logits"), numbers(labels, "labels")
    weights = None if weights is None else numbers(weights, "weights")
    many = of_classes and logits.ndim == 2
    result, sound, doubtful = _compiled(
        core, many, tuple(options.items()), logits, labels, weights, parameters or {}
    )
    if isinstance(sound, jax.core.Tracer):
        return result
    if not sound:
        complain(many, logits.shape, labels, 1 if weights is None else weights)
    if doubtful:
        warnings.warn(
            f"logits all lie in [0, 1]{' and have the sum 1' * many} and look like "
            f"probabilities: {'jnp.log' if many else 'bcejax.logit'} makes logits of "
            "them.",
            stacklevel=3,
        )
    return result


def complain(many: bool, shape, labels, weights) -> None:
    w = np.broadcast_to(as_computed_with(weights), shape[:1])
    complain_of_weights(w, "weights")
    if not many:
        y = np.broadcast_to(as_computed_with(labels), shape)
        complain_of_labels(y, w > 0)
    elif labels.ndim == 1:
        complain_of_indices(as_computed_with(labels), w > 0, shape[1])
    else:
        complain_of_probabilities(labels, w > 0)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _compiled(core, many, options, logits, labels, weights, parameters):
    x = floating(logits, "logits", order_of(["logits", "labels"]))
    if x.ndim != 1 + many or x.size == 0 or x.shape[1:] == (1,):
        several = ", or (rows, classes) with two classes or more" * many
        raise ValueError(
            f"logits must have shape (rows,){several}, at least one, got {x.shape}: "
            "a single column is logits[:, 0]; vmap over more."
        )
    w = real(1 if weights is None else weights, "weights")
    if many:
        w = same_shape_or_scalar(w, "weights", x[:, 0], "a column of logits")
    else:
        w = same_shape_or_scalar(w, "weights", x, "logits")
    y, x = real(labels, "labels"), x.astype(widened(x.dtype))
    w = w.astype(x.dtype)
    counts = w > 0
    y, allowed = (of_many if many else of_two)(y, x, counts)
    sound = jnp.all(allowed | ~counts) & jnp.any(counts)
    sound &= jnp.all((w >= 0) & (w < jnp.inf))
    doubtful = jnp.all((x >= 0) & (x <= 1)) & (jnp.min(x) < jnp.max(x))
    if many:
        doubtful &= jnp.all(are_probabilities(x))
    w = in_range(w, "weights", 0, jnp.inf)
    parameters = {k: scalar(v, k).astype(x.dtype) for k, v in parameters.items()}
    return core(x, y, w, **parameters, **dict(options)), sound, doubtful


# Labels that the cores take, and which of them are allowed. A row of weight 0 may have
# any label. One that is allowed stays, since the slope in the weight depends on it.


def of_two(y: jax.Array, x: jax.Array, counts: jax.Array):
    y = same_shape_or_scalar(y, "labels", x, "logits").astype(x.dtype)
    allowed = (y >= 0) & (y <= 1)
    return in_range(jnp.where(allowed | counts, y, 0), "labels", 0, 1), allowed


def of_many(y: jax.Array, x: jax.Array, counts: jax.Array):
    classes = x.shape[1]
    if y.shape not in (x.shape[:1], x.shape):
        raise ValueError(
            "labels must hold one class per row of logits, or a probability for each "
            f"class, got labels {y.shape} and logits {x.shape}."
        )
    y = y.astype(x.dtype)
    if y.ndim == 1:
        y = class_index(y, counts, classes)
        return y, y < classes
    allowed = are_probabilities(y)
    y = jnp.where((allowed | counts)[:, None], y, 1 / classes)
    return in_range(y, "labels", 0, jnp.inf), allowed
