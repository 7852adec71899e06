"""`python -m bcejax fit` and `predict`, on files of real data and on broken ones."""

import errno
import io
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

from bcejax import logistic_regression
from bcejax.__main__ import main
from bcejax._cli import model, output, report, table, training
from bcejax._cli.rows import Rows
from bcejax.logistic_regression import _newton


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


def write_table(path, columns):
    with table.writer(path) as write_columns:
        write_columns(columns)


def model_in(path="model.json"):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def column(file, key):
    """`(d,)`, the coefficients in a model file, or what its table says of features."""
    if key == "coefficient":
        return np.array(file["model"]["weights"]["values"])
    return np.array([line[key] for line in file["table"]["features"]])


def intercept(file, key):
    if key == "coefficient":
        return file["model"]["bias"]["values"]
    return file["table"]["intercept_standard_error"]


def test_coefficients_and_errors_of_fair_are_those_of_statsmodels(capsys):
    frame = sm.datasets.fair.load_pandas().data
    frame["affair"] = (frame.pop("affairs") > 0).astype(int)
    frame.to_parquet("fair.parquet")
    main(["fit", "fair.parquet", "--label", "affair", "--out", "model.json"])

    x = frame.drop(columns="affair")
    theirs = sm.Logit(frame.affair, sm.add_constant(x)).fit(disp=0, tol=1e-12)
    model = model_in()
    assert [line["name"] for line in model["table"]["features"]] == list(x)
    np.testing.assert_allclose(column(model, "coefficient"), theirs.params[1:], 1e-7)
    np.testing.assert_allclose(column(model, "standard_error"), theirs.bse[1:], 1e-7)
    bias, error = (intercept(model, key) for key in ("coefficient", "standard_error"))
    np.testing.assert_allclose(bias, theirs.params["const"], 1e-7)
    np.testing.assert_allclose(error, theirs.bse["const"], 1e-7)
    captured = capsys.readouterr()
    assert captured.err == ""  # no warning, and no progress bar in a pipe
    assert f"rate_marriage      {theirs.params['rate_marriage']:.4g}" in captured.out


@pytest.mark.full
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
    ours = intercept(model, "coefficient") + scaler.mean_ @ column(model, "coefficient")
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
    np.testing.assert_allclose(intercept(model, "standard_error"), errors[-1], 1e-6)
    assert "on standardised columns" in capsys.readouterr().out


