"""What is judged: the heads, with layers that make the logits one given row.

A kernel that is the identity adds zeros to each feature, so that the logits are the
features to the last bit, whatever the order of the sums. The classes are cut into
chunks that do not divide them.
"""

import jax.numpy as jnp
import numpy as np

import bcejax
from bcejax.verify import _exact as exact
from bcejax.verify import _points as at
from bcejax.verify._subjects import NAN, Subject

CLASSES = 10
PAIRS = 4  # images, and texts
CHUNK = 3


def of_heads() -> list[Subject]:
    return [_linear_bce(), _linear_softmax(), _contrastive()]


def _of_hard_labels(x, y, k):
    """Value, slope and curvature of Σ ℓ(xⱼ, yⱼ), where y is 0 or 1."""
    sign = 1 - 2 * y
    own = np.arange(x.shape[1]) == k[:, None]
    value = np.sum(exact.softplus(sign * x), -1)
    slope = sign * exact.sigmoid(sign * x)
    curvature = np.where(own, exact.sigmoid_slope(x), 0)
    return [(value, None), (slope, None), (curvature, None)]


def _head(name: str, logits: int, function, formula) -> Subject:
    """What takes so many logits; one that is NaN makes the loss NaN."""

    def inputs(dtype, points):
        rows = min(points, 512)
        return at.logit_rows(dtype, rows, logits), at.labels(rows, logits)

    with_nan = [NAN, *[0.0] * (logits - 1)], 0
    corners = ((with_nan, (NAN, None, None)),)
    return Subject(name, "head", function, inputs, formula, corners, rows=True)


def _linear_bce() -> Subject:
    positives = np.array([1, CLASSES // 2, -1], np.int32)

    def function(x):
        kernel = jnp.eye(CLASSES, dtype=x.dtype)
        loss = bcejax.linear_bce(x[None], kernel, positives[None], chunk_size=CHUNK)
        return loss[0]

    def formula(x, k):
        return _of_hard_labels(x, np.isin(np.arange(CLASSES), positives), k)

    return _head(f"linear_bce, {CLASSES} classes", CLASSES, function, formula)


def _linear_softmax() -> Subject:
    label = CLASSES // 2

    def function(x):
        kernel, labels = jnp.eye(CLASSES, dtype=x.dtype), jnp.array([label])
        loss = bcejax.linear_softmax_cross_entropy(
            x[None], kernel, labels, chunk_size=CHUNK
        )
        return loss[0]

    def formula(x, k):
        y = np.broadcast_to(np.arange(CLASSES) == label, x.shape).astype(x.dtype)
        value, slope, larger = exact.softmax_loss(x, y)
        curvature = exact.softmax_curvature(x, np.ones(len(x)), k)
        return [(value, None), (slope, larger), (curvature, None)]

    name = f"linear_softmax_cross_entropy, {CLASSES} classes"
    return _head(name, CLASSES, function, formula)


def _contrastive() -> Subject:
    """A row holds the logits of all pairs; the texts are the identity."""

    def function(x):
        images, texts = x.reshape(PAIRS, PAIRS), jnp.eye(PAIRS, dtype=x.dtype)
        zero = jnp.zeros((), x.dtype)
        loss = bcejax.sigmoid_contrastive_loss
        return loss(images, texts, zero, zero, chunk_size=CHUNK)

    def formula(x, k):
        each = _of_hard_labels(x, np.eye(PAIRS).ravel(), k)
        return [(order / PAIRS, scale) for order, scale in each]  # exact: 4 = 2²

    name = f"sigmoid_contrastive_loss, {PAIRS} pairs"
    return _head(name, PAIRS**2, function, formula)
