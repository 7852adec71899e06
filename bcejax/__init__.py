"""Binary cross-entropy for JAX, right to the last digit.

Pure functions that compose with jit, vmap, grad, hessian and shard_map. Every value and
every derivative is right in bfloat16, float16, float32 and float64, infinite logits
included. Losses are element-wise and in nats; their arguments come in the order of
optax, `(logits, labels)`.

Sigmoid
  sigmoid                  σ(x) = 1/(1 + e⁻ˣ)
  log_sigmoid              log σ(x)
  softplus                 log(1 + eˣ)
  logit                    log p − log(1 − p), the inverse of σ

Binary cross-entropy
  bce_with_logits          ℓ(x, y) = −y log σ(x) − (1 − y) log σ(−x)
  bce_with_logits_grad     ∂ℓ/∂x, closed form
  bce_with_logits_hessian  ∂²ℓ/∂x², closed form
  bce_with_probs           the same loss of a probability
  smooth_labels            y (1 − a) + a/2
  optimal_logit            the best constant logit

Information
  entropy                  −Σ p log p
  cross_entropy            −Σ p log q
  kl_divergence            Σ p log(p/q)
  bernoulli_entropy        the entropy of σ(x)
  bernoulli_kl_divergence  the divergence of σ(a) from σ(b)

Fitting
  logistic_regression      fit, roc_auc, calibration and more
"""

from bcejax import logistic_regression
from bcejax._bce import (
    bce_with_logits,
    bce_with_logits_grad,
    bce_with_logits_hessian,
    bce_with_probs,
    smooth_labels,
)
from bcejax._bernoulli import bernoulli_entropy, bernoulli_kl_divergence
from bcejax._constant import optimal_logit
from bcejax._information import cross_entropy, entropy, kl_divergence
from bcejax._sigmoid import log_sigmoid, logit, sigmoid, softplus

__all__ = [
    "bce_with_logits",
    "bce_with_logits_grad",
    "bce_with_logits_hessian",
    "bce_with_probs",
    "bernoulli_entropy",
    "bernoulli_kl_divergence",
    "cross_entropy",
    "entropy",
    "kl_divergence",
    "log_sigmoid",
    "logistic_regression",
    "logit",
    "optimal_logit",
    "sigmoid",
    "smooth_labels",
    "softplus",
]
