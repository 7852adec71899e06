"""What to say of a fit: tests of its coefficients, and how well the model fits."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy import special

from bcejax import _arguments as _checks
from bcejax._bce import bce_unweighted as _bce_unweighted
from bcejax._bernoulli import bernoulli_divergence as _bernoulli_divergence
from bcejax._numerics.sigmoid import logit as _logit
from bcejax._optimal_logit import best_logit as _optimal_logit
from bcejax.logistic_regression._fit import Fit
from bcejax.logistic_regression._inference import (
    covariance,
    fitted_logits,
    total_weight,
)
from bcejax.logistic_regression._objective import problem
from bcejax.logistic_regression._table import Coefficient, Summary


def summary(
    fit: Fit,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    l2: ArrayLike = 0.0,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool = True,
    level: float = 0.95,
    kind: str = "fisher",
) -> Summary:
    """A table of coefficients, their standard errors and tests, and figures of merit.

    z, p-values and intervals are those of the normal distribution (Wald's). Of a
    penalised fit they describe the shrunken coefficients. The other arguments are those
    of `covariance`. Not for jit: the result holds Python numbers.

    Args:
      names: of the d features; x0, x1, ... by default.
      level: of the confidence intervals, between 0 and 1.
    Returns:
      A `Summary`.
    Raises:
      TypeError: if an argument is not real.
      ValueError: if a shape does not fit that of `features`, there are not d names,
        `level` is not between 0 and 1, or `kind` is unknown.
    Example:
      >>> from bcejax.logistic_regression import fit
      >>> x, y = jnp.array([[0], [0], [1], [1]]), jnp.array([0, 1, 0, 1])
      >>> counts = jnp.array([15, 5, 5, 15])
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
      ed., Wiley, 2013.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}: 0.95 is 95%.")
    options = {"l2": l2, "sample_weight": sample_weight, "offset": offset}
    variance = jnp.diag(
        covariance(
            fit, features, labels, **options, fit_intercept=fit_intercept, kind=kind
        )
    )
    data = map(_checks.array, (features, labels, *options.values()))
    n, *totals = np.asarray(_totals(fit, *data), np.float64).tolist()
    value = np.append(fit.weights, fit.bias)[: variance.size]
    names = _names(names, fit, fit_intercept)
    loss, null_loss, half_deviance, half_null_deviance = totals
    return Summary(
        coefficients=_coefficients(names, value, variance, level),
        kind=kind,
        level=float(level),
        converged=bool(fit.converged),
        n=n,
        log_likelihood=-loss,
        deviance=2 * half_deviance,
        null_deviance=2 * half_null_deviance,
        mcfadden_r2=1 - loss / null_loss if null_loss else np.nan,
        aic=2 * loss + 2 * variance.size,
        bic=2 * loss + float(np.log(n)) * variance.size,
    )


def _names(names, fit: Fit, fit_intercept: bool) -> list[str]:
    count = fit.weights.size
    names = [f"x{i}" for i in range(count)] if names is None else list(map(str, names))
    if len(names) != count:
        raise ValueError(
            "names must hold one name per column of features, "
            f"got {len(names)} for {count} columns."
        )
    return names + ["bias"] * fit_intercept


def _coefficients(names, value, variance, level: float) -> tuple[Coefficient, ...]:
    value, error = np.float64(value), np.sqrt(np.float64(variance))
    with np.errstate(all="ignore"):  # ∞ and NaN are answers here
        z = value / error
        reach = special.ndtri((1 + level) / 2) * error
        interval = value, value - reach, value + reach
        columns = value, error, z, 2 * special.ndtr(-np.abs(z)), *interval[1:]
        columns += tuple(map(np.exp, interval))
    numbers = np.stack(columns, axis=1).tolist()
    return tuple(Coefficient(n, *line) for n, line in zip(names, numbers, strict=True))


@jax.jit
def _totals(fit, features, labels, l2, sample_weight, offset) -> jax.Array:
    """Σ w, and Σ w times the losses and the divergences, of the fit and of the null."""
    data = problem(features, labels, l2, sample_weight, offset)
    best = _optimal_logit(
        data.labels, data.share, None if offset is None else data.offset, None
    )
    fitted = fitted_logits(fit, data)
    # Zeros that are sharded as the labels are: jax 0.12 does not shard `zeros_like`.
    logits = fitted, 0 * data.labels + data.offset + best
    losses = [_bce_unweighted(x, data.labels) for x in logits]
    losses += [_bernoulli_divergence(_logit(data.labels), x) for x in logits]
    means = [jnp.sum(data.share * a, where=data.share != 0) for a in losses]
    total = total_weight(sample_weight, data)
    return jnp.stack([total, *(total * mean for mean in means)])
