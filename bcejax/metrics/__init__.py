"""How good the logits of a classifier are, whatever it is.

All of them weigh the rows: with wᵢ the weight of a row, pᵢ = σ(xᵢ) its probability,

  log_loss           Σ wᵢ ℓ(xᵢ, yᵢ) / Σ wᵢ, in nats
  brier_score        Σ wᵢ (pᵢ − yᵢ)² / Σ wᵢ
  accuracy           how many rows are called by their class, at a threshold
  confusion          how many rows of either class are called what, as a
  Confusion
  roc_auc            how often a positive row has the greater logit of a pair
  roc_curve          the share of either class above each threshold, as a
  RocCurve
  precision_recall   precision and recall at each threshold, as a
  PrecisionRecall
  average_precision  the area below the steps of precision over recall
  best_threshold     where mistakes of stated costs cost least, as a
  Threshold
  calibration        the means of p and of y among rows of similar p, bin by bin, as a
  Calibration
  expected_calibration_error  the mean distance of those two means
  of_batches         any of them, of rows that come batch by batch

These are of two classes, with logits `(n,)`. `log_loss`, `accuracy`, `calibration` and
`expected_calibration_error` take many classes as well, with logits `(n, classes)` and
labels 0 to classes − 1, or a probability for each class.

All but `of_batches` are pure functions: jit them, vmap them, and give them sharded
arrays. A weight of 2 counts a row twice. Only the ratios of the weights matter, but in
the counts of `confusion` and in `Calibration.weight`. Labels may be probabilities: y
counts as y of a positive and 1 − y of a negative row. 16-bit logits are computed in
float32, and so are the results: a mean over many rows has more digits than one of them.
NaN in the logits gives NaN out.

In a row with a weight, a label that is NaN or outside [0, 1], or is none of many
classes, is a ValueError. So are weights that are negative, not finite, or 0 in all
rows. Logits that all lie in [0, 1], and sum to 1 over many classes, look like
probabilities and get a UserWarning. Within jit and vmap nobody can be told:
there labels and weights are errors under `jax.experimental.checkify.checkify` only, and
NaN gives NaN.
"""

from bcejax.metrics._batches import of_batches
from bcejax.metrics._calibration import (
    Calibration,
    calibration,
    expected_calibration_error,
)
from bcejax.metrics._ranking import (
    PrecisionRecall,
    RocCurve,
    Threshold,
    average_precision,
    best_threshold,
    precision_recall,
    roc_auc,
    roc_curve,
)
from bcejax.metrics._scores import (
    Confusion,
    accuracy,
    brier_score,
    confusion,
    log_loss,
)

__all__ = [
    "Calibration",
    "Confusion",
    "PrecisionRecall",
    "RocCurve",
    "Threshold",
    "accuracy",
    "average_precision",
    "best_threshold",
    "brier_score",
    "calibration",
    "confusion",
    "expected_calibration_error",
    "log_loss",
    "of_batches",
    "precision_recall",
    "roc_auc",
    "roc_curve",
]
