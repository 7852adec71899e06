"""The picture of a fit: how it went, and whether it can be trusted."""

from pathlib import Path
from statistics import NormalDist

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure

from bcejax import plot
from bcejax._cli import output
from bcejax._cli.dataset import Dataset
from bcejax._cli.model import Model
from bcejax.plot._coefficients import draw_intervals
from bcejax.plot._names import beside_rows

SHOWN = 20  # coefficients
ENDINGS = [f".{kind}" for kind in Figure().canvas.get_supported_filetypes()]


@style.context("bcejax.pictures")
def draw(path: Path, data: Dataset, excess=()) -> None:
    """Draw calibration, coefficients and how far each step was above the optimum."""
    figure = Figure(figsize=(16.5 if len(excess) else 11, 5))
    panels = figure.subplots(1, 3 if len(excess) else 2)
    _calibration(panels[0], data)
    _coefficients(panels[1], data.model)
    for panel in panels[2:]:
        panel.plot(np.maximum(np.abs(excess), 1e-16), color="C0")  # as rounding ends it
        panel.set(title="Training", xlabel="step", yscale="log")
        panel.set(ylabel="training loss − optimum, nats")
    with output.complete(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower())


def _calibration(panel, data: Dataset) -> None:
    part, rows = ("test", data.scored(True)) if data.test else ("training", None)
    rows = rows or data.scored(False)
    plot.calibration(
        rows.logits, rows.labels, weights=rows.weight, label="this fit", ax=panel
    )
    panel.set(title=f"Calibration on the {part} rows")


def _coefficients(panel, model: Model) -> None:
    """Coefficients per standard deviation, so that all columns share an axis."""
    largest = model.largest(SHOWN)
    value = model.per_deviation()[largest]
    errors = model.column("standard_error") * model.column("scale")
    reach = NormalDist().inv_cdf(0.975) * errors[largest]
    draw_intervals(panel, value, value - reach, value + reach)
    beside_rows(panel, [model.features[i].name for i in largest])
    panel.set(xlabel="change of the logit per standard deviation")
    panel.set(title="Largest coefficients, with 95% intervals")
