"""`python -m bcejax`, as a user runs it."""

import os
import subprocess
import sys

import matplotlib.image
import pytest
from sklearn import datasets, linear_model, model_selection, preprocessing

from bcejax.__main__ import main


def run(*arguments, cwd, **options):
    return subprocess.run(
        [sys.executable, "-m", "bcejax", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def number_after(text, output):
    return float(output.split(text, 1)[1].split()[0].rstrip(",%"))


@pytest.mark.full
def test_the_demo_finds_scikit_learns_optimum_and_draws(tmp_path):
    done = run(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")  # no progress bar in a pipe
    assert number_after("largest difference of the coefficients:", done.stdout) < 1e-3
    assert number_after("accuracy", done.stdout.split("\ntest ")[1]) > 0.95
    assert " within tolerance" in done.stdout

    # The split is as documented: stratified, by this seed.
    bunch = datasets.load_breast_cancer()
    x, _, y, _ = model_selection.train_test_split(
        bunch.data, bunch.target, test_size=0.2, stratify=bunch.target, random_state=0
    )
    theirs = linear_model.LogisticRegression(
        C=1 / (0.01 * len(y)), solver="newton-cholesky", tol=1e-12
    ).fit(preprocessing.scale(x), y)
    lines = done.stdout.split("by the loop and by fit\n")[1].splitlines()[:10]
    for line in lines:
        loop, exact, name = line.split(maxsplit=2)
        right = theirs.coef_[0][list(bunch.feature_names).index(name)]
        assert abs(float(loop) - right) < 1e-3
        assert abs(float(exact) - right) < 1e-4  # four digits are printed
    assert os.listdir(tmp_path) == ["bcejax-demo.png"]  # and no unfinished file
    height, width, _ = matplotlib.image.imread(tmp_path / "bcejax-demo.png").shape
    assert height > 400 and width > 900


@pytest.mark.parametrize(
    "arguments",
    [
        ["--optimizer", "adam", "--steps", "400", "--float64"],
        ["--optimizer", "sgd", "--learning-rate", "0.5", "--seed", "3"],
        ["--optimizer", "newton"],
    ],
)
@pytest.mark.full
def test_other_settings_run_too(arguments, tmp_path):
    done = run(*arguments, "--plot", "picture.svg", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "picture.svg").stat().st_size > 10_000
    loop = next(
        line for line in done.stdout.splitlines() if line.startswith(arguments[1])
    )
    assert ("float64" in loop) == ("--float64" in arguments)
    if "newton" in arguments:
        assert number_after(", float32, ", done.stdout) < 10


@pytest.mark.full
def test_separable_data_are_said_to_have_no_optimum(tmp_path):
    done = run("--l2", "0", "--steps", "100", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no optimum   the data are separable" in done.stdout
    assert "grow for ever, of 'mean" in done.stdout
    assert "largest difference" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "'--steps': 0 is not in the range x>=1"),
        (["--steps", "many"], "'--steps': 'many' is not a valid int"),
        (["--l2", "-1"], "'--l2': -1.0 is not in the range x>=0"),
        (["--l2", "nan"], "l2 must be 0 or more and finite, got nan"),
        (["--l2", "cv"], "'--l2': 'cv' is not a valid float"),
        (["--optimizer", "momentum"], "'momentum' is not one of 'lbfgs', 'adam'"),
        (["--optimizer", "sgd", "--learning-rate", "0"], "not in the range x>0"),
        (["--learning-rate", "1"], "--learning-rate is for adam and sgd"),
        (["--plot", "nowhere/plot.png"], "there is no folder"),
        (["--plot", "/dev/null.png/plot.png"], "there is no folder"),
        (["--bogus"], "No such option"),
        (["--seed", "4294967296"], "'--seed': 4294967296 is not in the range"),
    ],
)
def test_wrong_options_get_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    captured = capsys.readouterr()
    assert stop.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("python -m bcejax: error: ")
    assert message in captured.err and captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "picture.xyz"], "the ending must be one of"),
        (["--device", "tpu"], "error: --device tpu: "),
        (["--plot", "."], "the ending must be one of"),
    ],
)
def test_what_this_machine_cannot_do_gets_one_line(arguments, message, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_missing_extra_is_named(tmp_path):
    # A module of that name that cannot be imported stands in front of the real one.
    (tmp_path / "sklearn.py").write_text(
        "raise ModuleNotFoundError(name='sklearn')", encoding="utf-8"
    )
    done = run(cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(
        "error: sklearn is not installed: run pip install '.[demo]'\n"
    )
    assert done.stderr.count("\n") == 1
