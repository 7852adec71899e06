"""Rows as the model sees them, and what sums over the parts of a table tell of them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bcejax._cli import UserError
from bcejax._cli.model import Model


class Rows(NamedTuple):
    features: np.ndarray  # (n, d)
    labels: np.ndarray  # (n,), the number of the class, NaN where it is not known
    weight: np.ndarray  # (n,)
    offset: np.ndarray  # (n,)

    def take(self, which: np.ndarray) -> "Rows":
        return Rows(*(part[which] for part in self))


class Scored(NamedTuple):
    """What is needed to say how good the logits are."""

    logits: np.ndarray
    labels: np.ndarray
    weight: np.ndarray

    @staticmethod
    def of(model: Model, parts: Iterator[Rows]) -> "Scored":
        found = [(model.logits(rows), rows.labels, rows.weight) for rows in parts]
        return Scored(*map(np.concatenate, zip(*found, strict=True)))


class Stats(NamedTuple):
    """Of the rows of a part, before anything is filled in."""

    rows: int
    missing: int
    least: np.ndarray  # (d,), of the numbers that are known, in rows that count
    most: np.ndarray  # (d,)
    known: np.ndarray  # (d,), the weight of the rows in which a number is known
    sum: np.ndarray  # (d,), of these, weighted
    weights: np.ndarray  # (2,), the least and the largest, and
    classes: np.ndarray  # (classes,), their sum for each label

    @staticmethod
    def of(rows: Rows, classes: int) -> "Stats":
        x, weight = rows.features, rows.weight
        known = ~np.isnan(x)
        seen = known & (weight > 0)[:, None]
        return Stats(
            len(x),
            int(x.size - known.sum()),
            np.min(x, 0, initial=np.inf, where=seen),
            np.max(x, 0, initial=-np.inf, where=seen),
            weight @ known,
            weight @ np.where(np.isfinite(x), x, 0),
            np.array([weight.min(initial=np.inf), weight.max(initial=0)]),
            np.bincount(rows.labels.astype(int), weight, classes),
        )

    def also(self, other: "Stats") -> "Stats":
        least = np.minimum(self.weights[0], other.weights[0])
        return Stats(
            self.rows + other.rows,
            self.missing + other.missing,
            np.minimum(self.least, other.least),
            np.maximum(self.most, other.most),
            self.known + other.known,
            self.sum + other.sum,
            np.array([least, np.maximum(self.weights[1], other.weights[1])]),
            self.classes + other.classes,
        )

    def check_weights(self, classes: int) -> None:
        """Refuse weights by which fewer than so many classes have rows."""
        least, most = self.weights
        there = np.count_nonzero(self.classes) >= classes
        if not (0 <= least <= most < np.inf and there):  # or NaN
            raise UserError(
                "--weight must be finite, 0 or more, and above 0 in some row of each "
                f"class, got {least:g} to {most:g}, and class sums {self.classes}"
            )
