"""`python -m bcejax fit` and `predict`, on files of real data and on broken ones."""

import json
import os
import re

import jax
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from pyarrow import csv
from sklearn import datasets, linear_model, metrics, model_selection, preprocessing

from bcejax.__main__ import main
from bcejax._cli import model, output, table, training


@pytest.fixture(autouse=True)
def in_an_empty_folder_and_32_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not jax.config.jax_enable_x64


def refusal(arguments, capsys):
    """The reason of the one line with which the command line ends."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    captured = capsys.readouterr()
    assert (stop.value.code, captured.out) == (2, "")
    start, *more = captured.err.split("python -m bcejax: error: ")
    assert start == "" and len(more) == 1 and captured.err.count("\n") == 1
    return more[0].strip()


def write(text, name="data.csv"):
    with open(name, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return name


def model_in(path="model.json"):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def column(model, key):
    return np.array([line[key] for line in model["features"]])


def test_coefficients_and_errors_of_fair_are_those_of_statsmodels(capsys):
    frame = sm.datasets.fair.load_pandas().data
    frame["affair"] = (frame.pop("affairs") > 0).astype(int)
    frame.to_parquet("fair.parquet")
    main(["fit", "fair.parquet", "--label", "affair", "--out", "model.json"])

    x = frame.drop(columns="affair")
    theirs = sm.Logit(frame.affair, sm.add_constant(x)).fit(disp=0, tol=1e-12)
    model = model_in()
    assert [line["name"] for line in model["features"]] == list(x)
    np.testing.assert_allclose(column(model, "coefficient"), theirs.params[1:], 1e-7)
    np.testing.assert_allclose(column(model, "standard_error"), theirs.bse[1:], 1e-7)
    bias = model["intercept"]
    np.testing.assert_allclose(bias["coefficient"], theirs.params["const"], 1e-7)
    np.testing.assert_allclose(bias["standard_error"], theirs.bse["const"], 1e-7)
    captured = capsys.readouterr()
    assert captured.err == ""  # no warning, and no progress bar in a pipe
    assert f"rate_marriage      {theirs.params['rate_marriage']:.4g}" in captured.out


def test_the_penalty_of_a_standardised_fit_is_scikit_learns(capsys):
    data = datasets.load_breast_cancer(as_frame=True)
    data.frame.to_csv("cancer.csv", index=False)
    given = ["--label", "target", "--standardize", "--l2", "0.01"]
    main(["fit", "cancer.csv", *given, "--out", "model.json"])

    scaler = preprocessing.StandardScaler().fit(data.data)
    theirs = linear_model.LogisticRegression(
        C=1 / (0.01 * len(data.target)), solver="newton-cholesky", tol=1e-12
    ).fit(scaler.transform(data.data), data.target)
    model = model_in()
    scaled = column(model, "coefficient") * scaler.scale_
    np.testing.assert_allclose(scaled, theirs.coef_[0], 1e-6, 1e-8)
    np.testing.assert_allclose(column(model, "scale"), scaler.scale_, 1e-12)
    np.testing.assert_allclose(column(model, "mean"), scaler.mean_, 1e-12)
    ours = model["intercept"]["coefficient"] + scaler.mean_ @ column(
        model, "coefficient"
    )
    np.testing.assert_allclose(ours, theirs.intercept_[0], 1e-6)

    # The inverse of the Hessian, taken to the columns of the file by the chain rule.
    p = theirs.predict_proba(scaler.transform(data.data))[:, 1]
    z = np.column_stack([scaler.transform(data.data), np.ones(len(p))])
    hessian = z.T @ (z * (p * (1 - p))[:, None])
    hessian += len(p) * 0.01 * np.diag([1] * len(scaler.scale_) + [0])
    back = np.diag(np.append(1 / scaler.scale_, 1))
    back[-1, :-1] = -scaler.mean_ / scaler.scale_
    errors = np.sqrt(np.diag(back @ np.linalg.inv(hessian) @ back.T))
    np.testing.assert_allclose(column(model, "standard_error"), errors[:-1], 1e-6)
    np.testing.assert_allclose(model["intercept"]["standard_error"], errors[-1], 1e-6)
    assert "on standardised columns" in capsys.readouterr().out


def test_digits_are_fitted_without_the_pixels_that_never_change(capsys):
    data = datasets.load_digits(as_frame=True)
    frame = data.data.assign(even=data.target % 2 == 0)
    frame.to_csv("digits.csv", index=False)
    given = ["--label", "even", "--l2", "0.01", "--test-fraction", "0.3", "--seed", "5"]
    main(["fit", "digits.csv", *given, "--out", "model.json", "--plot", "fit.png"])

    model, captured = model_in(), capsys.readouterr()
    kept = [line["name"] for line in model["features"]]
    constant = [name for name in data.data if name not in kept]
    assert re.search(r"warning: left out.*'pixel_0_0'", captured.err)
    assert captured.err.count("\n") == 1 and len(constant) >= 3
    assert model["label"] == {"name": "even", "positive": "true", "negative": "false"}

    # The same split, as documented: stratified, by this seed.
    train, test = model_selection.train_test_split(
        np.arange(len(frame)), test_size=0.3, stratify=frame.even, random_state=5
    )
    theirs = linear_model.LogisticRegression(
        C=1 / (0.01 * len(train)), solver="newton-cholesky", tol=1e-12
    ).fit(frame[kept].iloc[train], frame.even.iloc[train])
    ours = column(model, "coefficient")
    np.testing.assert_allclose(ours, theirs.coef_[0], 1e-5, 1e-7)
    p = theirs.predict_proba(frame[kept].iloc[test])[:, 1]
    y = frame.even.iloc[test]
    assert captured.out.splitlines()[-3] == (
        f"test         log loss {metrics.log_loss(y, p):.4f}, "
        f"Brier score {metrics.brier_score_loss(y, p):.4f}, "
        f"ROC AUC {metrics.roc_auc_score(y, p):.4f}, "
        f"accuracy {metrics.accuracy_score(y, p > 0.5):.4f}"
    )
    assert sorted(os.listdir()) == ["digits.csv", "fit.png", "model.json"]
    assert matplotlib.image.imread("fit.png").shape[1] > 900


def people():
    """Every kind of column at once, on which a fit must agree with statsmodels."""
    frame = sm.datasets.spector.load_pandas().data
    frame["GRADE"] = np.where(frame.GRADE == 1, "pass", "fail")
    frame["city"] = ["Aachen", "Berlin, old"] * 16
    frame["times"] = 1.0 + np.arange(32) % 3
    frame["prior"] = np.sin(np.arange(32))
    frame["PSI"] = "free text"
    frame.loc[[3, 7, 20], "TUCE"] = np.nan
    return frame


ROLES = ["--label", "GRADE", "--positive", "pass", "--one-hot", "city"]
ROLES += ["--weight", "times", "--offset", "prior", "--exclude", "PSI"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The text of a model of everything that a model can hold."""
    folder = tmp_path_factory.mktemp("fitted")
    data, model = folder / "people.csv", folder / "model.json"
    people().to_csv(data, index=False)
    main(["fit", str(data), *ROLES, "--impute", "mean", "--out", str(model)])
    return model.read_text("utf-8")