@pytest.mark.full
def test_digits_are_fitted_without_the_pixels_that_never_change(capsys):
    data = datasets.load_digits(as_frame=True)
    frame = data.data.assign(even=data.target % 2 == 0)
    frame.to_csv("digits.csv", index=False)
    given = ["--label", "even", "--l2", "0.01", "--test-fraction", "0.3", "--seed", "5"]
    main(["fit", "digits.csv", *given, "--out", "model.json", "--plot", "fit.png"])

    model, captured = model_in(), capsys.readouterr()
    kept = [line["name"] for line in model["table"]["features"]]
    constant = [name for name in data.data if name not in kept]
    assert re.search(r"warning: left out.*'pixel_0_0'", captured.err)
    assert captured.err.count("\n") == 1 and len(constant) >= 3
    assert model["table"]["label"] == {
        "name": "even",
        "positive": "true",
        "negative": "false",
    }

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
    assert [line["name"] for line in model["table"]["features"]] == list(x)
    ours = np.append(intercept(model, "coefficient"), column(model, "coefficient"))
    np.testing.assert_allclose(ours, theirs.params, 1e-6)
    np.testing.assert_allclose(column(model, "standard_error"), theirs.bse[1:], 1e-6)
    assert model["table"]["one_hot_levels"] == {"city": ["Aachen", "Berlin, old"]}
    assert model["table"]["imputation_means"]["TUCE"] == pytest.approx(
        x.TUCE[3], rel=1e-14
    )
    assert (
        model["table"]["label"]["positive"] == "pass"
        and model["table"]["offset"] == "prior"
    )


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
    logits += intercept(model, "coefficient") + frame.prior
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
            "'city' must be at a level of the rows it was fitted to, 'Aachen', "
            "'Berlin, old', got 'Bern', 'Bonn'",
        ),
        (
            lambda frame: frame.assign(GPA=["3.5"] * 31 + ["good"]),
            "column 'GPA' must hold numbers, got 'good' in row 32 of the data",
        ),
        (
            lambda frame: frame.assign(TUCE=np.inf),
            "missing (empty, NA or NaN) or infinite in 'TUCE (32)' of 32 rows",
        ),
        (
            lambda frame: frame.assign(prior=np.nan),
            "missing (empty, NA or NaN) or infinite in 'prior (32)' of 32 rows",
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
        (lambda text: text[: len(text) // 2], "it is no JSON, or ends too early"),
        (lambda text: "[" * 100_000, "is damaged, or no model"),
        (lambda text: b"\xff" + text.encode(), "is damaged, or no model"),
        (lambda text: "[1, 2]", "or no model that this version of bcejax writes"),
        (
            lambda text: '{"format": "other"}',
            "format must be 'bcejax logistic regression', got 'other'",
        ),
        (
            lambda text: text.replace('"version": 2', '"version": 3'),
            "version must be 2, got 3",
        ),
        (
            lambda text: text.replace('"table"', '"tables"'),
            "it does not say how columns become features",
        ),
        (
            lambda text: text.replace('"TUCE",', '"TUCES",', 1),
            "its model must be a Fit of the features of its table",
        ),
        (
            lambda text: re.sub('"l2": [0-9].*', '"l2": "0",', text),
            "Expected `float`, got `str` - at `$.l2`",
        ),
        (
            lambda text: text.replace('"bias"', '"wrong"'),
            "model must hold 'bias', and does not",
        ),
        (
            lambda text: re.sub('"mean": .*', '"mean": null,', text),
            "Expected `float`, got `null` - at `$.features[0].mean`",
        ),
        (
            lambda text: text.replace('"level": "Berlin, old"', '"level": "Bonn"'),
            "one_hot_levels lacks",
        ),
        (
            lambda text: text.replace('"column": "TUCE"', '"column": "GPA"'),
            "features must differ, but ('GPA', None) do not",
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
    with jax.enable_x64(True):
        model.save(tmp_path / "again.json", model.load(tmp_path / "model.json"))
    assert model_in("again.json") == model_in()


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("", [], "data.csv: Empty CSV file"),
        ("\n", [], "data.csv: CSV parse error: Empty CSV file"),
        ("y,x\n", [], "data.csv: there are 2 columns but no rows"),
        ("y;x\n1;2\n0;3\n", [], "no column 'y'; there are 'y;x'"),
        ("y;x\n1;1,5\n0;2,5\n", [], "or ',' not what stands between the columns?"),
        ("# from the lab\ny,x\n1,2\n", [], "Row #2: Expected 1 columns, got 2: y,x:"),
        ("y,x\n1,2\n# 3\n", [], "Row #3: Expected 2 columns, got 1: # 3: is a line a"),
        ("y,x\n1,2,5\n0,1\n", [], "columns, got 3: 1,2,5: is a line a comment, a num"),
        ("y,x\n1,2\n0\n", [], "Expected 2 columns, got 1"),
        (
            b"y,\xff\n1,2\n0,3\n",
            [],
            "'utf-8' codec can't decode byte 0xff in position 0",
        ),
        (
            b"y,x\n1,\xff\n0,3\n",
            [],
            "column 'x' must hold numbers, got text that is not U",
        ),
        (b"y,x\n1,\xff\n0,3\n", ["--one-hot", "x"], "invalid UTF8 data"),
        ("why,x\n1,2\n0,3\n", [], "no column 'y'; there are 'why', 'x'"),
        ("y,xs\n1,2\n0,3\n", ["--weight", "x"], "no column 'x'; did you mean 'xs'?"),
        ("y,x,x\n1,2,3\n0,3,4\n", [], "names of columns must differ, but 'x' stands"),
        (",y,x\n0,1,5\n1,0,6\n", [], "a column has no name (row numbers, as pandas"),
        (
            "y,x\n1,2\n1,3\n",
            [],
            "must hold two values or more and none missing, got 1 ('1')",
        ),
        ("y,x\n1,2\n0,3\n2,4\n,5\n", [], "got 3 ('0', '1', '2'), missing in 1 rows"),
        ("y,x\n1,2\n2,3\n", [], "--positive VALUE must say which value of --label y"),
        ("y,x\nno,2\nyes,3\n", [], "counts as 1, 'no' or 'yes', got None"),
        ("y,x\nno,2\nyes,3\n", ["--positive", "si"], "'no' or 'yes', got 'si'"),
        ("y,x\n1,2\n,3\n0,4\n", [], "got 2 ('0', '1'), missing in 1 rows"),
        ("y,x\n1,2\n0,3\n1,abc\n", [], "'x' must hold numbers, got 'abc' in row 3 of"),
        (
            'y,x\n1,"1,5"\n0,3\n',
            [],
            "got '1,5' (a decimal comma?) in row 1 of the data",
        ),
        ("y,x\n1,2020-01-01\n0,2021-01-01\n", [], "must hold numbers, got date32[day]"),
        ("y,a,b\n1,,2\n0,3,\n1,nan,4\n", [], "in 'a (2)', 'b (1)' of 3 rows"),
        ("y,x\n1,inf\n0,3\n1,-inf\n", [], "or infinite in 'x (2)' of 3 rows"),
        (
            "y,x\n1,\n0,\n",
            ["--impute", "mean"],
            "values are missing (empty, NA or NaN)",
        ),
        (
            "y,x\n1,7\n0,7\n",
            [],
            "no column is left to fit: all have a role, or are con",
        ),
        ("y\n1\n0\n", [], "no column is left to fit"),
        (
            "y,x\n1,a\n0,\n",
            ["--one-hot", "x"],
            "got None (None is missing: give it a na",
        ),
        (
            "y,x\n" + "".join(f"{k % 2},v{k}\n" for k in range(2001)),
            ["--one-hot", "x"],
            "at most 2000 levels, got 2001: does it identify the rows?",
        ),
        ("y,x\n1,2\n0,3\n", ["--weight", "y"], "cannot be both --label and --weight"),
        (
            "y,x,w\n1,2,-1\n0,3,1\n",
            ["--weight", "w"],
            "0 or more, and above 0 in some row",
        ),
        (
            "y,x,w\n1,2,0\n0,3,1\n",
            ["--weight", "w"],
            "got 0 to 1, and class sums [1. 0.]",
        ),
        ("y,x,w\n1,2,\n0,3,1\n", ["--offset", "w"], "infinite in 'w (1)' of 2 rows"),
        ("y,x\n1,2\n0,3\n", ["--test-fraction", "0.5"], "--test-fraction: The least"),
        ("y,x\n1,2\n0,3\n", ["--out", "data.csv"], "data.csv is named more than once"),
        (
            "y,x\n1,2\n0,3\n",
            ["--out", "a.png", "--plot", "a.png"],
            "a.png is named more",
        ),
        ("y,x\n1,2\n0,3\n", ["--out", "no/m.json"], "there is no folder"),
        ("y,x\n1,2\n0,3\n", ["--out", "/dev/null"], "/dev/null is not a regular file"),
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
        (["fit", "dota.csv", "--label", "y"], "'dota.csv' does not exist"),
        (
            ["fit", "data.xlsx", "--label", "y"],
            "the ending must be .csv, .tsv (or eith",
        ),
        (
            ["fit", "data.parquet", "--label", "y"],
            "Could not open Parquet input source",
        ),
        (["fit", "folder.csv", "--label", "y"], "folder.csv: there are no files in it"),
        (["fit", "data.csv"], "Missing option '--label'"),
        (["fit", "data.csv", "--label", "y", "--l2", "-1"], "not in the range x>=0"),
        (
            ["fit", "data.csv", "--label", "y", "--l2", "all"],
            "'all' is not a valid numb",
        ),
        (["fit", "data.csv", "--label", "y", "--test-fraction", "1"], "range 0<=x<1"),
        (["--l2", "1", "fit", "data.csv", "--label", "y"], "fit must come first"),
        (["fits", "data.csv"], "No such command 'fits'"),
        (["predict", "model.json", "data.csv"], "Missing option '--out'"),
        (
            ["predict", "no.json", "data.csv", "--out", "p.csv"],
            "'no.json' does not exist",
        ),
        (["predict", "model.json", "data.csv", "--out", "data.csv"], "more than once"),
        (
            ["predict", "model.json", "data.csv", "--out", "a.txt"],
            "must be one of .csv",
        ),
        (
            ["predict", "model.json", "data.csv", "--out", "a.csv", "--threshold=nan"],
            "--threshold must be a number, got nan",
        ),
        (["verify", "--jsn", "a.json"], "unrecognized arguments: --jsn a.json"),
    ],
)
def test_wrong_commands_get_one_line(arguments, message, capsys):
    write("y,x\n1,2\n0,3\n")
    write("not Parquet", "data.parquet")
    write("not a table", "data.xlsx")
    write("not a model", "model.json")
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
    # Pass means GPA > 3: moving up in GPA, and down by three times that, is right.
    assert re.search(r"for ever, of 'GPA'.* to \+∞, of .*'bias' to −∞, ", separable)
    assert np.isfinite(column(model_in(), "coefficient")).all()


def test_data_that_are_separable_in_part_are_said_to_be(capsys):
    frame = sm.datasets.spector.load_pandas().data
    frame["GRADE"] = frame[["GRADE", "PSI"]].max(axis=1)  # PSI 1 is always a pass
    frame.to_csv("data.csv", index=False)
    main(["fit", "data.csv", "--label", "GRADE"])
    captured = capsys.readouterr()
    assert "NOT CONVERGED" in captured.out
    assert captured.err.startswith("python -m bcejax: warning: the data are separable")
    # Those without it overlap, so that nothing else moves.
    assert "coefficients grow for ever, of 'PSI' to +∞, and stand" in captured.err


@pytest.mark.parametrize(
    ("separated", "escapes", "words"),
    [
        (True, (0, 0), "has not converged in 7 steps, its gradient is still 2.0e-03:"),
        (False, (-1, 1), "for ever, of 'bias' to +∞, of 'x' to −∞, and stand where"),
        (True, None, "grow for ever, and stand where the search stopped"),
        (False, None, "has not converged in 7 steps"),
    ],
)
def test_the_exact_verdict_on_separation_overrules_the_compiled_one(
    separated, escapes, words
):
    nothing = dict.fromkeys(logistic_regression.Fit._fields)
    found = logistic_regression.Fit(
        **nothing | {"steps": 7, "gradient_norm": 2e-3, "converged": False}
    )._replace(separated=separated)
    fitted = model.Model(
        label=model.Label("y", "1", "0"),
        offset=None,
        l2=0.0,
        standardized=False,
        features=[model.Feature("x", "x", None, None, 0.0, 1.0)],
        one_hot_levels={},
        imputation_means={},
    )
    trained = training.Trained(found, None, escapes, None)
    (doubt,) = report.doubts(trained, fitted, 4)
    assert words in doubt


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
    assert model_in()["table"]["l2"] == grid[loss.argmin()]
    assert f"least log loss out of 5 folds, {loss.min():.4f} nats" in out
    assert f"penalty      l2 = {grid[loss.argmin()]:.4g}" in out


def test_cross_validation_needs_a_row_of_each_class_in_each_fold(capsys):
    write("y,x\n1,2\n0,3\n")
    with pytest.raises(SystemExit):
        main(["fit", "data.csv", "--label", "y", "--l2", "cv"])
    assert "5 rows of each class, one for each fold, got 1" in capsys.readouterr().err


@pytest.mark.full
def test_many_columns_are_fitted_without_standard_errors(capsys, monkeypatch):
    monkeypatch.setattr(_newton, "MOST_COLUMNS", 50)
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(30, 51))).add_prefix("c")
    frame["y"] = random.random(30) < 0.5
    frame.to_parquet("wide.parquet")
    given = ["--label", "y", "--l2", "10", "--out", "model.json"]
    main(["fit", "wide.parquet", "--label", "y"])
    error = capsys.readouterr().err  # of 51 columns and 30 rows without a penalty
    assert re.search(r"for ever, of 'c.* more to \+∞, of 'c.* more to −∞, and", error)
    main(["fit", "wide.parquet", *given])
    captured = capsys.readouterr()
    assert "no standard errors for more than 50 columns" in captured.err
    assert "40 of 51 coefficients" in captured.out
    model = model_in()
    assert len(model["table"]["features"]) == 51
    assert intercept(model, "standard_error") is None
    main(["predict", "model.json", "wide.parquet", "--out", "out.csv"])
    p, y = csv.read_csv("out.csv")["probability"].to_numpy(), frame.pop("y")
    # Where the objective is least: p − y is the penalty's slope, seen by each column.
    slope = frame.to_numpy().T @ (p - y) / 30 + 10 * column(model, "coefficient")
    assert np.abs(slope).max() < 1e-6


