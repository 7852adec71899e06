"""Why softmax's sums over classes are taken as they are: what else was tried.

    python benchmarks/softmax_formulations.py    about four minutes, and 4 GB of memory

All but the peer compute the same equations, those of `bcejax._softmax`, and differ in
how they add up over classes on a CPU: `bcejax._numerics.by_slices` tells what its three
numbers are. Errors are the largest in ulp of the loss, over rows whose label is as far
ahead as 40 and whose logits have differences without a rounding; times are medians of
shuffled rounds of the mean, and of its value and gradient.
"""

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial

import _results
import jax
import jax.numpy as jnp
import numpy as np
from _timing import milliseconds
from family_speed import DENSE, INTEGER
from speed import mean, value_and_grad

from bcejax._numerics import by_slices, over_classes
from bcejax._numerics.by_reduction import ByReduction

ROUNDS = 7
SHAPES = [(2_000_000, 10), (300_000, 64), (20_000, 1000), (2048, 32_768)]
NUMBERS = {"FEW": 32, "LANES": 16, "MOST_SLICES": 15}


def in_sequence(combine, terms):
    """A sum from left to right, in place of one in pairs."""
    terms = list(terms)
    result = terms[0]
    for term in terms[1:]:
        result = combine(result, term)
    return result


# What stands in place of the names of `by_slices`, by what the way is called.
WAYS: dict[str, dict] = {
    "**slices, in pairs**": {},
    "slices from left to right": {"_fold": in_sequence},
    "lanes of 8": {"LANES": 8},
    "lanes of 32": {"LANES": 32},
    "at most 16 slices": {"MOST_SLICES": 16},
    "at most 32 slices": {"MOST_SLICES": 32},
    "single classes up to 64": {"FEW": 64},
    "rows not kept from being recomputed": {"used_twice": lambda rows: rows},
    "loss open to the caller's reduction": {"result": lambda rows: rows},
    "plain reductions": {"BySlices": ByReduction},
}


@contextmanager
def replaced(names: dict):
    """`by_slices` with other numbers or functions, and nothing traced kept."""
    module = over_classes if "BySlices" in names else by_slices
    before = {name: getattr(module, name) for name in names}
    jax.clear_caches()
    vars(module).update(names)
    yield
    vars(module).update(before)
    jax.clear_caches()


def compiled(function: Callable, x, y, names: dict) -> Callable:
    with replaced(names):
        return jax.jit(function).lower(x, y).compile()


def worst_ulp(loss: Callable, classes: int, dense: bool, names: dict) -> str:
    """Of 2,000 rows, against float64."""
    rng = np.random.default_rng(0)
    x = 4 * rng.normal(size=(2000, classes))
    label = rng.integers(0, classes, 2000)
    x[np.arange(2000), label] += rng.uniform(-10, 40, 2000)
    x = np.round(64 * x) / 64
    gap = x - x[np.arange(2000), label][:, None]
    gap[np.arange(2000), label] = -np.inf
    exact = np.log1p(np.exp(gap).sum(-1))
    x, y = jnp.float32(x), jnp.asarray(label)
    y = jax.nn.one_hot(label, classes) if dense else y
    got = np.asarray(compiled(loss, x, y, names)(x, y), np.float64)
    return f"{np.max(np.abs(got - exact) / np.spacing(exact.astype(np.float32))):.1f}"


def rows_of(losses: dict[str, Callable], shape: tuple[int, int], dense: bool):
    x = 4 * jax.random.normal(jax.random.key(0), shape)
    label = jax.random.randint(jax.random.key(1), shape[:1], 0, shape[1])
    y = jax.nn.one_hot(label, shape[1]) if dense else label
    ways = {"optax": (losses["optax"], {})}
    ways |= {name: (losses["bcejax"], names) for name, names in WAYS.items()}
    times = []
    for wrap in (mean, value_and_grad):
        programs = {n: compiled(wrap(f), x, y, names) for n, (f, names) in ways.items()}
        candidates = {n: partial(program, x, y) for n, program in programs.items()}
        times.append(milliseconds(candidates, ROUNDS))
    for name, (loss, names) in ways.items():
        errors = worst_ulp(loss, shape[1], dense, names)
        yield [name, errors, *(f"{found[name]:.1f}" for found in times)]


def main() -> None:
    assert {name: getattr(by_slices, name) for name in NUMBERS} == NUMBERS
    text = (
        "Ways to add over classes, in float32: the largest error of the loss in ulp, "
        f"and milliseconds, medians of {ROUNDS} shuffled rounds. What bcejax does is "
        "in bold. At some numbers of classes several ways are the same program: how "
        "their times differ is the noise of the measurement.\n\n"
    )
    for title, losses in (("integer labels", INTEGER), ("dense labels", DENSE)):
        for shape in SHAPES:
            rows = list(rows_of(losses, shape, losses is DENSE))
            size = f"{title}, {shape[0]:,} × {shape[1]:,}"
            text += _results.table([size, "ulp", "mean", "value_and_grad"], rows)
            print(text[text.rindex(f"| {size}") :], flush=True)
    _results.write("Formulations of softmax", text)


if __name__ == "__main__":
    main()
