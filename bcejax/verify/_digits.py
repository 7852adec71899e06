"""Measures each subject in each dtype: errors in ulp, and the corners.

Value, slope and curvature of a subject come from one compiled program for each dtype,
corners included, because compiling is what takes time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bcejax.verify import _exact
from bcejax.verify._points import dtype_of
from bcejax.verify._subjects import Subject
from bcejax.verify.bounds import BOUNDS, ORDERS


class Digits(NamedTuple):
    """The largest error of one order of one function in one dtype."""

    function: str
    by: str  # bcejax, or the peer's name
    order: str
    dtype: str
    error: float | None  # in ulp; None if it was skipped
    at: str  # the input at which it was met
    bound: float | None  # None for a peer
    skipped: str = ""  # why

    @property
    def passed(self) -> bool:
        return self.error is None or self.bound is None or self.error <= self.bound


class Check(NamedTuple):
    """A promise that is kept or not."""

    kind: str
    name: str
    passed: bool
    words: str  # what was met instead


def unsupported(dtype: str) -> str:
    """Why this device does not compute in `dtype`, or nothing if it does."""
    try:
        x = jax.jit(lambda x: x + x)(jnp.asarray(np.ones(2, dtype_of(dtype))))
        if x.dtype == dtype and np.all(np.asarray(x, np.float64) == 2):
            return ""
        return f"1 + 1 is {np.asarray(x)[0]} in {x.dtype}"
    except Exception as reason:  # what a backend raises here has no common type
        return str(reason).splitlines()[0]


def measure(subject: Subject, dtype: str, points: int, peers: bool) -> Iterator:
    """Digits of each order, of peers too, and one Check of the corners."""
    arguments = subject.inputs(dtype_of(dtype), points)
    with np.errstate(all="ignore"):
        wide = [_exact.widen(a) if a.dtype != np.int32 else a for a in arguments]
        exact = subject.exact(*wide)
    corners = [given for given, _ in subject.corners]
    arguments_and_corners = [
        np.concatenate(
            [a, np.array([c[k] for c in corners], a.dtype).reshape(-1, *a.shape[1:])]
        )
        for k, a in enumerate(arguments)
    ]
    examples = len(arguments[0])
    functions = {"bcejax": subject.function} | (subject.peers if peers else {})
    for by, function in functions.items():
        got = _orders(subject, function, arguments_and_corners)
        for order, result, (value, scale) in zip(ORDERS, got, exact, strict=True):
            bound = BOUNDS[subject.family][order][dtype] if by == "bcejax" else None
            # smooth_labels of 16 bits are not rounded to 16 bits.
            if bound is not None and result.dtype != dtype:
                bound = BOUNDS[subject.family][order][str(result.dtype)]
            errors = _exact.errors_in_ulp(result[:examples], value, scale)
            worst = np.unravel_index(np.argmax(errors), errors.shape)
            where = _shown(subject, arguments, worst)
            error = float(errors[worst])
            yield Digits(subject.name, by, order, dtype, error, where, bound)
        if by == "bcejax" and corners:
            yield _corners(subject, dtype, [result[examples:] for result in got])


def _orders(subject: Subject, function, arguments) -> list[np.ndarray]:
    """Value, slope and curvature of every example, from one program."""
    k = subject.argument
    slope = jax.grad(function, k)

    def of_logit(*example):
        if subject.closed_forms:
            return [form(*example) for form in subject.closed_forms]
        curvature = jax.grad(slope, k)
        return function(*example), slope(*example), curvature(*example)

    def of_row(*example):
        *example, direction = example

        def along(x):
            return slope(*example[:k], x, *example[k + 1 :])

        x = example[k]
        basis = (jnp.arange(x.size) == direction).astype(x.dtype)
        gradient, column = jax.jvp(along, (x,), (basis,))
        return function(*example), gradient, column

    program = jax.jit(jax.vmap(of_row if subject.rows else of_logit))
    return [np.asarray(a) for a in program(*map(jnp.asarray, arguments))]


def _shown(subject: Subject, arguments, worst) -> str:
    if subject.rows:
        return f"row {worst[0]}"
    return ", ".join(f"{float(a[worst[0]]):.6g}" for a in arguments)


def _corners(subject: Subject, dtype: str, got) -> Check:
    wrong = []
    for i, (given, expected) in enumerate(subject.corners):
        for order, result, right in zip(ORDERS, got, expected, strict=True):
            if right is None:
                continue
            value = result[i].astype(np.float64)
            if not np.array_equal(value, np.asarray(right, float), equal_nan=True):
                shown = _short(given[:-1] if subject.rows else given)
                wrong.append(
                    f"{order} at {shown} is {_short(value)}, not {_short(right)}"
                )
    name = f"{subject.name}, {dtype}"
    return Check("infinities, 0 and NaN", name, not wrong, "; ".join(wrong[:3]))


def _short(x) -> str:
    if isinstance(x, tuple):
        return "(" + ", ".join(map(_short, x)) + ")"
    x = np.asarray(x, float)
    parts = [f"{v:.6g}" for v in x.ravel()[:3]] + ["..."] * (x.size > 3)
    return " ".join(parts) if x.ndim == 0 else "[" + " ".join(parts) + "]"
