"""A fitted model as JSON that a person can read, and back."""

import importlib.metadata
import json
import math
import platform
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pyarrow

from bcejax._cli import Refused
from bcejax._cli.columns import Feature, Label
from bcejax._cli.files import listed, one_line
from bcejax._cli.whole import whole

FORMAT, VERSION = "bcejax logistic regression", 1


class Model(NamedTuple):
    """What predictions need, and what a reader of the file wants to know."""

    label: Label
    offset: str | None  # the column that is added to the logits
    l2: float
    standardized: bool  # whether the penalty acted on coefficients times scales
    intercept: float
    intercept_error: float | None
    features: list[Feature]
    coefficients: np.ndarray  # (d,), of the columns as they are in the file
    errors: np.ndarray | None  # (d,), standard errors; ∞ where undetermined
    means: np.ndarray  # (d,), in training
    scales: np.ndarray  # (d,), standard deviations in training
    levels: dict[str, list[str]]  # of each category, the first without coefficient
    imputed: dict[str, float]  # what stands in for a missing value


def save(path: Path, model: Model) -> None:
    document = {
        "format": FORMAT,
        "version": VERSION,
        "label": model.label._asdict(),
        "offset": model.offset,
        "l2": model.l2,
        "standardized": model.standardized,
        "intercept": {
            "coefficient": model.intercept,
            "standard_error": _finite(model.intercept_error),
        },
        "features": _lines(model),
        "one_hot_levels": model.levels,
        "imputation_means": model.imputed,
        "made_with": _versions(),
    }
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    with whole(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")


def _lines(model: Model) -> list[dict]:
    count = len(model.features)
    errors = [None] * count if model.errors is None else model.errors.tolist()
    columns = model.coefficients.tolist(), model.means.tolist(), model.scales.tolist()
    return [
        {
            "name": feature.name,
            "column": feature.column,
            "level": feature.level,
            "coefficient": coefficient,
            "standard_error": _finite(error),
            "mean": mean,
            "scale": scale,
        }
        for feature, error, coefficient, mean, scale in zip(
            model.features, errors, *columns, strict=True
        )
    ]


def _finite(x: float | None) -> float | None:
    """x, or null where it is ∞ or NaN, which JSON cannot say."""
    return None if x is None or not math.isfinite(x) else x


def _versions() -> dict[str, str]:
    try:
        ours = importlib.metadata.version("bcejax")
    except importlib.metadata.PackageNotFoundError:  # run from its source
        ours = "unknown"
    return {
        "bcejax": ours,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "pyarrow": pyarrow.__version__,
        "python": platform.python_version(),
    }


def load(path: Path) -> Model:
    try:
        document = json.loads(path.read_text("utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also of bytes that are not UTF-8
        raise Refused(f"{path} is damaged, or no model: {one_line(error)}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Refused(f"{path} is no model that `python -m bcejax fit` wrote")
    if document.get("version") != VERSION:
        raise Refused(
            f"{path} is a model of version {document.get('version')!r}; "
            f"this bcejax reads version {VERSION}"
        )
    wrong = _mismatch(document, _SHAPE, "")
    if wrong:
        raise Refused(f"{path} is damaged: {wrong}")
    return _model(document, path)


def _no_number(text: str):
    raise ValueError(f"{text} is not a number of JSON")


def _model(document: dict, path: Path) -> Model:
    features = document["features"]
    named = [Feature(line["column"], line["level"]) for line in features]
    if len(set(named)) < len(named):
        raise Refused(f"{path} is damaged: a feature stands in it more than once")
    levels = document["one_hot_levels"]
    strange = [
        feature.name
        for feature in named
        if feature.level is not None
        and feature.level not in levels.get(feature.column, [])
    ]
    if strange:
        raise Refused(f"{path} is damaged: one_hot_levels lacks {listed(strange)}")
    errors = [line["standard_error"] for line in features]
    numbers = (
        [line[key] for line in features] for key in ("coefficient", "mean", "scale")
    )
    coefficients, means, scales = (np.array(column, float) for column in numbers)
    return Model(
        label=Label(**document["label"]),
        offset=document["offset"],
        l2=document["l2"],
        standardized=document["standardized"],
        intercept=document["intercept"]["coefficient"],
        intercept_error=document["intercept"]["standard_error"],
        features=named,
        coefficients=coefficients,
        errors=None if None in errors else np.array(errors, float),
        means=means,
        scales=scales,
        levels=levels,
        imputed=document["imputation_means"],
    )


# A type, a list of one shape, or a dict of shapes by key, where ... is any key.
_SHAPE = {
    "label": {"name": str, "positive": str, "negative": str},
    "offset": str | None,
    "l2": float,
    "standardized": bool,
    "intercept": {"coefficient": float, "standard_error": float | None},
    "features": [
        {
            "column": str,
            "level": str | None,
            "coefficient": float,
            "standard_error": float | None,
            "mean": float,
            "scale": float,
        }
    ],
    "one_hot_levels": {...: [str]},
    "imputation_means": {...: float},
}


def _mismatch(value, shape, where: str) -> str | None:
    """Where `value` has not its shape, in words; None if it has it everywhere."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{where or 'the model'} must be an object"
        keys = list(value) if ... in shape else list(shape)
        missing = [key for key in keys if key not in value]
        if missing:
            return f"{listed(missing)} is missing{' in ' + where if where else ''}"
        parts = [(value[key], shape.get(key, shape.get(...)), key) for key in keys]
    elif isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} must be a list"
        parts = [(part, shape[0], str(i)) for i, part in enumerate(value)]
    else:
        return None if _is(value, shape) else f"{where} must be {_WORDS[shape]}"
    prefix = f"{where}." if where else ""
    wrong = (_mismatch(part, inner, prefix + key) for part, inner, key in parts)
    return next(filter(None, wrong), None)


_WORDS = {
    str: "text",
    str | None: "text or null",
    bool: "true or false",
    float: "a finite number",
    float | None: "a finite number or null",
}


def _is(value, kind) -> bool:
    if isinstance(value, bool):  # which Python counts as an integer
        return kind is bool
    if isinstance(value, int | float):  # integers can exceed all floats
        finite = abs(value) <= sys.float_info.max
        return kind in (float, float | None) and finite
    return isinstance(value, kind)
