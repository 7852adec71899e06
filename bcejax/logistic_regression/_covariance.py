"""How far the coefficients of a fit can be trusted: their covariance.

With wᵢ the weight of a row, xᵢ its logit, W = Σ wᵢ, and H the Hessian of the objective

    W H = Σ wᵢ σ(xᵢ) σ(−xᵢ) zᵢ zᵢᵀ + W diag(l2),    zᵢ = (features, 1),

the penalty without its share in the bias, the covariance is

    fisher    (W H)⁻¹,
    sandwich  (W H)⁻¹ (Σ wᵢ gᵢ gᵢᵀ) (W H)⁻¹,    gᵢ = (σ(xᵢ) − yᵢ) zᵢ + l2 β.

Weights count rows: 2 counts a row twice, in both kinds.
"""

from collections.abc import Callable, Iterable
from functools import partial

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.typing import ArrayLike

from bcejax._bce import bce_dx
from bcejax._numerics.sigmoid import sigmoid_slope
from bcejax.logistic_regression._covariance_batches import covariance_in_passes
from bcejax.logistic_regression._design import (
    Design,
    design_of,
    information_of_penalty,
    information_of_rows,
    inverse_root,
    middle_of_rows,
    variance_of,
)
from bcejax.logistic_regression._fit import check_columns, logits_of_model
from bcejax.logistic_regression._given import (
    check_options,
    checked_intercept,
    is_sound,
    read_again,
    refuse,
)
from bcejax.logistic_regression._outcome import Fit
from bcejax.logistic_regression._precision import precision_of, rounded
from bcejax.logistic_regression._problem import (
    Params,
    Problem,
    checked_problem,
    total_weight,
)
from bcejax.logistic_regression._scaling import moments, positive_or_one
from bcejax.logistic_regression._stream import opened

KINDS = "fisher", "sandwich"


def covariance(
    model: Fit,
    features: ArrayLike | Callable[[], Iterable],
    labels: ArrayLike | None = None,
    *,
    l2: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool | None = None,
    kind: str = "fisher",
) -> jax.Array:
    """Covariance of the coefficients (β, b) of a converged fit, the bias last.

    The data and options are those of the fit, which remembers all but the data, the
    weights and the offset. "fisher" is right if the model is;
    "sandwich" (HC0) for the best approximation, too, however the labels come about.
    With a penalty, "fisher" is the posterior covariance of Laplace's approximation, and
    "sandwich" what the estimate varies from sample to sample.

    What the data leave undetermined, to their last digits, has variance ∞: the
    coefficient of a column that is constant beside a bias, or a combination of others.
    That is the limit of a vanishing penalty, whose other elements are returned as well.

    Args:
      model: the minimiser, of d features.
      features: `(n, d)`, real; or the `make_batches` of `fit_batches`, in which labels,
        weights and offsets are. It is called once to look at the first batch, and three
        times, or four for "sandwich". Not within jit or vmap.
      labels: `(n,)`, real. Class 0 or 1, or a probability. None for batches.
      l2: scalar or `(d,)`, not negative; that of the fit by default.
      sample_weight: `(n,)` or a scalar, not negative. 2 counts a row twice.
      offset: `(n,)` or a scalar.
      fit_intercept: whether there was a bias, if that is to be checked.
      kind: "fisher" or "sandwich".
    Returns:
      `(d + 1, d + 1)`, or `(d, d)` without a bias, in the dtype of the fit. Its unit is
      that of coefficient × coefficient.
    Raises:
      TypeError: if an argument is not real, or is given beside batches that hold it.
      ValueError: if a shape does not fit that of `features`, for an unknown kind, or
        for options that are not those of the fit. Outside jit and vmap also for a value
        that cannot be meant.
    Example:
      >>> from bcejax.logistic_regression import fit
      >>> x, y = jnp.array([[0], [1], [1], [0]]), jnp.array([0.25, 0.75, 0.75, 0.25])
      >>> print(covariance(fit(x, y), x, y))
      [[ 5.3333 -2.6667]
       [-2.6667  2.6667]]

    Reference:
      H. White, Maximum likelihood estimation of misspecified models, Econometrica 50
      (1982), 1-25.
    """
    check_kind(kind)
    if callable(features):
        beside = {"labels": labels, "sample_weight": sample_weight, "offset": offset}
        result, _ = covariance_of_batches(
            model, features, beside, l2, fit_intercept, kind
        )
        return rounded(result)
    given, names, fit_intercept = read_again(
        model, features, labels, l2, sample_weight, offset, fit_intercept
    )
    with precision_of(given, model):
        result, _, sound = compiled_covariance(model, given, fit_intercept, kind)
        refuse(sound, given, names)
    return rounded(result)


