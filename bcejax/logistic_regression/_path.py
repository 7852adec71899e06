"""Fits along penalties: each starts where the one before has ended, in one loop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bcejax._host import as_computed_with, matrix, numbers
from bcejax.logistic_regression._along import compiled_path
from bcejax.logistic_regression._compiled import is_eager
from bcejax.logistic_regression._fit import fit
from bcejax.logistic_regression._given import Given, is_sound, read, refuse
from bcejax.logistic_regression._many_classes import read_classes
from bcejax.logistic_regression._multinomial import fit_multinomial
from bcejax.logistic_regression._outcome import Fit, MultinomialFit, Options
from bcejax.logistic_regression._precision import precision_of, rounded
from bcejax.logistic_regression._products import checked_precision


class Path(NamedTuple):
    """Fits along penalties, in the order in which these were given.

    Attributes:
      models: a `Fit` or `MultinomialFit` with an axis of the penalties in front of
        every array.
      held_out_loss: `(penalties,)`, of the held-out rows, in nats a row and without the
        penalty; None without such rows, NaN where the loop has not come to.
      held_out_accuracy: `(penalties,)`, the share of them that are called by their
        class.
      reached: `(penalties,)`, whether the loop came to this penalty.
      best: `()`, the index of the least loss of the held-out rows; None without any.
      model: the fit of that penalty, of all rows after `refit`; None without held-out
        rows.
    """

    models: Fit | MultinomialFit
    held_out_loss: jax.Array | None
    held_out_accuracy: jax.Array | None
    reached: jax.Array
    best: jax.Array | None
    model: Fit | MultinomialFit | None


def fit_path(
    features: ArrayLike,
    labels: ArrayLike,
    l2s: ArrayLike,
    *,
    held_out: tuple | None = None,
    classes: int | None = None,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool = True,
    refit: bool = False,
    patience: int | None = None,
    tol: ArrayLike = 1e-6,
    max_steps: ArrayLike = 100,
    precision: str = "highest",
) -> Path:
    """Fit at every penalty, from the largest down, each from the optimum before it.

    One compiled loop takes all of them. With held-out rows it says what each of the
    models is worth on them, and which is the best.

    Args:
      features: `(n, d)`, as in `fit` and `fit_multinomial`.
      labels: `(n,)` or `(n, classes)`. The labels of `fit`, from 0 to 1, are fitted by
        it; those of more classes by `fit_multinomial`.
      l2s: `(penalties,)` or `(penalties, d)`, in any order.
      held_out: (features, labels) of other rows, or (features, labels, weights), or
        (features, labels, weights, offset), each of the last two possibly None.
      classes: as in `fit_multinomial`, which it chooses for two classes as well. Needed
        within jit and vmap for more classes than two.
      sample_weight: `(n,)` or a scalar, not negative.
      offset: `(n,)` or a scalar, as in `fit`; not with more than two classes.
      fit_intercept: whether there is a bias.
      refit: whether to fit the best penalty once more, on the held-out rows as well.
        They are copied together, and the program is compiled for their number.
      patience: stop after so many penalties in a row whose loss on the held-out rows is
        above the least one; None goes through all of them.
      tol: as in `fit`.
      max_steps: for each penalty.
      precision: as in `fit_multinomial`.
    Returns:
      A `Path`.
    Raises:
      TypeError: if an argument is not real.
      ValueError: if a shape does not fit that of `features`, if `refit` or `patience`
        come without `held_out`, if an offset comes with the labels of
        `fit_multinomial`, and for what the fits refuse.
    Example:
      >>> x = jnp.array([[0.0], [1.0], [2.0], [3.0]])
      >>> path = fit_path(x, jnp.array([0, 1, 0, 1]), [1.0, 0.1, 0.01])
      >>> print(path.models.weights[:, 0].round(2))
      [0.19 0.64 0.87]

    Reference:
      J. Friedman, T. Hastie and R. Tibshirani, Regularization paths for generalized
      linear models via coordinate descent, J. Stat. Softw. 33 (2010), 1-22.
    """
    if held_out is None and (refit or patience is not None):
        raise ValueError("refit and patience need held_out rows, to choose by.")
    products, l2s = checked_precision(precision), checked_penalties(l2s)
    given, names, classes = read_rows(
        features, labels, classes, sample_weight, offset, l2s
    )
    held = None if held_out is None else read_held_out(held_out, classes, names)
    with precision_of(given, held, l2s, tol, max_steps):
        state = compiled_path(
            given,
            held,
            l2s,
            tol,
            max_steps,
            len(l2s) if patience is None else patience,
            classes,
            fit_intercept,
            products,
        )
        check(state.models.loss + state.models.gradient_norm, given, classes, names)
        if held is not None:
            # An infinite loss is that of a certain wrong answer.
            nan = jnp.where(jnp.isnan(state.losses) & state.reached, jnp.nan, 0)
            check(nan, held, classes, names)
    state = rounded(state)
    options = Options(
        fit_intercept=fit_intercept,
        weighted=sample_weight is not None,
        shifted=offset is not None,
        columns=names,
    )
    models = state.models._replace(options=options)
    if held is None:
        return Path(models, None, None, state.reached, None, None)
    best = jnp.nanargmin(state.losses)
    model = jax.tree.map(lambda a: a[best], models)
    if refit:
        others = {"tol": tol, "max_steps": max_steps, "fit_intercept": fit_intercept}
        model = fit_of_both(given, held, model, classes, precision, others)
        model = model._replace(options=options)
    return Path(models, state.losses, state.accuracies, state.reached, best, model)


def checked_penalties(l2s) -> np.ndarray | jax.Array:
    l2s = numbers(l2s, "l2s")
    if l2s.ndim not in (1, 2) or len(l2s) == 0:
        raise ValueError(
            "l2s must hold penalties, (penalties,) or (penalties, d), got shape "
            f"{l2s.shape}."
        )
    if not is_eager(l2s):
        return l2s
    wrong = ~((as_computed_with(l2s) >= 0) & (as_computed_with(l2s) < np.inf))
    if np.any(wrong):
        place = np.argwhere(wrong)[0][0]
        raise ValueError(
            f"l2s must be 0 or more and finite, got {l2s[place]} as number {place}."
        )
    return l2s


def read_rows(features, labels, classes, sample_weight, offset, l2s):
    """The data, the names of the columns, and how many classes, or None for `fit`."""
    labels, _ = matrix(labels, "labels")
    known = is_eager(labels)
    several = np.ndim(labels) == 2 or (known and np.any(as_computed_with(labels) > 1))
    least = np.min(l2s) if is_eager(l2s) else 0.0
    if classes is not None or several:
        check_no_offset(offset)
        given, names, classes = read_classes(
            features, labels, classes, least, sample_weight
        )
    else:
        given, names = read(features, labels, least, sample_weight, offset)
    return given._replace(l2=np.zeros(())), names, classes


def read_held_out(held_out, classes, names) -> Given:
    if len(held_out) not in (2, 3, 4):
        raise ValueError(
            "held_out must be (features, labels), (features, labels, weights) or "
            f"(features, labels, weights, offset), got {len(held_out)} of them."
        )
    features, labels, weight, offset = (*held_out, None, None)[:4]
    if classes is None:
        return read(features, labels, 0.0, weight, offset, names)[0]
    check_no_offset(offset)
    read_as = read_classes(
        features, labels, classes, 0.0, weight, names, complete=False
    )
    return read_as[0]


def check_no_offset(offset) -> None:
    if offset is not None:
        raise ValueError(
            "offset must be left at None with the labels of more than two classes, or "
            "with `classes`: fit_multinomial has none."
        )


def check(result: jax.Array, given: Given, classes: int | None, names) -> None:
    """Refuse values that cannot be meant; labels of classes have been looked at."""
    if classes is not None:
        given = given._replace(labels=np.zeros(len(given.labels)))
    refuse(is_sound(given, result), given, names)


def concatenated(arrays):
    """On the host, if one of them is there, where its dtype may be float64."""
    on_host = any(isinstance(a, np.ndarray) for a in arrays)
    return (np if on_host else jnp).concatenate(arrays)


def either(counts: tuple[int, int], optional: tuple, default: int):
    """Two arrays, of so many rows, as one of all rows; None if neither is there."""
    if all(a is None for a in optional):
        return None
    each = [
        np.broadcast_to(default if a is None else a, n)
        for a, n in zip(optional, counts, strict=True)
    ]
    return np.concatenate(each)


def fit_of_both(given: Given, held: Given, model, classes, precision, others):
    """The penalty of a model once more, on its rows and on the held-out ones."""
    counts = len(given.labels), len(held.labels)
    weights = either(counts, (given.sample_weight, held.sample_weight), 1)
    offset = either(counts, (given.offset, held.offset), 0)
    both = zip(given[:2], held[:2], strict=True)
    features, labels = map(concatenated, both)
    others |= {"l2": model.l2, "init": model, "sample_weight": weights}
    if classes is None:
        return fit(features, labels, offset=offset, **others)
    others |= {"classes": classes, "precision": precision}
    return fit_multinomial(features, labels, **others)
