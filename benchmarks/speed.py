"""Times of the loss and its derivatives, beside peers and the memory floor.

    python benchmarks/speed.py            everything: about ten minutes
    python benchmarks/speed.py --quick    the main table only

All candidates of a row take turns in one process, in an order that is shuffled in every
round, so that a slow moment of the machine meets all of them. Figures are medians, and
ratios to bcejax.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import _results
import _timing
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from _timing import milliseconds
from matplotlib.figure import Figure

import bcejax

ROUNDS = 11
PICTURE = Path(__file__).with_name("speed.svg")


# What is measured: each from a loss `f(logits, labels)`, one value an element.


def mean(f):
    return lambda x, y: f(x, y).mean()


def value_and_grad(f):
    return lambda x, y: jax.value_and_grad(lambda x: f(x, y).mean())(x)


def consumed(f):
    """The gradient is used within the same jit, as by a layer below; none returned."""

    def run(x, y):
        value, gradient = jax.value_and_grad(lambda x: f(x, y).mean())(x)
        return value, jnp.vdot(gradient, gradient)

    return run


def gradient_and_hessian(f):
    def run(x, y):
        slope = jax.vmap(jax.grad(f))
        return slope(x, y), jax.vmap(jax.grad(jax.grad(f)))(x, y)

    return run


def per_row(f):
    def run(x, y):
        rows = jax.vmap(lambda x, y: f(x, y).mean())
        return rows(x.reshape(1000, -1), y.reshape(1000, -1))

    return run


MEASURED: dict[str, Callable] = {
    "loss, array": lambda f: f,
    "mean loss": mean,
    "value_and_grad, returned": value_and_grad,
    "value_and_grad, consumed": consumed,
    "gradient and Hessian": gradient_and_hessian,
}


# Who is measured


def jax_nn(x, y):
    return -y * jax.nn.log_sigmoid(x) - (1 - y) * jax.nn.log_sigmoid(-x)


JAX_LOSSES = {
    "bcejax": bcejax.bce_with_logits,
    "optax": optax.sigmoid_binary_cross_entropy,
    "jax.nn": jax_nn,
}


def torch_candidates(measured: str, x, y) -> dict[str, Callable]:
    try:
        import torch
    except ModuleNotFoundError:
        return {}
    dtype = getattr(torch, x.dtype.name)
    x, y = (torch.from_numpy(np.array(a, np.float32)).to(dtype) for a in (x, y))
    loss = torch.nn.functional.binary_cross_entropy_with_logits

    def backward(x, y):
        x = x.detach().requires_grad_()
        value = loss(x, y)
        value.backward()
        return value, x.grad

    function = {
        "loss, array": lambda x, y: loss(x, y, reduction="none"),
        "mean loss": loss,
        "value_and_grad, returned": backward,
    }.get(measured)
    if function is None:
        return {}
    compiled = torch.compile(function)
    return {
        "torch": lambda: function(x, y),
        "torch.compile": lambda: compiled(x, y),
    }


def sklearn_candidates(measured: str, x, y) -> dict[str, Callable]:
    try:
        from sklearn._loss import HalfBinomialLoss
    except ModuleNotFoundError:
        return {}
    if x.dtype != jnp.float32:
        return {}
    loss, x, y = HalfBinomialLoss(), np.asarray(x), np.asarray(y)
    threads = dict(n_threads=2)
    function = {
        "loss, array": lambda: loss.loss(y, x, **threads),
        "mean loss": lambda: loss.loss(y, x, **threads).mean(),
        "value_and_grad, returned": lambda: loss.loss_gradient(y, x, **threads),
        "gradient and Hessian": lambda: loss.gradient_hessian(y, x, **threads),
    }.get(measured)
    return {"scikit-learn": function} if function else {}


def floor_candidates(x, y) -> dict[str, Callable]:
    add, copy = compiled(lambda x, y: x + y, x, y), compiled(lambda x, y: x * 2, x, y)
    return {"x + y": lambda: add(x, y), "x · 2": lambda: copy(x, y)}


def compiled(function, x, y):
    return jax.jit(function).lower(x, y).compile()


def jax_candidates(wrap, x, y, losses=JAX_LOSSES) -> dict[str, Callable]:
    functions = {name: compiled(wrap(f), x, y) for name, f in losses.items()}
    return {name: lambda f=f: f(x, y) for name, f in functions.items()}


def data(size: int, dtype, soft=False):
    keys = jax.random.split(jax.random.key(0))
    x = 4 * jax.random.normal(keys[0], (size,))
    y = jax.random.uniform(keys[1], (size,))
    return x.astype(dtype), (y if soft else y < 0.5).astype(dtype)


def row(label: str, times: dict[str, float], columns: list[str]) -> list[str]:
    ours = times["bcejax"]
    cells = [label, f"{ours:.3g}"]
    for name in columns:
        found = times.get(name)
        cells.append("" if found is None else f"{found:.3g} ({found / ours:.2f}×)")
    return cells


PEERS = ["optax", "jax.nn", "torch", "torch.compile", "scikit-learn"]
FLOOR = ["x + y", "x · 2"]


def main_table(size: int, dtype) -> tuple[str, dict[str, dict[str, float]]]:
    x, y = data(size, dtype)
    rows, all_times = [], {}
    title = f"{size:.0e} {x.dtype.name}".replace("e+0", "0^")
    for measured, wrap in tqdm.tqdm(MEASURED.items(), title, leave=False, disable=None):
        times = milliseconds(
            jax_candidates(wrap, x, y)
            | torch_candidates(measured, x, y)
            | sklearn_candidates(measured, x, y)
            | floor_candidates(x, y),
            ROUNDS,
        )
        rows.append(row(measured, times, PEERS + FLOOR))
        all_times[measured] = times
    if size == 10**6:
        times = milliseconds(jax_candidates(per_row, x, y), ROUNDS)
        rows.append(row("mean of each of 1000 rows, by vmap", times, PEERS + FLOOR))
    for cells in rows:
        print(*cells, sep="  ", flush=True)
    header = [f"{size:,} {x.dtype.name}", "bcejax", *PEERS, *FLOOR]
    return _results.table(header, rows), all_times


def arguments_table(size: int) -> str:
    """What soft labels, masks and weights cost."""
    mask = jax.random.uniform(jax.random.key(2), (size,)) < 0.9
    weight = jnp.float32(3)

    def masked(f):
        return lambda x, y: jnp.where(mask, f(jnp.where(mask, x, 0), y), 0)

    def weighted(x, y):
        positive, negative = jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x)
        return -weight * y * positive - (1 - y) * negative

    ours, optax_loss = JAX_LOSSES["bcejax"], JAX_LOSSES["optax"]
    cases = {
        "soft labels": (True, {"bcejax": ours, "optax": optax_loss}),
        "bool labels": (False, {"bcejax": ours, "optax": optax_loss}),
        "where": (
            False,
            {
                "bcejax": lambda x, y: ours(x, y, where=mask),
                "optax": masked(optax_loss),
            },
        ),
        "pos_weight": (
            False,
            {
                "bcejax": lambda x, y: ours(x, y, pos_weight=weight),
                "jax.nn": weighted,
            },
        ),
    }
    rows = []
    for case, (soft, losses) in cases.items():
        x, y = data(size, jnp.float32, soft)
        if case == "bool labels":
            y = y == 1
        for measured in list(MEASURED)[:4]:
            candidates = jax_candidates(MEASURED[measured], x, y, losses)
            times = milliseconds(candidates, ROUNDS)
            rows.append(row(f"{case}: {measured}", times, ["optax", "jax.nn"]))
            print(*rows[-1], sep="  ", flush=True)
    header = [f"{size:,} float32", "bcejax", "optax", "jax.nn"]
    return _results.table(header, rows)


def overheads() -> str:
    """An eager call on ten numbers, and compile time."""
    x, y = data(10, jnp.float32)
    times = milliseconds(
        {
            "bcejax": lambda: bcejax.bce_with_logits(x, y),
            "log_sigmoid": lambda: bcejax.log_sigmoid(x),
            "jax.nn": lambda: jax.nn.log_sigmoid(x),
            "optax": lambda: optax.sigmoid_binary_cross_entropy(x, y),
        },
        rounds=51,
    )
    compile_times = {name: [] for name in JAX_LOSSES}
    x, y = data(1000, jnp.float32)
    for name in _timing.shuffled_rounds(JAX_LOSSES, ROUNDS):
        jax.clear_caches()
        clock = time.perf_counter()
        compiled(value_and_grad(JAX_LOSSES[name]), x, y)
        compile_times[name].append((time.perf_counter() - clock) * 1e3)
    compile_time = {name: statistics.median(t) for name, t in compile_times.items()}
    base = times["jax.nn"]
    text = (
        "An eager call on 10 float32 numbers takes "
        f"{base * 1e3:.1f} µs for jax.nn.log_sigmoid; bcejax.log_sigmoid "
        f"{times['log_sigmoid'] / base:.2f}×, bcejax.bce_with_logits "
        f"{times['bcejax'] / base:.2f}×, optax's loss {times['optax'] / base:.2f}×. "
        f"Tracing and compiling value_and_grad takes {compile_time['bcejax']:.0f} ms, "
        f"{compile_time['bcejax'] / compile_time['optax']:.2f}× optax's.\n\n"
    )
    print(text)
    return text


def draw(times: dict[str, dict[str, float]]) -> None:
    """Bars of the largest table, with the memory floor as a line."""
    names = ["bcejax", *PEERS]
    figure = Figure(figsize=(10, 4), layout="constrained")
    panel = figure.subplots()
    for i, name in enumerate(names):
        places = [j for j, m in enumerate(times) if name in times[m]]
        heights = [times[list(times)[j]][name] for j in places]
        width = 0.8 / len(names)
        panel.bar(
            np.array(places) + (i - len(names) / 2 + 0.5) * width,
            heights,
            width,
            label=name,
            color=["#0072B2", "#D55E00", "#E69F00", "#CC79A7", "#009E73", "#999999"][i],
        )
    floor = statistics.median(t["x + y"] for t in times.values())
    panel.axhline(floor, color="black", linewidth=0.8, linestyle=":")
    panel.text(len(times) - 0.5, floor, "x + y", ha="right", va="bottom")
    panel.set_xticks(range(len(times)), [name.replace(", ", ",\n") for name in times])
    panel.set(
        ylabel="ms",
        title=f"10⁷ float32 logits, jax {jax.__version__}: shorter is better",
    )
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, ncols=3)
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one table, none written")
    if parser.parse_args().quick:
        main_table(10**7, jnp.float32)
        return
    text = (
        f"Milliseconds, medians of {ROUNDS} shuffled rounds; in brackets the ratio "
        "to bcejax, above 1 where bcejax is faster. `consumed`: the gradient is used "
        "in the same jit and not returned. `x + y` and `x · 2` are the memory floor."
        "\n\n"
    )
    for size in (10**7, 10**6, 10**4):
        for dtype in (jnp.float32, jnp.bfloat16):
            table, times = main_table(size, dtype)
            text += table
            if (size, dtype) == (10**7, jnp.float32):
                draw(times)
    text += "![The first table as bars](speed.svg)\n\n"
    text += arguments_table(10**7) + overheads()
    _results.write("Speed", text)


if __name__ == "__main__":
    main()
