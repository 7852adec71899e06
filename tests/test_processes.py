"""fit_batches and the command line in several processes, on loopback with gloo."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from test_batches import (  # noqa: F401
    L2,
    Stop,
    _small_chunks,
    assert_close,
    assert_same_bits,
    cut,
    made,
    replaced,
    stops_at,
    whole,
)
from test_command_files import assert_same_model, many, write_files

from bcejax.logistic_regression import covariance, fit_batches, summary
from bcejax.logistic_regression._processes import gathered, gathered_words

ENDS_WITHIN = 60  # seconds after another process has died, as docs/scale.md says


@pytest.mark.full
def test_one_process_is_several_of_one():
    data = made()
    model = fit_batches(cut(data, [17]), l2=L2, across_processes=True)
    assert_same_bits(model, fit_batches(cut(data, [17]), l2=L2))
    assert model.options.across_processes
    assert summary(model, cut(data, [17])).n == data[2].sum()


def test_what_is_gathered_comes_back_as_it_was():
    tree = {"a": np.arange(6, dtype=np.uint64).reshape(2, 3), "b": (0.1, 7, True, None)}
    (found,) = gathered(tree)
    np.testing.assert_array_equal(found["a"], tree["a"])
    assert found["b"] == tree["b"] and found["a"].dtype == np.uint64
    assert gathered_words(["a", None, {"σ": 1}]) == [["a", None, {"σ": 1}]]


def test_a_checkpoint_of_several_processes(tmp_path):
    """Of one of them: with its rows it goes on, and with others it is refused."""
    data = made()
    options = {"l2": L2, "checkpoint": tmp_path, "across_processes": True}
    straight = fit_batches(cut(data, [17]), l2=L2)
    with pytest.raises(Stop):
        fit_batches(stops_at(data, 1000), **options)
    told = []
    again = fit_batches(cut(data, [50]), **options, callback=told.append)
    assert_same_bits(again, straight)
    assert told[0].passes == 4  # of which three were made by the fit that stopped
    with pytest.raises(ValueError, match="got other values than in the checkpoint"):
        fit_batches(cut(replaced(data, 0, 9, 0.5, 1), [17]), **options)
    with pytest.raises(ValueError, match=r"after [0-9]+ in the checkpoint"):
        fit_batches(cut([a[:-9] for a in data], [17]), **options)


def test_what_several_processes_cannot_do_is_refused():
    with pytest.raises(ValueError, match="for fewer than 2000 columns, got 2001"):
        wide = np.ones((4, 2001), np.float32), np.array([0, 1, 0, 1])
        fit_batches(lambda: [wide], across_processes=True)


WORKER = """
import json, os, signal, sys
import jax
import numpy as np

address, number, rows, what = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_disable_most_optimizations", True)
jax.distributed.initialize(
    address, 2, number, heartbeat_timeout_seconds=20, shutdown_timeout_seconds=5
)
sys.path.insert(0, sys.argv[5])
from test_batches import L2, cut, made
from bcejax.logistic_regression import _stream, covariance, fit_batches, summary

_stream.CHUNK = 256
start, stop = map(int, rows.split(":"))
data = [a[start:stop] for a in made()]
passes = []

def make_batches():
    passes.append(1)
    for batch in cut(data, [17])():
        if what == "dies" and len(passes) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "fails" and len(passes) == 2:
            batch[0][3, 1] = np.nan
        if what == "columns":
            batch = (batch[0][:, 1:], *batch[1:])
        yield batch

