"""Calibration: what was predicted and what came, and how surely that is known."""

from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike
from scipy import special

from bcejax import metrics
from bcejax._host import real_array
from bcejax.plot._axes import REFERENCE, host, is_drawn, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS, FEWEST, MOST = 15, 2, 10  # rows for each bin by default, and how many bins
RARE = 0.5  # all points and intervals below it, the axes end with them
BARS = 50  # of the histogram
BAND = 0.16  # of the height of the picture, below 0, is for the histogram


def calibration(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    bins: int | None = None,
    strategy: str = "quantile",
    level: float = 0.95,
    label: str = "model",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw `metrics.calibration` with an interval for each bin, and a histogram.

    A point has the mean probability of a bin and its share of positives. Its interval
    is Wilson's, of that share: of a calibrated model some `level` of them meet the
    diagonal. Weights count rows there: those that are no counts should have the number
    of rows for their sum. The band below 0 has the histogram of the probabilities. The
    axes end at 1, or with the largest point or interval if that is below ½, so that
    rare events are seen.

    Args:
      logits, labels, weights: as in `metrics.calibration`.
      bins: how many; by default one for 15 rows, and 2 to 10.
      strategy: "quantile" for bins of equal weight, or "uniform" for equal width.
      level: of the intervals, between 0 and 1.
      label: what the legend calls the classifier.
      ax: where to draw; by default a new figure.
    Returns:
      The Axes.
    Raises:
      TypeError: if `ax` is not one Axes.
      ValueError: if a logit is NaN, `level` is not between 0 and 1, or
        `metrics.calibration` refuses the rows or the bins.
    Example:
      >>> from matplotlib.figure import Figure
      >>> x, y = np.array([-2.0, -1, 1, 2]), np.array([0, 0, 1, 1])
      >>> ax = calibration(x, y, ax=Figure().subplots())
      >>> points = ax.lines[1]
      >>> print(points.get_xdata(), points.get_ydata())
      [0.1941 0.8059] [0. 1.]

    Reference:
      E. B. Wilson, Probable inference, the law of succession, and statistical
      inference, J. Am. Stat. Assoc. 22 (1927), 209-212.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}: 0.95 is 95%.")
    logits = real_array(logits, "logits")
    if bins is None:
        bins = int(np.clip(logits.size // ROWS, FEWEST, MOST))
    found = metrics.calibration(
        logits, labels, weights=weights, bins=bins, strategy=strategy
    )
    if np.all(np.isnan(found.weight)):
        raise ValueError("logits must not be NaN, but some are: they are in no bin.")
    there = host(found.weight) > 0
    predicted, observed, count = (host(a)[there] for a in found)
    low, high = wilson(observed, count, level)
    with styled(ax, (5.5, 5.5)) as ax:
        if not is_drawn(ax, "perfect"):
            ax.axline((0, 0), slope=1, label="perfect", **REFERENCE)
        (line,) = ax.plot(predicted, observed, "o-", label=label)
        color = line.get_color()
        ax.vlines(predicted, low, high, color=color, linewidth=1.5, alpha=0.6)
        end = max(ax.dataLim.x1, ax.dataLim.y1)
        end = end if end < RARE else 1.0
        histogram(ax, special.expit(host(logits)), weights, end, color)
        leave_a_band(ax, end)
        ax.set(xlabel="predicted probability", ylabel="observed share of label 1")
        ax.legend(loc="upper left")
    return ax


def wilson(share: np.ndarray, count: np.ndarray, level: float):
    """Wilson's interval: all p for which |share − p| ≤ z √(p(1 − p)/count)."""
    z = special.ndtri((1 + level) / 2)
    shrunk = 1 + z**2 / count
    middle = (share + z**2 / (2 * count)) / shrunk
    reach = z / shrunk * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    # The ends of no positives, 0, and of nothing else, 1, are so up to their rounding.
    return np.clip(middle - reach, 0, share), np.clip(middle + reach, share, 1)


def histogram(ax: "Axes", probs: np.ndarray, weights, end: float, color: str) -> None:
    weights = np.broadcast_to(host(1 if weights is None else weights), probs.shape)
    height, edges = np.histogram(probs, BARS, (0, end), weights=weights)
    # As high as the band below 0, but for some air, whatever the limits of y are.
    ax.stairs(
        0.85 * BAND * height / np.max(height),
        edges,
        fill=True,
        color=color,
        alpha=0.35,
        transform=ax.get_xaxis_transform(),
    )


def leave_a_band(ax: "Axes", end: float) -> None:
    """Limits from 0 to the end, with room for the points there and for the band."""
    from matplotlib.ticker import MaxNLocator

    air = 0.02 * end
    bottom = (0 - BAND * (end + air)) / (1 - BAND)
    ax.set(xlim=(-air, end + air), ylim=(bottom, end + air))
    ticks = np.asarray(MaxNLocator(5).tick_values(0, end))
    ticks = ticks[(ticks >= 0) & (ticks <= end + air)]
    ax.set(xticks=ticks, yticks=ticks)
    ax.axhline(0, color="black", linewidth=0.4)