def test_a_file_is_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), output.complete(path) as unfinished:
        unfinished.write(b"hal")
        raise KeyboardInterrupt
    assert path.read_text("utf-8") == "before"
    assert os.listdir() == ["out.csv"]
    write_table(path, {"probability": [0.1], "logit": [-2.197224577336219]})
    assert path.read_text("utf-8").splitlines()[1] == "0.1,-2.197224577336219"
    assert os.listdir() == ["out.csv"]


def test_a_link_stays_a_link_and_what_it_points_to_is_written(tmp_path):
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "real.csv"
    target.write_text("before", encoding="utf-8")
    target.chmod(0o640)
    (tmp_path / "link.csv").symlink_to(target)
    write_table(tmp_path / "link.csv", {"logit": [1.5]})
    assert (tmp_path / "link.csv").is_symlink()
    assert target.read_text("utf-8").splitlines() == ['"logit"', "1.5"]
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path / "folder") == ["real.csv"]


def test_a_full_disk_is_said_and_so_is_what_was_kept(capsys, monkeypatch):
    write("y,x\n1,2\n0,3\n1,1\n0,2\n")
    write("before", "model.json")

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for name, kept in (
        ("model.json", "what it held before"),
        ("m.json", "there is no"),
    ):
        with pytest.raises(SystemExit):
            main(["fit", "data.csv", "--label", "y", "--l2", "1", "--out", name])
        captured = capsys.readouterr()
        assert "Logistic regression, n = 4" in captured.out  # the work is not lost
        assert f"{name} could not be written: No space left on device" in captured.err
        assert kept in captured.err
    assert sorted(os.listdir()) == ["data.csv", "model.json"]
    with open("model.json", encoding="utf-8") as file:
        assert file.read() == "before"