model = fit_batches(
    make_batches, l2=L2, across_processes=True, checkpoint=sys.argv[6] or None
)
variance = covariance(model, make_batches)
found = summary(model, make_batches)
json.dump(
    {
        "fit": [np.asarray(leaf).tolist() for leaf in model[:-1]],
        "variance": np.asarray(variance).tolist(),
        "summary": [found.n, found.deviance, found.null_deviance],
        "passes": len(passes),
    },
    sys.stdout,
)
"""


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def started(arguments, **environment):
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        text=True,
    )


def two(rows, what=("", ""), checkpoint=""):
    """Exit status, output and errors of two workers, and how long after the first."""
    address, folder = f"localhost:{free_port()}", os.path.dirname(__file__)
    workers = [
        started(["-c", WORKER, address, str(i), rows[i], what[i], folder, checkpoint])
        for i in range(2)
    ]
    ended = []
    while len(ended) < 2:
        ended += [time.monotonic() for w in workers if w.poll() is not None][
            len(ended) :
        ]
        time.sleep(0.1)
    results = [(worker.returncode, *worker.communicate()) for worker in workers]
    return results, ended[1] - ended[0]


def result(output):
    return json.loads(output[output.index('{"fit"') :])


@pytest.mark.full
@pytest.mark.parametrize("rows", [("0:90", "90:300"), ("0:300", "300:300")])
def test_two_processes_have_the_fit_of_one(rows):
    """Uneven rows, and a process without any."""
    results, _ = two(rows)
    assert [status for status, *_ in results] == [0, 0], results
    one, other = (result(output) for _, output, _ in results)
    assert one == other
    data = made()
    expected = whole(data, l2=L2)
    found = expected._replace(
        **dict(zip(expected._fields[:-1], one["fit"], strict=True))
    )
    assert_close(found, expected)
    batches = cut(data, [17])
    model = fit_batches(batches, l2=L2)
    np.testing.assert_allclose(one["variance"], covariance(model, batches), 1e-5, 1e-8)
    alone = summary(model, batches)
    expected = [alone.n, alone.deviance, alone.null_deviance]
    np.testing.assert_allclose(one["summary"], expected, 1e-6)


@pytest.mark.full
def test_a_process_that_dies_ends_the_others():
    results, apart = two(("0:150", "150:300"), ("", "dies"))
    assert results[1][0] == -signal.SIGKILL and results[0][0] != 0
    assert apart < ENDS_WITHIN


@pytest.mark.full
def test_processes_that_were_killed_go_on_to_the_same_bits(tmp_path):
    """Only the first one has a file, in a folder that it creates."""
    rows, checkpoint = ("0:150", "150:300"), str(tmp_path / "state")
    straight = [result(output) for _, output, _ in two(rows)[0]]
    two(rows, ("", "dies"), checkpoint)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["fit.npz"]
    results, _ = two(rows, checkpoint=checkpoint)
    assert [status for status, *_ in results] == [0, 0], results
    for again, expected in zip(results, straight, strict=True):
        found = result(again[1])
        assert found.pop("passes") < expected.pop("passes")
        assert found == expected


@pytest.mark.full
def test_an_error_in_one_process_ends_the_others():
    results, apart = two(("0:150", "150:300"), ("", "fails"))
    assert all(status != 0 for status, *_ in results)
    assert (
        "batch 2: features must be finite, got nan in row 3 of column 1"
        in results[1][2]
    )
    assert apart < ENDS_WITHIN


@pytest.mark.full
def test_processes_with_other_columns_are_refused():
    results, _ = two(("0:150", "150:300"), ("", "columns"))
    for _, _, error in results:
        assert "process 0 has 4, and process 1 has 3" in error


@pytest.mark.full
def test_the_command_line_in_two_processes_writes_the_model_of_one(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    write_files(many().fillna({"TUCE": 20.0}), folder, "parquet")
    given = ["-m", "bcejax", "fit", str(folder), "--label", "GRADE"]
    given += ["--positive", "pass", "--one-hot", "city", "--exclude", "PSI"]
    alone = started([*given, "--out", str(tmp_path / "one.json")])
    output = alone.communicate(timeout=300)
    assert alone.returncode == 0, output
    given += ["--out", str(tmp_path / "two.json"), "--processes", "2"]
    given += ["--coordinator", f"localhost:{free_port()}", "--process-id"]
    workers = [started([*given, str(i)], JAX_NUM_CPU_DEVICES="2") for i in range(2)]
    outputs = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    models = [json.loads((tmp_path / f"{n}.json").read_text()) for n in ("one", "two")]
    assert_same_model(*models)
