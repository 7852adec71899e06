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
import numpy as np

from bcejax.logistic_regression._fingerprint import Fingerprint
from bcejax.logistic_regression._scaling import moments
from bcejax.logistic_regression._stream import Rows, Stream, without_penalty


class Survey(NamedTuple):
    """What the first pass has found."""

    fingerprint: Fingerprint
    weight: float  # Σ w
    mean: np.ndarray  # (d,), float64
    deviation: np.ndarray  # (d,), float64
    weighted: bool
    shifted: bool


def survey(stream: Stream, fit_intercept: bool) -> Survey:
    columns = stream.columns
    weight, mean, deviation = 0.0, np.zeros(columns), np.zeros(columns)
    for chunk in stream.chunks():
        found = moments_of_rows(chunk.rows, fit_intercept)
        mean_here, deviation_here = (np.asarray(a, np.float64) for a in found)
        weight += chunk.weight
        b = chunk.weight / weight
        gap = mean_here - mean
        mean = mean + b * gap
        deviation = np.hypot(
            np.hypot(np.sqrt(1 - b) * deviation, np.sqrt(b) * deviation_here),
            np.sqrt(b * (1 - b)) * gap,
        )
    if not 0 < weight < np.inf:
        raise ValueError(
            f"the weights of all batches must have a positive finite sum, got {weight}."
        )
    assert stream.known is not None  # since the pass is at its end
    options = stream.source.weighted, stream.source.shifted
    return Survey(stream.known, weight, mean, deviation, *options)


@partial(jax.jit, static_argnames="fit_intercept")
def moments_of_rows(rows: Rows, fit_intercept: bool):
    return moments(without_penalty(rows), fit_intercept)
