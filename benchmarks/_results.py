"""RESULTS.md: a section for each benchmark and JAX, rewritten whole by the script."""

import datetime
import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path

import jax

PATH = Path(__file__).with_name("RESULTS.md")
PACKAGES = "jax", "jaxlib", "optax", "numpy", "torch", "scikit-learn"


def write(title: str, text: str) -> None:
    """Replace what this JAX found under `title` in RESULTS.md, or add it.

    A section carries the version of JAX, so that another JAX leaves it alone: its own
    goes behind the other sections of that title.
    """
    name = f"{title}, jax {jax.__version__}"
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    section = f"{begin}## {name}\n\n{provenance()}{text}{end}"
    old = PATH.read_text(encoding="utf-8") if PATH.exists() else "# Results\n"
    before, after = _around(old, title, begin, end)
    unfinished = PATH.with_suffix(".unfinished")
    unfinished.write_text(before + section + after, encoding="utf-8")
    unfinished.replace(PATH)


def _around(old: str, title: str, begin: str, end: str) -> tuple[str, str]:
    """What stands before and after the section."""
    before, found, rest = old.partition(begin)
    if found:
        return before, rest.partition(end)[2]
    others = [*re.finditer(rf"<!-- end {re.escape(title)}, jax .+ -->\n", old)]
    if others:
        place = others[-1].end()
        return old[:place] + "\n", old[place:]
    return old.rstrip("\n") + "\n\n", ""


def provenance() -> str:
    """The command, the machine, the versions and the date, for under a heading."""
    command = f"python benchmarks/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}"
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    machine = f"{jax.devices()[0].device_kind} ({_processor()}, {os.cpu_count()} cores)"
    versions = ", ".join([f"Python {platform.python_version()}", *versions])
    return f"`{command.strip()}`, {datetime.date.today()}, {machine}, {versions}.\n\n"


def _processor() -> str:
    if jax.default_backend() != "cpu":
        return f"beside {platform.machine()}"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(": ")[1] for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"
