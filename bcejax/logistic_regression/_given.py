"""What people hand to a fit, and what of it is refused.

Data are read on the host, before JAX sees them. Their values are looked at in the
compiled pass that computes with them: it returns whether they are sound, next to its
result. Only if they are not does the host look for the value to complain of.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bcejax._host import Array, column_names, columns, matrix, numbers
from bcejax._values import complain
from bcejax.logistic_regression._classes import weighted_by_class
from bcejax.logistic_regression._outcome import ClassWeight, Fit, MultinomialFit


class Given(NamedTuple):
    features: Array  # (n, d)
    labels: Array  # (n,)
    l2: Array  # () or (d,)
    sample_weight: Array | None  # (n,), ()
    offset: Array | None  # (n,), ()

    @property
    def weight_or_1(self) -> Array | int:
        return 1 if self.sample_weight is None else self.sample_weight

    @property
    def offset_or_0(self) -> Array | int:
        return 0 if self.offset is None else self.offset

    def by_class(self, class_weight: ClassWeight) -> "Given":
        """The data with the weights of the classes in those of the rows."""
        shapes = np.shape(self.weight_or_1), np.shape(self.labels)
        if class_weight is None or shapes[0] not in ((), shapes[1]):  # refused later
            return self
        both = weighted_by_class(self.labels, self.sample_weight, class_weight)
        return self._replace(labels=both[0], sample_weight=both[1])


def read(
    features, labels, l2, sample_weight, offset, names: Sequence[str] | None = None
) -> tuple[Given, tuple[str, ...] | None]:
    """The data as arrays, and the names of the columns if they have any.

    Of a table the columns of these names are taken, in this order.
    """
    features, found = read_features(features, names)
    named = {"sample_weight": sample_weight, "offset": offset}
    optional = [None if x is None else numbers(x, name) for name, x in named.items()]
    labels, l2 = numbers(labels, "labels"), numbers(l2, "l2")
    return Given(features, labels, l2, *optional), found


def read_features(
    x, names: Sequence[str] | None
) -> tuple[Array, tuple[str, ...] | None]:
    """The features and the names of their columns, if they have any.

    Of a table the columns of these names are taken, in this order.
    """
    if names is None or column_names(x) is None:
        return matrix(x, "features")
    return columns(x, names, "features"), tuple(names)


def read_again(
    model: Fit, features, labels, l2, sample_weight, offset, fit_intercept
) -> tuple[Given, tuple[str, ...] | None, bool]:
    """The data of a fit that was made, the names, and whether it has a bias.

    l2 and `fit_intercept` are those of the fit if they are None.
    """
    fit_intercept = checked_intercept(model, fit_intercept)
    given = {"sample_weight": sample_weight, "offset": offset}
    check_options(model, {name: value is not None for name, value in given.items()})
    options = model.options
    if options.firth and l2 is not None:
        check_no_l2(l2)
    l2 = model.l2 if l2 is None else l2
    data, names = read(features, labels, l2, sample_weight, offset, options.columns)
    return data.by_class(options.class_weight), names, fit_intercept


def check_options(model: Fit | MultinomialFit, there: dict[str, bool]) -> None:
    """That weights and an offset are there if the fit had them."""
    options = model.options
    had = {"sample_weight": options.weighted, "offset": options.shifted}
    for name, given in there.items():
        if had[name] and not given:
            raise ValueError(f"{name} must be given: the model was fitted with one.")


def checked_intercept(model: Fit | MultinomialFit, fit_intercept: bool | None) -> bool:
    """Whether the fit has a bias; None agrees with either."""
    has = model.options.fit_intercept
    if fit_intercept not in (None, has):
        raise ValueError(
            f"fit_intercept must be {has}, as in the fit, got {fit_intercept}."
        )
    return has


def check_no_l2(l2) -> None:
    """That there is no l2 beside Firth's penalty, or none that jit hides."""
    if isinstance(l2, jax.core.Tracer) or np.any(np.asarray(l2) != 0):
        raise ValueError(
            "l2 must be left at 0 with firth=True, whose penalty takes its place, "
            f"got {l2}."
        )


def is_sound(given: Given, result: jax.Array) -> jax.Array:
    """Whether all values can be meant, for `refuse`.

    Features are not checked here: NaN or ∞ in a row that counts makes `result`, which
    is that of a pass over them, not finite.
    """
    labels, l2, weight, offset = map(
        jnp.asarray, (given.labels, given.l2, given.weight_or_1, given.offset_or_0)
    )
    counts = weight > 0
    of_rows = (labels >= 0) & (labels <= 1) & jnp.isfinite(offset)
    of_weights = jnp.all((weight >= 0) & (weight < jnp.inf)) & jnp.any(counts)
    of_l2 = jnp.all((l2 >= 0) & (l2 < jnp.inf))
    return (
        jnp.all(of_rows | ~counts) & of_weights & of_l2 & jnp.all(jnp.isfinite(result))
    )


def refuse(sound: jax.Array, given: Given, names: Sequence[str] | None) -> None:
    """Raise the error of values that are not sound, but not within jit or vmap."""
    if isinstance(sound, jax.core.Tracer) or sound:
        return
    others = given.weight_or_1, given.offset_or_0, given.l2
    complain(given.features, given.labels, *others, names)
