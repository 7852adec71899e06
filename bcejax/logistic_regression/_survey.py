"""The first pass over batches: total weight, coordinates, and what tells the data.

The moments of a chunk are those of `_scaling`. The host puts them together in float64.
With a and b the shares of two parts in their weight, and Δ the distance of their means,

    mean  =  mean₁ + b Δ,    deviation²  =  a deviation₁² + b deviation₂² + a b Δ²,

a sum of squares in which nothing cancels (Chan, Golub and LeVeque 1983).

Reference:
  T. F. Chan, G. H. Golub and R. J. LeVeque, Algorithms for computing the sample
  variance: analysis and recommendations, The American Statistician 37 (1983), 242-247.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bcejax.logistic_regression._fingerprint import Fingerprint
from bcejax.logistic_regression._objective import objective
from bcejax.logistic_regression._problem import Params
from bcejax.logistic_regression._scaling import moments
from bcejax.logistic_regression._stream import Rows, Stream, without_penalty


class Moments(NamedTuple):
    """Of the columns of some rows, on the host, in float64."""

    weight: float  # Σ w
    mean: np.ndarray  # (d,)
    deviation: np.ndarray  # (d,)

    @staticmethod
    def of_none(columns: int) -> "Moments":
        return Moments(0.0, np.zeros(columns), np.zeros(columns))

    @staticmethod
    def of(weight, mean, deviation) -> "Moments":
        wide = (np.asarray(a, np.float64) for a in (mean, deviation))
        return Moments(float(weight), *wide)

    def also(self, other: "Moments") -> "Moments":
        """Those of both parts."""
        weight = self.weight + other.weight
        if other.weight == 0:
            return self
        b = other.weight / weight
        gap = other.mean - self.mean
        parts = np.sqrt(1 - b) * self.deviation, np.sqrt(b) * other.deviation
        between = np.sqrt(b * (1 - b)) * gap
        return Moments(weight, self.mean + b * gap, np.hypot(np.hypot(*parts), between))


class Survey(NamedTuple):
    """What the first pass has found."""

    fingerprint: Fingerprint
    weight: float  # Σ w
    mean: np.ndarray  # (d,), float64
    deviation: np.ndarray  # (d,), float64
    losses: np.ndarray  # (2,), without the penalty, at the start and at zeros
    weighted: bool
    shifted: bool

    def also(self, other: "Survey") -> "Survey":
        """That of both parts."""
        both = self.moments.also(other.moments)
        part = other.weight / both.weight if both.weight else 0.0
        return Survey(
            self.fingerprint.also(other.fingerprint),
            *both,
            (1 - part) * self.losses + part * other.losses,
            bool(self.weighted or other.weighted),
            bool(self.shifted or other.shifted),
        )

    @property
    def moments(self) -> Moments:
        return Moments(self.weight, self.mean, self.deviation)


def survey(stream: Stream, start: Params, fit_intercept: bool) -> Survey:
    found, losses = Moments.of_none(stream.columns), np.zeros(2)
    for chunk in stream.chunks():
        *here, losses_here = what_rows_show(chunk.rows, start, fit_intercept)
        found = found.also(Moments.of(chunk.weight, *here))
        losses += chunk.weight * np.float64(losses_here)
    assert stream.known is not None  # since the pass is at its end
    options = stream.source.weighted, stream.source.shifted
    mean_losses = losses / (found.weight or 1)
    seen = stream.everywhere(Survey(stream.known, *found, mean_losses, *options))
    check_weight(seen.weight)
    return seen


def check_weight(weight: float) -> None:
    if not 0 < weight < np.inf:
        raise ValueError(
            f"the weights of all batches must have a positive finite sum, got {weight}."
        )


@partial(jax.jit, static_argnames="fit_intercept")
def what_rows_show(rows: Rows, start: Params, fit_intercept: bool):
    """Mean and deviation of the columns, and the losses at the start and at zeros."""
    data = without_penalty(rows)
    zeros = jax.tree.map(jnp.zeros_like, start)
    losses = jnp.stack([objective(params, data) for params in (start, zeros)])
    return *moments(data, fit_intercept), losses