def spector():
    return sm.datasets.spector.load_pandas().data


@pytest.mark.parametrize("name", ["data.tsv", "data.csv.gz", "DATA.TSV.GZ", "-"])
def test_other_kinds_of_files_give_the_same_model(name, capsys, monkeypatch):
    frame = spector()
    frame.to_csv("data.csv", index=False)
    separator = "\t" if "tsv" in name.lower() else ","
    if name == "-":
        with open("data.csv", "rb") as file:
            stream = io.TextIOWrapper(io.BytesIO(file.read()))
        monkeypatch.setattr("sys.stdin", stream)
    else:
        packed = "gzip" if name.lower().endswith("gz") else None
        frame.to_csv(name, index=False, sep=separator, compression=packed)
    for file, out in (("data.csv", "model.json"), (name, "other.json")):
        main(["fit", file, "--label", "GRADE", "--out", out])
    assert model_in("other.json") == model_in("model.json")


def test_predictions_hold_an_identifier_and_classes_and_are_scored(fitted, capsys):
    write(fitted, "model.json")
    frame = people().assign(key=[f"{i:03}" for i in range(32)])
    frame.loc[4, "GRADE"] = None
    frame.to_csv("new.csv", index=False)
    given = ["--id", "key", "--threshold", "0.3"]
    main(["predict", "model.json", "new.csv", "--out", "out.parquet", *given])
    main(["predict", "model.json", "new.csv", "--out", "out.tsv", *given])

    out = pd.read_parquet("out.parquet")
    assert list(out) == ["key", "probability", "logit", "predicted"]
    assert list(out.key) == list(frame.key)  # with leading zeros
    expected = np.where(out.probability >= 0.3, "pass", "fail")
    assert list(out.predicted) == list(expected)
    pd.testing.assert_frame_equal(
        pd.read_csv("out.tsv", sep="\t", dtype={"key": str}), out
    )
    p, y = out.probability.drop(4), (frame.GRADE == "pass").drop(4)
    printed = capsys.readouterr().out
    assert "in 31 rows; accuracy from 0.3 on" in printed
    assert (
        f"scores       log loss {metrics.log_loss(y, p):.4f}, "
        f"Brier score {metrics.brier_score_loss(y, p):.4f}, "
        f"ROC AUC {metrics.roc_auc_score(y, p):.4f}, "
        f"accuracy {metrics.accuracy_score(y, p >= 0.3):.4f}\n"
    ) in printed


