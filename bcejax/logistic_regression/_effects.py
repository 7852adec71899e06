"""What a unit of a feature adds to the probability, and not to the logit.

The slope of σ(x) in feature j is σ(x) σ(−x) βⱼ. Its mean over the rows, or its value at
the mean row, is a function of the coefficients, whose Jacobian J turns their covariance
into that of the effects: J Cov Jᵀ (the delta method).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from bcejax._numerics.sigmoid import sigmoid_slope
from bcejax.logistic_regression._compiled import AT_ONCE, compiled
from bcejax.logistic_regression._covariance import codes_of, compiled_covariance
from bcejax.logistic_regression._design import dot
from bcejax.logistic_regression._given import read_again, refuse
from bcejax.logistic_regression._outcome import Fit
from bcejax.logistic_regression._precision import precision_of, rounded
from bcejax.logistic_regression._problem import Params, checked_problem
from bcejax.logistic_regression._rows import linear, sum_over_rows

PLACES = "rows", "mean"


class MarginalEffects(NamedTuple):
    """Effects of the d features on the probability of label 1.

    Attributes:
      effect: `(d,)`, probability per unit of each feature.
      standard_error: `(d,)`.
      z: `(d,)`, effect / standard_error.
      p_value: `(d,)`, how often chance alone would take a true 0 that far from 0.
      low, high: `(d,)`, ends of the confidence intervals.
    """

    effect: jax.Array
    standard_error: jax.Array
    z: jax.Array
    p_value: jax.Array
    low: jax.Array
    high: jax.Array


def marginal_effects(
    model: Fit,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    at: str = "rows",
    l2: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool | None = None,
    kind: str = "fisher",
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> MarginalEffects:
    """By how much the probability grows with each feature, with standard errors.

    A feature of two values is treated as all others: its effect is a slope, and no
    difference. Rows count as often as their weights say. The other arguments are those
    of `covariance`.

    Args:
      at: "rows" for the mean of the effects in all rows, or "mean" for the effects in a
        row of mean features and offset.
      level: of the confidence intervals, between 0 and 1.
    Returns:
      `MarginalEffects`, in the dtype of the fit.
    Raises:
      TypeError: if an argument is not real.
      ValueError: as `covariance` does, for an unknown `at`, or if `level` is not
        between 0 and 1.
    Example:
      >>> from bcejax.logistic_regression import fit
      >>> x, y = jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([0, 1, 0, 1])
      >>> effects = marginal_effects(fit(x, y), x, y)
      >>> print(effects.effect, effects.standard_error)
      [0.182] [0.133]

    Reference:
      W. H. Greene, Econometric analysis, 8th ed., Pearson 2018, section 17.3.
    """
    if at not in PLACES:
        raise ValueError(f'at must be "rows" or "mean", got {at!r}.')
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}: 0.95 is 95%.")
    given, names, fit_intercept = read_again(
        model, features, labels, l2, sample_weight, offset, fit_intercept
    )
    groups = codes_of(groups, kind, given)
    with precision_of(given, model):
        found, sound = compiled_effects(
            model, given, level, groups, fit_intercept, kind, at
        )
        refuse(sound, given, names)
    return rounded(found)


@compiled(AT_ONCE, static_argnames=("fit_intercept", "kind", "at"))
def compiled_effects(model: Fit, given, level, groups, fit_intercept, kind, at):
    variance, _, sound = compiled_covariance(model, given, fit_intercept, kind, groups)
    data = checked_problem(*given).readable()
    share = data.share

    def effects(coefficients):
        weights, bias = coefficients[: model.weights.size], coefficients[-1]
        params = Params(weights, bias if fit_intercept else jnp.zeros_like(bias))
        if at == "mean":
            row = sum_over_rows(share, data.features)
            slope = sigmoid_slope(linear(params, row) + jnp.sum(share * data.offset))
        else:
            slopes = sigmoid_slope(linear(params, data.features) + data.offset)
            slope = jnp.sum(share * slopes, where=share != 0)
        return slope * weights

    every = jnp.append(model.weights, model.bias)[: len(variance)]
    every = jnp.asarray(every, share.dtype)
    effect, jacobian = effects(every), jax.jacfwd(effects)(every)
    error = jnp.sqrt(jnp.sum(dot(jacobian, variance) * jacobian, 1))
    z, reach = effect / error, ndtri((1 + level) / 2) * error
    found = effect, error, z, 2 * norm.cdf(-jnp.abs(z)), effect - reach, effect + reach
    return MarginalEffects(*found), sound
