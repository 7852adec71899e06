"""A model as a file of JSON, which people and other programs can read.

    {
      "format": "bcejax logistic regression",
      "version": 2,
      "made_with": {"bcejax": "0.1.0", "jax": "0.10.0", ...},
      "model": {
        "kind": "Fit",
        "weights": {"dtype": "float32", "values": [0.5, -1.25]},
        ...
        "options": {"fit_intercept": true, "columns": ["age", "dose"], ...}
      }
    }

The model has the fields of a `Fit` or a `MultinomialFit`. An array has its dtype, and
its values within as many brackets as it has axes. A float is written with the digits
that tell it from all other floats of 64 bits, so that its bits come back. JSON has no
numbers for NaN and ±∞: they are the texts "NaN", "Infinity" and "-Infinity". A key
beside these is not read: the command line says under "table" how columns of a file
become features.

A model is read from the document before this is written, so that `save` refuses
whatever `load` would.
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from bcejax.logistic_regression._outcome import (
    ClassWeight,
    Fit,
    MultinomialFit,
    Options,
)

FORMAT = "bcejax logistic regression"
VERSION = 2  # another one wherever a key changes what it means, or a new one must be
KINDS: dict[str, Any] = {"Fit": Fit, "MultinomialFit": MultinomialFit}
PACKAGES = "bcejax", "jax", "jaxlib", "numpy"

ARRAYS = tuple(name for name in Fit._fields if name != "options")
OF_FLOATS = "float32", "float64"
DTYPES = {
    "steps": ("int32", "int64"),
    "converged": ("bool",),
    "separated": ("bool",),
}
NOT_FINITE = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
SHOWN = 40  # characters of what a message quotes


# Writing


def document_of(model: Fit | MultinomialFit) -> dict[str, Any]:
    if not isinstance(model, Fit | MultinomialFit):
        raise TypeError(
            "model must be a Fit or a MultinomialFit, got "
            f"{type(model).__name__}: the path comes first, save(path, model)."
        )
    arrays = {name: written(getattr(model, name)) for name in ARRAYS}
    options = dataclasses.asdict(model.options)
    content = {"kind": type(model).__name__, **arrays, "options": options}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "made_with": versions(),
        "model": content,
    }
    model_of(document)
    return document


def written(field) -> dict[str, Any]:
    """The dtype and the values of an array."""
    array = np.asarray(jnp.asarray(field) if isinstance(field, float) else field)
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return {"dtype": str(array.dtype), "values": array.tolist()}
    texts = array.astype(object)
    for text, value in NOT_FINITE.items():
        texts[np.isnan(array) if np.isnan(value) else array == value] = text
    return {"dtype": str(array.dtype), "values": texts.tolist()}


def versions() -> dict[str, str]:
    """Those of the packages that are installed, and of Python."""
    found = [(n, importlib.metadata.distributions(name=n)) for n in PACKAGES]
    of_packages = {name: d.version for name, there in found for d in there}
    return of_packages | {"python": platform.python_version()}


def text_of(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


# Reading


def read(path: str | os.PathLike) -> dict[str, Any]:
    """The document in a file, of this format and version."""
    content = Path(path).read_bytes()
    try:
        document = json.loads(content, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON, or ends too early ({error})") from None
    for key, expected in (("format", FORMAT), ("version", VERSION)):
        got = entry(document, key, "the file")
        if got != expected:
            raise ValueError(f"{key} must be {expected!r}, got {shown(got)}")
    return document


def damaged(path: str | os.PathLike) -> str:
    return f"{path} is damaged, or no model that this version of bcejax writes"


def refuse_constant(text: str):
    raise ValueError(f'{text} must be in quotes, as "{text}"')


def model_of(document: dict[str, Any]) -> Fit | MultinomialFit:
    content = entry(document, "model", "the file")
    kind = entry(content, "kind", "model")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind must be {' or '.join(KINDS)}, got {shown(kind)}")
    arrays = {name: array_of(content, name) for name in ARRAYS}
    columns = check_shapes(arrays, kind == "MultinomialFit")
    options = options_of(entry(content, "options", "model"), columns)
    fields = {name: jnp.asarray(array) for name, array in arrays.items()}
    return KINDS[kind](**fields, options=options)


def entry(document: Any, key: str, where: str) -> Any:
    if not isinstance(document, dict):
        raise ValueError(f"{where} must hold an object of JSON, got {shown(document)}")
    if key not in document:
        raise ValueError(f"{where} must hold {key!r}, and does not")
    return document[key]


def array_of(content: dict[str, Any], name: str) -> np.ndarray:
    field = entry(content, name, "model")
    dtype, dtypes = entry(field, "dtype", name), DTYPES.get(name, OF_FLOATS)
    if dtype not in dtypes:
        raise ValueError(f"{name} must be {' or '.join(dtypes)}, got {shown(dtype)}")
    # Lists of different lengths stay lists in here, which are no numbers.
    values = np.array(entry(field, "values", name), object)
    for place in np.ndindex(values.shape):
        number = number_of(values[place], np.dtype(dtype))
        if number is None:
            where = f"{name}{list(place)}" if place else name
            raise ValueError(f"{where} must be {dtype}, got {shown(values[place])}")
        values[place] = number
    return values.astype(dtype)


def number_of(value: Any, dtype: np.dtype) -> bool | int | float | None:
    """The number that is meant, or None if the dtype has no such number."""
    if dtype.kind == "b":
        return value if isinstance(value, bool) else None
    if dtype.kind == "i":
        limits = np.iinfo(dtype)
        there = type(value) is int and limits.min <= value <= limits.max
        return value if there else None
    if isinstance(value, str):
        return NOT_FINITE.get(value)
    there = type(value) in (int, float) and abs(value) <= float(np.finfo(dtype).max)
    return value if there else None


def check_shapes(arrays: dict[str, np.ndarray], of_many: bool) -> int:
    """That the shapes of all fields go together; how many columns there are.

    In front may be the axes of several models, the same for all fields.
    """
    weights, bias = arrays["weights"].shape, arrays["bias"].shape
    axes = len(bias) - of_many
    several, classes = bias[: max(axes, 0)], bias[max(axes, 0) :]
    columns = weights[len(several) : len(several) + 1]
    if axes < 0 or weights != several + columns + classes or not all(columns or [0]):
        names = "(columns, classes) beside a bias of (classes,)"
        raise ValueError(
            f"weights must have the shape {names if of_many else '(columns,)'}, or "
            f"these with axes of several models in front, got {weights} and {bias}"
        )
    for name in ARRAYS[2:]:
        allowed = [several, several + columns] if name == "l2" else [several]
        if arrays[name].shape not in allowed:
            raise ValueError(
                f"{name} must have the shape {' or '.join(map(str, allowed))} beside "
                f"weights {weights}, got {arrays[name].shape}"
            )
    return columns[0]


def options_of(content: Any, columns: int) -> Options:
    values = {}
    for field in dataclasses.fields(Options):
        value = entry(content, field.name, "options")
        if isinstance(field.default, bool) and not isinstance(value, bool):
            raise ValueError(f"{field.name} must be true or false, got {shown(value)}")
        values[field.name] = value
    unknown = sorted(set(content) - set(values))
    if unknown:
        raise ValueError(f"options must not hold {shown(unknown[0])}: what is it?")
    values["columns"] = names_of(values["columns"], columns)
    values["class_weight"] = class_weight_of(values["class_weight"])
    return Options(**values)


def names_of(names: Any, columns: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    listed = isinstance(names, list | tuple) and all(isinstance(n, str) for n in names)
    if not listed or len(set(names)) != columns or len(names) != columns:
        raise ValueError(
            f"columns must be null or {columns} different names, one for each weight, "
            f"got {shown(names)}"
        )
    return tuple(names)


def class_weight_of(value: Any) -> ClassWeight:
    if value is None or value == "balanced":
        return value
    pair = isinstance(value, list | tuple) and len(value) == 2
    if not pair or not all(type(v) in (int, float) and 0 < v < np.inf for v in value):
        raise ValueError(
            'class_weight must be null, "balanced" or two positive numbers, '
            f"got {shown(value)}"
        )
    return float(value[0]), float(value[1])


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
