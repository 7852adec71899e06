"""Sphinx's configuration.

`python -m sphinx -W --keep-going -c docs . build/html` builds the pages without a
network, and the pages load nothing from one. The sources are those of the whole
repository, so that a link from one file to another holds there and in the pages.
"""

import re
import tomllib
from pathlib import Path

import bcejax
from bcejax import logistic_regression, metrics, plot

ROOT = Path(__file__).parents[1]

project = "bcejax"
author = copyright = "The bcejax developers"
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",
]
root_doc = "docs/index"
include_patterns = ["docs/*.md", "notebooks/*", "benchmarks/RESULTS.md", "CHANGELOG.md"]
exclude_patterns = [".*", "build"]
html_theme = "furo"
html_title = f"bcejax {release}"
html_static_path = ["_static"]
html_css_files = ["bcejax.css"]
html_show_copyright = False
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # The notebooks are shown as they are saved.

default_role = "literal"
autodoc_typehints = "none"  # The docstrings say which arrays are meant.
napoleon_attr_annotations = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Reference"]

# `calibration` alone is that of the metrics: a later module wins.
PUBLIC = {
    name: f"{module.__name__}.{name}"
    for module in (plot, metrics, logistic_regression, bcejax)
    for name in module.__all__
}
# Would be markup: signs of formulas, and initials, which look like a numbered list.
SIGNS = re.compile(r"([|*]|\b[A-Z]\. )")


def setup(app):
    # Napoleon listens with the default priority, 500, and wants reStructuredText.
    app.connect("autodoc-process-docstring", _as_restructuredtext, priority=400)
    app.connect("source-read", _without_last_lines)


def _without_last_lines(_app, _docname, source):
    """A doctest in Markdown needs an empty line after its result. Readers do not."""
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def _as_restructuredtext(_app, _what, _name, _obj, _options, lines):
    """Mark up docstrings. They are plain text, whose | and * belong to formulas."""
    example = False
    for i, line in enumerate(lines):
        if line and not line.startswith(" "):
            example = line == "Example:"
        if not example:
            lines[i] = _text(line)


def _text(line):
    pieces = re.split("(`[^`]*`)", line)
    pieces[::2] = [re.sub(SIGNS, r"\\\1", piece) for piece in pieces[::2]]
    pieces[1::2] = [_code(piece.strip("`")) for piece in pieces[1::2]]
    return "".join(pieces)


def _code(source):
    if source in PUBLIC:
        return f":py:obj:`{source} <{PUBLIC[source]}>`"
    return f"`{source}`"
