"""How long the first fit and the first summary of a process take.

    python benchmarks/first_calls.py            five minutes
    python benchmarks/first_calls.py --quick    one round, printed and not written

A first call is traced, lowered and compiled before it computes. Every turn is a process
of its own, which imports and makes the data, computes something else with JAX, and then
takes the time of its first `fit` and `summary`. `cached` ones find in JAX's persistent
cache what an earlier process has compiled. The candidates take turns in an order that
is shuffled in every round. Figures are medians.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import _results
import _timing
import numpy as np

ROWS, COLUMNS = 569, 30
ROUNDS = 7
STAGES = {
    "traced": "/jax/core/compile/jaxpr_trace_duration",
    "lowered": "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "compiled": "/jax/core/compile/backend_compile_duration",
}


class Candidate(NamedTuple):
    solver: str
    dtype: str = "float64"
    cached: bool = False

    def __str__(self) -> str:
        if self.solver == "scikit-learn":
            return f"{self.solver}, {self.dtype}"
        cached = ", cached" * self.cached
        return f'bcejax, solver="{self.solver}", {self.dtype}{cached}'


CANDIDATES = [
    Candidate("scikit-learn"),
    *(
        Candidate(solver, dtype, cached)
        for solver in ("newton", "lbfgs")
        for dtype in ("float32", "float64")
        for cached in (False, True)
    ),
]


# In a process of its own


def data(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, COLUMNS))
    y = x[:, 0] - x[:, 1] + random.logistic(size=ROWS) > 0
    return x.astype(dtype), y.astype(dtype)


def timed(function: Callable) -> tuple[object, dict[str, float]]:
    clocks = time.process_time(), time.perf_counter()
    result = function()
    times = time.process_time() - clocks[0], time.perf_counter() - clocks[1]
    return result, {"CPU": times[0], "wall": times[1]}


def of_scikit_learn(candidate: Candidate) -> dict[str, dict]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / ROWS, tol=1e-6)
    x, y = data(candidate.dtype)
    return {"fit": timed(lambda: model.fit(x, y))[1]}


def of_bcejax(candidate: Candidate, cache: str) -> dict[str, dict]:
    import jax
    import jax.numpy as jnp

    from bcejax.logistic_regression import fit, summary

    if candidate.cached:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_enable_x64", candidate.dtype == "float64")
    x, y = data(candidate.dtype)
    jax.block_until_ready(jnp.zeros(3) + 1)

    events: list[tuple[str, float]] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: events.append((name, seconds))
    )

    def staged(function):
        events.clear()
        result, times = timed(lambda: jax.block_until_ready(function()))
        for stage, name in STAGES.items():
            times[stage] = sum(seconds for event, seconds in events if event == name)
        times["programs"] = sum(name == STAGES["compiled"] for name, _ in events)
        return result, times

    options = {"l2": 1.0, "solver": candidate.solver}
    model, of_fit = staged(lambda: fit(x, y, **options))
    _, of_summary = staged(lambda: summary(model, x, y))
    return {"fit": of_fit, "summary": of_summary}


# In this process


def measured(candidate: Candidate, cache: str) -> dict[str, dict]:
    command = [sys.executable, __file__, "--turn", json.dumps(candidate), cache]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


HEADER = ["call", "by", "CPU s", "wall s", *STAGES, "programs"]
TEXT = (
    f"The first calls in a fresh process, {ROWS} × {COLUMNS}, after the imports and a "
    "first sum by JAX. CPU seconds are those of all threads. Of the wall time, "
    "`traced`, `lowered` and `compiled` are what JAX reports; what it finds in the "
    "persistent cache counts as compiled. `programs`: how many were.\n\n"
)


def cells(times: list[dict[str, float]]) -> list[str]:
    def median(key: str) -> float:
        return statistics.median(t[key] for t in times)

    found = [f"{median(key):.2f}" for key in ("CPU", "wall")]
    if "programs" not in times[0]:
        return [*found, *[""] * (len(STAGES) + 1)]
    return [*found, *(f"{median(s):.2f}" for s in STAGES), f"{median('programs'):.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--turn", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.turn:
        candidate = Candidate(*json.loads(given.turn[0]))
        of_peer = candidate.solver == "scikit-learn"
        times = (
            of_scikit_learn(candidate)
            if of_peer
            else of_bcejax(candidate, given.turn[1])
        )
        print(json.dumps(times))
        return
    named = {str(candidate): candidate for candidate in CANDIDATES}
    times: dict[tuple[str, str], list[dict]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for candidate in CANDIDATES:
            if candidate.cached:
                measured(candidate, cache)  # fills the cache
        for name in _timing.shuffled_rounds(named, 1 if given.quick else ROUNDS):
            for call, found in measured(named[name], cache).items():
                times.setdefault((call, name), []).append(found)
                print(call, name, *cells([found]), sep="  ", flush=True)
    order = [(call, name) for call in ("fit", "summary") for name in named]
    lines = [[*key, *cells(times[key])] for key in order if key in times]
    text = TEXT + _results.table(HEADER, lines)
    print(text)
    if not given.quick:
        _results.write("First calls", text)


if __name__ == "__main__":
    main()
