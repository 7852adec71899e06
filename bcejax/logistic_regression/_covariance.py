"""How far the coefficients of a fit can be trusted: their covariance.

With wᵢ the weight of a row, xᵢ its logit, W = Σ wᵢ, and H the Hessian of the objective

    W H = Σ wᵢ σ(xᵢ) σ(−xᵢ) zᵢ zᵢᵀ + W diag(l2),    zᵢ = (features, 1),

the penalty without its share in the bias, the covariance is

    fisher    (W H)⁻¹,
    sandwich  (W H)⁻¹ (Σ wᵢ gᵢ gᵢᵀ) (W H)⁻¹,    gᵢ = (σ(xᵢ) − yᵢ) zᵢ + l2 β,
    HC1       sandwich · W/(W − k), of k coefficients that the data determine,
    cluster   (W H)⁻¹ (Σ_c g_c g_cᵀ) (W H)⁻¹ · G/(G − 1) · (W − 1)/(W − k),

with g_c = Σ wᵢ gᵢ over the rows of one of G groups. Weights count rows: 2 counts a row
twice, in all kinds.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.typing import ArrayLike

from bcejax._bce import bce_dx
from bcejax._numerics.sigmoid import sigmoid_slope
from bcejax.logistic_regression._class_covariance import (
    classes_again,
    compiled_contrasts,
)
from bcejax.logistic_regression._compiled import AT_ONCE, compiled
from bcejax.logistic_regression._covariance_batches import covariance_in_passes
from bcejax.logistic_regression._design import (
    centred_design,
    information_of_penalty,
    information_of_rows,
    inverse_root,
    middle_of,
    scores_of_rows,
    variance_of,
)
from bcejax.logistic_regression._given import (
    Given,
    check_options,
    checked_intercept,
    is_sound,
    read_again,
    refuse,
)
from bcejax.logistic_regression._outcome import Fit, MultinomialFit
from bcejax.logistic_regression._precision import precision_of, rounded
from bcejax.logistic_regression._predict import check_columns, logits_of_model
from bcejax.logistic_regression._problem import (
    Params,
    Problem,
    checked_problem,
    total_weight,
)
from bcejax.logistic_regression._scaling import positive_or_one
from bcejax.logistic_regression._stream import opened

KINDS = "fisher", "sandwich", "HC1", "cluster"


def covariance(
    model: Fit | MultinomialFit,
    features: ArrayLike | Callable[[], Iterable],
    labels: ArrayLike | None = None,
    *,
    l2: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool | None = None,
    kind: str = "fisher",
    groups: ArrayLike | None = None,
) -> jax.Array:
    """Covariance of the coefficients (β, b) of a converged fit, the bias last.

    Of many classes: of the contrasts with class 0, β = Bₖ − B₀ and b = bₖ − b₀ of the
    classes k = 1, 2, …, one class after another. Where all classes move alike the
    probabilities stay the same, so that only such differences have a variance.

    The data and options are those of the fit, which remembers all but the data, the
    weights and the offset. "fisher" is right if the model is;
    "sandwich" (HC0) for the best approximation, too, however the labels come about, row
    by row independently; "HC1" is that with a factor for few rows. "cluster" is right
    for rows that are independent only if they are of different `groups`, of which there
    should be some dozens. With a penalty, "fisher" is the posterior covariance of
    Laplace's approximation, and the others say how the estimate varies from sample to
    sample. Of a Firth fit they leave the penalty out, which vanishes beside the rows.

    What the data leave undetermined, to their last digits, has variance ∞: the
    coefficient of a column that is constant beside a bias, or a combination of others.
    That is the limit of a vanishing penalty, whose other elements are returned as well.

    Args:
      model: the minimiser, of d features. Of many classes there may be up to 2,048
        contrasts, (d + 1) (classes − 1), and no batches.
      features: `(n, d)`, real; or the `make_batches` of `fit_batches`, in which labels,
        weights and offsets are. It is called once to look at the first batch, and three
        times, or four for "sandwich" and "HC1". Not within jit or vmap.
      labels: `(n,)`, real. Class 0 or 1, or a probability; of many classes as in
        `fit_multinomial`. None for batches.
      l2: scalar or `(d,)`, not negative; that of the fit by default.
      sample_weight: `(n,)` or a scalar, not negative. 2 counts a row twice.
      offset: `(n,)` or a scalar.
      fit_intercept: whether there was a bias, if that is to be checked.
      kind: "fisher", "sandwich", "HC1" or "cluster".
      groups: `(n,)`, numbers or text that tell the groups of "cluster" apart.
    Returns:
      `(d + 1, d + 1)`, or `(d, d)` without a bias, in the dtype of the fit. Its unit is
      that of coefficient × coefficient. Of many classes each side is classes − 1 times
      as long, and `.diagonal().reshape(classes - 1, d + 1)` has a row for each.
    Raises:
      TypeError: if an argument is not real, or is given beside batches that hold it.
      ValueError: if a shape does not fit that of `features`, for an unknown kind, for
        "cluster" without groups and groups without it, or for options that are not
        those of the fit; for batches or too many contrasts of many classes. Outside jit
        and vmap also for a value that cannot be meant.
    Example:
      >>> from bcejax.logistic_regression import fit
      >>> x, y = jnp.array([[0], [1], [1], [0]]), jnp.array([0.25, 0.75, 0.75, 0.25])
      >>> print(covariance(fit(x, y), x, y))
      [[ 5.3333 -2.6667]
       [-2.6667  2.6667]]

    Reference:
      H. White, Maximum likelihood estimation of misspecified models, Econometrica 50
      (1982), 1-25. K.-Y. Liang and S. L. Zeger, Longitudinal data analysis using
      generalized linear models, Biometrika 73 (1986), 13-22.
    """
    if callable(features) and not isinstance(model, MultinomialFit):
        beside = {"labels": labels, "sample_weight": sample_weight, "offset": offset}
        beside["groups"] = groups
        result, _ = covariance_of_batches(
            model, features, beside, l2, fit_intercept, kind
        )
        return rounded(result)
    read, compute = ways_of(model)
    given, names, fit_intercept = read(
        model, features, labels, l2, sample_weight, offset, fit_intercept
    )
    groups = codes_of(groups, kind, given)
    with precision_of(given, model):
        result, _, sound = compute(model, given, fit_intercept, kind, groups)
        if isinstance(model, MultinomialFit):  # whose labels have been looked at
            given = given._replace(labels=jnp.zeros(len(given.labels)))
        refuse(sound, given, names)
    return rounded(result)


def check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be {', '.join(map(repr, KINDS))}, got {kind!r}.")


def covariance_of_batches(model: Fit, make_batches, beside, l2, fit_intercept, kind):
    """The covariance, and what the rows say of the losses."""
    for name, value in beside.items():
        if value is not None:
            raise TypeError(
                f"{name} must be a part of each batch, but is given beside them."
            )
    check_kind(kind)
    options = model.options
    if kind == "cluster" or options.firth or options.class_weight is not None:
        raise ValueError(
            "batches are for fits without Firth's penalty and class weights, and for "
            f'other kinds than "cluster", got {options} and {kind!r}.'
        )
    fit_intercept = checked_intercept(model, fit_intercept)
    l2 = model.l2 if l2 is None else l2
    with opened(
        make_batches, l2, options.columns, options.across_processes, (model,)
    ) as (stream, l2):
        check_columns(model, stream.columns)
        result, seen = covariance_in_passes(model, stream, l2, fit_intercept, kind)
    check_options(model, {"sample_weight": seen.weighted, "offset": seen.shifted})
    return result, seen.tally


def codes_of(groups: ArrayLike | None, kind: str, given: Given):
    """The groups as integers from 0, one for each row; None without groups."""
    check_kind(kind)
    if (groups is None) == (kind == "cluster"):
        raise ValueError(
            'groups must be given with kind "cluster", and with no other kind, '
            f"got kind {kind!r} {'without' if groups is None else 'with'} groups."
        )
    if groups is None:
        return None
    traced = isinstance(groups, jax.core.Tracer)
    of_rows: Any = groups if traced else np.asarray(groups)
    rows = np.shape(given.labels)[:1]
    if of_rows.shape != rows:
        raise ValueError(
            f"groups must hold one value per row of features, got {of_rows.shape} "
            f"beside labels {rows}."
        )
    if traced:
        return jnp.unique(of_rows, return_inverse=True, size=of_rows.size)[1]
    return np.unique(of_rows, return_inverse=True)[1].astype(np.int32)


def ways_of(model: Fit | MultinomialFit) -> tuple[Callable, Callable]:
    """How the data are read again, and what computes the covariance."""
    if isinstance(model, MultinomialFit):
        return classes_again, compiled_contrasts
    return read_again, compiled_covariance


@compiled(AT_ONCE, static_argnames=("fit_intercept", "kind"))
def compiled_covariance(model: Fit, given, fit_intercept, kind, groups=None):
    """The covariance, the logits of the rows, and whether the values are sound."""
    data, sample_weight = checked_problem(*given).readable(), given.sample_weight
    total = total_weight(sample_weight, data)
    logits = fitted_logits(model, data)
    design, root, lost, top = rooted_design(data, logits, fit_intercept)
    middle = None
    if kind != "fisher":
        slope = bce_dx(logits, data.labels, None) / top
        pull = data.l2 / top * jnp.asarray(model.weights, slope.dtype)
        scores = scores_of_rows(design, data, root, slope, pull)
        determined = jnp.sum(jnp.any(root != 0, 0))
        middle = middle_of(kind, scores, data.share, total, determined, groups)
    variance = variance_of(design.back, root, lost, middle, top, total)
    # Features that are not finite have shown in the share of a row or in its logit.
    rows = jnp.where(data.share != 0, data.share + logits, 0)
    return variance, logits, is_sound(given, rows)


def rooted_design(data: Problem, logits, fit_intercept: bool):
    """A design, the root of its inverse information, what is lost, and a scale.

    The information is that of curvatures and penalties divided by the scale, which is
    the largest of them: the inverse of curvatures of e⁻⁸⁰, which a fit has that is all
    but certain, would overflow on the way.
    """
    curvature = data.share * sigmoid_slope(logits)
    largest = jnp.maximum(curvature.max(), data.l2.max())
    top = stop_gradient(positive_or_one(largest))
    curvature, l2 = curvature / top, data.l2 / top
    design = centred_design(data, curvature, l2, fit_intercept)

    columns = design.columns(data)

    def information(basis):
        of_rows = information_of_rows(columns, curvature, basis)
        return of_rows + information_of_penalty(design, basis)

    return design, *inverse_root(information, design.rounding), top


def fitted_logits(model: Fit, data: Problem) -> jax.Array:
    """Logits of the rows of `data`, in their dtype, offset included."""
    weights, bias = (jnp.asarray(a, data.share.dtype) for a in model[:2])
    return logits_of_model(Params(weights, bias), data.features) + data.offset
