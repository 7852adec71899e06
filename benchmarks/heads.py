"""Heads of many classes and the loss of all pairs, beside stored logits.

    python benchmarks/heads.py             about twenty minutes, and 8 GB of memory
    python benchmarks/heads.py --rounds 2  the same with fewer rounds
    python benchmarks/heads.py --compiled  what XLA makes of them for an H100 and a TPU
                                           (accelerators.py says what that needs)

Measured as in speed.py: the candidates of a row take turns in shuffled order. Figures
are medians of value and gradient of the mean, in features and kernel. Temporary memory
is what `memory_analysis` says of the compiled program, beside arguments and results.
"""

import argparse
import multiprocessing
import resource
from collections.abc import Callable
from functools import partial

import _results
import accelerators
import jax
import jax.numpy as jnp
import optax
from _timing import median_seconds

import bcejax

ROUNDS = 5
POSITIVES = 5
Candidates = dict[str, tuple[Callable, tuple]]


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def layer(rows: int, width: int, classes: int) -> tuple[jax.Array, jax.Array]:
    return normal(0, rows, width), normal(1, width, classes) / width**0.5


def numbers(shape: tuple[int, ...], classes: int) -> jax.Array:
    return jax.random.randint(jax.random.key(2), shape, 0, classes)


# The losses


def dense(x: jax.Array, positives: jax.Array) -> jax.Array:
    rows = jnp.arange(len(x))[:, None]
    return jnp.zeros_like(x).at[rows, positives].set(1)


def bce_stored(loss, features, kernel, positives):
    x = features @ kernel
    return loss(x, dense(x, positives)).sum(1).mean()


def bce_chunked(size, features, kernel, positives):
    return bcejax.linear_bce(features, kernel, positives, chunk_size=size).mean()


def bce_rows_too(parts, size, features, kernel, positives):
    """Chunks of the rows as well."""
    each = zip(jnp.split(features, parts), jnp.split(positives, parts), strict=True)
    chunks = [bcejax.linear_bce(f, kernel, y, chunk_size=size) for f, y in each]
    return jnp.concatenate(chunks).mean()


def softmax_stored(loss, features, kernel, labels):
    return loss(features @ kernel, labels).mean()


def softmax_chunked(size, features, kernel, labels):
    function = bcejax.linear_softmax_cross_entropy
    return function(features, kernel, labels, chunk_size=size).mean()


def pairs_stored(loss, images, texts):
    return loss(10 * images @ texts.T - 10, jnp.eye(len(images))).sum() / len(images)


def pairs_chunked(size, images, texts):
    log_temperature = jnp.log(10.0)
    return bcejax.sigmoid_contrastive_loss(
        images, texts, log_temperature, -10.0, chunk_size=size
    )


# Their time and memory


def trained(loss: Callable) -> Callable:
    return jax.value_and_grad(loss, (0, 1))


def rows_of(losses: dict[str, Callable], arguments, logits: int, rounds: int):
    """A row for each loss; the first is that which the others are compared with."""
    programs = {
        name: jax.jit(trained(loss)).lower(*arguments).compile()
        for name, loss in losses.items()
    }
    candidates = {n: partial(program, *arguments) for n, program in programs.items()}
    for candidate in candidates.values():
        jax.block_until_ready(candidate())
    seconds = median_seconds(candidates, rounds)
    memory = {n: p.memory_analysis().temp_size_in_bytes for n, p in programs.items()}
    first = next(iter(losses))
    rows = []
    for name in losses:
        rows.append(
            [
                name,
                f"{seconds[name]:.2f}",
                f"{seconds[name] / seconds[first]:.2f}",
                f"{memory[name] / 1e6:,.0f}",
                f"{memory[name] / memory[first]:.1%}",
                f"{memory[name] / (4 * logits):.1%}",
            ]
        )
        print(*rows[-1], sep="  ", flush=True)
    return rows


HEADER = ["", "seconds", "ratio", "temporary MB", "ratio", "of the logits"]


def bce_rows(rounds: int):
    n, d, classes = 1024, 256, 65_536
    losses = {
        "optax, stored": partial(bce_stored, optax.sigmoid_binary_cross_entropy),
        "bcejax, stored": partial(bce_stored, bcejax.bce_with_logits),
        "linear_bce": partial(bce_chunked, None),
    }
    losses |= {
        f"chunks of {size:,} classes": partial(bce_chunked, size)
        for size in (256, 512, 1024, 2048, 4096, 8192)
    }
    losses["4 chunks of rows, 4,096 classes"] = partial(bce_rows_too, 4, 4096)
    arguments = *layer(n, d, classes), numbers((n, POSITIVES), classes)
    return rows_of(losses, arguments, n * classes, rounds)


def softmax_rows(rounds: int):
    n, d, classes = 4096, 512, 50_257
    optax_loss = optax.softmax_cross_entropy_with_integer_labels
    ours = bcejax.softmax_cross_entropy_with_integer_labels
    losses = {
        "optax, stored": partial(softmax_stored, optax_loss),
        "bcejax, stored": partial(softmax_stored, ours),
        "linear_softmax_cross_entropy": partial(softmax_chunked, None),
    }
    losses |= {
        f"chunks of {size:,} classes": partial(softmax_chunked, size)
        for size in (256, 512, 2048)
    }
    arguments = *layer(n, d, classes), numbers((n,), classes)
    return rows_of(losses, arguments, n * classes, rounds)


