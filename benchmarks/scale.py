"""More rows than memory: a memmap, a Parquet directory, two processes, and on paper.

    python benchmarks/scale.py                  fifteen to forty minutes, 4 GB of disk
    python benchmarks/scale.py --rows 1000000 --parquet-rows 1000000    four minutes
    python benchmarks/scale.py --folder /large  where the data are made, and removed

Each figure is of a process of its own, so that its memory is what that one took. Times
of passes are those between two calls of `callback`, the first pass but one left out,
in which the programs are compiled.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import _results
import jax
import numpy as np

from bcejax import metrics
from bcejax.logistic_regression import fit_batches, predict_logits

ROWS, PARQUET_ROWS, COLUMNS = 50_000_000, 20_000_000, 20  # 4 GB of float32, and 1.6
BATCH = 500_000  # rows
FITTING_ROWS = 1_000_000  # of which statsmodels gets a table
EPOCHS = 3  # of stochastic gradient descent
NEAR = 1e-6  # of the optimum, in nats
PROCESSES = 2
GB = 1e9


# The data


def made(start: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a data set without an end, the same at every call."""
    rng = np.random.default_rng(start)
    x = rng.normal(size=(rows, COLUMNS)).astype(np.float32)
    slopes = np.linspace(-0.5, 0.5, COLUMNS, dtype=np.float32)
    return x, (x @ slopes - 1 > rng.logistic(size=rows)).astype(np.float32)


def spans(rows: int):
    return [(i, min(BATCH, rows - i)) for i in range(0, rows, BATCH)]


def write_memmap(folder: Path, rows: int) -> None:
    shapes = {"x": (rows, COLUMNS), "y": (rows,)}
    files = {n: mapped(folder, n, s, "w+") for n, s in shapes.items()}
    for start, size in spans(rows):
        part = slice(start, start + size)
        files["x"][part], files["y"][part] = made(start, size)


def mapped(folder: Path, name: str, shape, mode: str = "r") -> np.memmap:
    return np.memmap(folder / name, np.float32, mode, shape=shape)


