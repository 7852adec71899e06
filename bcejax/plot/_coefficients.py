"""Coefficients by name, with intervals."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.typing import ArrayLike

from bcejax.logistic_regression import Coefficient, Summary
from bcejax.plot._axes import REFERENCE, color, host, styled
from bcejax.plot._names import beside_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = 0.27  # of height for a coefficient, in a new figure
FARTHEST = 700.0  # nats, whose exponential is a float


def coefficients(
    summary: Summary,
    *,
    names: Sequence[str] | None = None,
    scale: ArrayLike | None = None,
    odds_ratios: bool = False,
    most: int = 40,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the coefficients of a `Summary` and their intervals, from the top down.

    They are those of the features, in the order of the table; the bias is drawn if
    `names` has it. Of more than `most` those with the largest |z| are drawn. An arrow
    stands at the edge where an interval has no end, or where a coefficient of separated
    data has no optimum; the latter has no point.

    Args:
      summary: of a fit.
      names: which coefficients to draw, in this order. By default all but "bias".
      scale: `(d,)`, positive: by how much each feature varies, such as its standard
        deviations. It multiplies the coefficients, so that they can be compared.
      odds_ratios: whether to draw exp β, on a logarithmic axis.
      most: how many to draw.
      ax: where to draw; by default a new figure, as high as the names need.
    Returns:
      The Axes.
    Raises:
      TypeError: if `summary` is no `Summary`, or `ax` not one Axes.
      ValueError: for a name that is not in the summary, a scale of another shape or
        that is not positive and finite, `most` below 1, or if nothing is to be drawn.
    Example:
      >>> from bcejax.logistic_regression import fit, summary
      >>> from matplotlib.figure import Figure
      >>> x, y = np.array([[0], [0], [1], [1]]), np.array([0, 1, 0, 1])
      >>> counts = np.array([15, 5, 5, 15])
      >>> model = fit(x, y, sample_weight=counts)
      >>> table = summary(model, x, y, sample_weight=counts, names=["treated"])
      >>> ax = coefficients(table, ax=Figure().subplots())
      >>> print(ax.lines[-1].get_xdata(), ax.get_yticklabels()[0].get_text())
      [2.197] treated
    """
    if not isinstance(summary, Summary):
        raise TypeError(
            f"summary must be a Summary, got {type(summary).__name__}: "
            "logistic_regression.summary(model, features, labels) makes one of a fit."
        )
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}.")
    lines = summary.coefficients
    drawn = chosen(lines, names)
    widths, escapes = scale_of(lines, scale), summary.escapes or [0] * len(lines)
    said = "odds ratio" if odds_ratios else "coefficient"
    said += " per unit of scale" * (scale is not None)
    said += f", with {100 * summary.level:.4g}% interval"
    if len(drawn) > most:
        said += f"\n{most} of {len(drawn)}, those with the largest |z|"
        z = np.abs([lines[i].z for i in drawn])
        largest = np.argsort(-np.nan_to_num(z), kind="stable")[:most]
        drawn = [drawn[i] for i in sorted(largest)]
    numbers = np.array([(lines[i].value, lines[i].low, lines[i].high) for i in drawn])
    intervals = numbers.T * widths[drawn]
    with styled(ax, (8, 1.2 + INCHES * len(drawn))) as ax:
        draw_intervals(ax, *intervals, np.array(escapes)[drawn], odds_ratios)
        beside_rows(ax, [lines[i].name for i in drawn])
        ax.set(xlabel=said)
    return ax


def chosen(lines: Sequence[Coefficient], names: Sequence[str] | None) -> list[int]:
    """The places of the coefficients to draw."""
    every = [line.name for line in lines]
    if names is None:
        places = list(range(len(every) - (every[-1] == "bias")))
    else:
        missing = [name for name in names if name not in every]
        if missing:
            raise ValueError(
                f'names must be of coefficients, got "{missing[0]}": there are '
                f"{', '.join(every[:10])}{', …' * (len(every) > 10)}."
            )
        places = [every.index(name) for name in names]
    if not places:
        raise ValueError("names must hold a coefficient, got none to draw.")
    return places


def scale_of(lines: Sequence[Coefficient], scale: ArrayLike | None) -> np.ndarray:
    """What multiplies each coefficient; the bias, if it is there, stays as it is."""
    if scale is None:
        return np.ones(len(lines))
    bias = [1.0] * (lines[-1].name == "bias")
    features = [line.name for line in lines[: len(lines) - len(bias)]]
    return np.append(checked_scale(scale, features), bias)


def checked_scale(scale: ArrayLike, features: Sequence[str]) -> np.ndarray:
    scale = host(scale)
    if scale.shape != (len(features),):
        raise ValueError(
            f"scale must have one value per feature, ({len(features)},), "
            f"got {scale.shape}."
        )
    wrong = ~((scale > 0) & np.isfinite(scale))
    if np.any(wrong):
        place = int(np.argmax(wrong))
        raise ValueError(
            f"scale must be positive and finite, got {scale[place]} for "
            f'"{features[place]}": a constant column has no standard deviation.'
        )
    return scale


def draw_intervals(
    ax: "Axes", value, low, high, escapes: ArrayLike = 0, odds_ratios: bool = False
) -> None:
    """Points and intervals, all in nats, from the top down."""
    escapes = np.broadcast_to(escapes, value.shape)
    value, low, high = (np.where(escapes == 0, a, np.nan) for a in (value, low, high))
    left, right = edges_of(value, low, high)
    shown: Callable = np.exp if odds_ratios else np.asarray
    if odds_ratios:
        use_odds(ax)
    place = np.arange(len(value))
    ax.axvline(shown(0.0), **REFERENCE)
    ends = (shown(np.clip(end, left, right)) for end in (low, high))
    ax.hlines(place, *ends, color=color(0))
    for sign, edge, marker, end in ((-1, left, "<", low), (1, right, ">", high)):
        runs = f"no optimum: {'−+'[sign > 0]}∞"
        for k, at, label in (
            (0, place[end == sign * np.inf], None),
            (1, place[escapes == sign], runs),
        ):
            look: dict[str, Any] = {"color": color(k), "clip_on": False, "label": label}
            if at.size:
                ax.plot(np.full(at.size, shown(edge)), at, marker, **look)
    if np.any(escapes):
        ax.legend()
    ax.plot(shown(value), place, "o", color=color(0))
    ax.set(xlim=(shown(left), shown(right)), ylim=(max(len(value), 1) - 0.5, -0.5))


def edges_of(value, low, high) -> tuple[float, float]:
    """Where the axis begins and ends: around 0 and all numbers that are finite."""
    every = np.concatenate([[0.0], value, low, high])
    every = np.clip(every[np.isfinite(every)], -FARTHEST, FARTHEST)
    air = 0.04 * (np.ptp(every) or 1.0)
    return np.min(every) - air, np.max(every) + air


def use_odds(ax: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
