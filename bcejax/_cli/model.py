"""A fitted model: one class is the schema of its JSON file, reader and writer."""

import importlib.metadata
import platform
from collections import Counter
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from bcejax._cli import UserError, about, listed, output

PACKAGES = "bcejax", "jax", "numpy", "pyarrow"


class Label(msgspec.Struct):
    name: str
    positive: str
    negative: str


class Line(msgspec.Struct):
    coefficient: float
    standard_error: float | None  # null where the data leave it undetermined


class Feature(msgspec.Struct):
    """A number of each row: a column, or whether a category is at this level."""

    name: str
    column: str
    level: str | None
    coefficient: float
    standard_error: float | None
    mean: float  # in training
    scale: float  # standard deviation in training


class Model(msgspec.Struct, kw_only=True):
    format: Literal["bcejax logistic regression"] = "bcejax logistic regression"
    version: Literal[1] = 1
    label: Label
    offset: str | None  # the column that is added to the logits
    l2: float
    standardized: bool  # whether l2 acted on coefficients times scales
    intercept: Line
    features: list[Feature]
    one_hot_levels: dict[str, list[str]]  # the first has no coefficient
    imputation_means: dict[str, float]  # what stands in for a missing value
    made_with: dict[str, str] = {}

    def __post_init__(self):
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

    def column(self, field: str) -> np.ndarray:
        """`(d,)`, one field of all features; NaN for null."""
        return np.array([getattr(f, field) for f in self.features], float)

    def per_deviation(self) -> np.ndarray:
        """`(d,)`, what the logit gains per standard deviation of a feature."""
        return self.column("coefficient") * self.column("scale")

    def largest(self, most: int) -> np.ndarray:
        """Which features have the largest coefficients per standard deviation."""
        return np.argsort(-np.abs(self.per_deviation()), kind="stable")[:most]

    def logits(self, rows) -> np.ndarray:
        linear = rows.features @ self.column("coefficient")
        return linear + self.intercept.coefficient + rows.offset


def save(path: Path, model: Model) -> None:
    found = [(n, importlib.metadata.distributions(name=n)) for n in PACKAGES]
    model.made_with = {name: d.version for name, there in found for d in there}
    model.made_with["python"] = platform.python_version()
    with output.complete(path) as file:  # numbers that are not finite become null
        file.write(msgspec.json.format(msgspec.json.encode(model), indent=2) + b"\n")


def load(path: Path) -> Model:
    with about(f"{path} is damaged, or no model that this version of bcejax writes"):
        return msgspec.json.decode(path.read_bytes(), type=Model)