def pairs_rows(rounds: int):
    n, d = 4096, 512
    losses = {
        "optax, stored": partial(pairs_stored, optax.sigmoid_binary_cross_entropy),
        "bcejax, stored": partial(pairs_stored, bcejax.bce_with_logits),
        "sigmoid_contrastive_loss": partial(pairs_chunked, None),
    }
    losses |= {
        f"chunks of {size:,} texts": partial(pairs_chunked, size)
        for size in (128, 512, 2048)
    }
    arguments = normal(0, n, d) / d**0.5, normal(1, n, d) / d**0.5
    return rows_of(losses, arguments, n * n, rounds)


# What is too large to be stored, each in a process of its own


def large_bce(answer) -> None:
    n, d, classes = 8192, 64, 10**6
    arguments = *layer(n, d, classes), numbers((n, POSITIVES), classes)
    _once(answer, partial(bce_chunked, None), arguments, n * classes)


def large_pairs(answer) -> None:
    n, d = 32_768, 512
    arguments = normal(0, n, d) / d**0.5, normal(1, n, d) / d**0.5
    _once(answer, partial(pairs_chunked, None), arguments, n * n)


def _once(answer, loss, arguments, logits: int) -> None:
    program = jax.jit(trained(loss)).lower(*arguments).compile()
    seconds = median_seconds({"": partial(program, *arguments)}, 1)[""]
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    temporary = program.memory_analysis().temp_size_in_bytes
    sizes = [f"{size / 1e9:.2f}" for size in (4 * logits, temporary, resident)]
    answer.put([f"{seconds:.0f}", *sizes])


def alone(function: Callable) -> list[str]:
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=function, args=(answer,))
    process.start()
    process.join()
    if process.exitcode:
        return ["failed", "", "", ""]
    return answer.get()


LARGE = {
    "linear_bce, 8,192 × 64, 10⁶ classes": large_bce,
    "sigmoid_contrastive_loss, 32,768 pairs, d = 512": large_pairs,
}
LARGE_HEADER = ["", "seconds", "logits, GB", "temporary GB", "resident GB"]


# For devices that are only described


def accelerator_rows() -> list[list[str]]:
    def shape(*dims, dtype="float32"):
        return jax.ShapeDtypeStruct(dims, dtype)

    def head(rows, width, classes, kind):
        factors = shape(rows, width, dtype=kind), shape(width, classes, dtype=kind)
        return factors, rows * classes

    rows = []
    for device in accelerators.DEVICES:
        described = accelerators.topology(device)
        for kind in ("float32", "bfloat16"):
            cases = []
            sizes = [
                (bce_chunked, (1024, 256, 65_536)),
                (softmax_chunked, (4096, 512, 50_257)),
            ]
            if kind == "bfloat16":  # in float32 a TPU v5e cannot hold the gradient
                sizes.append((bce_chunked, (128, 768, 2_812_281)))
            for loss, size in sizes:
                factors, logits = head(*size, kind)
                labels = (size[0],) if loss is softmax_chunked else (size[0], POSITIVES)
                labels = shape(*labels, dtype="int32")
                cases.append((loss, size, (*factors, labels), logits))
            embeddings = shape(32_768, 512, dtype=kind)
            cases.append((pairs_chunked, (32_768, 512), (embeddings,) * 2, 32_768**2))
            for loss, size, arguments, logits in cases:
                cost = accelerators.cost(
                    described, trained(partial(loss, None)), *arguments
                )
                rows.append(
                    [
                        f"{device}, {kind}, {loss.__name__.split('_')[0]}, "
                        + " × ".join(f"{n:,}" for n in size),
                        f"{cost.temporary / 1e6:,.1f}",
                        f"{cost.temporary / (4 * logits):.1%}",
                    ]
                )
                print(*rows[-1], sep="  ", flush=True)
    return rows


ARITHMETIC = """\
On paper: 2,812,281 labels, d = 768, a batch of 128. In bfloat16 the kernel has 4.32 GB,
its gradient another 4.32, and the features 0.2 MB. With the temporary memory above, a
gradient takes less than 8.7 GB, and what the optimiser keeps comes on top: nothing for
SGD, 8.64 GB for Adam in bfloat16. The best published trainer takes 10.4 GB with its
optimiser (39.7 before it). SigLIP at a batch of 32,768: the 4.3 GB of logits are not
stored, and in a ring of D devices each has 32,768/D × 32,768/D pairs at a time, in
chunks.
"""


def measure(rounds: int) -> None:
    text = (
        f"float32, value and gradient of the mean, medians of {rounds} shuffled "
        "rounds. The ratios are to the first line of each table. The tables keep the "
        "chunks that were tried.\n\n"
    )
    for title, function in (
        ("1,024 rows, d = 256, 65,536 classes, 5 positives", bce_rows),
        ("4,096 rows, d = 512, 50,257 classes", softmax_rows),
        ("4,096 pairs, d = 512", pairs_rows),
    ):
        print(title, flush=True)
        text += f"{title}:\n\n" + _results.table(HEADER, function(rounds))
    large = [[name, *alone(function)] for name, function in LARGE.items()]
    print(large, flush=True)
    text += "Too large to be stored, one call, each in a process of its own:\n\n"
    text += _results.table(LARGE_HEADER, large)
    _results.write("Heads of many classes", text)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--compiled", action="store_true")
    chosen = parser.parse_args()
    if not chosen.compiled:
        measure(chosen.rounds)
        return
    jax.config.update("jax_platforms", "cpu")
    text = "Value and gradient. Nothing was run.\n\n"
    header = ["", "temporary MB", "of float32 logits"]
    text += _results.table(header, accelerator_rows())
    _results.write("Heads compiled for accelerators", text + ARITHMETIC + "\n")


if __name__ == "__main__":
    main()
