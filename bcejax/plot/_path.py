"""The regularisation path: coefficients, and what they are worth, over the penalty."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike

from bcejax.logistic_regression import MultinomialFit, Path
from bcejax.plot._axes import REFERENCE, host, styled
from bcejax.plot._coefficients import checked_scale
from bcejax.plot._names import beside_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PENALTY = "penalty l2"


def path(
    found: Path,
    *,
    names: Sequence[str] | None = None,
    scale: ArrayLike | None = None,
    most: int = 7,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the coefficients of a `Path`, from the largest penalty to the smallest.

    Those that are largest at the smallest penalty are coloured and named, the others
    are grey. The names stand to the right of the Axes, where `layout="constrained"` of
    a figure makes room for them. A dashed line stands at the penalty that is best on
    held-out rows; a new figure then has `held_out_loss` below the coefficients.

    Args:
      found: what `fit_path` returns. Penalties that it has not come to are left out. Of
        penalties `(penalties, d)` the largest of each fit is taken for the axis.
      names: of the d features; by default those of the table that was fitted, or x0,
        x1, ...
      scale: `(d,)`, as in `coefficients`.
      most: how many to name.
      ax: where to draw; by default a new figure.
    Returns:
      The Axes of the coefficients.
    Raises:
      TypeError: if `found` is no `Path`, or `ax` not one Axes.
      ValueError: if `found` is several paths, as `vmap` makes them, or `names` or
        `scale` are not d.
    Example:
      >>> from bcejax.logistic_regression import fit_path
      >>> from matplotlib.figure import Figure
      >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 1, 0, 1])
      >>> found = fit_path(x, y, [1.0, 0.1, 0.01], held_out=(x, y))
      >>> ax = path(found, ax=Figure().subplots())
      >>> print(ax.lines[1].get_ydata(), ax.texts[0].get_text())
      [0.191 0.637 0.868] x0
    """
    penalty, order = penalties(found)
    lines, names = lines_of(found, order, names, scale)
    both = ax is None and found.held_out_loss is not None
    with styled(ax, (8, 6.5 if both else 5)) as ax:
        if both:
            held_out_loss(found, ax=panel_below(ax))
        else:
            ax.set(xlabel=PENALTY)
        ax.set(ylabel="coefficient" + " × scale" * (scale is not None))
        ax.axhline(0, **REFERENCE)
        draw(ax, penalty, lines, names, most)
        if found.best is not None:
            best = sizes(found)[int(found.best)]
            ax.axvline(best, linestyle="--", **REFERENCE)
    return ax


def held_out_loss(
    found: Path, *, label: str | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Draw what each penalty of a `Path` is worth on the held-out rows.

    The penalty falls from left to right, as in `path`. A point is at the best one.

    Args:
      found: what `fit_path` returns with `held_out`.
      label: what a legend calls the path; without it there is none.
      ax: where to draw; by default a new figure.
    Returns:
      The Axes.
    Raises:
      TypeError: if `found` is no `Path`, or `ax` not one Axes.
      ValueError: if `found` is several paths, or has had no held-out rows.
    Example:
      >>> from bcejax.logistic_regression import fit_path
      >>> from matplotlib.figure import Figure
      >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 1, 0, 1])
      >>> found = fit_path(x, y, [1.0, 0.1, 0.01], held_out=(x, y))
      >>> print(held_out_loss(found, ax=Figure().subplots()).lines[0].get_ydata())
      [0.651 0.595 0.587]
    """
    penalty, order = penalties(found)
    if found.held_out_loss is None or found.best is None:
        raise ValueError(
            "found must have the losses of held-out rows: give fit_path such rows, "
            "held_out=(features, labels)."
        )
    loss, best = host(found.held_out_loss), int(found.best)
    with styled(ax, (8, 4)) as ax:
        (line,) = ax.plot(penalty, loss[order], label=label)
        ax.plot(sizes(found)[best], loss[best], "o", color=line.get_color())
        falling(ax)
        ax.set(xlabel=PENALTY, ylabel="held-out loss, nats")
        if label is not None:
            ax.legend()
    return ax


def penalties(found: Path) -> tuple[np.ndarray, np.ndarray]:
    """The penalties that the loop came to, the largest first, and their places."""
    if not isinstance(found, Path):
        raise TypeError(
            f"found must be a Path, got {type(found).__name__}: "
            "logistic_regression.fit_path makes one."
        )
    if np.ndim(found.reached) != 1:
        raise ValueError(
            f"found must be one path, got {np.shape(found.reached)[:-1]} of them: "
            "jax.tree.map(lambda a: a[0], found) is the first."
        )
    size = sizes(found)
    order = np.argsort(-size, kind="stable")
    order = order[np.asarray(found.reached)[order]]
    return size[order], order


def sizes(found: Path) -> np.ndarray:
    return host(found.models.l2).reshape(len(found.reached), -1).max(axis=1)


def lines_of(found: Path, order, names, scale) -> tuple[np.ndarray, list[str]]:
    """`(penalties, coefficients)`, one column a line, and the names of the lines."""
    weights = host(found.models.weights)[order]
    d = weights.shape[1]
    if names is None:
        names = found.models.options.columns or [f"x{i}" for i in range(d)]
    if len(names) != d:
        raise ValueError(
            f"names must hold one name per feature, {d}, got {len(names)}."
        )
    scale = np.ones(d) if scale is None else checked_scale(scale, names)
    if not isinstance(found.models, MultinomialFit):
        return weights * scale, list(names)
    classes = range(weights.shape[2])
    lines = (weights * scale[:, None]).reshape(len(weights), -1)
    return lines, [f"{name}, class {k}" for name in names for k in classes]


def draw(ax: "Axes", penalty: np.ndarray, lines, names, most: int) -> None:
    from matplotlib.collections import LineCollection

    largest = np.argsort(-np.abs(lines[-1]), kind="stable")
    named, others = largest[:most], largest[most:]
    rest = [np.stack([penalty, lines[:, i]], axis=1) for i in others]
    ax.add_collection(LineCollection(rest, color="0.8", linewidth=0.6, zorder=1.5))
    look = "-" if len(penalty) > 1 else "o"
    colors = [ax.plot(penalty, lines[:, i], look)[0].get_color() for i in named]
    falling(ax)
    ax.autoscale_view(scalex=False)
    beside_ends(ax, lines[-1, named], [names[i] for i in named], colors)


def falling(ax: "Axes") -> None:
    """An axis from the largest penalty down to the smallest, logarithmic but at 0."""
    small, large = ax.dataLim.intervalx
    least = ax.dataLim.minposx
    if small > 0:
        ax.set_xscale("log")
    elif large > 0:
        ax.set_xscale("symlog", linthresh=least, linscale=0.5)
    ax.set_xlim(large, small) if large > small else ax.margins(x=0.5)


def panel_below(ax: "Axes") -> "Axes":
    """Of Axes that fill a figure: part of their room, with the same horizontal axis."""
    figure = ax.figure
    grid = figure.add_gridspec(2, 1, height_ratios=(2.2, 1))
    ax.set_subplotspec(grid[0])
    ax.tick_params("x", labelbottom=False)
    return figure.add_subplot(grid[1], sharex=ax)