def inputs():
    """What the model is to see of `people`."""
    frame = people()
    mean = np.average(frame.TUCE.dropna(), weights=frame.times[frame.TUCE.notna()])
    x = frame[["GPA", "TUCE"]].fillna({"TUCE": mean})
    x["city=Berlin, old"] = (frame.city == "Berlin, old").astype(float)
    return x


def test_categories_weights_offset_and_means_enter_the_fit(fitted):
    frame, model = people(), json.loads(fitted)
    x = inputs()
    theirs = sm.GLM(
        frame.GRADE == "pass",
        sm.add_constant(x),
        family=sm.families.Binomial(),
        freq_weights=frame.times,
        offset=frame.prior,
    ).fit(tol=1e-12)
    assert [line["name"] for line in model["features"]] == list(x)
    ours = np.append(model["intercept"]["coefficient"], column(model, "coefficient"))
    np.testing.assert_allclose(ours, theirs.params, 1e-6)
    np.testing.assert_allclose(column(model, "standard_error"), theirs.bse[1:], 1e-6)
    assert model["one_hot_levels"] == {"city": ["Aachen", "Berlin, old"]}
    assert model["imputation_means"]["TUCE"] == pytest.approx(x.TUCE[3], rel=1e-14)
    assert model["label"]["positive"] == "pass" and model["offset"] == "prior"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_predictions_are_the_fitted_probabilities_in_any_order(fitted, ending):
    write(fitted, "model.json")
    frame = people()
    shuffled = frame[["city", "PSI", "prior", "TUCE", "GPA"]]
    if ending == "csv":
        shuffled.to_csv("new.csv", index=False)
    else:
        shuffled.astype({"city": "category"}).to_parquet("new.parquet")
    main(["predict", "model.json", f"new.{ending}", "--out", "out.csv"])

    model, table = model_in(), csv.read_csv("out.csv")
    logits = inputs().to_numpy() @ column(model, "coefficient")
    logits += model["intercept"]["coefficient"] + frame.prior
    assert table.column_names == ["probability", "logit"]
    np.testing.assert_allclose(table["logit"], logits, 1e-12, 1e-12)
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-logits)), 1e-12)
    assert sorted(os.listdir()) == ["model.json", f"new.{ending}", "out.csv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda frame: frame.drop(columns=["GPA", "prior"]),
            "new.csv holds no column 'GPA', 'prior'",
        ),
        (
            lambda frame: frame.rename(columns={"TUCE": "TUCES"}),
            "no column 'TUCE'; did you mean 'TUCES'?",
        ),
        (
            lambda frame: frame.replace(
                {"city": {"Berlin, old": "Bonn", "Aachen": "Bern"}}
            ),
            "column 'city' holds 'Bern', 'Bonn', not seen when the model was fitted: "
            "it knows 'Aachen', 'Berlin, old'",
        ),
        (
            lambda frame: frame.assign(GPA=["3.5"] * 31 + ["good"]),
            "not a column of numbers: 'GPA' ('good' in row 32 of the data)",
        ),
        (
            lambda frame: frame.assign(TUCE=np.inf),
            "values are infinite in 'TUCE' (32) of 32 rows",
        ),
        (
            lambda frame: frame.assign(prior=np.nan),
            "offset prior is missing or infinite in 32 rows",
        ),
    ],
)
def test_files_that_do_not_suit_the_model_are_refused(fitted, change, message, capsys):
    write(fitted, "model.json")
    change(people()).to_csv("new.csv", index=False)
    arguments = ["predict", "model.json", "new.csv", "--out", "out.csv"]
    assert message in refusal(arguments, capsys)
    assert "out.csv" not in os.listdir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "is damaged, or no model"),
        (lambda text: text[: len(text) // 2], "is damaged, or no model"),
        (lambda text: "[" * 100_000, "is damaged, or no model"),
        (lambda text: b"\xff" + text.encode(), "is damaged, or no model"),
        (lambda text: "[1, 2]", "no model that `python -m bcejax fit` wrote"),
        (lambda text: '{"format": "other"}', "no model that `python -m bcejax fit`"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "of version 2"),
        (lambda text: re.sub('"l2": .*', '"l2": NaN,', text), "NaN is not a number"),
        (lambda text: re.sub('"l2": .*', '"l2": "0",', text), "l2 must be a finite"),
        (lambda text: re.sub('"l2": .*', '"l2": true,', text), "l2 must be a finite"),
        (
            lambda text: re.sub('"l2": .*', f'"l2": 1{"0" * 400},', text),
            "l2 must be a finite number",
        ),
        (lambda text: re.sub('"l2": .*', "", text), "'l2' is missing"),
        (
            lambda text: text.replace('"coefficient"', '"wrong"'),
            "'coefficient' is missing in intercept",
        ),
        (
            lambda text: re.sub('"mean": .*', '"mean": null,', text),
            "features.0.mean must be a finite number",
        ),
        (
            lambda text: re.sub(r'"TUCE": [^,\n]*', '"TUCE": []', text),
            "imputation_means.TUCE must be a finite number",
        ),
        (lambda text: text.replace('"Berlin, old"', '"Bonn"', 1), "lacks 'city=Bonn'"),
        (
            lambda text: text.replace('"column": "TUCE"', '"column": "GPA"'),
            "a feature stands in it more than once",
        ),
    ],
)
def test_damaged_models_are_refused(fitted, change, message, capsys):
    assert change(fitted) != fitted
    write(change(fitted), "model.json")
    people().to_csv("new.csv", index=False)
    arguments = ["predict", "model.json", "new.csv", "--out", "out.csv"]
    assert message in refusal(arguments, capsys)
    assert "out.csv" not in os.listdir()