def check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f'kind must be "fisher" or "sandwich", got {kind!r}.')


def covariance_of_batches(model: Fit, make_batches, beside, l2, fit_intercept, kind):
    """The covariance, and what the rows say of the losses."""
    for name, value in beside.items():
        if value is not None:
            raise TypeError(
                f"{name} must be a part of each batch, but is given beside them."
            )
    fit_intercept = checked_intercept(model, fit_intercept)
    l2 = model.l2 if l2 is None else l2
    options = model.options
    with opened(
        make_batches, l2, options.columns, options.across_processes, (model,)
    ) as (stream, l2):
        check_columns(model, stream.columns)
        result, seen = covariance_in_passes(model, stream, l2, fit_intercept, kind)
    check_options(model, {"sample_weight": seen.weighted, "offset": seen.shifted})
    return result, seen.tally


@partial(jax.jit, static_argnames=("fit_intercept", "kind"))
def compiled_covariance(model: Fit, given, fit_intercept, kind):
    """The covariance, the logits of the rows, and whether the values are sound."""
    data, sample_weight = checked_problem(*given).readable(), given.sample_weight
    logits = fitted_logits(model, data)
    curvature = data.share * sigmoid_slope(logits)
    # Divided by the largest: the inverse of curvatures of e⁻⁸⁰, which a fit has that is
    # all but certain, would overflow on the way.
    largest = jnp.maximum(curvature.max(), data.l2.max())
    top = stop_gradient(positive_or_one(largest))
    curvature, l2 = curvature / top, data.l2 / top
    design = centred_design(data, curvature, l2, fit_intercept)
    columns = design.columns(data)

    def information(basis):
        of_rows = information_of_rows(columns, curvature, basis)
        return of_rows + information_of_penalty(design, basis)

    root, lost = inverse_root(information, design.rounding)
    middle = None
    if kind == "sandwich":
        slope = bce_dx(logits, data.labels, None) / top
        pull = l2 * jnp.asarray(model.weights, slope.dtype)
        middle = middle_of_rows(design, columns, root, slope, data.share, pull)
    total = total_weight(sample_weight, data)
    variance = variance_of(design, root, lost, middle, top, total)
    # Features that are not finite have shown in the share of a row or in its logit.
    rows = jnp.where(data.share != 0, data.share + logits, 0)
    return variance, logits, is_sound(given, rows)


def fitted_logits(model: Fit, data: Problem) -> jax.Array:
    """Logits of the rows of `data`, in their dtype, offset included."""
    weights, bias = (jnp.asarray(a, data.share.dtype) for a in model[:2])
    return logits_of_model(Params(weights, bias), data.features) + data.offset


def centred_design(data: Problem, curvature, l2, fit_intercept: bool) -> Design:
    # Any coordinates lead to the same covariance: to a derivative they are constants.
    weight = stop_gradient(curvature)
    total = positive_or_one(weight.sum())
    weighted = stop_gradient(data._replace(share=weight / total))
    return design_of(*moments(weighted, fit_intercept), total, l2, fit_intercept)
