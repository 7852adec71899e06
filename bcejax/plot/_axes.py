"""Where a function draws: the caller's Axes or those of a new figure, in our style."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# How the lines look that a curve is compared with.
REFERENCE: dict[str, Any] = {"color": "black", "linewidth": 0.8}


@contextmanager
def styled(ax: "Axes | None", size: tuple[float, float]) -> "Iterator[Axes]":
    """Axes to draw into, and the package's style while that is done.

    `size` is that of a new figure, in inches.
    """
    style = style_of_matplotlib()
    if ax is not None and not hasattr(ax, "has_data"):
        raise TypeError(
            f"ax must be one matplotlib Axes, got {type(ax).__name__}: of several, as "
            "plt.subplots(1, 2) makes them, choose one."
        )
    with style.context("bcejax.pictures"):
        if ax is None:
            from matplotlib import pyplot

            _, ax = pyplot.subplots(figsize=size)
        if not ax.has_data():
            dress(ax)
        yield ax


def style_of_matplotlib():
    try:
        from matplotlib import style
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "bcejax.plot draws with matplotlib, which the extra demo brings: "
            "pip install '.[demo]'.",
            name=error.name,
        ) from error
    return style


def dress(ax: "Axes") -> None:
    """Give Axes the style that is in force, which may not be that they were made in.

    Of new Axes, too, since matplotlib makes ticks when it needs them: those made after
    the style has ended would have the sizes of the caller's.
    """
    from matplotlib import rcParams

    ax.set_prop_cycle(None)
    for side in ("top", "right"):
        ax.spines[side].set_visible(rcParams[f"axes.spines.{side}"])
    look: dict[str, Any] = {
        "alpha": rcParams["grid.alpha"],
        "color": rcParams["grid.color"],
    }
    ax.grid(rcParams["axes.grid"], linewidth=rcParams["grid.linewidth"], **look)
    ax.set_axisbelow(True)
    ax.title.set_size(rcParams["axes.titlesize"])
    for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
        axis.label.set_size(rcParams["axes.labelsize"])
        axis.set_tick_params(labelsize=rcParams[f"{name}tick.labelsize"])


def color(k: int) -> str:
    """That of the style in force; "C0" would be looked up when the figure is drawn."""
    from matplotlib.colors import to_hex

    return to_hex(f"C{k}")


def is_drawn(ax: "Axes", label: str) -> bool:
    """Whether a line of this label is there, as of the first of several models."""
    return any(line.get_label() == label for line in ax.lines)


def host(array) -> np.ndarray:
    """On the host, in float64, in which matplotlib computes."""
    return np.asarray(array, np.float64)
