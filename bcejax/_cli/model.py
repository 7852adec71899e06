"""A fitted model of the columns of a file, and its own file.

This is that of `logistic_regression.save`, with one more key: under "table" it says how
columns become features and what is known of them. One class is the schema of that.
"""

import json
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np

from bcejax._cli import UserError, about, listed, output
from bcejax.logistic_regression import Fit, MultinomialFit
from bcejax.logistic_regression._document import (
    damaged,
    document_of,
    model_of,
    read,
    text_of,
)


class Label(msgspec.Struct, omit_defaults=True):
    name: str
    positive: str | None = None
    negative: str | None = None
    classes: list[str] = []  # where there are more than two, in place of these

    def __post_init__(self):
        if not self.classes and None in self.values:
            raise UserError("label must have `positive` and `negative`, or `classes`")

    @property
    def values(self) -> list[str | None]:
        return self.classes or [self.negative, self.positive]


class Feature(msgspec.Struct):
    """A number of each row: a column, or whether a category is at this level."""

    name: str
    column: str
    level: str | None
    standard_error: float | None = None  # null where the data leave it undetermined
    mean: float = np.nan  # in training
    scale: float = np.nan  # standard deviation in training


class Model(msgspec.Struct, kw_only=True, dict=True):
    """What stands under "table", and beside it, once there is one, the `fit`."""

    label: Label
    offset: str | None  # the column that is added to the logits
    l2: float
    standardized: bool  # whether l2 acted on coefficients times scales
    intercept_standard_error: float | None = None
    features: list[Feature]
    one_hot_levels: dict[str, list[str]]  # the first has no coefficient
    imputation_means: dict[str, float]  # what stands in for a missing value

    def __post_init__(self):
        # No field: the library writes and reads it.
        self.fit: Fit | MultinomialFit | None = None
        keys = [key for f in self.features for key in (f.name, (f.column, f.level))]
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if twice:
            raise UserError(f"features must differ, but {listed(twice)} do not")
        for feature in self.features:
            levels = self.one_hot_levels.get(feature.column, [])
            if feature.level not in (None, *levels):
                raise UserError(f"one_hot_levels lacks {feature.name!r}")

    @property
    def names(self) -> list[str]:
        return [feature.name for feature in self.features]

    @property
    def needed(self) -> list[str]:
        """The columns of a table without which there are no logits."""
        plain = [feature.column for feature in self.features if feature.level is None]
        return [*plain, *self.one_hot_levels, *filter(None, [self.offset])]

    @property
    def coefficients(self) -> np.ndarray:
        """`(d,)`, of the features; of more than two classes `(d, classes)`."""
        return np.asarray(self.fit.weights, float)

    def column(self, field: str) -> np.ndarray:
        """`(d,)`, one field of all features; NaN for null."""
        return np.array([getattr(f, field) for f in self.features], float)

    def per_deviation(self) -> np.ndarray:
        """`(d,)`, what the logit gains per standard deviation of a feature."""
        return self.coefficients * self.column("scale")

    def largest(self, most: int) -> np.ndarray:
        """Which features have the largest coefficients per standard deviation."""
        return np.argsort(-np.abs(self.per_deviation()), kind="stable")[:most]

    def logits(self, rows) -> np.ndarray:
        linear = rows.features @ self.coefficients
        return ((linear + np.asarray(self.fit.bias, float)).T + rows.offset).T


def save(path: Path, model: Model) -> None:
    # msgspec makes null of numbers that are not finite.
    table = json.loads(msgspec.json.encode(model))
    content = text_of(document_of(model.fit) | {"table": table})
    with output.complete(path) as file:
        file.write(content)


def load(path: Path) -> Model:
    with about(damaged(path)):
        document = read(path)
        fit = model_of(document)
        if "table" not in document:
            raise UserError(
                "it does not say how columns become features, as the models that "
                "`fit --out` writes do; logistic_regression.load reads it"
            )
        model = msgspec.convert(document["table"], Model)
        classes = model.label.classes
        kind, shape = (MultinomialFit, (len(classes),)) if classes else (Fit, ())
        same = isinstance(fit, kind) and fit.bias.shape == shape
        if not same or fit.options.columns != tuple(model.names):
            raise UserError(
                f"its model must be a {kind.__name__} of the features of its table"
            )
    model.fit = fit
    return model
