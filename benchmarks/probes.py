"""Linear probes: softmax regressions beside scikit-learn's, to the same objective.

    python benchmarks/probes.py                everything: some half an hour
    python benchmarks/probes.py mnist path     these rows, printed and not written
    python benchmarks/probes.py --small        all rows of small sizes, printed

The candidates of a row take turns in shuffled order, as in speed.py. Figures are
medians of fits to 1e-6 above the least objective: scikit-learn gets as many steps as it
needs for that, to a factor of 2. The data are made, with a spectrum like MNIST's: the
variances of the principal components fall as their number to the power of −1.2.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import _results
import accelerators
import jax
import jax.numpy as jnp
import numpy as np
from _timing import median_seconds, seconds_of
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from bcejax.logistic_regression import fit_multinomial, fit_path
from bcejax.logistic_regression._class_objective import objective
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._products import Products

ROUNDS = 3
NEAR = 1e-6  # of the least objective, within which a fit counts
PEERS = {"sklearn lbfgs": 100, "sklearn newton-cg": 5}  # and their steps to begin with
PATIENCE = 120  # seconds, beyond which a peer gets no more steps
FALL = -1.2  # power of the spectrum
TOLERANCES = 1e-4, 1e-5  # of scikit-learn along penalties; 1e-4 is its own
SMALL = 20  # times fewer rows


class Data(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    classes: int
    l2: float


def made(n: int, d: int, classes: int, l2: float, apart: float, seed=0) -> Data:
    """Classes of one covariance, whose means are `apart` in units of it."""
    rng = np.random.default_rng(seed)
    root = np.float32(np.arange(1, d + 1) ** (FALL / 2))
    turn = np.float32(np.linalg.qr(rng.normal(size=(d, d)))[0])
    means = np.float32(apart * rng.normal(size=(classes, d)))
    y = rng.integers(0, classes, n)
    x = (rng.standard_normal((n, d), np.float32) + means[y]) * root @ turn
    return Data(x + np.float32(0.3), y, classes, l2)


def objective_of(data: Data, weights, bias, rows=20_000) -> float:
    """The objective, in float64, some rows at a time."""
    weights, bias = np.asarray(weights, np.float64), np.asarray(bias, np.float64)
    total = 0.0
    for i in range(0, len(data.y), rows):
        logits = np.float64(data.x[i : i + rows]) @ weights + bias
        y = data.y[i : i + rows, None]
        total -= np.take_along_axis(log_softmax(logits, 1), y, 1).sum()
    return total / len(data.y) + data.l2 / 2 * np.sum(weights**2)


# Who is measured: each a function of a number of steps that returns weights and bias.


def ours(data: Data) -> Callable:
    x, y = jnp.asarray(data.x), jnp.asarray(data.y)

    def run(_):
        return jax.block_until_ready(fit_multinomial(x, y, l2=data.l2))[:2]

    return run


def sklearn(data: Data, solver: str) -> Callable:
    def run(steps: int):
        c = 1 / (data.l2 * len(data.y))
        model = LogisticRegression(C=c, solver=solver, tol=1e-12, max_iter=steps)
        fitted = model.fit(data.x, data.y)
        return fitted.coef_.T, fitted.intercept_

    return run


def race(data: Data, rounds: int, fewer: int) -> str:
    """Each peer with the fewest steps that are enough, doubled until they are."""
    runs = {"bcejax newton-cg": ours(data)}
    runs |= {name: sklearn(data, name.split()[1]) for name in PEERS}
    patience = PATIENCE / fewer
    weights, bias = fit_multinomial(data.x, data.y, l2=data.l2, tol=1e-8)[:2]
    least = objective_of(data, weights, bias)
    candidates, rows = {}, {}
    for name, run in runs.items():
        steps, seconds = PEERS.get(name, 1), 0.0
        if name not in PEERS:
            run(steps)  # compiles
        while seconds < patience:
            clock = time.perf_counter()
            found = run(steps)
            seconds = time.perf_counter() - clock
            far = objective_of(data, *found) / least - 1
            rows[name] = [f"> {seconds:.1f}", "", str(steps), f"{far:.1e}"]
            print(name, *rows[name], flush=True)
            if far <= NEAR:
                candidates[name] = partial(run, steps)
                break
            steps *= 2
    seconds = median_seconds(candidates, rounds)
    first = seconds.get("bcejax newton-cg", np.nan)
    for name, time_ in seconds.items():
        rows[name][:2] = f"{time_:.2f}", f"{time_ / first:.2f}×"
    header = ["", "s", "to bcejax", "steps at most", "above the least"]
    return _results.table(header, [[name, *row] for name, row in rows.items()])


def mnist(rounds: int, fewer: int) -> str:
    return race(made(*fewer_of(60_000, 784, fewer), 10, 1e-5, 0.1), rounds, fewer)


def hundred(rounds: int, fewer: int) -> str:
    return race(made(*fewer_of(50_000, 512, fewer), 100, 1e-4, 0.15), rounds, fewer)


def fewer_of(n: int, d: int, fewer: int) -> tuple[int, int]:
    return n // fewer, d // (4 if fewer > 1 else 1)


# Along penalties


def path(rounds: int, fewer: int) -> str:
    data = made(*fewer_of(12_000, 384, fewer), 20, 0, 0.2)
    n = len(data.y) * 5 // 6
    (x, held_x), (y, held_y) = (np.split(a, [n]) for a in data[:2])
    l2s = np.logspace(0, -6, 45 if fewer == 1 else 5)

    def ours():
        return fit_path(jnp.asarray(x), y, l2s, held_out=(held_x, held_y))

    def theirs(tolerance):
        model = LogisticRegression(warm_start=True, max_iter=5000, tol=tolerance)
        models = []
        for l2 in l2s:
            model.set_params(C=1 / (l2 * n)).fit(x, y).score(held_x, held_y)
            models.append((model.coef_.T.copy(), model.intercept_.copy()))
        return models

    def losses(models):
        each = zip(l2s, models, strict=True)
        return np.array([objective_of(Data(x, y, 20, l2), *m) for l2, m in each])

    found = {}

    def kept(name, run, *arguments):
        found[name] = jax.block_until_ready(run(*arguments))

    runs = {"bcejax fit_path": partial(kept, "bcejax fit_path", ours)}
    for tolerance in TOLERANCES:
        name = f"sklearn lbfgs, tol={tolerance}"
        runs[name] = partial(kept, name, theirs, tolerance)
    ours()  # compiles
    seconds = median_seconds(runs, rounds)
    models = found["bcejax fit_path"].models
    found["bcejax fit_path"] = list(zip(models.weights, models.bias, strict=True))
    of_models = {name: losses(each) for name, each in found.items()}
    least = np.min(list(of_models.values()), 0)
    rows = []
    for name, time_ in seconds.items():
        far = of_models[name] / least - 1
        ratio = time_ / seconds["bcejax fit_path"]
        rows.append([name, f"{time_:.1f}", f"{ratio:.1f}×"])
        rows[-1] += [f"{np.median(far):.0e}", f"{np.max(far):.0e}"]
    header = ["", "s", "to bcejax", "above the least, median", "and at most"]
    return _results.table(header, rows) + (
        "Warm starts from the largest penalty down. How far each ends above the least "
        "objective that any has found, over the penalties.\n\n"
    )


# What is not stored


def memory(rounds: int, fewer: int) -> str:
    (n, d), classes = fewer_of(200_000, 768, fewer), 1000
    x, y = (
        jnp.asarray(np.float32(np.random.default_rng(0).normal(size=(n, d)))),
        (jnp.arange(n) % classes),
    )

    def fitted(x, y):
        return fit_multinomial(x, y, classes=classes, l2=1e-3)

    temporary = {}
    program = jax.jit(fitted).lower(x, y).compile()
    temporary["the whole fit"] = program.memory_analysis().temp_size_in_bytes
    passes = jax.jit(gradient).lower(*gradient_arguments(x, y, classes)).compile()
    temporary["a gradient"] = passes.memory_analysis().temp_size_in_bytes
    arguments = gradient_arguments(x, y, classes)
    total = sum(seconds_of(partial(passes, *arguments)) for _ in range(10))
    rows = [[name, f"{size / 1e6:,.0f}"] for name, size in temporary.items()]
    return (
        _results.table(["", "temporary MB"], rows)
        + f"Beside the {x.nbytes / 1e6:,.0f} MB of X; all logits would have "
        f"{4 * n * classes / 1e6:,.0f}. Ten gradients took {total:.0f} s.\n\n"
    )


def gradient_arguments(x, y, classes: int):
    params = Params(jnp.zeros((x.shape[1], classes)), jnp.zeros(classes))
    return params, x, y


def gradient(params, x, y):
    share = jnp.full(len(x), 1 / len(x))
    data = Problem(x, y.astype(jnp.int32), share, None, jnp.float32(0.1))
    return jax.value_and_grad(partial(objective, Products("highest")))(params, data)


def h100(rounds: int, fewer: int) -> str:
    n, d, classes = 1_280_000, 768, 1000

    def shape(*dims, dtype="float32"):
        return jax.ShapeDtypeStruct(dims, dtype)

    params = Params(shape(d, classes), shape(classes))
    rows = []
    for kind in ("float32", "bfloat16"):
        x = shape(n, d, dtype=kind)
        try:
            described = accelerators.topology("h100")
        except Exception as failure:  # of whichever plugin is missing
            return f"Not compiled for an H100: {type(failure).__name__}.\n\n"
        cost = accelerators.cost(
            described, gradient, params, x, shape(n, dtype="int32")
        )
        size = n * d * x.dtype.itemsize
        rows.append([kind, f"{cost.moved / size:.2f}", f"{cost.temporary / 1e6:,.0f}"])
    header = ["", "bytes moved, reads of X", "temporary MB"]
    return _results.table(header, rows) + ON_PAPER


ON_PAPER = """\
1,280,000 × 768, 1,000 classes. A gradient has 4 · 1.28·10⁶ · 768 · 1,000 = 3.9·10¹²
operations: 79 ms at the 50 · 10¹² a second that an H100 does in float32, 8 ms at the
494 · 10¹² of TF32 (`precision="default"`), and its 2 reads of 3.9 GB take 2.3 ms.

