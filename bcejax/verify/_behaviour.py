"""Masks, NaN at every size, and losses fused into a larger program.

Each check compiles what a user would: a mean and its gradient, after a product with a
matrix, or the squared norm of the gradient of each example.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bcejax
from bcejax.verify import _exact as exact
from bcejax.verify._digits import Check
from bcejax.verify.bounds import OF_SUMS

ROWS = 2_000
MANY_ROWS = 40_000  # jaxlib 0.10.2 miscompiles squares from 32,769 rows on
MASKS, NANS, FUSED = "masks", "NaN in, NaN out", "in a larger program"


# Masks


def masks() -> Iterator[Check]:
    for name in ("bce_with_logits", "sigmoid_focal_loss", "bce_with_probs"):
        yield _mask(name, getattr(bcejax, name))
    for name in ("softmax_cross_entropy", "softmax_cross_entropy_with_integer_labels"):
        yield _mask_of_rows(name, getattr(bcejax, name))


def _mask(name: str, loss: Callable) -> Check:
    x = np.array([np.nan, 0.25, 0.25, np.nan], np.float32)
    y = np.array([1, 1, np.nan, np.nan], np.float32)
    where = np.array([False, True, False, False])

    @jax.jit
    def both(x, y):
        def of(x, y):
            return loss(x, y, where=where)

        return of(x, y), jax.grad(lambda x, y: of(x, y).sum(), (0, 1))(x, y)

    names = "loss", "slope", "slope in the labels"
    value, slopes = both(x, y)
    results = dict(zip(names, map(np.asarray, (value, *slopes)), strict=True))
    wrong = _not_0(results, ~where) + _not_finite(results, where)
    return Check(MASKS, name, not wrong, "; ".join(wrong))


def _mask_of_rows(name: str, loss: Callable) -> Check:
    x = np.array([[np.nan, 1, 2], [np.nan] * 3], np.float32)
    where = np.array([[False, True, True], [False] * 3])
    integer = name.endswith("integer_labels")
    y = np.array([1, 0], np.int32)
    if not integer:
        y = np.array([[np.nan, 1, 0], [np.nan] * 3], np.float32)

    @jax.jit
    def both(x):
        value = loss(x, y, where=where)
        return value, jax.grad(lambda x: loss(x, y, where=where).sum())(x)

    value, slope = map(np.asarray, both(x))
    kept = np.array([True, False])
    wrong = _not_0({"loss": value}, ~kept) + _not_0({"slope": slope}, ~where)
    wrong += _not_finite({"loss": value}, kept) + _not_finite({"slope": slope}, where)
    return Check(MASKS, name, not wrong, "; ".join(wrong))


def _not_0(results: dict, at) -> list[str]:
    return [
        f"the {what} where the mask is False is {a[at]}, not 0"
        for what, a in results.items()
        if not np.all(a[at] == 0)
    ]


def _not_finite(results: dict, at) -> list[str]:
    return [
        f"the {what} where the mask is True is {a[at]}"
        for what, a in results.items()
        if not np.all(np.isfinite(a[at]))
    ]


# NaN


def _hard(rows: int, classes: int):
    return np.arange(rows, dtype=np.int32) % classes


def _soft(rows: int, classes: int):
    return np.full((rows, classes), 1 / classes, np.float32)


def _binary(rows: int, classes: int):
    return np.float32(np.arange(rows * classes) % 2).reshape(rows, classes)


def nan_cases() -> dict[str, tuple[Callable, Callable]]:
    """Functions of an array that may hold NaN and of labels, and those labels."""
    return {
        "bce_with_logits": (bcejax.bce_with_logits, _binary),
        "sigmoid_focal_loss": (bcejax.sigmoid_focal_loss, _binary),
        "log_softmax": (lambda x, y: bcejax.log_softmax(x)[..., 0], _hard),
        "softmax_cross_entropy": (bcejax.softmax_cross_entropy, _soft),
        "softmax_cross_entropy_with_integer_labels": (
            bcejax.softmax_cross_entropy_with_integer_labels,
            _hard,
        ),
        "entropy": (lambda p, _: bcejax.entropy(p), _soft),
        "cross_entropy": (lambda q, p: bcejax.cross_entropy(p, q), _soft),
        "kl_divergence": (lambda q, p: bcejax.kl_divergence(p, q), _soft),
    }


def nan(name: str) -> Iterator[Check]:
    """One NaN among 2,000 rows of 5, and among 8 of 20,000."""
    function, labels_of = nan_cases()[name]

    @jax.jit
    def mean_and_slope(x, y):
        return jax.value_and_grad(lambda x: function(x, y).mean())(x)

    for rows, classes in ((ROWS, 5), (8, 20_000)):
        x = np.random.default_rng(0).uniform(0.1, 0.9, (rows, classes))
        row, column = 7, classes - 1
        x[row, column] = np.nan
        results = mean_and_slope(np.float32(x), labels_of(rows, classes))
        mean, slope = map(np.asarray, results)
        wrong = []
        if not np.isnan(mean):
            wrong.append(f"the mean is {mean:.6g}")
        if not np.isnan(slope[row, column]):
            wrong.append(f"the slope is {slope[row, column]:.6g}")
        if np.isnan(np.delete(slope, row, 0)).any():
            wrong.append("the slope of other rows is NaN")
        title = f"{name}, {rows:,} × {classes:,}"
        yield Check(NANS, title, not wrong, "; ".join(wrong))


# In a larger program


class Case(NamedTuple):
    """A loss of what a product with a matrix gives."""

    loss: Callable  # of outputs and labels, one value a row
    exact: Callable  # of the same in float64: values, slopes in the outputs
    labels: Callable  # of the numbers of rows and of classes
    # One program each, in this order; 0 for no axis of classes.
    classes: tuple[int, ...]
    rows: int = ROWS
    probabilities: bool = False


def cases() -> dict[str, Case]:
    def sides(rows, _):
        return np.arange(rows) % 2

    def hard(rows, classes):
        return (np.arange(rows) % classes).astype(np.int32)

    def one_hot(rows, classes):
        return np.eye(classes)[hard(rows, classes)]

    def even(rows, classes):
        return np.full((rows, classes), 1 / classes)

    def bce(x, y):
        sign = 1 - 2 * y
        return exact.softplus(sign * x), sign * exact.sigmoid(sign * x)

    def focal(x, y):
        sign = 1 - 2 * y
        value, slope, *_ = exact.focal(sign * x, 2.0)
        return value, sign * slope

    def dense(x, y):
        return exact.softmax_loss(x, y)[:2]

    def integer(x, label):
        return dense(x, np.eye(x.shape[-1])[label])

    def entropy(q, _):
        return -np.sum(q * np.log(q), -1), -1 - np.log(q)

    def cross_entropy(q, p):
        return -np.sum(p * np.log(q), -1), -p / q

    def divergence(q, p):
        return np.sum(exact.divergence_terms(p, q), -1), (q - p) / q

    def at_label(x, label):
        values = bcejax.log_softmax(x)
        return -jnp.take_along_axis(values, label[..., None], -1)[..., 0]

    # A program of fewer classes comes first, which must not change the later ones.
    several = (3, 5, 8)
    softmax_of_index = bcejax.softmax_cross_entropy_with_integer_labels
    return {
        "bce_with_logits": Case(
            bcejax.bce_with_logits, bce, sides, (0,), rows=MANY_ROWS
        ),
        "sigmoid_focal_loss": Case(bcejax.sigmoid_focal_loss, focal, sides, (0,)),
        "log_softmax": Case(at_label, integer, hard, several),
        "softmax_cross_entropy": Case(
            bcejax.softmax_cross_entropy, dense, one_hot, several
        ),
        "softmax_cross_entropy_with_integer_labels": Case(
            softmax_of_index, integer, hard, several
        ),
        "entropy": Case(
            lambda q, _: bcejax.entropy(q), entropy, even, (5,), probabilities=True
        ),
        "cross_entropy": Case(
            lambda q, p: bcejax.cross_entropy(p, q),
            cross_entropy,
            even,
            (5,),
            probabilities=True,
        ),
        "kl_divergence": Case(
            lambda q, p: bcejax.kl_divergence(p, q),
            divergence,
            even,
            (5,),
            probabilities=True,
        ),
    }


def fused(name: str) -> Iterator[Check]:
    """The mean after a product, its gradient, and squared norms of gradients."""
    case = cases()[name]

    @jax.jit
    def mean_and_slope(kernel, features, labels):
        def mean(kernel):
            return case.loss(features @ kernel, labels).mean()

        return jax.value_and_grad(mean)(kernel)

    @jax.jit
    def squared_norms(kernel, features, labels):
        def of_one(row, label):
            slope = jax.grad(lambda kernel: case.loss(row @ kernel, label))(kernel)
            return jnp.sum(slope**2)

        return jax.vmap(of_one)(features, labels)

    for classes in case.classes:
        features, kernel = _exact_product(case, classes)
        labels = case.labels(case.rows, classes)
        with np.errstate(all="ignore"):
            value, slope = case.exact(features @ kernel, labels)
        single = [
            jnp.asarray(a, a.dtype if a.dtype == np.int32 else np.float32)
            for a in (kernel, features, labels)
        ]
        # Accelerators round the factors of a product to fewer bits unless told not to.
        with jax.default_matmul_precision("highest"):
            mean, gradient = map(np.asarray, mean_and_slope(*single))
            norms = np.asarray(squared_norms(*single))
        flat = slope.reshape(case.rows, -1)
        n, most = case.rows, np.abs(features).T @ np.abs(slope)
        squares = np.sum(features**2, -1) * np.sum(flat**2, -1)
        errors = {
            "mean": _worst(mean, np.mean(value), np.mean(np.abs(value))),
            "gradient": _worst(gradient, features.T @ slope / n, most / n),
            "squared norms": _worst(norms, squares, np.maximum(squares, 1e-25)),
        }
        wrong = [
            f"{what} off by {error:.2g} of the exact value"
            for what, error in errors.items()
            if not error <= OF_SUMS
        ]
        title = f"{name}, {n:,} × {classes}" if classes else f"{name}, {n:,}"
        yield Check(FUSED, title, not wrong, "; ".join(wrong))


def _exact_product(case: Case, classes: int):
    """Factors of so few bits that their product is exact on every device."""
    rng = np.random.default_rng(classes)
    shape = (6, classes) if classes else (6,)
    if case.probabilities:
        features = rng.integers(1, 9, (case.rows, 6))
        return features.astype(float), rng.integers(1, 9, shape) / 512
    features = rng.integers(-8, 9, (case.rows, 6))
    return features.astype(float), rng.integers(-8, 9, shape) / 8


def _worst(got, exact_value, scale) -> float:
    error = np.abs(got.astype(np.float64) - exact_value) / np.maximum(scale, 1e-30)
    return float(np.max(np.where(np.isnan(error), np.inf, error)))
