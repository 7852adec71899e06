"""Pictures of classifiers and of fits, by matplotlib.

Of the logits of any classifier
  calibration       what was predicted and what came, with intervals and a histogram
  roc               the ROC curve, with its area
  precision_recall  precision over recall, with the average precision

Of logistic regressions
  coefficients      of a `Summary`, by name, with intervals
  path              the coefficients of a `Path` over the penalty
  held_out_loss     what each penalty of a `Path` is worth

Each function draws into the matplotlib Axes `ax`, or into those of a new figure, and
returns them. Axes in which there is nothing yet are dressed in the package's style,
`matplotlib.style.use("bcejax.pictures")`; others keep their look, so that a second
model can be drawn beside the first. The caller's rcParams stay as they are.

matplotlib is imported when a function is called. The extra `demo` brings it:
`pip install '.[demo]'`. `import bcejax` does not import this module.
"""

from bcejax.plot._calibration import calibration
from bcejax.plot._coefficients import coefficients
from bcejax.plot._path import held_out_loss, path
from bcejax.plot._ranking import precision_recall, roc

__all__ = [
    "calibration",
    "coefficients",
    "held_out_loss",
    "path",
    "precision_recall",
    "roc",
]
