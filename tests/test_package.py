"""The wheel and the sdist: what is in them, and that they install and import alone."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "bcejax").rglob("*")
    if path.suffix in (".py", ".typed", ".mplstyle")
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("w")))
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == SOURCES
    assert {name.split("/", 1)[1] for name in metadata} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "licenses/LICENSE",
    }


def test_the_sdist_holds_the_package_and_what_builds_it(tmp_path):
    (path,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path))
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    build = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert names == SOURCES | build


def test_the_wheel_installs_and_imports_alone(wheel, tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run(
        [*pip, "--quiet", "--no-deps", "--no-index", "--target", tmp_path, wheel],
        check=True,
    )
    # What the extras bring is not imported.
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import bcejax;"
        "print(bcejax.__file__); print(bcejax.sigmoid(0.0));"
        "extras = {'matplotlib', 'sklearn', 'pyarrow', 'pandas', 'tqdm'};"
        "print(sorted(extras & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", script, tmp_path],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.stdout.split("\n")[:3] == [
        str(tmp_path / "bcejax/__init__.py"),
        "0.5",
        "[]",
    ]


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {project['version']}" in changes
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {project['version']}\n" in citation
