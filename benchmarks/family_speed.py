"""Times of the losses around binary cross-entropy, beside peers.

    python benchmarks/family_speed.py    about eight minutes, and 4 GB of memory

Measured as in speed.py: the candidates of a row take turns in shuffled order. Figures
are medians, and ratios to bcejax.
"""

from collections.abc import Callable
from functools import partial

import _results
import jax
import jax.numpy as jnp
import optax
from _timing import milliseconds
from speed import data, mean, row, value_and_grad

import bcejax

ROUNDS = 7
LOGITS = [
    (1_000_000, 7),
    (2_000_000, 10),
    (300_000, 64),
    (20_000, 1000),
    (2048, 32_768),
    (512, 50_257),
]
DISTRIBUTIONS = [(1_000_000, 10), (100_000, 100), (1000, 10_000)]
PEERS = ["optax", "jax.nn", "plain jnp"]
Losses = dict[str, Callable]  # f(x, y), by who computes it

FOCAL = {"bcejax": bcejax.sigmoid_focal_loss, "optax": optax.sigmoid_focal_loss}
LOG_SOFTMAX = {  # weighted by labels, so that the whole result is used
    "bcejax": lambda x, y, axis: y * bcejax.log_softmax(x, axis=axis),
    "jax.nn": lambda x, y, axis: y * jax.nn.log_softmax(x, axis=axis),
}
DENSE = {
    "bcejax": bcejax.softmax_cross_entropy,
    "optax": optax.softmax_cross_entropy,
}
INTEGER = {
    "bcejax": bcejax.softmax_cross_entropy_with_integer_labels,
    "optax": optax.softmax_cross_entropy_with_integer_labels,
}
ENTROPY = {
    "bcejax": lambda p, q: bcejax.entropy(p),
    "plain jnp": lambda p, q: -jnp.sum(p * jnp.log(p), -1),
}
DIVERGENCE = {
    "bcejax": bcejax.kl_divergence,
    "optax": lambda p, q: optax.kl_divergence(jnp.log(q), p),
    "plain jnp": lambda p, q: jnp.sum(p * jnp.log(p / q), -1),
}


def rows_of(title: str, losses: Losses, x, y) -> list[list[str]]:
    """Mean, and value_and_grad of the mean, of each."""
    rows = []
    for what, wrap in (("mean", mean), ("value_and_grad", value_and_grad)):
        functions = {name: jax.jit(wrap(f)) for name, f in losses.items()}
        candidates = {n: lambda f=f: f(x, y) for n, f in functions.items()}
        times = milliseconds(candidates, ROUNDS)
        rows.append(row(f"{title}: {what}", times, PEERS))
        print(*rows[-1], sep="  ", flush=True)
    return rows


def focal() -> list[list[str]]:
    rows = []
    for soft in (False, True):
        x, y = data(10**7, jnp.float32, soft)
        title = f"sigmoid_focal_loss, 10,000,000{', soft labels' if soft else ''}"
        rows += rows_of(title, FOCAL, x, y)
    return rows


def softmax(shape: tuple[int, int], dtype, axis: int) -> list[list[str]]:
    """Each array of a row's own is freed when the row is done."""
    rows, classes = shape
    x = 4 * jax.random.normal(jax.random.key(0), shape).astype(dtype)
    x = x if axis else x.T.copy()
    index = jax.random.randint(jax.random.key(0), (rows,), 0, classes)
    size = f", {' × '.join(f'{n:,}' for n in x.shape)}"

    def rows_along(title, losses, y):
        losses = {name: partial(loss, axis=axis) for name, loss in losses.items()}
        return rows_of(title + size, losses, x, y)

    found = rows_along("softmax_cross_entropy_with_integer_labels", INTEGER, index)
    y = jax.nn.one_hot(index, classes, axis=axis, dtype=dtype)
    found += rows_along("softmax_cross_entropy", DENSE, y)
    return found + rows_along("log_softmax", LOG_SOFTMAX, y)


def information(shape: tuple[int, int]) -> list[list[str]]:
    keys = jax.random.split(jax.random.key(0))
    p, q = (jax.nn.softmax(jax.random.normal(key, shape)) for key in keys)
    size = f", {shape[0]:,} × {shape[1]:,}"
    rows = rows_of("entropy" + size, ENTROPY, p, q)
    return rows + rows_of("kl_divergence" + size, DIVERGENCE, p, q)


def write(title: str, kind: str, rows: list[list[str]]) -> None:
    _results.write(
        title,
        f"{kind}. Milliseconds, medians of {ROUNDS} shuffled rounds of the mean, "
        "and of its value and gradient in the first argument; in brackets the ratio to "
        "bcejax, above 1 where bcejax is faster. log_softmax is multiplied by labels."
        "\n\n" + _results.table(["", "bcejax", *PEERS], rows),
    )


def main() -> None:
    rows = focal()
    for shape in LOGITS:
        rows += softmax(shape, jnp.float32, -1)
    for shape in DISTRIBUTIONS:
        rows += information(shape)
    write("Speed of the family", "float32", rows)
    for title, kind, dtype, axis in (
        ("Speed of softmax in 16 bits", "bfloat16", jnp.bfloat16, -1),
        ("Speed of softmax along axis 0", "float32", jnp.float32, 0),
    ):
        rows = [row for shape in LOGITS for row in softmax(shape, dtype, axis)]
        write(title, kind, rows)


if __name__ == "__main__":
    main()
