"""Logistic regression: binary cross-entropy of a linear model, minimised.

    Σ wᵢ ℓ(xᵢ·β + b + offsetᵢ, yᵢ) / Σ wᵢ  +  (l2/2) ‖β‖²

The bias b is not penalised. scikit-learn's C is 1/(l2 Σw).

Fitting
  fit             the minimiser, as a `Fit`
  Fit             weights, bias, and how the search ended
  predict_logits  logits of new features
  predict_probs   their probabilities

Inference
  covariance      of the coefficients: inverse Fisher information, or robust
  summary         standard errors, tests, intervals, odds ratios, AIC: a `Summary`
  Summary         what `summary` returns: print it
  Coefficient     one line of it

Separation, where there is no optimum
  separation      which coefficients run away, and where to, by a linear program

Evaluation, of any logits
  log_loss        mean loss
  brier_score     mean squared error of the probabilities
  roc_auc         how often a positive row outranks a negative one
  calibration     predicted and observed frequencies, as a `Calibration`
  Calibration     what `calibration` returns, bin by bin

All but `summary` and `separation` are pure functions: jit them, vmap them over
penalties, weights or starts, and give them sharded arrays.
"""

from bcejax.logistic_regression._evaluate import (
    Calibration,
    brier_score,
    calibration,
    log_loss,
    roc_auc,
)
from bcejax.logistic_regression._fit import Fit, fit, predict_logits, predict_probs
from bcejax.logistic_regression._inference import covariance
from bcejax.logistic_regression._separation import separation
from bcejax.logistic_regression._summary import summary
from bcejax.logistic_regression._table import Coefficient, Summary

__all__ = [
    "Calibration",
    "Coefficient",
    "Fit",
    "Summary",
    "brier_score",
    "calibration",
    "covariance",
    "fit",
    "log_loss",
    "predict_logits",
    "predict_probs",
    "roc_auc",
    "separation",
    "summary",
]