def test_a_model_file_is_read_as_it_was_written(fitted, tmp_path):
    write(fitted, "model.json")
    model.save(tmp_path / "again.json", model.load(tmp_path / "model.json"))
    assert model_in("again.json") == model_in()


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("", [], "data.csv is empty"),
        ("\n", [], "data.csv is no CSV table"),
        ("y,x\n", [], "data.csv holds 2 columns but no rows"),
        ("y;x\n1;2\n0;3\n", [], "must separate its columns by commas, got"),
        ("y,x\n1,2\n0\n", [], "Expected 2 columns, got 1"),
        (b"y,\xff\n1,2\n0,3\n", [], "no CSV table in UTF-8"),
        (b"y,x\n1,\xff\n0,3\n", [], "'x' (not UTF-8)"),
        ("why,x\n1,2\n0,3\n", [], "no column 'y'; there are 'why', 'x'"),
        ("y,xs\n1,2\n0,3\n", ["--weight", "x"], "no column 'x'; did you mean 'xs'?"),
        ("y,x,x\n1,2,3\n0,3,4\n", [], "names of columns must differ, but 'x' stands"),
        (",y,x\n0,1,5\n1,0,6\n", [], "a column has no name (row numbers, as pandas"),
        ("y,x\n1,2\n1,3\n", [], "must hold two classes, got one: '1' in every row"),
        ("y,x\n1,2\n0,3\n2,4\n", [], "must hold two values, got 3: '0', '1', '2'"),
        ("y,x\n1,2\n2,3\n", [], "holds '1' and '2': --positive VALUE says which"),
        ("y,x\nno,2\nyes,3\n", [], "holds 'no' and 'yes': --positive VALUE says"),
        ("y,x\nno,2\nyes,3\n", ["--positive", "si"], "--positive si: --label y holds"),
        ("y,x\n1,2\n,3\n0,4\n", [], "--label y is missing in 1 rows"),
        ("y,x\n1,2\n0,3\n1,abc\n", [], "numbers: 'x' ('abc' in row 3 of the data)"),
        ('y,x\n1,"1,5"\n0,3\n', [], "not a column of numbers: 'x' ('1,5' in row 1"),
        ("y,x\n1,2020-01-01\n0,2021-01-01\n", [], "'x' (date32[day])"),
        ("y,a,b\n1,,2\n0,3,\n1,nan,4\n", [], "in 'a' (2), 'b' (1) of 3 rows"),
        ("y,x\n1,inf\n0,3\n1,-inf\n", [], "values are infinite in 'x' (2) of 3 rows"),
        ("y,x\n1,\n0,\n", ["--impute", "mean"], "nothing to impute 'x' from"),
        ("y,x\n1,7\n0,7\n", [], "no column is left to fit: each is the same"),
        ("y\n1\n0\n", [], "no column is left to fit: all have another role"),
        ("y,x\n1,a\n0,\n", ["--one-hot", "x"], "--one-hot x misses 1 values"),
        ("y,x\n1,2\n0,3\n", ["--weight", "y"], "cannot be both --label and --weight"),
        ("y,x,w\n1,2,-1\n0,3,1\n", ["--weight", "w"], "must be 0 or more, got -1"),
        ("y,x,w\n1,2,0\n0,3,1\n", ["--weight", "w"], "0 in all rows of a class"),
        ("y,x,w\n1,2,\n0,3,1\n", ["--offset", "w"], "missing or infinite in 1 rows"),
        ("y,x\n1,2\n0,3\n", ["--l2", "cv"], "5 rows of each class, one for each fold"),
        ("y,x\n1,2\n0,3\n", ["--test-fraction", "0.5"], "--test-fraction 0.5: The"),
        ("y,x\n1,2\n0,3\n", ["--out", "data.csv"], "would overwrite what is read"),
        ("y,x\n1,2\n0,3\n", ["--out", "no/m.json"], "there is no folder no"),
        ("y,x\n1,2\n0,3\n", ["--plot", "fit.xyz"], "the ending must be one of"),
    ],
)
def test_broken_files_get_one_line(text, more, message, capsys):
    before = {write(text)}
    assert message in refusal(["fit", "data.csv", "--label", "y", *more], capsys)
    assert set(os.listdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "dota.csv", "--label", "y"], "no such file; did you mean 'data.csv'?"),
        (["fit", "data.xlsx", "--label", "y"], "the ending must be .csv or .parquet"),
        (["fit", "data.parquet", "--label", "y"], "data.parquet is no Parquet table"),
        (["fit", "folder.csv", "--label", "y"], "folder.csv is not a file"),
        (["fit", "data.csv"], "required: --label"),
        (["fit", "data.csv", "--label", "y", "--l2", "-1"], "0 or more, got -1"),
        (["fit", "data.csv", "--label", "y", "--l2", "all"], "a number or cv, got all"),
        (["fit", "data.csv", "--label", "y", "--test-fraction", "1"], "below 1, got 1"),
        (["--l2", "1", "fit", "data.csv", "--label", "y"], "fit must come first"),
        (["fits", "data.csv"], "invalid choice: 'fits'"),
        (["predict", "model.json", "data.csv"], "required: --out"),
        (["predict", "no.json", "data.csv", "--out", "p.csv"], "No such file"),
        (["predict", "a.json", "data.csv", "--out", "data.csv"], "would overwrite"),
    ],
)
def test_wrong_commands_get_one_line(arguments, message, capsys):
    write("y,x\n1,2\n0,3\n")
    write("not Parquet", "data.parquet")
    os.mkdir("folder.csv")
    assert message in refusal(arguments, capsys)


