"""The sigmoid loss of all pairs of images and texts, of which only the i-th image and
the i-th text belong together.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bcejax import _arguments
from bcejax._head_arguments import chunk_size_of
from bcejax._head_sums import Sums
from bcejax._numerics.linear import Layer
from bcejax._numerics.sigmoid import softplus
from bcejax._numerics.signs import signs
from bcejax._sharding import in_auto_axes


def sigmoid_contrastive_loss(
    image_embeddings: ArrayLike,
    text_embeddings: ArrayLike,
    log_temperature: ArrayLike,
    bias: ArrayLike,
    *,
    chunk_size: int | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> jax.Array:
    """−(1/n) Σ_ij log σ(s_ij (t x_i · y_j + b)) of all pairs, in nats.

    s_ij is 1 for i = j and −1 elsewhere, and t = exp(log_temperature). The logits of
    all pairs are computed one chunk of texts at a time and never stored. The
    derivatives compute them anew, in every mode and order. The embeddings are taken as
    they are: normalise them before.

    Inside `shard_map` each device has some of the pairs, an equal number. With
    `axis_name` the texts go round the devices of that axis, so that every image meets
    every text while no device holds more than its own embeddings and those of one
    other. The result is the loss of all pairs, the same on every device.

    Args:
      image_embeddings: `(n, d)`, floating point.
      text_embeddings: `(n, d)`, floating point, the text of each image.
      log_temperature: scalar, real. The logarithm of t.
      bias: scalar, real.
      chunk_size: how many texts are computed with at a time. None chooses by the shapes
        and the device.
      axis_name: of the mesh, one or several, inside `shard_map`.
    Returns:
      A scalar, float32, or float64 if an embedding is. In nats, never below 0.
    Raises:
      TypeError: if the embeddings are not floating point or the scalars not real.
      ValueError: if the embeddings are not of one shape `(n, d)`, n > 0, the scalars
        not scalars, or `chunk_size` is not an int from 1 on.
    Example:
      >>> x = jnp.eye(4)
      >>> print(sigmoid_contrastive_loss(x, x, jnp.log(10), -5.0))
      0.0269

    Reference:
      X. Zhai, B. Mustafa, A. Kolesnikov, L. Beyer, Sigmoid loss for language image
      pre-training, ICCV 2023, https://arxiv.org/abs/2303.15343
    """
    given = image_embeddings, text_embeddings, log_temperature, bias
    arrays = map(_arguments.array, given)
    return _contrastive(
        chunk_size_of(chunk_size), _arguments.hashable(axis_name), *arrays
    )


@partial(jax.jit, static_argnums=(0, 1))
def _contrastive(chunk_size, axis_name, *arrays) -> jax.Array:
    return in_auto_axes(partial(_of_all_pairs, chunk_size, axis_name), None, *arrays)


def _of_all_pairs(chunk_size, axis_name, images, texts, log_temperature, bias):
    images = _arguments.floating(images, "image_embeddings")
    texts = _arguments.floating(texts, "text_embeddings")
    if images.ndim != 2 or images.shape != texts.shape:
        raise ValueError(
            "image_embeddings and text_embeddings must both be (n, d), got "
            f"image_embeddings {images.shape} and text_embeddings {texts.shape}."
        )
    pairs, width = images.shape
    if pairs == 0:
        raise ValueError(f"image_embeddings {images.shape} must have at least one row.")
    log_t = _arguments.scalar(log_temperature, "log_temperature")
    bias = _arguments.scalar(bias, "bias")
    promoted = jnp.promote_types(images.dtype, texts.dtype)
    dtype = _arguments.widened(promoted)
    layer = Layer(promoted if images.dtype == texts.dtype else dtype, classes=0)
    number = jnp.arange(pairs, dtype=jnp.int32)
    if axis_name is not None:
        number = number + pairs * jax.lax.axis_index(axis_name)
        pairs = pairs * jax.lax.axis_size(axis_name)
    values = {
        "images": images.astype(dtype),
        # On their way round a ring gradients of the texts are added up.
        "texts": texts if axis_name is None else texts.astype(dtype),
        "place": number,
        "positives": number[:, None],
        "temperature": jnp.exp(log_t.astype(dtype)),
        "bias": bias.astype(dtype),
    }
    cut = ("texts", 0), ("place", 0)
    sums = Sums(layer, cut, chunk_size, images.shape[0] + width, axis_name)
    (loss,) = sums(_of_chunk, values)
    total = jnp.sum(loss)
    if axis_name is not None:
        total = jax.lax.psum(total, axis_name)
    return total / pairs


def _of_chunk(layer: Layer, images, texts, place, positives, temperature, bias):
    x = temperature * layer.logits(images, texts) + bias
    return (jnp.sum(softplus(signs(x, positives, place) * x), -1),)
