"""The demo's picture: how the fit went, whether it can be trusted, and why bcejax."""

import os
from pathlib import Path
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.calibration import calibration_curve

from bcejax import bce_with_logits
from bcejax._cli.whole import whole

OURS, THEIRS, OTHER = "C0", "C1", "C6"  # of the style
EFFECTS = 20  # coefficients that are drawn


def check_path(path: Path) -> None:
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise OSError(f"--plot {path}: the ending must be one of {', '.join(formats)}")
    if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise OSError(f"--plot {path}: cannot write there")


@style.context("bcejax.pictures")
def draw(path: Path, losses, optimum: float | None, probs, labels) -> None:
    """Write the four panels to `path`, whole or not at all."""
    figure = Figure(figsize=(11, 8))
    (training, calibration), (loss, gradient) = figure.subplots(2, 2)
    _training(training, losses, optimum)
    _calibration(calibration, probs, labels)
    _loss(loss)
    _gradient(gradient)
    _save(path, figure, (training, calibration, loss, gradient))


@style.context("bcejax.pictures")
def draw_model(path: Path, predictions, coefficients) -> None:
    """Write calibration and coefficients to `path`, whole or not at all."""
    figure = Figure(figsize=(11, 5))
    calibration, effects = figure.subplots(1, 2)
    _calibration(calibration, *predictions)
    _effects(effects, *coefficients)
    _save(path, figure, (calibration, effects))


def _save(path: Path, figure: Figure, panels) -> None:
    for panel in panels:
        if panel.get_legend_handles_labels()[0]:
            panel.legend()
    with whole(path) as unfinished:
        figure.savefig(unfinished)


def _training(panel, losses, optimum) -> None:
    if optimum is None:
        panel.set(ylabel="training loss, nats")
        panel.plot(losses, color=OURS)
    else:
        # What rounding leaves above or below the float64 optimum shows as the floor.
        panel.set(ylabel="training loss − optimum, nats")
        panel.plot(np.maximum(np.abs(losses - optimum), 1e-16), color=OURS)
    panel.set(title="Training", xlabel="step", yscale="log")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _calibration(panel, probs, labels, part: str = "test") -> None:
    bins = int(np.clip(len(probs) // 15, 2, 10))
    observed, predicted = calibration_curve(
        np.asarray(labels), probs, n_bins=bins, strategy="quantile"
    )
    counts = panel.twinx()
    counts.hist(probs, bins=20, range=(0, 1), color=OTHER, alpha=0.35)
    counts.set(ylabel=f"{part} rows, grey", yscale="log")
    counts.grid(False)
    panel.set_zorder(counts.get_zorder() + 1)
    panel.set_frame_on(False)
    panel.plot([0, 1], [0, 1], color="black", linewidth=0.8, label="perfect")
    panel.plot(predicted, observed, "o-", color=OURS, label="this fit")
    panel.set(
        title=f"Calibration on the {part} rows",
        xlabel="predicted probability",
        ylabel="observed share of label 1",
    )
    panel.xaxis.set_major_formatter(PercentFormatter(1))
    panel.yaxis.set_major_formatter(PercentFormatter(1))


def _effects(panel, names, coefficients, errors, scales) -> None:
    # Per standard deviation: columns of any unit on one axis.
    size = coefficients * scales
    largest = np.argsort(-np.abs(size), kind="stable")[:EFFECTS][::-1]
    place = np.arange(len(largest))
    reach = None
    if errors is not None:
        reach = NormalDist().inv_cdf(0.975) * (errors * scales)[largest]
        reach = np.where(np.isfinite(reach), reach, 0)
    panel.axvline(0, color="black", linewidth=0.8)
    panel.errorbar(size[largest], place, xerr=reach, fmt="o", color=OURS)
    panel.set_yticks(place, [_short(names[i]) for i in largest])
    interval = "" if errors is None else ", with 95% intervals"
    first = (
        f"The {EFFECTS} largest coefficients"
        if len(names) > EFFECTS
        else "Coefficients"
    )
    panel.set(
        title=f"{first}{interval}",
        xlabel="change of the logit per standard deviation",
    )


def _short(name: str) -> str:
    # Matplotlib would read what stands between dollars as mathematics.
    name = name.replace("$", r"\$")
    return name if len(name) <= 24 else name[:23] + "…"


def _textbook(x):
    return -jnp.log(1 / (1 + jnp.exp(-x)))


def _loss(panel) -> None:
    x = jnp.linspace(-120, 120, 961, dtype=jnp.float32)
    textbook = np.asarray(_textbook(x))
    panel.plot(
        x, bce_with_logits(x, 1), color=OURS, linewidth=5, alpha=0.5, label="bcejax"
    )
    panel.plot(x, textbook, color=THEIRS, label="textbook −log(1/(1 + exp(−x)))")
    broken = float(x[np.isfinite(textbook)].min())
    panel.axvspan(-120, broken, color=THEIRS, alpha=0.12, linewidth=0)
    panel.text(broken - 3, 30, "textbook: ∞", color=THEIRS, rotation=90, ha="right")
    panel.set(
        title="Loss of a logit whose label is 1 (float32)",
        xlabel="logit",
        ylabel="nats",
    )


def _gradient(panel) -> None:
    x = jnp.linspace(-120, 120, 961, dtype=jnp.float32)
    ours = jax.vmap(jax.grad(lambda x: bce_with_logits(x, 1)))(x)
    textbook = jax.vmap(jax.grad(_textbook))(x)
    short = 1 / (1 + jnp.exp(-x)) - 1

    def size(gradient):
        gradient = np.abs(np.asarray(gradient))
        return np.where(gradient > 0, gradient, np.nan)

    panel.plot(x, size(ours), color=OURS, linewidth=5, alpha=0.5, label="bcejax")
    panel.plot(x, size(textbook), color=THEIRS, label="textbook, by jax.grad")
    panel.plot(x, size(short), color="black", linestyle=":", label="σ(x) − y")
    dead = float(x[np.isfinite(size(short))].max())
    panel.axvspan(dead, 88, color="black", alpha=0.06, linewidth=0)
    panel.text(dead + 4, 1e-3, "σ(x) − y: exactly 0", ha="left")
    lost = float(x[np.isfinite(size(textbook))].min())
    panel.axvspan(-120, lost, color=THEIRS, alpha=0.12, linewidth=0)
    panel.text(-82, 1e-12, "textbook: NaN, then 0", color=THEIRS, ha="center")
    panel.set(
        title="Size of its gradient (float32)",
        xlabel="logit",
        ylabel="|∂ loss / ∂ logit|",
        yscale="log",
        ylim=(1e-39, 10),
    )