def test_separable_data_are_said_to_have_no_optimum(capsys):
    frame = sm.datasets.spector.load_pandas().data
    frame.assign(GRADE=frame.GPA > 3, c=7).to_csv("data.csv", index=False)
    main(["fit", "data.csv", "--label", "GRADE", "--out", "model.json"])
    captured = capsys.readouterr()
    assert "NOT CONVERGED" in captured.out
    constant, separable = captured.err.splitlines()
    assert constant.startswith("python -m bcejax: warning: left out")
    assert "'c'" in constant
    assert separable.startswith("python -m bcejax: warning: the data are separable")
    assert np.isfinite(column(model_in(), "coefficient")).all()


def test_data_that_are_separable_in_part_are_said_to_be(capsys):
    frame = sm.datasets.spector.load_pandas().data
    frame["GRADE"] = frame[["GRADE", "PSI"]].max(axis=1)  # PSI 1 is always a pass
    frame.to_csv("data.csv", index=False)
    main(["fit", "data.csv", "--label", "GRADE"])
    captured = capsys.readouterr()
    assert "NOT CONVERGED" in captured.out
    assert captured.err.startswith("python -m bcejax: warning: the data are separable")


def test_columns_that_repeat_each_other_are_warned_of(capsys):
    frame = sm.datasets.spector.load_pandas().data
    frame.assign(PSI=2 * frame.TUCE).to_csv("data.csv", index=False)
    main(["fit", "data.csv", "--label", "GRADE"])
    error = capsys.readouterr().err
    assert "hardly determine the coefficients of 'TUCE', 'PSI':" in error


