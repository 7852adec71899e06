"""Data as people have them: tables, columns, lists and NumPy arrays, for JAX.

What comes is converted on the host, before JAX sees it: JAX knows no table, and outside
64-bit mode it would take the low half of an integer beyond 2³¹. pandas, polars and
Arrow are not imported. What they share is asked for: a table has names and gives a
column by its name, and NumPy can read a column.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

KINDS = {
    "U": "text",
    "S": "text",
    "T": "text",
    "M": "dates",
    "m": "durations",
    "O": "objects",
    "c": "complex numbers",
    "V": "records",
}
WAY_OUT = (
    "make numbers of it first: pandas.get_dummies or scikit-learn's OneHotEncoder for "
    "categories, differences to a fixed day for dates"
)

SHOWN = 5  # names in a message

Array = jax.Array | np.ndarray


def numbers(x: ArrayLike, name: str) -> Array:
    """`x` as an array of real numbers that JAX can hold, integers of 64 bits as floats.

    Arrays of JAX pass as they are.
    """
    array = real_array(x, name)
    wide = array.dtype.kind in "iu" and array.dtype.itemsize == 8
    if wide and not isinstance(array, jax.Array):
        return array.astype(np.float64)
    return array


def real_array(x: ArrayLike, name: str) -> Array:
    """`x` as an array of real numbers, of whatever dtype it has."""
    if isinstance(x, jax.Array):
        return x
    array = _read(x, name)
    if isinstance(array, jax.Array):
        return array
    # NumPy calls bfloat16 a record.
    if array.dtype.kind in KINDS and not jnp.issubdtype(array.dtype, np.floating):
        raise TypeError(
            f"{name} must be numbers, got {_kind_of(x, array)}"
            f"{_example(array)}: {WAY_OUT}."
        )
    return array


def as_computed_with(x: ArrayLike) -> np.ndarray:
    """`x` as JAX computes with it, rounded to its dtype, in float64.

    Within `jax.grad` too, whose tracers do not become arrays of NumPy by themselves.
    """
    return np.asarray(jax.lax.stop_gradient(jnp.asarray(x)), np.float64)


def matrix(x: ArrayLike, name: str) -> tuple[Array, tuple[str, ...] | None]:
    """A table as a matrix and the names of its columns; None for what has no names."""
    names = column_names(x)
    if names is None:
        return numbers(x, name), None
    doubled = sorted({n for n in names if names.count(n) > 1})
    if doubled:
        raise ValueError(f'{name} has two columns with the name "{doubled[0]}".')
    return columns(x, names, name), names


def column_names(x: ArrayLike) -> tuple[str, ...] | None:
    """The names of a table's columns, in order, or None if it is not a table."""
    if hasattr(x, "column_names"):  # Arrow, whose .columns are the columns themselves
        return tuple(map(str, x.column_names))
    if hasattr(x, "columns") and len(getattr(x, "shape", ())) == 2:
        return tuple(map(str, x.columns))
    return None


def columns(x, names: Sequence[str], name: str) -> np.ndarray:
    """The columns of these names, which the table `x` has, as a matrix."""
    place = {str(n): n for n in getattr(x, "column_names", getattr(x, "columns", ()))}
    missing = [n for n in names if n not in place]
    if missing:
        raise ValueError(
            f"{name} lacks {_listed(missing)}: the model was fitted on "
            f"{_listed(names)}."
        )
    if not names:
        return np.empty((len(x), 0), np.float32)
    found = [numbers(x[place[n]], f'column "{n}"') for n in names]
    return np.stack(found, 1)


def _read(x, name: str) -> Array:
    if hasattr(x, "tocsr") or hasattr(x, "todense"):
        raise TypeError(
            f"{name} must be dense, got {type(x).__name__}: if memory allows, "
            "write x.toarray()."
        )
    if isinstance(x, np.ma.MaskedArray):
        return np.ma.filled(x.astype(np.float64), np.nan)
    dtype = getattr(x, "dtype", None)
    if _is_category(x):
        return np.asarray(x, object)
    if hasattr(dtype, "na_value") and getattr(dtype, "kind", "O") in "iufb":
        # pandas' own dtypes, whose missing values NumPy would take as objects.
        return x.to_numpy("float64", na_value=np.nan)
    try:
        return np.asarray(x)
    except jax.errors.TracerArrayConversionError:  # a list with numbers that jit traces
        return jnp.asarray(x)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} is no array: {error}.") from None


def _is_category(x) -> bool:
    """Of pandas, polars or Arrow: the codes are not quantities, nor are the values."""
    dtype = str(getattr(x, "dtype", getattr(x, "type", "")))
    return dtype.lower().startswith(("category", "categorical", "enum", "dictionary"))


def _kind_of(x, array: np.ndarray) -> str:
    return "categories" if _is_category(x) else KINDS[array.dtype.kind]


def _example(array: np.ndarray) -> str:
    return f" such as {array.flat[0]!s:.40}" if array.size else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{n}"' for n in names[:SHOWN])
    more = len(names) - SHOWN
    kind = "the column" if len(names) == 1 else "the columns"
    return f"{kind} {shown}" + (f" and {more} more" if more > 0 else "")