def write_parquet(folder: Path, rows: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    for start, size in spans(rows):
        x, y = made(start, size)
        columns = {f"x{i}": x[:, i] for i in range(COLUMNS)} | {"y": y.astype(np.int8)}
        parquet.write_table(pa.table(columns), folder / f"{start:012}.parquet")


def batches(folder: str, rows: int, first: int = 0, last: int | None = None):
    """A `make_batches` of a part of the memmap."""
    x = mapped(Path(folder), "x", (rows, COLUMNS))
    y = mapped(Path(folder), "y", (rows,))
    last = rows if last is None else last

    def make_batches():
        for start in range(first, last, BATCH):
            stop = min(start + BATCH, last)
            yield x[start:stop], y[start:stop]

    return make_batches


# Each in a process of its own


def peak_beside(work) -> tuple[object, float]:
    """The result of `work`, and the most memory that it took above what was there.

    Without the pages of files that are mapped, which the system drops as it likes.
    """
    peaks, done = [anonymous()], threading.Event()

    def watch():
        while not done.wait(0.02):
            peaks.append(anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = work()
    finally:
        done.set()
        watcher.join()
    return result, max(peaks) - peaks[0]


def anonymous() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * float(next(n for n in lines if n.startswith("RssAnon")).split()[1])


def timed_passes(make_batches, **options):
    """The model, and the clock, the loss and the number of steps after each pass."""
    clock, told = time.perf_counter(), []

    def tell(progress):
        told.append((time.perf_counter() - clock, progress.loss, progress.steps))

    model = fit_batches(make_batches, callback=tell, **options)
    return model, told


def of_passes(told) -> float:
    """Seconds of a pass: the median of those that are steps."""
    clocks = [clock for clock, *_ in told[1:]]
    return statistics.median(np.diff(clocks))


def child_memmap(folder: str, rows: str) -> dict:
    given = batches(folder, int(rows))
    fit_batches(lambda: list(given())[:1], max_steps=1)  # which compiles
    (model, told), peak = peak_beside(lambda: timed_passes(given))
    return {
        "pass": of_passes(told),
        "peak": peak,
        "told": told,
        "loss": float(model.loss),
        "total": told[-1][0],
    }


def child_memory(folder: str, rows: str) -> dict:
    """The same passes over an array in memory, of a quarter of the rows."""
    n = int(rows) // 4
    x, y = (np.array(a) for a in whole(folder, int(rows), n))

    def make_batches():
        for start in range(0, n, BATCH):
            yield x[start : start + BATCH], y[start : start + BATCH]

    fit_batches(lambda: list(make_batches())[:1], max_steps=1)
    _, told = timed_passes(make_batches)
    return {"pass": 4 * of_passes(told)}


def whole(folder: str, rows: int, first: int):
    """So many rows of the memmap."""
    x = mapped(Path(folder), "x", (rows, COLUMNS))
    return x[:first], mapped(Path(folder), "y", (rows,))[:first]


def child_sgd(folder: str, rows: str) -> dict:
    """scikit-learn's SGDClassifier, by partial_fit: its loss after each epoch."""
    from sklearn.linear_model import SGDClassifier

    given, told, spent = batches(folder, int(rows)), [], 0.0
    # The rate "optimal" diverges without a penalty.
    rate = {"learning_rate": "invscaling", "eta0": 0.1}
    model = SGDClassifier(loss="log_loss", alpha=0, average=True, **rate)
    for _ in range(EPOCHS):
        clock = time.perf_counter()
        for x, y in given():
            model.partial_fit(x, y, classes=[0, 1])
        spent += time.perf_counter() - clock
        losses = [
            float(metrics.log_loss(model.decision_function(x), y)) * len(y)
            for x, y in given()
        ]
        told.append((spent, sum(losses) / int(rows)))
    return {"told": told}


def child_statsmodels(folder: str, rows: str) -> dict:
    import statsmodels.api as sm

    n = min(int(rows), FITTING_ROWS)
    x, y = (np.array(a) for a in whole(folder, int(rows), n))
    clock = time.perf_counter()
    theirs = sm.GLM(y, sm.add_constant(x), family=sm.families.Binomial()).fit()
    seconds = time.perf_counter() - clock
    ours = fit_batches(lambda: [(x, y)])
    logits = np.asarray(predict_logits(ours, x), np.float64)
    own = float(np.mean(np.logaddexp(0, logits) - y * logits))
    return {"seconds": seconds, "rows": n, "gap": own - theirs.deviance / 2 / n}


def child_worker(folder: str, rows: str, number: str, count: str, address: str) -> dict:
    """One of some processes with a core each, of a memmap of which all see a part."""
    i, n, total = int(number), int(count), int(rows)
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[i]})
    if n > 1:
        jax.distributed.initialize(address, n, i, shutdown_timeout_seconds=10)
    given = batches(folder, total, i * total // n, (i + 1) * total // n)
    _, told = timed_passes(given, across_processes=n > 1)
    return {"pass": of_passes(told)}


CHILDREN = {n[6:]: f for n, f in globals().items() if n.startswith("child_")}


def started(name: str, *given) -> subprocess.Popen:
    command = [sys.executable, __file__, "--child", name, *map(str, given)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def found(process: subprocess.Popen) -> dict:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} ended with {process.returncode}")
    return json.loads(output.splitlines()[-1])


def scaling_of(folder: Path, rows: int, count: int) -> float:
    """Seconds of a pass over so many rows in so many processes."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        address = f"localhost:{one.getsockname()[1]}"
    given = folder, rows
    workers = [started("worker", *given, i, count, address) for i in range(count)]
    return max(found(worker)["pass"] for worker in workers)


def command_line(folder: Path) -> tuple[float, float, float]:
    """Seconds, peak resident memory of a fit, and that of a process which only asks."""
    peaks, seconds = [], 0.0
    for given in (["fit", "--help"], ["fit", str(folder), "--label", "y"]):
        clock = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "bcejax", *given], stdout=subprocess.DEVNULL
        )
        peaks.append(0.0)
        while child.poll() is None:
            peaks[-1] = max(peaks[-1], resident_peak(child.pid))
            time.sleep(0.01)
        if child.returncode:
            raise SystemExit(f"python -m bcejax {given} ended with {child.returncode}")
        seconds = time.perf_counter() - clock
    return seconds, peaks[1], peaks[0]


def resident_peak(process: int) -> float:
    """The most memory that it has had up to now; 0 if it has just ended.

    Not what `wait4` says of a child, which counts what its parent had at the fork.
    """
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    found = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return 1024 * float(found[0]) if found else 0.0


# The section of RESULTS.md


def memmap_rows(folder: Path, rows: int) -> tuple[str, float]:
    """What is said of the memmap, and the seconds of a pass for a row."""
    write_memmap(folder, rows)
    ours, memory = (found(started(n, folder, rows)) for n in ("memmap", "memory"))
    sgd = found(started("sgd", folder, rows))
    theirs = found(started("statsmodels", folder, rows))
    near = next(t for t, loss, _ in ours["told"] if loss <= ours["loss"] + NEAR)
    best, least = min(sgd["told"], key=lambda told: told[1])
    size = 4 * rows * COLUMNS / GB
    table = [
        [
            f"rows/s of a pass over {size:.2g} GB of memmap",
            f"{rows / ours['pass']:,.0f}",
        ],
        ["the same, in memory", f"{rows / memory['pass']:,.0f}"],
        ["share of it", f"{memory['pass'] / ours['pass']:.0%}"],
        ["peak memory above the process", f"{ours['peak'] / 1e6:,.0f} MB"],
        ["`fit_batches`, whole", f"{ours['total']:.1f} s, loss {ours['loss']:.8f}"],
        [f"to {NEAR:g} of the optimum", f"{near:.1f} s"],
        [f"SGDClassifier, best of {EPOCHS} epochs", f"{best:.1f} s, loss {least:.8f}"],
        [
            f"statsmodels GLM, the first {theirs['rows']:,} rows",
            f"{theirs['seconds']:.1f} s, our loss above its: {theirs['gap']:.1e}",
        ],
    ]
    passes = {n: scaling_of(folder, rows, n) for n in (1, PROCESSES)}
    half = scaling_of(folder, rows // PROCESSES, 1)
    table += [
        ["a pass, 1 process on 1 core", f"{passes[1]:.2f} s"],
        [f"a pass, {PROCESSES} processes on a core each", f"{passes[PROCESSES]:.2f} s"],
        ["strong scaling", f"{passes[1] / passes[PROCESSES]:.2f} times as fast"],
        ["weak scaling", f"{half / passes[PROCESSES]:.0%} of the speed"],
    ]
    text = f"{rows:,} × {COLUMNS}, float32, batches of {BATCH:,} rows:\n\n"
    return text + _results.table(["", ""], table), ours["pass"] / rows


def parquet_rows(folder: Path, rows: int) -> str:
    write_parquet(folder, rows)
    seconds, peak, bare = command_line(folder)
    table = [
        ["seconds", f"{seconds:.1f}"],
        ["peak resident memory", f"{peak / 1e6:,.0f} MB"],
        ["of which `fit --help` takes", f"{bare / 1e6:,.0f} MB"],
    ]
    text = f"`python -m bcejax fit DIRECTORY --label y`, {rows:,} × {COLUMNS}, Parquet:"
    return f"{text}\n\n" + _results.table(["", ""], table)


CRITEO_ROWS, CRITEO_COLUMNS, CRITEO_PASSES = 4.2e9, 39, 10

ON_PAPER = """\
On paper. A pass over n rows and d columns on D devices reads 4 n d bytes of float32,
takes about 2 n d² floating-point operations for the Hessian and 4 n d for the rest, and
exchanges 16 (d + 1)² + 32 (d + 1) bytes from each process: the sums and what rounding
left out of them, in float64. The time of a pass is that of the operations where d is
large, and that of reading where it is small. Measured above, with d = {columns}:
{nanoseconds:.0f} ns a row on the cores of this machine, which is {rate:.2f} GB/s and
{flops:.1f} Gflop/s.

From these, the Criteo terabyte, 4.2·10⁹ rows × 39 columns of numbers, {passes} passes:
{bytes:.0f} GB a pass, {exchanged:.0f} kB exchanged, and {hours:.1f} hours on one such
machine, divided by their number as long as each has its own disk. Published
for the same rows, with other features, hardware and stopping rules: Snap ML 91.5 s on a
cluster of GPUs, Vowpal Wabbit 17,798 s, and Spark 5,727 s for 3·10⁹ rows. The public
mirror now holds 11 % of the rows, so nobody can repeat these. Hashed to 10⁶ columns the
rows are sparse, of 39 numbers each; bcejax has no sparse features, and 4.2·10⁹ × 10⁶
numbers of a dense table are out of reach.
"""


def on_paper(seconds: float) -> str:
    d, criteo = COLUMNS, CRITEO_COLUMNS
    operations = 2 * d**2 + 4 * d
    per_row = max(seconds * criteo / d, seconds * (2 * criteo**2) / operations)
    return ON_PAPER.format(
        columns=d,
        nanoseconds=1e9 * seconds,
        rate=4 * d / seconds / GB,
        flops=operations / seconds / GB,
        passes=CRITEO_PASSES,
        bytes=4 * CRITEO_ROWS * criteo / GB,
        exchanged=(16 * (criteo + 1) ** 2 + 32 * (criteo + 1)) / 1e3,
        hours=CRITEO_PASSES * CRITEO_ROWS * per_row / 3600,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--parquet-rows", type=int, default=PARQUET_ROWS)
    parser.add_argument("--folder", help="on a disk with room for the data")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        name, *given = chosen.child
        print("\n" + json.dumps(CHILDREN[name](*given)))
        return
    clock = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        text, seconds = memmap_rows(Path(folder), chosen.rows)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        text += parquet_rows(Path(folder), chosen.parquet_rows)
    text += (
        on_paper(seconds) + f"\nAll of it took {time.perf_counter() - clock:.0f} s.\n\n"
    )
    _results.write("More rows than memory", text)
    print(text)


if __name__ == "__main__":
    main()
