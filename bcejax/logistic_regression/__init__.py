"""Logistic regression: binary cross-entropy of a linear model, minimised.

    Σ wᵢ ℓ(xᵢ·β + b + offsetᵢ, yᵢ) / Σ wᵢ  +  (l2/2) ‖β‖²

The bias b is not penalised. scikit-learn's C is 1/(l2 Σw).

  fit             the minimiser, as a `Fit`
  Fit             weights, bias, and how the search ended
  predict_logits  logits of new features
  predict_probs   their probabilities

All are pure functions: jit them, vmap them over penalties, weights or starts, and give
them sharded arrays.
"""

from bcejax.logistic_regression._fit import Fit, fit, predict_logits, predict_probs

__all__ = ["Fit", "fit", "predict_logits", "predict_probs"]
