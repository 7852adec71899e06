"""RESULTS.md, one section per benchmark, each rewritten whole by its script."""

import datetime
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import jax

PATH = Path(__file__).with_name("RESULTS.md")
PACKAGES = "jax", "jaxlib", "optax", "numpy", "torch", "scikit-learn"


def write(section: str, text: str) -> None:
    """Replace `section` in RESULTS.md, or append it."""
    begin, end = f"<!-- begin {section} -->\n", f"<!-- end {section} -->\n"
    old = PATH.read_text(encoding="utf-8") if PATH.exists() else "# Results\n\n"
    before, _, rest = old.partition(begin)
    _, _, after = rest.partition(end)
    before = before if rest else before.rstrip("\n") + "\n\n"
    unfinished = PATH.with_suffix(".unfinished")
    unfinished.write_text(before + begin + text + end + after, encoding="utf-8")
    unfinished.replace(PATH)


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
