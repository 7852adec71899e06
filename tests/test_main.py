"""`python -m bcejax`, as a user runs it."""

import os
import subprocess
import sys

import matplotlib.image
import pytest

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


def test_the_demo_finds_scikit_learns_optimum_and_draws(tmp_path):
    done = run(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")  # no progress bar in a pipe
    assert number_after("scikit-learn's coefficients:", done.stdout) < 1e-4
    assert number_after("accuracy", done.stdout) > 0.95
    assert "within tolerance" in done.stdout
    assert "worst radius" in done.stdout
    nats, bits = (
        number_after(f"loss, {unit}", done.stdout) for unit in ("nats", "bits")
    )
    assert nats < bits < 2 * nats
    assert os.listdir(tmp_path) == ["bcejax-demo.png"]  # and no unfinished file
    height, width, _ = matplotlib.image.imread(tmp_path / "bcejax-demo.png").shape
    assert height > 600 and width > 900


@pytest.mark.parametrize(
    "arguments",
    [
        ["--optimizer", "adam", "--steps", "400", "--float64"],
        ["--optimizer", "sgd", "--learning-rate", "0.5", "--seed", "3"],
        ["--synthetic", "2000x5", "--l2", "0"],
    ],
)
def test_other_settings_run_too(arguments, tmp_path):
    done = run(*arguments, "--plot", "picture.svg", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "picture.svg").stat().st_size > 10_000
    assert ("rows/s" in done.stdout) == ("--synthetic" in arguments)
    assert ("float64" in done.stdout) == ("--float64" in arguments)


def test_separable_data_are_said_to_have_no_optimum(tmp_path):
    done = run("--l2", "0", "--steps", "100", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no optimum   the data are separable" in done.stdout
    assert "scikit-learn's coefficients" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "--steps: must be 1 or more, got 0"),
        (["--steps", "many"], "--steps: invalid int value: 'many'"),
        (["--l2", "-1"], "--l2: must be 0 or more, got -1"),
        (["--l2", "nan"], "--l2: must be 0 or more, got nan"),
        (["--optimizer", "newton"], "invalid choice: 'newton'"),
        (["--optimizer", "sgd", "--learning-rate", "0"], "must be above 0"),
        (["--learning-rate", "1"], "lbfgs searches for its own"),
        (["--synthetic", "10"], "must be ROWSxCOLUMNS"),
        (["--synthetic", "10x0"], "must be ROWSxCOLUMNS"),
        (["--plot", "nowhere/plot.png"], "there is no folder nowhere"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--seed", "4294967296"], "--seed: must be below 2^32"),
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
        (["--device", "tpu"], "--device tpu: JAX finds none here"),
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
        "error: sklearn is not installed: pip install 'bcejax[demo]'\n"
    )
    assert done.stderr.count("\n") == 1
