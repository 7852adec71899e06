"""Pictures of a fit: how it went, and whether it can be trusted."""

from pathlib import Path
from statistics import NormalDist

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bcejax import metrics, sigmoid
from bcejax._cli import output

EFFECTS = 20  # coefficients that are drawn
ENDINGS = [f".{kind}" for kind in Figure().canvas.get_supported_filetypes()]


@style.context("bcejax.pictures")
def draw(path: Path, *panels) -> None:
    """Write a picture of panels side by side, each filled by a function."""
    figure = Figure(figsize=(5.5 * len(panels), 5))
    for panel, fill in zip(figure.subplots(1, len(panels)), panels, strict=True):
        fill(panel)
    with output.complete(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower())


def training(panel, losses, optimum: float) -> None:
    # Rounding may leave the loss below the optimum; the floor is where it does.
    above = np.maximum(np.abs(np.subtract(losses, optimum)), 1e-16)
    panel.plot(above, color="C0")
    panel.set(title="Training", xlabel="step", ylabel="training loss − optimum, nats")
    panel.set(yscale="log")


def calibration(panel, logits, labels, weights=None, part: str = "test") -> None:
    bins = int(np.clip(len(labels) // 15, 2, 10))
    curve = metrics.calibration(
        logits, labels, weights=weights, bins=bins, strategy="quantile"
    )
    counts = panel.twinx()
    counts.hist(np.asarray(sigmoid(logits)), 20, (0, 1), color="C6", alpha=0.35)
    counts.set(ylabel=f"{part} rows, grey", yscale="log")
    counts.grid(False)
    panel.set_zorder(counts.get_zorder() + 1)
    panel.set_frame_on(False)
    panel.plot([0, 1], [0, 1], color="black", linewidth=0.8, label="perfect")
    panel.plot(curve.predicted, curve.observed, "o-", color="C0", label="this fit")
    panel.set(title=f"Calibration on the {part} rows")
    panel.set(xlabel="predicted probability", ylabel="observed share of label 1")
    panel.xaxis.set_major_formatter(PercentFormatter(1))
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.legend()


def coefficients(panel, names, sizes, errors) -> None:
    """Coefficients per standard deviation, so that all columns share an axis."""
    largest = np.argsort(-np.abs(sizes), kind="stable")[:EFFECTS][::-1]
    reach = NormalDist().inv_cdf(0.975) * np.asarray(errors)[largest]
    place = np.arange(len(largest))
    panel.axvline(0, color="black", linewidth=0.8)
    finite = np.where(np.isfinite(reach), reach, 0)
    panel.errorbar(sizes[largest], place, xerr=finite, fmt="o", color="C0")
    panel.set_yticks(place, [_short(names[i]) for i in largest])
    which = f"The {EFFECTS} largest c" if len(names) > EFFECTS else "C"
    panel.set(title=f"{which}oefficients, with 95% intervals")
    panel.set(xlabel="change of the logit per standard deviation")


def _short(name: str) -> str:
    # Matplotlib would read what stands between dollars as mathematics.
    name = name.replace("$", r"\$")
    return name if len(name) <= 24 else name[:23] + "…"
