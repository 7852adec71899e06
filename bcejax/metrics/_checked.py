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
from bcejax._host import as_computed_with, numbers, real_array
from bcejax._range_check import in_range
from bcejax._values import complain_of_labels, complain_of_weights


def checked(core, logits, labels, weights, parameters=None, **options):
    """`core(logits, labels, weights, **parameters, **options)` of checked rows.

    The parameters are scalars by name and do not compile anew; the options are static.
    """
    logits, labels = real_array(logits, "logits"), numbers(labels, "labels")
    weights = None if weights is None else numbers(weights, "weights")
    result, sound, doubtful = _compiled(
        core, tuple(options.items()), logits, labels, weights, parameters or {}
    )
    if isinstance(sound, jax.core.Tracer):
        return result
    if not sound:
        both = labels, 1 if weights is None else weights
        y, w = (np.broadcast_to(as_computed_with(a), logits.shape) for a in both)
        complain_of_weights(w, "weights")
        complain_of_labels(y, w > 0)
    if doubtful:
        warnings.warn(
            "logits all lie in [0, 1] and look like probabilities: bcejax.logit makes "
            "logits of them.",
            stacklevel=3,
        )
    return result


@partial(jax.jit, static_argnums=(0, 1))
def _compiled(core, options, logits, labels, weights, parameters):
    x = floating(logits, "logits", order_of(["logits", "labels"]))
    if x.ndim != 1 or x.size == 0:
        raise ValueError(
            f"logits must have shape (rows,), at least one, got {x.shape}: "
            "a single column is logits[:, 0]; vmap over more."
        )
    y = real(labels, "labels")
    w = real(1 if weights is None else weights, "weights")
    y = same_shape_or_scalar(y, "labels", x, "logits")
    w = same_shape_or_scalar(w, "weights", x, "logits")
    x, y, w = (a.astype(widened(x.dtype)) for a in (x, y, w))
    counts, allowed = w > 0, (y >= 0) & (y <= 1)
    sound = jnp.all(allowed | ~counts) & jnp.any(counts)
    sound &= jnp.all((w >= 0) & (w < jnp.inf))
    # A row of weight 0 may have any label. One that is allowed stays, since the slope
    # in the weight depends on it.
    y = jnp.where((w == 0) & ~allowed, 0, y)
    doubtful = jnp.all((x >= 0) & (x <= 1)) & (jnp.min(x) < jnp.max(x))
    y, w = in_range(y, "labels", 0, 1), in_range(w, "weights", 0, jnp.inf)
    parameters = {k: scalar(v, k).astype(x.dtype) for k, v in parameters.items()}
    return core(x, y, w, **parameters, **dict(options)), sound, doubtful
