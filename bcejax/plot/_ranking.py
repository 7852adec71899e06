"""ROC curves, and precision over recall."""

from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike

from bcejax import metrics
from bcejax.plot._axes import REFERENCE, host, is_drawn, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL = 2000  # points of a curve that are all drawn
GRID = 1000  # steps from 0 to 1, finer than a pixel, that are enough of more points


def roc(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    label: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw `metrics.roc_curve`, with its area in the legend.

    logits, labels and weights, their shapes and errors are those of `metrics.roc_auc`.
    Of more than 2000 rows the curve has one point for each thousandth of an axis.

    Args:
      label: what the legend calls the classifier.
      ax: where to draw; by default a new figure.
    Returns:
      The Axes.
    Raises:
      TypeError: if `ax` is not one Axes.
      ValueError: if the rows that count are of one class only, or a logit is NaN.
    Example:
      >>> from matplotlib.figure import Figure
      >>> x, y = np.array([-1.0, 0.5, 0.5, 2]), np.array([0, 0, 1, 1])
      >>> ax = roc(x, y, label="fit", ax=Figure().subplots())
      >>> print(ax.get_legend().get_texts()[0].get_text())
      fit, area 0.875
    """
    curve = metrics.roc_curve(logits, labels, weights=weights)
    wrong, right = map(host, curve[:2])
    refuse_without(curve.threshold, {"negative": wrong, "positive": right})
    # The trapezoids below a curve that is straight across ties are its area.
    area = np.sum(np.diff(wrong) * (right[1:] + right[:-1]) / 2)
    with styled(ax, (5, 5)) as ax:
        ax.plot(*thinned(wrong, right), label=named(label, f"area {area:.3f}"))
        if not is_drawn(ax, "chance"):
            ax.plot([0, 1], [0, 1], "--", label="chance", zorder=1, **REFERENCE)
        ax.set(xlabel="false positive rate", ylabel="true positive rate")
        as_square(ax, "lower right")
    return ax


def precision_recall(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    label: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw `metrics.precision_recall`, with the average precision in the legend.

    The area below the steps is `metrics.average_precision`. The dashed line is the
    precision of chance, the share of positives. Arguments and errors are those of
    `roc`, but for rows that are all positive, of which there is a curve.

    Returns:
      The Axes.
    Example:
      >>> from matplotlib.figure import Figure
      >>> x, y = np.array([-1.0, 0.5, 2]), np.array([0, 1, 0])
      >>> ax = precision_recall(x, y, ax=Figure().subplots())
      >>> print([text.get_text() for text in ax.get_legend().get_texts()])
      ['average precision 0.500', 'chance, 0.333']
    """
    curve = metrics.precision_recall(logits, labels, weights=weights)
    precision, recall = map(host, curve[:2])
    refuse_without(curve.threshold, {"positive": recall})
    average, share = np.sum(np.diff(recall) * precision[1:]), precision[-1]
    chance = f"chance, {share:.3g}"
    with styled(ax, (5, 5)) as ax:
        ax.plot(
            *thinned(recall, precision),
            drawstyle="steps-pre",  # between two recalls the precision of the larger
            label=named(label, f"average precision {average:.3f}"),
        )
        if not is_drawn(ax, chance):
            ends = [share, share]
            ax.plot([0, 1], ends, "--", label=chance, zorder=1, **REFERENCE)
        ax.set(xlabel="recall", ylabel="precision")
        as_square(ax, "best")
    return ax


def refuse_without(threshold, rates: dict[str, np.ndarray]) -> None:
    if np.any(np.isnan(threshold)):
        raise ValueError("logits must not be NaN, but some are: there is no curve.")
    for kind, rate in rates.items():
        if np.any(np.isnan(rate)):
            raise ValueError(
                f"labels must have a {kind} row among those that count, got none: "
                "without one there is no curve."
            )


def thinned(*curve: np.ndarray) -> list[np.ndarray]:
    """The points of a curve in the unit square, or those that can be told apart.

    Each point that is left out has one before it, left in, that is at most 1/GRID away
    along either axis. A picture of a million rows is then a file of some kilobytes.
    """
    if curve[0].size <= ALL:
        return list(curve)
    cells = np.floor(GRID * np.stack(curve))
    kept = np.append(True, np.any(np.diff(cells) != 0, axis=0))
    kept[-1] = True
    return [values[kept] for values in curve]


def named(label: str | None, figure: str) -> str:
    return figure if label is None else f"{label}, {figure}"


def as_square(ax: "Axes", place: str) -> None:
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.legend(loc=place)
