"""`fit` and `predict` on files that are read part by part, as one table in memory."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_command import (
    ROLES,
    column,
    in_an_empty_folder_and_32_bits,  # noqa: F401
    intercept,
    model_in,
    people,
    refusal,
    write,
)

from bcejax.__main__ import main
from bcejax._cli import columns, table, training


@pytest.fixture(autouse=True)
def _parts_of_ten_rows(monkeypatch):
    monkeypatch.setattr(table, "PART_ROWS", 10)


def many(repeats=4):
    """`people`, several times, with noise, so that the classes overlap."""
    frame = pd.concat([people()] * repeats, ignore_index=True)
    rng = np.random.default_rng(0)
    frame["GPA"] += rng.normal(size=len(frame))
    return frame


def write_files(frame, folder, ending, files=3):
    for i, rows in enumerate(np.array_split(np.arange(len(frame)), files)):
        part = frame.iloc[rows]
        path = folder / f"part-{i}.{ending}"
        if ending == "parquet":
            part.to_parquet(path)
        elif ending == "csv.gz":
            path.write_bytes(gzip.compress(part.to_csv(index=False).encode()))
        else:
            part.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")


def assert_same_model(one, other, rtol=1e-6):
    for key in ("coefficient", "standard_error", "mean", "scale"):
        np.testing.assert_allclose(column(one, key), column(other, key), rtol)
    assert [line["name"] for line in one["table"]["features"]] == [
        line["name"] for line in other["table"]["features"]
    ]
    for key in ("coefficient", "standard_error"):
        a, b = (intercept(file, key) for file in (one, other))
        np.testing.assert_allclose(a, b, rtol)
    one, other = one["table"], other["table"]
    for key in ("label", "offset", "l2", "one_hot_levels"):
        assert one[key] == other[key]
    assert one["imputation_means"] == pytest.approx(other["imputation_means"])


@pytest.mark.parametrize(
    "ending",
    [
        "parquet",
        pytest.param("csv", marks=pytest.mark.full),
        *(pytest.param(e, marks=pytest.mark.full) for e in ("tsv", "csv.gz")),
    ],
)
def test_a_directory_gives_the_model_of_one_table(ending, tmp_path, capsys):
    frame = many()
    frame.to_csv("whole.csv", index=False)
    folder = tmp_path / "parts"
    folder.mkdir()
    write_files(frame, folder, ending)
    given = [*ROLES, "--impute", "mean", "--standardize", "--l2", "0.01"]
    main(["fit", "whole.csv", *given, "--out", "whole.json"])
    whole = capsys.readouterr()
    main(["fit", "parts", *given, "--out", "parts.json"])
    parts = capsys.readouterr()
    assert_same_model(model_in("parts.json"), model_in("whole.json"))
    assert parts.err == whole.err == ""
    name = f"data         {'whole.csv'}"
    assert whole.out.startswith(name)
    # The same table, but for the names of the files.
    expected = whole.out.replace("whole.", "parts.").replace("parts.csv", "parts")
    assert parts.out == expected

    main(["predict", "parts.json", "parts", "--out", "parts.csv", "--id", "TUCE"])
    printed = capsys.readouterr().out
    main(["predict", "parts.json", "whole.csv", "--out", "whole.parquet"])
    assert printed == capsys.readouterr().out.replace("whole.parquet", "parts.csv")
    one, other = pd.read_csv("parts.csv"), pd.read_parquet("whole.parquet")
    np.testing.assert_allclose(one.logit, other.logit, 1e-12)
    np.testing.assert_array_equal(one.TUCE, frame.TUCE)


@pytest.mark.full
def test_a_file_larger_than_the_memory_is_read_in_parts(capsys):
    frame = many()
    frame.to_csv("data.csv", index=False)
    given = ["fit", "data.csv", *ROLES, "--impute", "mean", "--test-fraction", "0.3"]
    for memory, out in (("1", "whole.json"), ("0", "parts.json")):
        main([*given, "--memory", memory, "--out", out, "--plot", "fit.png"])
    whole, parts = capsys.readouterr().out.split("data         ")[1:]
    assert parts == whole.replace("whole", "parts")
    assert "test         log loss" in parts
    assert_same_model(model_in("parts.json"), model_in("whole.json"))


@pytest.mark.full
def test_all_columns_are_carried_through_with_their_characters():
    frame = many(1).assign(key=[f"{i:03}" for i in range(32)])
    frame.to_csv("data.csv", index=False)
    main(
        [
            "fit",
            "data.csv",
            *ROLES,
            "--exclude",
            "key",
            "--impute",
            "mean",
            "--l2",
            "1",
            "--out",
            "model.json",
        ]
    )
    for memory in ("0", "1"):
        given = ["--all-columns", "--memory", memory, "--out", "out.parquet"]
        main(["predict", "model.json", "data.csv", *given])
        out = pd.read_parquet("out.parquet")
        assert list(out) == [*frame, "probability", "logit"]
        assert list(out.key) == list(frame.key)
        assert list(out.city) == list(frame.city)


def test_numbers_that_begin_as_integers_are_numbers(monkeypatch):
    """Past the first megabyte, from which Arrow would infer the types."""
    monkeypatch.setattr(table, "PART_ROWS", 2**16)
    x, y = np.arange(200_000) % 7, np.arange(200_000) % 2
    frame = pd.DataFrame({"x": x, "y": y, "spaces": " " * 8})
    write(frame.to_csv(index=False) + "0.5,1,\n,0,\n")
    tables = table.opened(Path("data.csv"), memory=0)
    found = [part.table for part in tables.parts(["x"])]
    numbers = np.concatenate([columns.numbers(t["x"], "x") for t in found])
    np.testing.assert_array_equal(numbers, [*x, 0.5, np.nan])


# What is refused


def broken(frame, folder):
    """Three Parquet files, of which the test breaks one."""
    folder.mkdir()
    write_files(frame, folder, "parquet")
    return folder / "part-1.parquet"


def change(path, frame):
    frame.to_parquet(path)


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:-20]),
            "part-1.parquet: ",
        ),
        (
            lambda path: change(path, pd.read_parquet(path).drop(columns="GPA")),
            "part-1.parquet: columns must be those of the first file, but it lacks 'G",
        ),
        (
            lambda path: change(path, pd.read_parquet(path).assign(more=1)),
            "part-1.parquet: columns must be those of the first file, but it has mor",
        ),
        (
            lambda path: change(
                path,
                pd.read_parquet(path).assign(GPA=[1.0] * 14 + [np.nan] + [1.0] * 28),
            ),
            "part-1.parquet: values are missing (empty, NA or NaN) or infinite in "
            "'GPA (1)' of 10 rows, first in row 15",
        ),
        (
            lambda path: change(
                path, pd.read_parquet(path).assign(GPA=["1"] * 42 + ["a"])
            ),
            "part-1.parquet: column 'GPA' must hold numbers, got 'a' in row 43 of the",
        ),
        (
            lambda path: change(path, pd.read_parquet(path).assign(GRADE="other")),
            "is for a label that holds two values, and --label GRADE has 3",
        ),
        (
            lambda path: (path.parent / "notes.txt").write_text("hello"),
            "notes.txt: the ending must be .csv, .tsv",
        ),
        (
            lambda path: (path.parent / "more.csv").write_text("a,b"),
            "all files must be of one kind, as",
        ),
    ],
)
def test_broken_files_in_a_directory_are_named(breaks, message, tmp_path, capsys):
    path = broken(many().fillna({"TUCE": 20.0}), tmp_path / "parts")
    breaks(path)
    arguments = ["fit", "parts", *ROLES, "--out", "model.json"]
    assert message in refusal(arguments, capsys)
    assert not (tmp_path / "model.json").exists()


def test_a_level_unseen_in_the_first_pass_is_refused(tmp_path, capsys, monkeypatch):
    path = broken(many().fillna({"TUCE": 20.0}), tmp_path / "parts")
    check = columns.check_levels

    def changed(column, name, known):
        frame = pd.read_parquet(path)
        change(path, frame.assign(city="Bern"))
        monkeypatch.setattr(columns, "check_levels", check)
        check(column, name, known)

    monkeypatch.setattr(columns, "check_levels", changed)
    message = refusal(["fit", "parts", *ROLES], capsys)
    assert "part-1.parquet: category 'city' must be at a level of the rows" in message


def test_a_label_unseen_in_the_first_pass_is_refused(tmp_path, capsys, monkeypatch):
    path = broken(many().fillna({"TUCE": 20.0}), tmp_path / "parts")
    label = columns.label

    def changed(*arguments):
        found = label(*arguments)
        change(path, pd.read_parquet(path).assign(GRADE="other"))
        return found

    monkeypatch.setattr(columns, "label", changed)
    message = refusal(["fit", "parts", *ROLES], capsys)
    assert (
        "part-1.parquet: label 'GRADE' must be 'fail' or 'pass', got 'other'" in message
    )


@pytest.mark.parametrize(
    "more", [["--test-fraction", "0.3"], pytest.param([], marks=pytest.mark.full)]
)
def test_cross_validation_in_parts_is_that_in_memory(more, capsys, monkeypatch):
    monkeypatch.setattr(training, "PENALTIES", np.logspace(-4, 0, 5))
    many().to_csv("data.csv", index=False)
    given = [*ROLES, "--impute", "mean", "--l2", "cv", "--standardize", *more]
    for memory, out in (("1", "whole.json"), ("0", "parts.json")):
        main(["fit", "data.csv", *given, "--memory", memory, "--out", out])
    whole, parts = capsys.readouterr().out.split("data         ")[1:]
    assert parts == whole.replace("whole", "parts")
    assert "least log loss out of 5 folds" in parts
    assert_same_model(model_in("parts.json"), model_in("whole.json"))


def test_cross_validation_in_parts_needs_rows_of_each_class(capsys):
    write("y,x\n1,2\n0,3\n")
    with pytest.raises(SystemExit):
        main(["fit", "data.csv", "--label", "y", "--l2", "cv", "--memory", "0"])
    assert "5 rows of each class, one for each fold, got 1" in capsys.readouterr().err
