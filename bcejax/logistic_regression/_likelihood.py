"""How well the logits of a fit agree with the labels, in sums over the rows.

On the host, in float64: NumPy takes a millisecond for a thousand rows, and XLA half a
second to compile these sums.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, xlogy

from bcejax.logistic_regression._given import Given
from bcejax.logistic_regression._outcome import Fit


class Totals(NamedTuple):
    weight: float  # Σ w
    loss: float  # Σ w ℓ
    null_loss: float  # the same of the best constant, in the place of the features
    divergence: float  # Σ w KL(y ‖ σ(x))
    null_divergence: float


class Tally(NamedTuple):
    """Sums over rows, or over a part of them."""

    weight: float  # Σ w
    positive: float  # Σ w y
    negative: float  # Σ w (1 − y)
    loss: float  # Σ w ℓ
    entropy: float  # Σ w H(y), by which a loss exceeds a divergence

    @staticmethod
    def of_none() -> "Tally":
        return Tally(0.0, 0.0, 0.0, 0.0, 0.0)

    @staticmethod
    def of(logits, y, w) -> "Tally":
        counts = w > 0
        x, y, w = (np.asarray(a, np.float64)[counts] for a in (logits, y, w))
        entropy = -xlogy(y, y) - xlogy(1 - y, 1 - y)
        of_rows = y, 1 - y, losses(x, y), entropy
        return Tally(float(w.sum()), *(float(w @ a) for a in of_rows))

    def also(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))

    def totals(self, null_loss: float | None = None) -> Totals:
        """With the sum of the null losses, unless there is no offset."""
        if null_loss is None:
            sums = np.array([self.positive, self.negative])
            null_loss = -float(np.sum(xlogy(sums, sums / self.weight)))
        return Totals(
            self.weight,
            self.loss,
            null_loss,
            self.loss - self.entropy,
            null_loss - self.entropy,
        )


def totals_of(logits, given: Given) -> Totals:
    x, y, w, offset = (
        np.broadcast_to(np.asarray(a, np.float64), np.shape(logits))
        for a in (logits, given.labels, given.weight_or_1, given.offset_or_0)
    )
    counts = w > 0
    x, y, w, offset = (a[counts] for a in (x, y, w, offset))
    null = offset + best_constant(y, w, offset)
    return Tally.of(x, y, w).totals(float(w @ losses(null, y)))


def losses(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Binary cross-entropy: log(1 + e^−|x|), and |x| for the mass on the wrong side."""
    wrong = np.abs(y - (x > 0))
    cost = np.multiply(wrong, np.abs(x), out=np.zeros_like(x), where=wrong > 0)
    return np.log1p(np.exp(-np.abs(x))) + cost


def best_constant(y: np.ndarray, w: np.ndarray, offset: np.ndarray) -> float:
    """The λ at which Σ w (σ(offset + λ) − y) is 0, which grows with λ."""
    with np.errstate(divide="ignore"):  # ±∞ for labels of one class
        log_odds = float(np.log(w @ y) - np.log(w @ (1 - y)))
    low, high = log_odds - offset.max(), log_odds - offset.min()
    if low == high or np.isinf(log_odds):
        return low
    return brentq(lambda b: w @ (expit(offset + b) - y), low - 1, high + 1)


def penalty(model: Fit, l2) -> float:
    weights = np.asarray(model.weights, np.float64)
    return float(np.sum(np.asarray(l2, np.float64) / 2 * weights**2))
