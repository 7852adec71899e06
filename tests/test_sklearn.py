"""bcejax.sklearn: it passes scikit-learn's checks, and is their estimator's optimum."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from bcejax.sklearn import LogisticRegression


def standardised(data):
    return StandardScaler().fit_transform(data.data), data.target


@pytest.mark.full
@pytest.mark.filterwarnings("default")  # the checks provoke some, and expect others
def test_scikit_learns_checks_pass():
    check_estimator(LogisticRegression(), on_skip=None)


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.full
def test_the_optimum_is_that_of_scikit_learn(load, solver):
    x, y = standardised(load())
    options = {"C": 0.5, "class_weight": "balanced", "tol": 1e-10}
    ours = LogisticRegression(solver=solver, **options).fit(x, y)
    theirs = linear_model.LogisticRegression(max_iter=10_000, **options)
    theirs.fit(x, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-4)
    np.testing.assert_allclose(
        ours.predict_proba(x), theirs.predict_proba(x), atol=1e-5
    )
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


@pytest.mark.full
def test_it_stands_in_pipelines_searches_and_calibration():
    x, y = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    assert cross_val_score(pipeline, x, y).mean() > 0.96
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.01, 1.0]}).fit(x, y)
    assert search.best_score_ > 0.96
    calibrated = CalibratedClassifierCV(pipeline).fit(x, y)
    assert calibrated.score(x, y) > 0.96


def test_it_names_its_features_and_its_classes():
    data = load_breast_cancer(as_frame=True)
    x = data.data.iloc[:, :3] / data.data.iloc[:, :3].max()
    y = np.where(data.target, "benign", "malignant")
    model = LogisticRegression().fit(x, y)
    assert list(model.feature_names_in_) == list(x.columns)
    assert list(model.classes_) == ["benign", "malignant"]
    assert model.score(x, y) > 0.8
    assert model.coef_.dtype == np.float64


def test_what_did_not_converge_is_a_warning():
    x, y = np.arange(6.0)[:, None], np.arange(6) > 2
    with pytest.warns(ConvergenceWarning, match="separated"):
        LogisticRegression(C=np.inf).fit(x, y)


@pytest.mark.parametrize("options", [{"C": 0.0}, {"C": np.nan}, {"solver": "adam"}])
def test_options_that_cannot_be_meant_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LogisticRegression(**options).fit(np.eye(4), [0, 1, 0, 1])