def test_cross_validation_takes_scikit_learns_penalty(capsys, monkeypatch):
    grid = np.logspace(-3, 0, 4)
    monkeypatch.setattr(training, "PENALTIES", grid)
    frame = sm.datasets.spector.load_pandas().data
    frame.to_csv("spector.csv", index=False)
    given = ["--label", "GRADE", "--standardize", "--l2", "cv", "--seed", "2"]
    main(["fit", "spector.csv", *given, "--out", "model.json"])

    z = preprocessing.scale(frame.drop(columns="GRADE").to_numpy())
    y = frame.GRADE.to_numpy()
    folds = training.StratifiedKFold(5, shuffle=True, random_state=2)
    loss = np.zeros(4)
    for i, l2 in enumerate(grid):
        for train, held in folds.split(z, y):
            model = linear_model.LogisticRegression(
                C=1 / (l2 * len(train)), solver="newton-cholesky", tol=1e-12
            ).fit(z[train], y[train])
            p = model.predict_proba(z[held])[:, 1]
            loss[i] += metrics.log_loss(y[held], p, labels=[0, 1]) * len(held) / len(y)
    out = capsys.readouterr().out
    assert model_in()["l2"] == grid[loss.argmin()]
    assert f"least log loss out of 5 folds, {loss.min():.4f} nats" in out
    assert f"penalty      l2 = {grid[loss.argmin()]:.4g}" in out


