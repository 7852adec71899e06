"""Names beside points and lines, such that they can be read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize

from bcejax.logistic_regression._table import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = 32  # characters of a name that are shown
SMALLEST, LARGEST = 5.0, 11.0  # points that a name is high
LINE = 1.35  # heights of a name from one to the next


def beside_rows(ax: "Axes", names: Sequence[str]) -> None:
    """Names of the rows 0, 1, ... at the left, as small as the height demands."""
    # Matplotlib would read what stands between dollars as mathematics.
    ax.set_yticks(range(len(names)), shortened(names, ROOM), parse_math=False)
    room = height_of(ax) / max(len(names), 1)
    size = np.clip(room / LINE, SMALLEST, LARGEST)
    ax.tick_params("y", labelsize=size, length=0)


def beside_ends(ax: "Axes", ends: np.ndarray, names: Sequence[str], colors) -> None:
    """Names to the right of lines that end there, apart from each other."""
    low, high = ax.get_ylim()
    places = apart(ends, LINE * LARGEST * (high - low) / height_of(ax))
    for name, color, end, place in zip(
        shortened(names, ROOM), colors, ends, places, strict=True
    ):
        ax.annotate(
            name,
            xy=(1, end),
            xytext=(1.03, place),
            xycoords=ax.get_yaxis_transform(),
            textcoords=ax.get_yaxis_transform(),
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6},
            color=color,
            size=LARGEST,
            verticalalignment="center",
            parse_math=False,
            annotation_clip=False,
        )


def height_of(ax: "Axes") -> float:
    """In points, of which 72 are an inch."""
    return ax.get_window_extent().height * 72 / ax.figure.dpi


def apart(wanted: np.ndarray, gap: float) -> np.ndarray:
    """The places nearest to those wanted, in squares, that are `gap` apart.

    In rising order, place i less i·gap must not fall: it is the isotonic regression of
    what is wanted there, less i·gap.
    """
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(wanted.size)
    places = np.empty(wanted.size)
    places[order] = optimize.isotonic_regression(wanted[order] - steps).x + steps
    return places