def test_an_identifier_does_not_hide_what_is_written(fitted, capsys):
    write(fitted, "model.json")
    people().assign(logit="a").to_csv("new.csv", index=False)
    arguments = [
        "predict",
        "model.json",
        "new.csv",
        "--out",
        "out.csv",
        "--id",
        "logit",
    ]
    assert "'logit' is the name of a column that is written" in refusal(
        arguments, capsys
    )


FIRST = """{
  "format": "bcejax logistic regression",
  "version": 2,
  "made_with": {"bcejax": "0.1.0", "jax": "0.10.0"},
  "model": {
    "kind": "Fit",
    "weights": {"dtype": "float64", "values": [2, 4.0]},
    "bias": {"dtype": "float64", "values": -1.5},
    "loss": {"dtype": "float64", "values": 0.5},
    "gradient_norm": {"dtype": "float64", "values": 1e-12},
    "steps": {"dtype": "int32", "values": 5},
    "converged": {"dtype": "bool", "values": true},
    "newton_decrement": {"dtype": "float64", "values": "NaN"},
    "separated": {"dtype": "bool", "values": false},
    "l2": {"dtype": "float64", "values": 0},
    "options": {"fit_intercept": true, "weighted": false, "shifted": false,
                "columns": ["x", "c=b"], "firth": false, "class_weight": null,
                "across_processes": false}
  },
  "table": {
    "label": {"name": "y", "positive": "1", "negative": "0"},
    "offset": null,
    "l2": 0,
    "standardized": false,
    "intercept_standard_error": null,
    "features": [
      {"name": "x", "column": "x", "level": null,
       "standard_error": 0.5, "mean": 0.25, "scale": 1.0},
      {"name": "c=b", "column": "c", "level": "b",
       "standard_error": null, "mean": 0.5, "scale": 0.5}
    ],
    "one_hot_levels": {"c": ["a", "b"]},
    "imputation_means": {"x": 0.25}
  }
}"""