def test_many_columns_are_fitted_without_standard_errors(capsys):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(30, 3000))).add_prefix("c")
    frame["y"] = random.random(30) < 0.5
    frame.to_parquet("wide.parquet")
    given = ["--label", "y", "--l2", "10", "--out", "model.json"]
    main(["fit", "wide.parquet", *given])
    captured = capsys.readouterr()
    assert "no standard errors for more than 2000 columns" in captured.err
    assert "40 of 3000 coefficients" in captured.out
    model = model_in()
    assert len(model["features"]) == 3000
    assert model["intercept"]["standard_error"] is None
    main(["predict", "model.json", "wide.parquet", "--out", "out.csv"])
    p, y = csv.read_csv("out.csv")["probability"].to_numpy(), frame.pop("y")
    # Where the objective is least: p − y is the penalty's slope, seen by each column.
    slope = frame.to_numpy().T @ (p - y) / 30 + 10 * column(model, "coefficient")
    assert np.abs(slope).max() < 1e-6


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), whole.whole(path) as unfinished:
        unfinished.write_text("hal", encoding="utf-8")
        raise KeyboardInterrupt
    assert path.read_text("utf-8") == "before"
    assert os.listdir() == ["out.csv"]
    files.write_predictions(path, [0.1], [-2.197224577336219])
    assert path.read_text("utf-8").splitlines()[1] == "0.1,-2.197224577336219"
    assert os.listdir() == ["out.csv"]


@pytest.mark.parametrize("arguments", [["-h"], ["fit", "-h"], ["predict", "-h"]])
def test_help_names_the_columns_and_files(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert ("fit" if len(arguments) == 1 else "FILE") in capsys.readouterr().out
