"""Times to the optimum of a logistic regression, beside peers.

    python benchmarks/logistic_regression.py             everything: about ten minutes
    python benchmarks/logistic_regression.py breast      problems whose name begins so

All solvers of a problem take turns in one process, in shuffled order. Figures are
medians in seconds, with what the objective still is above the least one found by any of
them, both in float64. A solver that took more than 20 seconds is not run again, and
liblinear and statsmodels are left out of the largest problems.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import _results
import _timing
import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from bcejax import logistic_regression
from bcejax.logistic_regression import _fit
from bcejax.logistic_regression._given import Given

ROUNDS = 3
PATIENCE = 20  # seconds
LARGE = 3 * 10**9  # n d², beyond which liblinear and statsmodels take minutes
TOLERANCE = 1e-6  # of the largest component of the gradient


class Data(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    l2: float


def made(n: int, d: int, condition: float = 1.0) -> Data:
    """Normal features, whose singular values fall from 1 to 1/condition."""
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (n, d))
    logits = 2 * x @ jax.random.normal(keys[1], (d,)) / np.sqrt(d) - 0.5
    y = jax.random.bernoulli(keys[2], jax.nn.sigmoid(logits))
    if condition > 1:
        mix, _ = jnp.linalg.qr(jax.random.normal(keys[3], (d, d)))
        x = x * jnp.logspace(0, -np.log10(condition), d) @ mix
    return Data(np.asarray(x), np.asarray(y, np.float32), 1 / n)


def cancer(scaled: bool) -> Data:
    x, y = load_breast_cancer(return_X_y=True)
    if scaled:
        return Data(np.float32((x - x.mean(0)) / x.std(0)), np.float32(y), 1 / len(y))
    return Data(np.float32(x), np.float32(y), 1e-6 / len(y))  # C = 10⁶


PROBLEMS = {
    "n=10⁶ d=50": lambda: made(10**6, 50),
    "n=10⁵ d=500": lambda: made(10**5, 500),
    "n=2·10⁴ d=2000": lambda: made(20_000, 2000),
    "condition 10⁶, n=10⁵ d=100": lambda: made(10**5, 100, 1e6),
    "breast cancer raw, C=10⁶": lambda: cancer(scaled=False),
}


def objective(data: Data, weights, bias) -> float:
    weights = np.asarray(weights, np.float64).ravel()
    logits = data.x @ weights + float(bias)
    loss = np.logaddexp(0, np.where(data.y == 1, -1, 1) * logits).mean()
    return loss + data.l2 / 2 * weights @ weights


# Who is measured: each a function of no arguments that returns weights and bias.


def ours(data: Data, solver="newton") -> Callable:
    x, y = jnp.asarray(data.x), jnp.asarray(data.y)

    def run():
        model = logistic_regression.fit(
            x, y, l2=data.l2, tol=TOLERANCE, solver=solver, max_steps=1000
        )
        return jax.block_until_ready(model)[:2]

    return run


def sklearn(data: Data, solver: str) -> Callable:
    model = LogisticRegression(
        C=1 / (data.l2 * len(data.y)), solver=solver, tol=TOLERANCE, max_iter=10_000
    )

    def run():
        fitted = model.fit(data.x, data.y)
        return fitted.coef_[0], fitted.intercept_[0]

    return run


def glum(data: Data) -> Callable:
    from glum import GeneralizedLinearRegressor

    model = GeneralizedLinearRegressor(
        family="binomial",
        alpha=data.l2,
        l1_ratio=0,
        gradient_tol=TOLERANCE,
        max_iter=1000,
    )

    def run():
        fitted = model.fit(np.float64(data.x), data.y)
        return fitted.coef_, fitted.intercept_

    return run


def statsmodels(data: Data) -> Callable:
    """Without the penalty, which its Newton does not know: the objective says so."""
    from statsmodels.api import Logit

    def run():
        z = np.column_stack([np.float64(data.x), np.ones(len(data.y))])
        found = Logit(data.y, z).fit(disp=0, maxiter=100, tol=TOLERANCE).params
        return found[:-1], found[-1]

    return run


def torch(data: Data) -> Callable:
    import torch

    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)

    def run():
        weights = torch.zeros(x.shape[1], requires_grad=True)
        bias = torch.zeros((), requires_grad=True)
        search = torch.optim.LBFGS(
            [weights, bias],
            max_iter=1000,
            tolerance_grad=TOLERANCE,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

        def closure():
            search.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                x @ weights + bias, y
            )
            loss = loss + data.l2 / 2 * weights @ weights
            loss.backward()
            return loss

        search.step(closure)
        return weights.detach().numpy(), bias.item()

    return run


def candidates(data: Data) -> dict[str, Callable]:
    found = {
        "bcejax newton": ours(data),
        "bcejax optax.lbfgs": ours(data, "lbfgs"),
        "sklearn lbfgs": sklearn(data, "lbfgs"),
        "sklearn newton-cholesky": sklearn(data, "newton-cholesky"),
    }
    peers = {"glum": glum, "torch": torch}
    if data.x.size * data.x.shape[1] <= LARGE:
        found["sklearn liblinear"] = sklearn(data, "liblinear")
        peers["statsmodels"] = statsmodels
    for name, peer in peers.items():
        try:
            found[name] = peer(data)
        except ModuleNotFoundError:
            print(f"{name} is not installed")
    return found


# Timing


def race(runs: dict[str, Callable]) -> tuple[dict, dict, dict]:
    """Seconds of the first run and of the median of the others, and the answers."""
    first, answers = {}, {}
    for name, run in tqdm.tqdm(runs.items(), leave=False, disable=None):
        clock = time.perf_counter()
        try:
            answers[name] = run()
        except (np.linalg.LinAlgError, MemoryError) as failure:
            print(f"{name}: {failure}")
            continue
        first[name] = time.perf_counter() - clock
    again = {name: runs[name] for name in answers if first[name] <= PATIENCE}
    return first, first | _timing.median_seconds(again, ROUNDS), answers


def table(name: str, data: Data) -> str:
    first, seconds, answers = race(candidates(data))
    losses = {who: objective(data, *answer) for who, answer in answers.items()}
    least = min(losses.values())
    rows = [
        [
            who,
            f"{seconds[who]:.3f}",
            f"{seconds[who] / seconds['bcejax newton']:.2f}×",
            f"{losses[who] / least - 1:.1e}",
        ]
        for who in answers
    ]
    compiling = first["bcejax newton"] - seconds["bcejax newton"]
    size = data.x.nbytes
    given = Given(data.x, data.y, data.l2, None, None)
    program = _fit.compiled_fit.lower(
        given, None, TOLERANCE, 1000, None, True, "newton"
    )
    memory = program.compile().memory_analysis()
    text = (
        f"**{name}**, {size / 1e6:.0f} MB. Compiling bcejax newton takes "
        f"{compiling:.1f} s more, once; its temporary memory is "
        f"{memory.temp_size_in_bytes / size:.2f} of the data.\n\n"
    ) + _results.table(["", "s", "to bcejax newton", "above the least"], rows)
    print(text, flush=True)
    return text


def bootstraps() -> str:
    """1000 resamplings of breast cancer, as weights of its rows."""
    data, fits = cancer(scaled=True), 1000
    rng = np.random.default_rng(0)
    n = len(data.y)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=fits).astype(np.float32)
    each = jax.jit(
        jax.vmap(
            lambda w: logistic_regression.fit(
                data.x, data.y, l2=data.l2, sample_weight=w
            )
        )
    )

    def by_sklearn(solver):
        model = LogisticRegression(C=1.0, solver=solver, tol=1e-6, max_iter=1000)
        for w in weights:
            model.fit(data.x, data.y, sample_weight=w)

    runs = {
        "bcejax newton, vmap": lambda: jax.block_until_ready(each(weights)),
        "sklearn lbfgs": lambda: by_sklearn("lbfgs"),
        "sklearn newton-cholesky": lambda: by_sklearn("newton-cholesky"),
    }
    return many("1000 bootstraps of 569×30", runs, each(weights).converged.mean())


def path() -> str:
    """100 penalties, all at once and each from the last."""
    data = cancer(scaled=True)
    penalties = jnp.logspace(0, -5, 100)

    def fit(l2, init=None):
        return logistic_regression.fit(data.x, data.y, l2=l2, init=init)

    def onwards(model, l2):
        model = fit(l2, model)
        return model, model

    at_once = jax.jit(jax.vmap(fit))
    warm = jax.jit(lambda p: jax.lax.scan(onwards, fit(p[0]), p)[1])

    def by_sklearn(solver):
        model = LogisticRegression(
            solver=solver, tol=1e-6, max_iter=10_000, warm_start=True
        )
        for l2 in np.asarray(penalties):
            model.set_params(C=1 / (float(l2) * len(data.y))).fit(data.x, data.y)

    runs = {
        "bcejax newton, vmap": lambda: jax.block_until_ready(at_once(penalties)),
        "bcejax newton, warm starts": lambda: jax.block_until_ready(warm(penalties)),
        "sklearn lbfgs, warm starts": lambda: by_sklearn("lbfgs"),
        "sklearn newton-cholesky, warm starts": lambda: by_sklearn("newton-cholesky"),
    }
    return many("100 penalties, 569×30", runs, warm(penalties).converged.mean())


def many(name: str, runs: dict[str, Callable], converged) -> str:
    first, seconds, _ = race(runs)
    ours = next(iter(runs))
    rows = [[w, f"{s:.3f}", f"{s / seconds[ours]:.2f}×"] for w, s in seconds.items()]
    text = (
        f"**{name}**. {converged:.0%} of ours converged; compiling takes "
        f"{first[ours] - seconds[ours]:.1f} s more, once.\n\n"
    ) + _results.table(["", "s", "to the first"], rows)
    print(text, flush=True)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="print only these, write nothing")
    names = tuple(parser.parse_args().names)
    warnings.simplefilter("ignore")  # peers say when they stop early; the table does
    text = (
        f"Seconds to a gradient within {TOLERANCE:g}, medians of {ROUNDS} shuffled "
        "rounds, float32 but for glum and statsmodels, which compute in float64; the "
        "ratio to bcejax's; and what the objective is above the least, relative. "
        "statsmodels fits without the penalty.\n\n"
    )
    for name, make in PROBLEMS.items():
        if not names or name.startswith(names):
            text += table(name, make())
    for name, run in (("bootstraps", bootstraps), ("path", path)):
        if not names or name.startswith(names):
            text += run()
    if not names:
        _results.write("Logistic regression", text)


if __name__ == "__main__":
    main()