def test_a_model_of_this_version_stays_readable(capsys):
    write(FIRST, "model.json")
    write("x,c\n1,a\n,b\n", "new.csv")
    main(["predict", "model.json", "new.csv", "--out", "out.csv"])
    assert csv.read_csv("out.csv")["logit"].to_pylist() == [0.5, 3.0]


def warnings_of(frame, capsys):
    frame.to_csv("data.csv", index=False)
    main(["fit", "data.csv", "--label", "GRADE", "--l2", "1"])
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("row", np.arange(32) + 1),
        ("started", np.cumsum(np.arange(32)) + 5),
        ("patient_id", (np.arange(32) * 7919) % 104729),
        ("CustomerID", (np.arange(32) * 7919) % 104729),
    ],
)
def test_a_column_that_looks_like_an_identifier_is_warned_of(name, column, capsys):
    error = warnings_of(spector().assign(**{name: column}), capsys)
    assert f"{name!r} looks like an identifier" in error and error.count("\n") == 1


@pytest.mark.parametrize("value", [-999, 999, -99, 9999])
def test_a_number_that_stands_for_nothing_is_warned_of(value, capsys):
    frame = spector()
    frame.loc[[3, 9], "TUCE"] = value
    error = warnings_of(frame, capsys)
    assert f"'TUCE' is {value} in 2 rows, far from the others" in error


