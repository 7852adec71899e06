"""What the benchmark scripts share: sections of RESULTS.md, and the order of turns."""

import importlib
import re
from pathlib import Path

import jax
import pytest

from bcejax.logistic_regression import _compiled

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.fixture
def results(load, monkeypatch, tmp_path):
    """_results, writing to a file of its own."""
    module = load("_results")
    monkeypatch.setattr(module, "PATH", tmp_path / "RESULTS.md")
    return module


def sections(text):
    return re.findall(r"<!-- begin (.+) -->\n## (.+)\n[^#]*?<!-- end (.+) -->\n", text)


def test_each_jax_has_a_section_beside_the_others(results, monkeypatch):
    for version, title in (("1", "A"), ("1", "B"), ("2", "A"), ("1", "A")):
        monkeypatch.setattr(jax, "__version__", version)
        results.write(title, f"{title} of {version}\n\n")
    text = results.PATH.read_text(encoding="utf-8")
    names = ["A, jax 1", "A, jax 2", "B, jax 1"]
    assert sections(text) == [(name, name, name) for name in names]
    assert [text.count(f"{n[0]} of {n[-1]}") for n in names] == [1, 1, 1]
    assert text.startswith("# Results\n\n<!-- begin") and "\n\n\n" not in text


def test_results_names_the_jax_of_every_section(results):
    text = (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
    found = sections(text)
    assert len(found) == text.count("<!-- begin") == text.count("\n## ") > 0
    for begin, heading, end in found:
        assert begin == heading == end
        version = begin.rpartition("jax ")[2]
        section = text[text.index(f"<!-- begin {begin}") :]
        assert f", jax {version}, " in section.split("\n")[3]


def test_turns_are_taken_in_a_new_order_each_round(load):
    timing = load("_timing")
    turns = list(timing.shuffled_rounds("abcd", 10))
    rounds = [tuple(turns[i : i + 4]) for i in range(0, 40, 4)]
    assert all(sorted(order) == list("abcd") for order in rounds)
    assert len(set(rounds)) > 5
    assert turns == list(timing.shuffled_rounds("abcd", 10))


# accelerators.py


PROGRAM = """\
HloModule example

%inside (p.0: f32[100,8], p.1: s32[]) -> f32[8] {
  %p.0 = f32[100,8]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %row = f32[1,8]{1,0} dynamic-slice(%p.0, %p.1, %zero), dynamic_slice_sizes={1,8}
  ROOT %flat = f32[8]{0} bitcast(%row)
}

%body (state: (s32[], f32[100,8])) -> (s32[], f32[100,8]) {
  %state = (s32[], f32[100,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %table = f32[100,8]{1,0} get-tuple-element(%state), index=1
  %taken = f32[8]{0} fusion(%table, %i), kind=kLoop, calls=%inside
  ROOT %next = (s32[], f32[100,8]{1,0}) tuple(%i, %table)
}

ENTRY %main (x: f32[100,8], i: s32[]) -> bf16[100,8] {
  %x = f32[100,8]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %start = (s32[], f32[100,8]{1,0}) tuple(%i, %x)
  %loop = (s32[], f32[100,8]{1,0}) while(%start), condition=%c, body=%body TURNS
  %on_chip = f32[100,8]{1,0:T(8,128)S(1)} exponential(%x)
  ROOT %rounded = bf16[100,8]{1,0} convert(%on_chip)
}
"""


def test_bytes_and_kernels_of_a_compiled_text(load):
    count = load("accelerators").count
    turns = ', backend_config={"known_trip_count":{"n":"7"}}'
    turn = 32 + 4 + 32  # a row, its number, and the row as the result
    rest = 3200 + 1600  # read by exponential, written by convert
    closed = count(PROGRAM.replace(" TURNS", turns))
    assert closed == (7 * turn + rest, 7 + 2, 0)
    assert count(PROGRAM.replace(" TURNS", "")) == (turn + rest, 1 + 2, 1)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("f32[10,3]{1,0}", 120),
        ("bf16[7]{0}", 14),
        ("pred[]", 1),
        ("f8e4m3fn[16]{0}", 16),
        ("token[]", 0),
        ("f32[5]{0:T(1024)S(1)}", 0),
        ("(s8[3]{0}, u64[2]{0})", 19),
    ],
)
def test_bytes_of_an_array_in_main_memory(load, kind, size):
    assert load("accelerators").bytes_of(kind) == size


def test_bytes_of_a_program_for_this_device(load):
    x = jax.ShapeDtypeStruct((1000, 8), "float32")
    text = jax.jit(lambda x, y: x + y).lower(x, x).compile().as_text()
    moved, kernels, open_loops = load("accelerators").count(text)
    assert (moved, open_loops) == (3 * 32_000, 0)
    assert kernels >= 1


def test_every_tuning_number_of_the_fit_has_a_row(load):
    tuning = load("fit_tuning")
    rows = tuning.NUMBERS | tuning.VERDICTS
    numbers = {
        (module, name)
        for module in {module for module, _ in rows}
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, (int, float))
        if name not in vars(_compiled)  # levels of LLVM
    }
    assert numbers == set(rows)
    for (module, name), row in tuning.NUMBERS.items():
        assert getattr(module, name) in row[0] and set(row[1]) <= set(tuning.PROBLEMS)
    for (module, name), values in tuning.VERDICTS.items():
        assert getattr(module, name) in values
