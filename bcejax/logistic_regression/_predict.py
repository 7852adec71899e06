"""Predictions of a fitted model, of two classes or of many."""

import jax
from jax.typing import ArrayLike

from bcejax._numerics.softmax import softmax
from bcejax._sigmoid import sigmoid
from bcejax.logistic_regression._given import read_features
from bcejax.logistic_regression._outcome import Fit, MultinomialFit
from bcejax.logistic_regression._problem import Params, checked_features
from bcejax.logistic_regression._rows import linear


def predict_logits(model: Fit | MultinomialFit, features: ArrayLike) -> jax.Array:
    """Logits x·β + b of new features; add the offset yourself if there was one.

    Args:
      model: a fitted model of d features, of two classes or of many.
      features: `(n, d)`, real: an array, or a table. If the model was fitted on a table
        its columns are found by name, in any order.
    Returns:
      `(n,)`, float32 or float64; of many classes `(n, classes)`.
    Raises:
      TypeError: if `features` is not real.
      ValueError: if `features` has another number of columns or lacks one by name, or
        `model` holds several.
    Example:
      >>> import jax.numpy as jnp
      >>> from bcejax.logistic_regression import fit
      >>> model = fit(jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([0, 1, 0, 1]))
      >>> print(predict_logits(model, jnp.array([[1.5], [3.0]])))
      [0. 1.36]
    """
    features, _ = read_features(features, model.options.columns)
    return logits_of_model(model, features)


def logits_of_model(model: Fit | MultinomialFit | Params, features) -> jax.Array:
    features = checked_features(features)
    check_columns(model, features.shape[1])
    return linear(Params(model.weights, model.bias), features)


def check_columns(model: Fit | MultinomialFit | Params, columns: int) -> None:
    if model.weights.ndim != (2 if isinstance(model, MultinomialFit) else 1):
        raise ValueError(
            f"model must hold one, got weights {model.weights.shape}: vmap over fits."
        )
    if columns != len(model.weights):
        raise ValueError(
            f"features must have the {len(model.weights)} columns of the fit, "
            f"got {columns}."
        )


def predict_probs(model: Fit | MultinomialFit, features: ArrayLike) -> jax.Array:
    """Probabilities of label 1, σ of `predict_logits`, whose arguments these are.

    Of many classes the softmax of the logits, a probability of each.

    Returns:
      `(n,)`, float32 or float64, in [0, 1]; of many classes `(n, classes)`.
    Example:
      >>> import jax.numpy as jnp
      >>> from bcejax.logistic_regression import fit
      >>> model = fit(jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([0, 1, 0, 1]))
      >>> print(predict_probs(model, jnp.array([[2.0], [3.0]])).round(3))
      [0.612 0.796]
    """
    logits = predict_logits(model, features)
    return softmax(-1, logits)[0] if logits.ndim == 2 else sigmoid(logits)