@pytest.mark.full
def test_measurements_are_not_warned_of(capsys):
    frame = spector().assign(
        income=(np.arange(32) * 7919) % 104729,  # whole numbers, all different
        percent=99 - np.arange(32) % 12,  # 99 with others near
        cold=np.arange(32) % 12 - 99,
    )
    assert warnings_of(frame, capsys) == ""


def test_a_penalty_per_standard_deviation_ignores_the_units(capsys):
    frame = spector()
    for name, unit in (("a", 1.0), ("b", 1e-6)):
        frame.assign(TUCE=frame.TUCE * unit).to_csv(f"{name}.csv", index=False)
        given = ["--label", "GRADE", "--standardize", "--l2", "0.1"]
        main(["fit", f"{name}.csv", *given, "--out", f"{name}.json"])
    one, other = (model_in(f"{name}.json") for name in "ab")
    units = np.array([1, 1e-6, 1])
    for key in ("coefficient", "standard_error"):
        np.testing.assert_allclose(column(other, key) * units, column(one, key), 1e-6)


def test_an_interrupt_is_said(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "opened", interrupt)
    write("y,x\n1,2\n0,3\n")
    with pytest.raises(SystemExit) as stop:
        main(["fit", "data.csv", "--label", "y"])
    assert stop.value.code == 2
    assert "python -m bcejax: error: interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-h"], ["fit", "-h"], ["predict", "-h"]])
def test_help_names_the_columns_and_files(arguments, capsys):
    main(arguments)
    assert ("fit" if len(arguments) == 1 else "FILE") in capsys.readouterr().out


def test_three_classes_are_those_of_scikit_learn(capsys):
    data = datasets.load_iris(as_frame=True)
    frame = data.frame.assign(target=data.target_names[data.target])
    frame.to_csv("iris.csv", index=False)
    given = ["--label", "target", "--l2", "0.01", "--out", "model.json"]
    main(["fit", "iris.csv", *given])
    main(["predict", "model.json", "iris.csv", "--out", "out.csv"])

    theirs = linear_model.LogisticRegression(
        C=1 / (0.01 * 150), tol=1e-10, max_iter=999
    )
    theirs.fit(data.data.to_numpy(), frame.target)
    expected = theirs.predict_proba(data.data.to_numpy())
    found = pd.read_csv("out.csv")
    names = [f"probability={name}" for name in theirs.classes_]
    assert list(found) == [*names, "predicted"]
    np.testing.assert_allclose(found[names], expected, rtol=0, atol=1e-6)
    assert (found.predicted == theirs.classes_[expected.argmax(axis=1)]).all()
    loss = metrics.log_loss(frame.target, expected)
    assert f"scores       log loss {loss:.4f}, accuracy" in capsys.readouterr().out


@pytest.mark.full
@pytest.mark.parametrize(
    ("label", "more", "message"),
    [
        ("abc", ["--positive", "a"], "--positive is for a label that holds two values"),
        ("abc", ["--offset", "x"], "--offset is for a label that holds two values"),
        ("abc", ["--plot", "a.png"], "--plot is for a label that holds two values"),
        ("abc", ["--memory", "0"], "a file that takes more than --memory, is for a l"),
        (["1.5", "2", "3"], [], "must hold classes: no fractions, and at most 20 v"),
        (
            [*range(1001)] * 6,
            [],
            "at most 1000 values in 6006 rows, got 1001 ('0',",
        ),
        (range(21), [], "at most 20 values in 21 rows, got 21 ('0', '1', '2'"),
    ],
)
def test_what_many_classes_do_not_have_is_refused(label, more, message, capsys):
    rows = "".join(f"{value},{i},{i * i}\n" for i, value in enumerate(label))
    file = write("y,x,z\n" + rows)
    assert message in refusal(["fit", file, "--label", "y", *more], capsys)


