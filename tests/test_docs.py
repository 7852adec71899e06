"""The documentation describes every public name (its code blocks are doctests)."""

import re
from pathlib import Path

import pytest

import bcejax
from bcejax import logistic_regression, metrics, plot

ROOT = Path(__file__).parents[1]
PAGES = "".join(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))
DESCRIBED = re.findall(r"^\.\. auto\w+:: ([\w.]+)", PAGES, re.MULTILINE)
MODULES = bcejax, logistic_regression, metrics, plot


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_described_once(module):
    names = {f"{module.__name__}.{name}" for name in module.__all__}
    names -= {other.__name__ for other in MODULES}
    of_module = [d for d in DESCRIBED if d.rpartition(".")[0] == module.__name__]
    assert sorted(of_module) == sorted(names)


def test_links_of_the_readme_lead_to_files():
    readme = (ROOT / "README.md").read_text("utf-8")
    links = set(re.findall(r"\]\(([^)#]+)\)", readme))
    assert {link for link in links if not (ROOT / link).exists()} == set()
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert pages - {"docs/index.md"} <= links
