"""Logistic regression: binary cross-entropy of a linear model, minimised.

    Σ wᵢ ℓ(xᵢ·β + b + offsetᵢ, yᵢ) / Σ wᵢ  +  Σⱼ (l2ⱼ/2) βⱼ²

The bias b is not penalised. l2 is the same for all weights, where scikit-learn's C is
1/(l2 Σw), or one for each.

Fitting
  fit             the minimiser, as a `Fit`
  fit_batches     that of more data than fit into memory, read batch by batch
  Progress        how far that has come, for a callback
  fit_multinomial that of many classes, by softmax, as a
  MultinomialFit  weights and biases of each class, and how the search ended
  Fit             weights, bias, and how the search ended
  fit_path        along penalties, with held-out rows to choose by, as a
  Path            all models, what they are worth, and the best
  predict_logits  logits of new features
  predict_probs   their probabilities
  prior_shift     logits for another share of label 1, as after class weights

Inference
  covariance      of the coefficients: inverse Fisher information, or robust
  summary         standard errors, tests, intervals, odds ratios, AIC: a `Summary`
  Summary         what `summary` returns: print it
  Coefficient     one line of it
  marginal_effects       of the features on the probability
  MarginalEffects        these, with standard errors and intervals
  likelihood_ratio_test  whether a model with more columns fits better
  score_test             whether columns that are not in the model belong there
  ChiSquared             what these two return: a statistic and its p-value

Separation, where there is no optimum
  separation      which coefficients run away, and where to, by a linear program

Files
  save            a model as JSON, which the command line writes too
  load            the model in such a file

Many devices
  shard_rows      an equal part of the rows on each of them

How good the predictions are is for `bcejax.metrics` to say.

All but `fit_batches`, `summary`, `likelihood_ratio_test`, `separation`, `shard_rows`,
`save` and `load` are pure functions: jit them, vmap them over penalties, weights or
starts, and give them sharded arrays.
"""

from bcejax.logistic_regression._batches import Progress, fit_batches
from bcejax.logistic_regression._classes import prior_shift
from bcejax.logistic_regression._covariance import covariance
from bcejax.logistic_regression._effects import MarginalEffects, marginal_effects
from bcejax.logistic_regression._fit import fit
from bcejax.logistic_regression._multinomial import fit_multinomial
from bcejax.logistic_regression._outcome import Fit, MultinomialFit
from bcejax.logistic_regression._path import Path, fit_path
from bcejax.logistic_regression._predict import predict_logits, predict_probs
from bcejax.logistic_regression._save import load, save
from bcejax.logistic_regression._separation import separation
from bcejax.logistic_regression._shards import shard_rows
from bcejax.logistic_regression._summary import summary
from bcejax.logistic_regression._table import Coefficient, Summary
from bcejax.logistic_regression._tests import (
    ChiSquared,
    likelihood_ratio_test,
    score_test,
)

__all__ = [
    "ChiSquared",
    "Coefficient",
    "Fit",
    "MarginalEffects",
    "MultinomialFit",
    "Path",
    "Progress",
    "Summary",
    "covariance",
    "fit",
    "fit_batches",
    "fit_multinomial",
    "fit_path",
    "likelihood_ratio_test",
    "load",
    "marginal_effects",
    "predict_logits",
    "predict_probs",
    "prior_shift",
    "save",
    "score_test",
    "separation",
    "shard_rows",
    "summary",
]