"""


def digits(rounds: int, fewer: int) -> str:
    data = made(20_000 // fewer, 64, 10, 1e-4, 0.3)
    x = np.float64(data.x)
    x = (x - x.mean(0)) / x.std(0)
    with jax.enable_x64(True):
        exact = np.asarray(fit_multinomial(x, data.y, l2=data.l2, tol=1e-10).weights)
    found = np.asarray(fit_multinomial(np.float32(x), data.y, l2=data.l2).weights)
    far = np.max(np.abs(found - exact)) / np.max(np.abs(exact))
    return (
        f"float32 against float64, standardised features, {len(x):,} × 64: the "
        f"coefficients differ by {far:.0e} of the largest.\n\n"
    )


ROWS = {
    "mnist": ("60,000 × 784, 10 classes", mnist),
    "hundred": ("50,000 × 512, 100 classes", hundred),
    "path": ("45 penalties on 10,000 × 384, 20 classes", path),
    "memory": ("200,000 × 768, 1,000 classes", memory),
    "h100": ("Compiled for an H100 at ImageNet's size", h100),
    "digits": ("Digits", digits),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}: only these")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--small", action="store_true")
    chosen = parser.parse_args()
    unknown = set(chosen.rows) - set(ROWS)
    if unknown:
        parser.error(f"rows must be of {', '.join(ROWS)}, got {', '.join(unknown)}")
    warnings.simplefilter("ignore")  # scikit-learn's, of fits that are not to the end
    text = f"float32, medians of {chosen.rounds} shuffled rounds.\n\n"
    for name in chosen.rows or ROWS:
        title, row = ROWS[name]
        print(title, flush=True)
        found = row(chosen.rounds, SMALL if chosen.small else 1)
        print(found, flush=True)
        text += f"**{title}**\n\n{found}"
    if not chosen.rows and not chosen.small:
        _results.write("Linear probes", text)


if __name__ == "__main__":
    main()
