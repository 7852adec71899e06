"""Tests of several coefficients at once: whether a model needs more columns.

The likelihood-ratio test compares two fits. The score test needs the smaller one alone:
with e⊥ what the model's columns leave of the new ones, in the inner product of its
curvatures cᵢ = wᵢ σ(xᵢ) σ(−xᵢ),

    u  =  Σ wᵢ (yᵢ − σ(xᵢ)) e⊥ᵢ,        V  =  Σ cᵢ e⊥ᵢ e⊥ᵢᵀ,

uᵀV⁻¹u has the χ² distribution if the new coefficients are 0 (Rao 1948).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaincc
from jax.typing import ArrayLike
from scipy.special import gammaincc as gammaincc_on_host

from bcejax._bce import bce_dx
from bcejax._numerics.sigmoid import sigmoid_slope
from bcejax.logistic_regression._compiled import AT_ONCE, compiled
from bcejax.logistic_regression._covariance import fitted_logits, rooted_design
from bcejax.logistic_regression._design import dot
from bcejax.logistic_regression._factor import step_of_hessian
from bcejax.logistic_regression._given import (
    is_sound,
    read_again,
    read_features,
    refuse,
)
from bcejax.logistic_regression._outcome import Fit
from bcejax.logistic_regression._precision import precision_of, rounded
from bcejax.logistic_regression._problem import (
    checked_features,
    checked_problem,
    total_weight,
)
from bcejax.logistic_regression._rows import sum_over_rows
from bcejax.logistic_regression._table import Summary

SAME = 1e-6  # of a log-likelihood, that rounding may change it by


class ChiSquared(NamedTuple):
    """A test with a statistic of the χ² distribution.

    Attributes:
      statistic: what is large if the smaller model is wrong.
      degrees_of_freedom: how many coefficients are tested.
      p_value: how often chance alone would make the statistic that large.
    """

    statistic: jax.Array | float
    degrees_of_freedom: int
    p_value: jax.Array | float


def likelihood_ratio_test(small: Summary, large: Summary) -> ChiSquared:
    """Whether a model fits better than one with fewer columns, by more than chance.

    Twice the difference of the log-likelihoods is compared with the χ² distribution of
    as many degrees of freedom as the larger model has coefficients more.

    Args:
      small: the summary of a fit, with some of the columns of the larger one.
      large: the summary of a fit to the same rows, labels, weights and offset.
    Returns:
      A `ChiSquared` of Python numbers.
    Raises:
      TypeError: if one is no `Summary`: a `Fit` does not know how many rows it had.
      ValueError: if a fit has not converged or was penalised, if the rows, labels,
        weights or offsets differ, by their number and the deviance of a constant, or if
        the larger model lacks a column of the smaller one, by name, has no more
        coefficients, or fits worse. For one coefficient of a penalised fit, with
        Firth's penalty too, there is `summary(kind="profile")`.
    Example:
      >>> import numpy as np
      >>> from bcejax.logistic_regression import fit, summary
      >>> x, y = np.array([[0, 1], [0, 2], [1, 3], [1, 1]] * 3), np.arange(12) % 5 > 2
      >>> small, large = (summary(fit(a, y), a, y) for a in (x[:, :1], x))
      >>> print(f"{likelihood_ratio_test(small, large).p_value:.3f}")
      0.144

    Reference:
      S. S. Wilks, The large-sample distribution of the likelihood ratio for testing
      composite hypotheses, Ann. Math. Statist. 9 (1938), 60-62.
    """
    for name, table in (("small", small), ("large", large)):
        _check_likelihood(name, table)
    _check_nested(small, large)
    gained = large.log_likelihood - small.log_likelihood
    more = len(large.coefficients) - len(small.coefficients)
    statistic = max(2 * gained, 0.0)
    return ChiSquared(
        statistic, more, float(gammaincc_on_host(more / 2, statistic / 2))
    )


def _check_likelihood(name: str, table: Summary) -> None:
    if not isinstance(table, Summary):
        raise TypeError(
            f"{name} must be a Summary, got {type(table).__name__}: "
            "write summary(model, features, labels)."
        )
    if not table.converged:
        raise ValueError(f"{name} must be of a fit that has converged.")
    if table.firth or not _close(table.penalised_log_likelihood, table.log_likelihood):
        raise ValueError(
            f"{name} must be of a fit without a penalty: the likelihood ratio of a "
            'penalised fit is in summary(kind="profile").'
        )


def _check_nested(small: Summary, large: Summary) -> None:
    for what in ("n", "null_deviance"):
        values = getattr(small, what), getattr(large, what)
        if not _close(*values):
            raise ValueError(
                "small and large must be of the same rows, labels, weights and offset, "
                f"but {what} is {values[0]:.10g} and {values[1]:.10g}."
            )
    names = [[c.name for c in table.coefficients] for table in (small, large)]
    missing = [name for name in names[0] if name not in names[1]]
    if missing or len(names[0]) >= len(names[1]):
        raise ValueError(
            "large must have all columns of small and some more, but small has "
            f"{', '.join(names[0])}, and large {', '.join(names[1])}."
        )
    if large.log_likelihood < small.log_likelihood and not _close(
        large.log_likelihood, small.log_likelihood
    ):
        raise ValueError(
            "large must hold the columns of small, but fits worse: its log-likelihood "
            f"is {large.log_likelihood:.10g}, and that of small "
            f"{small.log_likelihood:.10g}."
        )


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= SAME * (abs(a) + abs(b))


def score_test(
    model: Fit,
    features: ArrayLike,
    labels: ArrayLike,
    extra: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
) -> ChiSquared:
    """Whether columns that are not in a model belong there, without fitting them.

    All columns of `extra` together. To screen many, each by itself, map over them:
    `jax.vmap(lambda column: score_test(model, x, y, column), in_axes=1)(columns)`.

    Args:
      model: the fit without them, which has converged and has no penalty.
      features: `(n, d)`, those of the fit.
      labels: `(n,)`, those of the fit.
      extra: `(n,)` or `(n, m)`, real.
      sample_weight: `(n,)` or a scalar, as in the fit.
      offset: `(n,)` or a scalar, as in the fit.
    Returns:
      A `ChiSquared` of m degrees of freedom, in the dtype of the fit. Its statistic is
      NaN if the model's columns span one of `extra`.
    Raises:
      TypeError: if an argument is not real.
      ValueError: if a shape does not fit that of `features`, or the model was fitted
        with a penalty. Outside jit and vmap also for a value that cannot be meant.
    Example:
      >>> from bcejax.logistic_regression import fit
      >>> x, y = jnp.arange(8.0)[:, None], jnp.array([0, 1, 0, 1, 0, 0, 1, 1])
      >>> test = score_test(fit(x, y), x, y, jnp.square(x))
      >>> print(test.statistic, test.degrees_of_freedom, test.p_value)
      0.452 1 0.501

    Reference:
      C. R. Rao, Large sample tests of statistical hypotheses concerning several
      parameters, Proc. Camb. Phil. Soc. 44 (1948), 50-57.
    """
    given, names, fit_intercept = read_again(
        model, features, labels, None, sample_weight, offset, None
    )
    hidden = isinstance(model.l2, jax.core.Tracer)
    if model.options.firth or not (hidden or np.all(np.asarray(model.l2) == 0)):
        raise ValueError("model must be fitted without a penalty for a score test.")
    extra, _ = read_features(extra, None)
    extra = extra[:, None] if extra.ndim == 1 else extra
    if extra.shape[:1] != given.labels.shape:
        raise ValueError(
            "extra must have one row per row of features, "
            f"got extra {extra.shape} and labels {given.labels.shape}."
        )
    with precision_of(given, model, extra):
        statistic, p_value, sound = compiled_score_test(
            model, given, extra, fit_intercept
        )
        refuse(sound, given, names)
    return ChiSquared(rounded(statistic), extra.shape[1], rounded(p_value))


@compiled(AT_ONCE, static_argnames="fit_intercept")
def compiled_score_test(model: Fit, given, extra, fit_intercept):
    data = checked_problem(*given).readable()
    total = total_weight(given.sample_weight, data)
    logits = fitted_logits(model, data)
    design, root, _, top = rooted_design(data, logits, fit_intercept)
    curvature = data.share * sigmoid_slope(logits)
    model_columns = dot(design.columns(data), root)  # orthonormal by curvature / top

    e = checked_features(extra).astype(logits.dtype)
    e = jnp.where((data.share > 0)[:, None], e, 0)
    e = (e - sum_over_rows(data.share, e)) if fit_intercept else e
    size = jnp.sqrt(sum_over_rows(data.share, e**2))
    e = e / size
    for _ in range(2):  # the second time for the digits that the first has lost
        inside = sum_over_rows(model_columns, (curvature / top)[:, None] * e)
        e = e - dot(model_columns, inside)
    push = -data.share * bce_dx(logits, data.labels, None)
    u = sum_over_rows(e, jnp.where(data.share == 0, 0, push))
    v = sum_over_rows(e, curvature[:, None] * e)
    eps = jnp.finfo(v.dtype).eps
    spanned = jnp.any(jnp.diagonal(v) <= eps * jnp.max(curvature))
    statistic = jnp.where(spanned, jnp.nan, -total * (u @ step_of_hessian(v, u)))
    p_value = gammaincc(len(u) / 2, statistic / 2)
    return statistic, p_value, is_sound(given, jnp.where(data.share > 0, logits, 0))
