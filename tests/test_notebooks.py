"""The notebooks: they run, with what they assert, and are saved executed and clean."""

from pathlib import Path

import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
# They take 10 to 30 seconds each: the others run with --full.
AT_ONCE = {"01_what_is_bce"}
NOTEBOOKS = [
    pytest.param(path, id=path.stem) for path in sorted(FOLDER.glob("*.ipynb"))
]


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def test_they_are_numbered_from_01():
    numbers = [path.values[0].name[:2] for path in NOTEBOOKS]
    assert numbers == [f"{k:02}" for k in range(1, len(numbers) + 1)] != []


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            *path.values,
            id=path.id,
            marks=[pytest.mark.full] * (path.id not in AT_ONCE),
        )
        for path in NOTEBOOKS
    ],
)
def test_it_runs(path):
    client = nbclient.NotebookClient(
        read(path),
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": FOLDER}},
    )
    client.execute()


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_it_is_saved_executed_and_clean(path):
    notebook = read(path)
    first, *_, last = notebook.cells
    assert first.source.startswith("# ") and "\nHow to run: " in first.source
    assert last.source.startswith("## Answer")
    assert len(notebook.cells) <= 20 and path.stat().st_size < 400_000
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for output in outputs:
        assert output.output_type != "error" and output.get("name") != "stderr"
    for cell in notebook.cells:
        assert not cell.metadata
