"""The signs that make a softplus of each logit the loss of its label.

ℓ(x, 1) = softplus(−x) and ℓ(x, 0) = softplus(x). A few positives are better marked than
written as dense labels. The shorter way, Σ softplus over all classes less the logits of
the positives, cancels where a positive is certain: no term is negative here.
"""

import jax
import jax.numpy as jnp


def signs(x: jax.Array, positives: jax.Array, place: jax.Array) -> jax.Array:
    """−1 for the positives and 1 for all other classes of the chunk."""
    classes = x.shape[1]
    at = positives - place[0]
    at = jnp.where((at >= 0) & (at < classes), at, classes)  # which is dropped

    def of_row(ones, at):
        return ones.at[at].set(-1, mode="drop")

    return jax.vmap(of_row)(jnp.ones_like(x), at)
