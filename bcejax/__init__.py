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
  sigmoid_focal_loss       α_t (1 − p_t)^γ ℓ, less for easy examples
  asymmetric_loss          the focal loss of many labels, harder on negatives
  optimal_logit            the best constant logit

Softmax
  log_softmax              x_k − log Σ exp(x_j)
  logsumexp                log Σ exp(x_j)
  softmax_cross_entropy    −Σ y_k log p_k, p = softmax(x)
  softmax_cross_entropy_with_integer_labels  −log p_y

Many classes, and all pairs, without storing the logits
  linear_bce               Σ ℓ(x_k, y_k), x = features @ kernel + bias
  linear_softmax_cross_entropy  −log p_y, p = softmax(features @ kernel + bias)
  sigmoid_contrastive_loss −(1/n) Σ_ij log σ(s_ij (t x_i · y_j + b))

Information
  entropy                  −Σ p log p
  cross_entropy            −Σ p log q
  kl_divergence            Σ p log(p/q)
  bernoulli_entropy        the entropy of σ(x)
  bernoulli_kl_divergence  the divergence of σ(a) from σ(b)
  softmax_entropy          the entropy of p = softmax(x)
  softmax_kl_divergence    the divergence of softmax(a) from softmax(b)

Modules
  logistic_regression      fit, predict_probs, covariance, summary and more
  metrics                  log_loss, roc_auc, confusion, calibration and more
  plot                     calibration, roc, coefficients, path and more, by matplotlib;
                           not imported with the package: `from bcejax import plot`
"""

from bcejax import logistic_regression, metrics
from bcejax._asymmetric import asymmetric_loss
from bcejax._bce import (
    bce_with_logits,
    bce_with_logits_grad,
    bce_with_logits_hessian,
    bce_with_probs,
    smooth_labels,
)
from bcejax._bernoulli import bernoulli_entropy, bernoulli_kl_divergence
from bcejax._contrastive import sigmoid_contrastive_loss
from bcejax._focal import sigmoid_focal_loss
from bcejax._information import cross_entropy, entropy, kl_divergence
from bcejax._linear_heads import linear_bce, linear_softmax_cross_entropy
from bcejax._optimal_logit import optimal_logit
from bcejax._sigmoid import log_sigmoid, logit, sigmoid, softplus
from bcejax._softmax import (
    log_softmax,
    logsumexp,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from bcejax._softmax_information import softmax_entropy, softmax_kl_divergence

__all__ = [
    "asymmetric_loss",
    "bce_with_logits",
    "bce_with_logits_grad",
    "bce_with_logits_hessian",
    "bce_with_probs",
    "bernoulli_entropy",
    "bernoulli_kl_divergence",
    "cross_entropy",
    "entropy",
    "kl_divergence",
    "linear_bce",
    "linear_softmax_cross_entropy",
    "log_sigmoid",
    "log_softmax",
    "logistic_regression",
    "logit",
    "logsumexp",
    "metrics",
    "optimal_logit",
    "sigmoid",
    "sigmoid_contrastive_loss",
    "sigmoid_focal_loss",
    "smooth_labels",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "softmax_entropy",
    "softmax_kl_divergence",
    "softplus",
]