@pytest.mark.full
def test_of_many_classes_too_the_penalty_is_cross_validated(capsys, monkeypatch):
    grid = np.logspace(-3, 0, 4)
    monkeypatch.setattr(training, "PENALTIES", grid)
    data = datasets.load_wine(as_frame=True)
    number = data.target.map({0: 9, 1: 10, 2: 100})  # in the order of the numbers
    data.data.assign(y=number).to_csv("wine.csv", index=False)
    given = ["--label", "y", "--standardize", "--l2", "cv", "--test-fraction", "0.3"]
    main(["fit", "wine.csv", *given, "--out", "model.json"])
    captured = capsys.readouterr()
    assert captured.err == ""

    train, test = model_selection.train_test_split(
        np.arange(len(number)), test_size=0.3, stratify=data.target, random_state=0
    )
    train = np.sort(train)  # folds are of rows in the order of the file
    scaler = preprocessing.StandardScaler().fit(data.data.iloc[train])
    z, y = scaler.transform(data.data), number.to_numpy()

    def theirs(l2, rows):
        fit = linear_model.LogisticRegression(
            C=1 / (l2 * len(rows)), tol=1e-10, max_iter=9999
        )
        return fit.fit(z[rows], y[rows])

    folds = training.StratifiedKFold(5, shuffle=True, random_state=0)
    loss = np.zeros(4)
    for i, l2 in enumerate(grid):
        for seen, held in folds.split(z[train], data.target[train]):
            p = theirs(l2, train[seen]).predict_proba(z[train[held]])
            loss[i] += metrics.log_loss(y[train[held]], p) * len(held) / len(train)
    best = grid[loss.argmin()]
    assert model_in()["table"]["l2"] == best
    assert f"least log loss out of 5 folds, {loss.min():.4f} nats" in captured.out
    assert model_in()["table"]["label"]["classes"] == ["9", "10", "100"]
    p = theirs(best, train).predict_proba(z[test])
    assert (
        f"test         log loss {metrics.log_loss(y[test], p):.4f}, accuracy "
        f"{metrics.accuracy_score(y[test], np.array([9, 10, 100])[p.argmax(1)]):.4f}"
    ) in captured.out


@pytest.mark.full
def test_the_loss_out_of_fold_is_that_of_single_fits(monkeypatch):
    grid = np.array([1e-4, 0.03, 1.0])
    monkeypatch.setattr(training, "PENALTIES", grid)
    random = np.random.default_rng(1)
    x, y = random.normal(size=(60, 2)), np.arange(60) % 2 * 1.0
    weight, offset = random.integers(1, 4, 60) * 1.0, random.normal(size=60)
    units, loss = np.array([4.0, 0.25]), np.zeros(3)
    label = model.Label("y", "1", "0")
    with jax.enable_x64(True):
        given = Rows(x, y, weight, offset), label, units, 4
        chosen, least = training._choose_l2(*given)
        folds = training.StratifiedKFold(5, shuffle=True, random_state=4)
        for i, l2 in enumerate(grid):
            for seen, held in folds.split(x, y):
                others = {"sample_weight": weight[seen], "offset": offset[seen]}
                found = logistic_regression.fit(
                    x[seen], y[seen], l2=l2 * units, tol=1e-10, **others
                )
                logits = x[held] @ found.weights + found.bias + offset[held]
                losses = np.logaddexp(0, np.where(y[held], -logits, logits))
                loss[i] += weight[held] @ losses
    assert chosen == grid[loss.argmin()]
    np.testing.assert_allclose(least, loss.min() / weight.sum(), 1e-9)
