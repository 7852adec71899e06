"""Tests of the coefficients of a fit, and how well the model fits, as a table."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy import special

from bcejax.logistic_regression._batches import fit_batches
from bcejax.logistic_regression._covariance import (
    codes_of,
    compiled_covariance,
    covariance_of_batches,
)
from bcejax.logistic_regression._firth import loss_with_firth
from bcejax.logistic_regression._given import Given, read_again, refuse
from bcejax.logistic_regression._likelihood import Totals, penalty, totals_of
from bcejax.logistic_regression._outcome import Fit, MultinomialFit
from bcejax.logistic_regression._precision import precision_of
from bcejax.logistic_regression._problem import Params
from bcejax.logistic_regression._profile import Profile, compiled_profile
from bcejax.logistic_regression._separation import separation
from bcejax.logistic_regression._table import Coefficient, Summary

SAME_LOSS = 1e-4  # of the loss, or in nats, that rounding may change it by
MOST_FEATURES = 10**6  # numbers of which a linear program takes seconds


def summary(
    model: Fit,
    features: ArrayLike | Callable[[], Iterable],
    labels: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    l2: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool | None = None,
    level: float = 0.95,
    kind: str = "fisher",
    groups: ArrayLike | None = None,
) -> Summary:
    """A table of coefficients, their standard errors and tests, and figures of merit.

    z, p-values and intervals are those of the normal distribution (Wald's), or of
    `kind="profile"`: likelihood ratios of each coefficient, for which all others are
    fitted anew where it is 0 and at the ends of its interval. These need no symmetry,
    and are the ones to take of a Firth fit, whose penalty is in the likelihood then. Of
    a penalised fit both describe the shrunken coefficients. The other arguments are
    those of `covariance`. Not for jit: the result holds Python numbers.

    Args:
      names: of the d features; by default those of the table that was fitted, or x0,
        x1, ...
      level: of the confidence intervals, between 0 and 1.
      kind: of `covariance`, or "profile", with the standard errors of "fisher".
    Returns:
      A `Summary`.
    Raises:
      TypeError: if an argument is not real.
      ValueError: if a shape does not fit that of `features`, the data or options are
        not those of the fit, a value cannot be meant, there are not d names,
        `level` is not between 0 and 1, or `kind` is unknown, does not go with `groups`,
        or is "profile" for a fit that has not converged. For a model of many classes.
    Example:
      >>> from bcejax.logistic_regression import fit
      >>> x, y = np.array([[0], [0], [1], [1]]), np.array([0, 1, 0, 1])
      >>> counts = np.array([15, 5, 5, 15])
      >>> model = fit(x, y, sample_weight=counts)
      >>> print(summary(model, x, y, sample_weight=counts, names=["treated"]))
      Logistic regression, n = 40, converged
      <BLANKLINE>
               coefficient  std. error       z   p-value    2.5%     97.5%
      treated        2.197      0.7303   3.009  0.002624  0.7659     3.629
      bias          -1.099      0.5164  -2.127   0.03338  -2.111  -0.08649
      <BLANKLINE>
               odds ratio    2.5%   97.5%
      treated           9   2.151   37.66
      bias         0.3333  0.1211  0.9171
      <BLANKLINE>
      deviance 44.99, null deviance 55.45
      McFadden R² 0.1887, AIC 48.99, BIC 52.36
      standard errors: fisher

    Reference:
      D. W. Hosmer, S. Lemeshow and R. X. Sturdivant, Applied logistic regression, 3rd
      ed., Wiley, 2013. D. J. Venzon and S. H. Moolgavkar, A method for computing
      profile-likelihood-based confidence intervals, Applied Statistics 37 (1988).
    """
    if isinstance(model, MultinomialFit):
        raise ValueError(
            f"model must be of two classes, got one of {model.weights.shape[-1]}: "
            "covariance has the standard errors of many classes."
        )
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}: 0.95 is 95%.")
    quantile = special.ndtri((1 + level) / 2)
    data = features, labels, l2, sample_weight, offset, fit_intercept
    look = look_at_batches if callable(features) else look_at_rows
    seen = look(model, data, kind, groups, quantile)
    fit_intercept = model.options.fit_intercept
    columns = model.options.columns if names is None else names
    names = checked_names(columns, model, fit_intercept)
    variance = np.diagonal(seen.variance)
    n, loss, null_loss, half_deviance, half_null_deviance = seen.totals
    value = np.append(model.weights, model.bias)[: variance.size]
    return Summary(
        coefficients=coefficient_lines(names, value, variance, quantile, seen.profile),
        kind=kind,
        level=float(level),
        converged=bool(model.converged),
        escapes=seen.escapes,
        n=n,
        log_likelihood=-loss,
        deviance=2 * half_deviance,
        null_deviance=2 * half_null_deviance,
        mcfadden_r2=1 - loss / null_loss if null_loss else np.nan,
        aic=2 * loss + 2 * variance.size,
        bic=2 * loss + float(np.log(n)) * variance.size,
        firth=model.options.firth,
        penalised_log_likelihood=-n * seen.objective,
    )


class Seen(NamedTuple):
    """What the data of a fit show."""

    variance: np.ndarray
    totals: Totals
    objective: float
    escapes: tuple[int, ...] | None
    profile: Profile | None = None


def look_at_rows(model: Fit, data: tuple, kind, groups, quantile) -> Seen:
    """`data` are the arguments of `summary` from features to fit_intercept."""
    given, columns, fit_intercept = read_again(model, *data)
    if not getattr(given.features, "is_fully_addressable", True):
        raise ValueError(
            "features must lie in this process, but others hold a part of them: "
            "covariance takes such arrays, and summary the batches of fit_batches with "
            "across_processes=True."
        )
    of_profile = kind == "profile"
    check_optimum(model, of_profile)
    of_variance = "fisher" if of_profile else kind
    groups = codes_of(groups, of_variance, given)
    with precision_of(given, model):
        variance, logits, sound = compiled_covariance(
            model, given, fit_intercept, of_variance, groups
        )
        refuse(sound, given, columns)
        totals = totals_of(logits, given)
        objective = totals.loss / totals.weight + penalty(model, given.l2)
        if model.options.firth:
            objective = float(loss_with_firth(Params(*model[:2]), given, fit_intercept))
        check_loss(float(model.loss), objective)
        profile = None
        if of_profile:
            profile = compiled_profile(model, given, quantile, fit_intercept)
    escapes = escapes_of(model, given, fit_intercept)
    return Seen(variance, totals, objective, escapes, profile)


def look_at_batches(model: Fit, data: tuple, kind, groups, _) -> Seen:
    make_batches, labels, l2, sample_weight, offset, fit_intercept = data
    beside = {"labels": labels, "sample_weight": sample_weight, "offset": offset}
    beside["groups"] = groups
    if kind == "profile":
        raise ValueError('kind "profile" fits all rows anew, and takes no batches.')
    variance, tally = covariance_of_batches(
        model, make_batches, beside, l2, fit_intercept, kind
    )
    of_penalty = penalty(model, model.l2 if l2 is None else l2)
    objective = tally.loss / tally.weight + of_penalty
    check_loss(float(model.loss), objective)
    null_loss = None
    if model.options.shifted:
        mean = null_loss_of(make_batches, model.options.across_processes)
        null_loss = mean * tally.weight
    # A linear program needs all rows at once.
    escapes = (0,) * len(variance) if model.converged else None
    return Seen(variance, tally.totals(null_loss), objective, escapes)


def null_loss_of(make_batches, across_processes: bool) -> float:
    """The mean loss of the best constant beside the offset."""

    def without_features():
        for _, labels, *others in make_batches():
            yield np.zeros((len(labels), 1)), labels, *others

    found = fit_batches(without_features, across_processes=across_processes)
    return float(found.loss)


def check_optimum(model: Fit, of_profile: bool) -> None:
    if of_profile and not model.converged:
        raise ValueError(
            'a fit must have converged for kind "profile", which compares with the '
            "optimum: look at model.separated, and fit with firth=True if it is True."
        )


def escapes_of(model: Fit, given: Given, fit_intercept: bool):
    """What `separation` finds, if there is cause to ask and time to answer."""
    count = model.weights.size + fit_intercept
    if model.converged or model.options.firth:
        return (0,) * count
    if given.features.size > MOST_FEATURES:
        return None
    found = separation(
        given.features,
        given.labels,
        l2=given.l2,
        sample_weight=given.sample_weight,
        fit_intercept=fit_intercept,
    )
    return tuple(found[:count].tolist())


def check_loss(fitted: float, found: float) -> None:
    """That the data are those of the fit, by the loss that the fit has on them.

    A model that was put together by hand may have NaN for its loss.
    """
    if abs(found - fitted) > SAME_LOSS * abs(fitted) + SAME_LOSS:  # False for NaN
        raise ValueError(
            "features, labels and options must be those of the fit, whose loss is "
            f"{fitted:.6g}; on these it is {found:.6g}."
        )


def checked_names(names, model: Fit, fit_intercept: bool) -> list[str]:
    count = model.weights.size
    names = [f"x{i}" for i in range(count)] if names is None else list(map(str, names))
    if len(names) != count:
        raise ValueError(
            "names must hold one name per column of features, "
            f"got {len(names)} for {count} columns."
        )
    return names + ["bias"] * fit_intercept


def coefficient_lines(
    names, value, variance, quantile: float, profile: Profile | None
) -> tuple[Coefficient, ...]:
    value, error = np.float64(value), np.sqrt(np.float64(variance))
    with np.errstate(all="ignore"):  # ∞ and NaN are answers here
        z, reach = value / error, quantile * error
        low, high = value - reach, value + reach
        if profile is not None:
            known = np.isfinite(error)
            root, *ends = map(np.float64, profile)
            z = np.where(known, np.copysign(root, value), z)
            low, high = (
                np.where(known, *p) for p in zip(ends, (low, high), strict=True)
            )
        interval = value, low, high
        columns = value, error, z, 2 * special.ndtr(-np.abs(z)), low, high
        columns += tuple(map(np.exp, interval))
    numbers = np.stack(columns, axis=1).tolist()
    return tuple(Coefficient(n, *line) for n, line in zip(names, numbers, strict=True))
