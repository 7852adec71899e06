"""What the benchmark scripts share: sections of RESULTS.md, and the order of turns."""

import importlib
import re
from pathlib import Path

import jax
import pytest

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
