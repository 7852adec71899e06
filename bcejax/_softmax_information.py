"""Entropy and Kullback-Leibler divergence of distributions given as logits.

For p = softmax(a) and q = softmax(b)

    H(p)      = −Σ p_k log p_k,                  ∂H/∂a_k  = −p_k (log p_k + H),
    KL(p ‖ q) =  Σ p_k (log p_k − log q_k),      ∂KL/∂b_k =  q_k − p_k,
    ∂KL/∂a_k  =  p_k (log p_k − log q_k − KL).

No logarithm is taken of a probability, which may have underflown. `axis`, `where`,
infinities, NaN and dtypes are as in `_softmax`.
The numerics are in `_numerics.softmax_pairs`.
"""

import jax
from jax.typing import ArrayLike

from bcejax._arguments import Argument, along_classes
from bcejax._numerics.softmax_pairs import divergence_of_logits, entropy_of_logits


def softmax_entropy(
    logits: ArrayLike,
    *,
    axis: int | tuple[int, ...] = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Entropy H(softmax(x)) = −Σ p_k log p_k of each row of logits, in nats.

    Keeps its relative digits where one class takes almost everything. The gradient is
    −p_k (log p_k + H).

    Args:
      logits: `[..., classes]`, floating point.
      axis: of the classes, one or several. It is summed over.
      where: bool, broadcasts to `[..., classes]`. False leaves a class out.
    Returns:
      `[...]`, dtype of `logits`. In nats, never below 0; 0 for a row without classes.
    Raises:
      TypeError: if `logits` is not floating point or `where` is not bool.
      ValueError: if `where` does not broadcast to `logits`, or `axis` is out of bounds
        or has no classes.
    Example:
      >>> import jax.numpy as jnp
      >>> print(softmax_entropy(jnp.zeros(4)), f"{softmax_entropy([80.0, 0]):.3e}")
      1.3863 1.462e-33

    Reference:
      C. E. Shannon, A mathematical theory of communication, Bell Syst. Tech. J. 27
      (1948), 379-423.
    """
    return along_classes(entropy_of_logits, axis, where, Argument("logits", logits))


def softmax_kl_divergence(
    logits_p: ArrayLike,
    logits_q: ArrayLike,
    *,
    axis: int | tuple[int, ...] = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Divergence KL(softmax(a) ‖ softmax(b)) of each pair of rows of logits, in nats.

    0 for a = b and never below. It keeps the digits that the differences b_k − a_k
    have: a constant added to all of b costs as many as it costs those. A class of −∞
    in both is no class; one of −∞ in `logits_q` alone costs ∞, and there the gradient
    in `logits_p` has the right signs and a large finite size. The gradient is
    p_k (log p_k − log q_k − KL) in `logits_p` and q_k − p_k in `logits_q`.

    Args:
      logits_p: `[..., classes]`, floating point.
      logits_q: like `logits_p`.
      axis: of the classes, one or several. It is summed over.
      where: bool, broadcasts to `[..., classes]`. False leaves a class out of both.
    Returns:
      `[...]`, promoted dtype. In nats, never below 0; 0 for a row without classes.
    Raises:
      TypeError: if an argument is not floating point or `where` is not bool.
      ValueError: if the arguments differ in shape, nothing is broadcast; if `where`
        does not broadcast to them, or `axis` is out of bounds or has no classes.
    Example:
      >>> import jax.numpy as jnp
      >>> a, b = jnp.array([80.0, 0, -jnp.inf]), jnp.array([80.0, 1, -jnp.inf])
      >>> print(f"{softmax_kl_divergence(a, b):.3e}", softmax_kl_divergence(a, a))
      1.296e-35 0.0

    Reference:
      G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network,
      2015, https://arxiv.org/abs/1503.02531
    """
    return along_classes(
        divergence_of_logits,
        axis,
        where,
        Argument("logits_p", logits_p),
        Argument("logits_q", logits_q),
    )
