"""The covariance of the coefficients in passes over batches, and the sums of a summary.

Three passes: the curvatures and what weighs the columns by them, the information, and
the information again in a basis in which it keeps its digits. One more for a sandwich.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bcejax._bce import bce_dx
from bcejax.logistic_regression._design import (
    Design,
    design_of,
    factor_of,
    information_of_penalty,
    information_of_rows,
    inverse_root,
    scores_of_rows,
    variance_of,
)
from bcejax.logistic_regression._likelihood import Tally
from bcejax.logistic_regression._objective import curvature_of_rows, logits_of
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._rows import sum_over_rows
from bcejax.logistic_regression._scaling import moments, positive_or_one
from bcejax.logistic_regression._stream import Rows, Stream, without_penalty
from bcejax.logistic_regression._sums import Total
from bcejax.logistic_regression._survey import Moments, check_weight


class Curved(NamedTuple):
    """What the first pass has found."""

    weight: float  # Σ w
    largest: float  # w σ(x) σ(−x) of a row
    moments: Moments  # of the columns, weighted by these
    tally: Tally
    weighted: bool = False
    shifted: bool = False

    def also(self, other: "Curved") -> "Curved":
        return Curved(
            self.weight + other.weight,
            max(self.largest, other.largest),
            self.moments.also(other.moments),
            self.tally.also(other.tally),
            self.weighted or other.weighted,
            self.shifted or other.shifted,
        )


def covariance_in_passes(
    model, stream: Stream, l2: jax.Array, fit_intercept: bool, kind: str
) -> tuple[jax.Array, Curved]:
    """The covariance, and what the first pass has found."""
    params = Params(*(jnp.asarray(a, stream.dtype) for a in model[:2]))
    curved = survey_of_curvature(stream, params, fit_intercept)
    weight, largest, found, *_ = curved
    stream.total = weight
    # Divided by the largest, as in memory.
    top = positive_or_one(jnp.maximum(largest / weight, l2.max())).astype(l2.dtype)
    total = positive_or_one(found.weight / weight / top).astype(l2.dtype)
    mean, deviation = (jnp.asarray(a, l2.dtype) for a in found[1:])
    design = jitted_design(mean, deviation, total, l2 / top, fit_intercept)

    def information(basis):
        none = Total.of_none(jnp.zeros(2 * (basis.shape[1],), basis.dtype))
        sums = stream.fold(add_information, none, params, design, top, basis)
        return sums.sum + information_of_penalty(design, basis)

    root, lost = inverse_root(information, design.rounding)
    middle = None
    if kind != "fisher":
        none = Total.of_none(root)
        given = params, design, root, top, l2
        determined = jnp.sum(jnp.any(root != 0, 0))
        factor = factor_of(kind, weight, determined)
        middle = factor * stream.fold(add_middle, none, *given).sum
    return jax.jit(variance_of)(design.back, root, lost, middle, top, weight), curved


def survey_of_curvature(stream: Stream, params: Params, fit_intercept: bool) -> Curved:
    none = Moments.of_none(stream.columns)
    found = Curved(0.0, 0.0, none, Tally.of_none())
    for chunk in stream.chunks():
        logits, largest, total, *here = curvature_of_chunk(
            params, chunk.rows, fit_intercept
        )
        largest = float(largest) * chunk.weight
        of_curvature = Moments.of(float(total) * largest, *here)
        labels, share, _ = (np.asarray(a, np.float64) for a in chunk.rows[1:])
        tally = Tally.of(logits, labels, chunk.weight * (share / share.sum()))
        tally = tally._replace(weight=chunk.weight)  # without a rounding
        found = found.also(Curved(chunk.weight, largest, of_curvature, tally))
    source = stream.source
    found = found._replace(weighted=source.weighted, shifted=source.shifted)
    found = stream.everywhere(found)
    check_weight(found.weight)
    return found


@partial(jax.jit, static_argnames="fit_intercept")
def curvature_of_chunk(params: Params, rows: Rows, fit_intercept: bool):
    """Logits; the largest curvature, their sum over that, mean, deviation by them."""
    data = without_penalty(rows)
    curvature = curvature_of_rows(params, data)
    largest = jnp.max(curvature)
    curvature /= positive_or_one(largest)
    total = jnp.sum(curvature)
    weighted = data._replace(share=curvature / positive_or_one(total))
    found = moments(weighted, fit_intercept)
    return logits_of(params, data), largest, total, *found


jitted_design = partial(jax.jit, static_argnames="fit_intercept")(design_of)


@jax.jit
def add_information(total: Total, rows: Rows, params, design: Design, top, basis):
    data = without_penalty(rows)
    curvature = curvature_of_rows(params, data) / top
    return total.plus(information_of_rows(design.columns(data), curvature, basis))


@jax.jit
def add_middle(total: Total, rows: Rows, params, design: Design, root, top, l2):
    data = Problem(*rows, l2=l2)
    slope = bce_dx(logits_of(params, data), data.labels, None) / top
    pull = l2 / top * params.weights
    scores = scores_of_rows(design, data, root, slope, pull)
    return total.plus(sum_over_rows(scores, data.share[:, None] * scores))
