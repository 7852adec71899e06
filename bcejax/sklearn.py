"""The fit as an estimator of scikit-learn, for its pipelines and searches.

It needs scikit-learn, which the extra `demo` brings: `pip install '.[demo]'`.
"""

import warnings
from collections.abc import Mapping

import jax
import numpy as np
from scipy import special
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from bcejax import logistic_regression

OF_MANY_CLASSES = {"newton": "newton-cg", "lbfgs": "lbfgs"}


class LogisticRegression(ClassifierMixin, BaseEstimator):
    """Logistic regression with the penalty ‖weights‖²/(2C), as scikit-learn has it.

    It minimises C Σ wᵢ ℓᵢ + ‖weights‖²/2, without a penalty of the intercept: the
    `fit` of two classes, or `fit_multinomial` of more, with l2 = 1/(C Σ wᵢ). The
    optimum is that of `sklearn.linear_model.LogisticRegression`.

    Args:
      C: from 0 up; ∞ is no penalty.
      fit_intercept: whether there is an intercept.
      class_weight: "balanced", a mapping from classes to weights, or None.
      solver: "newton" or "lbfgs".
      tol: as in `fit`.
      max_iter: stop after so many steps, with a `ConvergenceWarning`.
    Attributes:
      classes_: `(classes,)`, the labels, sorted.
      coef_: `(1, d)` for two classes, else `(classes, d)`.
      intercept_: `(1,)` or `(classes,)`.
      n_iter_: `(1,)`, how many steps were taken.
      model_: the `Fit` or `MultinomialFit`.
      n_features_in_, feature_names_in_: as in all estimators.
    Example:
      >>> x = [[0.0], [1.0], [2.0], [3.0]]
      >>> model = LogisticRegression().fit(x, list("abab"))
      >>> print(model.predict([[1.4], [1.6]]), model.coef_)
      ['a' 'b'] [[0.453]]
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        fit_intercept: bool = True,
        class_weight: str | Mapping | None = None,
        solver: str = "newton",
        tol: float = 1e-6,
        max_iter: int = 100,
    ):
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X, y, sample_weight=None):
        """Fit the rows of X, `(n, d)`, to the labels y, `(n,)`, of any type.

        Raises:
          ValueError: if there is one class only, C is not above 0, the solver is
            unknown, or scikit-learn or `fit` refuses the data.
        """
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must hold two classes or more, got one class, {y[0]}.")
        if not self.C > 0:
            raise ValueError(f"C must be above 0, got {self.C}: np.inf is no penalty.")
        if self.solver not in OF_MANY_CLASSES:
            raise ValueError(
                f'solver must be "newton" or "lbfgs", got {self.solver!r}.'
            )
        weight = compute_sample_weight(self.class_weight, y)
        if sample_weight is not None:
            weight = weight * np.asarray(sample_weight, float)
        if not np.any(weight):
            raise ValueError("sample_weight must not be zero in every row.")
        with jax.enable_x64(X.dtype == np.float64):
            model = self._fitted(X, labels, weight)
        self.model_ = jax.tree.map(np.asarray, model)
        self.coef_ = np.atleast_2d(self.model_.weights.T)
        self.intercept_ = np.atleast_1d(self.model_.bias)
        self.n_iter_ = np.atleast_1d(self.model_.steps)
        if not model.converged:
            cause = "the data are separated" if model.separated else "see max_iter, tol"
            warnings.warn(
                f"The fit did not converge: {cause}.", ConvergenceWarning, stacklevel=2
            )
        return self

    def _fitted(self, features, labels, weight):
        options = {
            "l2": 1 / (self.C * np.sum(weight)),
            "sample_weight": weight,
            "fit_intercept": self.fit_intercept,
            "tol": self.tol,
            "max_steps": self.max_iter,
        }
        count = len(self.classes_)
        if count == 2:
            return logistic_regression.fit(
                features, labels, solver=self.solver, **options
            )
        return logistic_regression.fit_multinomial(
            features,
            labels,
            classes=count,
            solver=OF_MANY_CLASSES[self.solver],
            **options,
        )

    def decision_function(self, X) -> np.ndarray:
        """The logits, `(n,)` of the second of two classes, or `(n, classes)`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        logits = X @ self.coef_.T + self.intercept_
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X) -> np.ndarray:
        """The probabilities of the classes, `(n, classes)`."""
        logits = self.decision_function(X)
        if logits.ndim == 1:
            return special.expit(np.stack([-logits, logits], axis=1))
        return special.softmax(logits, axis=1)

    def predict(self, X) -> np.ndarray:
        """The class with the largest probability, `(n,)`."""
        logits = self.decision_function(X)
        chosen = logits > 0 if logits.ndim == 1 else np.argmax(logits, axis=1)
        return self.classes_[np.asarray(chosen, int)]
