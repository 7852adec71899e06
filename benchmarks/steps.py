"""Times of one jitted training step, small enough that calling it costs the most.

    python benchmarks/steps.py            two minutes
    python benchmarks/steps.py --quick    fewer rounds, printed and not written

A model is trained by Adam with bcejax's loss and with optax's; nothing else differs. A
turn is a loop of many steps, each waiting for the last as in training; the candidates
take turns in an order that is shuffled in every round. Figures are medians.
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import _results
import _timing
import jax
import jax.export
import jax.numpy as jnp
import optax

import bcejax

ROUNDS = 15
TURN = 0.05  # seconds
OPTIMIZER = optax.adam(1e-3)

LOSSES = {
    "binary": {
        "bcejax": bcejax.bce_with_logits,
        "optax": optax.sigmoid_binary_cross_entropy,
    },
    "integer softmax": {
        "bcejax": bcejax.softmax_cross_entropy_with_integer_labels,
        "optax": optax.softmax_cross_entropy_with_integer_labels,
    },
}


class Model(NamedTuple):
    """A perceptron of some hidden layers, all as wide as its features are many."""

    layers: int
    width: int
    batch: int
    loss: str = "binary"
    classes: int = 0  # of integer labels; binary ones have a logit and no axis of it

    def __str__(self) -> str:
        layers = f"{self.layers} hidden layer{'s' * (self.layers > 1)}"
        classes = f", {self.classes} classes" * (self.classes > 0)
        kind = layers if self.layers else "no hidden layer"
        return f"{kind}, {self.batch} × {self.width}, {self.loss}{classes}"


MODELS = [
    *(Model(layers, 16, 32) for layers in (1, 4, 16, 64)),
    Model(0, 20, 1000),
    Model(1, 16, 32, "integer softmax", 10),
]


# What is measured


def parameters(model: Model) -> list[tuple[jax.Array, jax.Array]]:
    square = (model.width, model.width)
    last = (model.width, model.classes) if model.classes else (model.width,)
    shapes = [square] * model.layers + [last]
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [
        (jax.random.normal(key, shape) / model.width**0.5, jnp.zeros(shape[1:]))
        for key, shape in zip(keys, shapes, strict=True)
    ]


def logits_of(params, features):
    *hidden, (kernel, bias) = params
    for weights, shift in hidden:
        features = jnp.tanh(features @ weights + shift)
    return features @ kernel + bias


def step_with(loss: Callable) -> Callable:
    def mean_loss(params, features, labels):
        return loss(logits_of(params, features), labels).mean()

    def step(params, state, features, labels):
        value, gradient = jax.value_and_grad(mean_loss)(params, features, labels)
        updates, state = OPTIMIZER.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    return jax.jit(step)


def arguments(model: Model) -> tuple:
    keys = jax.random.split(jax.random.key(1))
    features = jax.random.normal(keys[0], (model.batch, model.width))
    labels = jax.random.randint(keys[1], (model.batch,), 0, model.classes or 2)
    params = parameters(model)
    return params, OPTIMIZER.init(params), features, labels


def is_exported(step: Callable, model: Model) -> bool:
    """Whether JAX can write the step to a file, in which it takes arrays only."""
    leaves, structure = jax.tree.flatten(arguments(model))

    def step_of_leaves(*leaves):
        return jax.tree.leaves(step(*structure.unflatten(leaves)))

    try:
        return len(jax.export.export(jax.jit(step_of_leaves))(*leaves).serialize()) > 0
    except Exception as refusal:  # what is raised differs from one JAX to the next
        print(f"not exported: {refusal}"[:88])
        return False


# Timing


def training(step: Callable, model: Model, steps: int) -> Callable:
    start = arguments(model)

    def run():
        params, state, features, labels = start
        for _ in range(steps):
            params, state, value = step(params, state, features, labels)
        return value

    return run


def row(model: Model, rounds: int) -> list[str]:
    runs, steps, exported = {}, {}, {}
    for name, loss in LOSSES[model.loss].items():
        step = step_with(loss)
        exported[name] = "yes" if is_exported(step, model) else "no"
        jax.block_until_ready(training(step, model, 10)())
        seconds = _timing.seconds_of(training(step, model, 10)) / 10
        steps[name] = max(10, int(TURN / seconds))
        runs[name] = training(step, model, steps[name])
    seconds = _timing.median_seconds(runs, rounds)
    times = {name: seconds[name] / steps[name] * 1e6 for name in runs}
    ratio = times["bcejax"] / times["optax"]
    return [
        str(model),
        *(f"{times[name]:,.0f}" for name in ("optax", "bcejax")),
        f"{ratio:.2f}×",
        *(exported[name] for name in ("optax", "bcejax")),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds, none written")
    quick = parser.parse_args().quick
    rows = []
    for model in MODELS:
        rows.append(row(model, 3 if quick else ROUNDS))
        print(*rows[-1], sep="  ", flush=True)
    if quick:
        return
    header = ["", "optax, µs", "bcejax, µs", "ratio", "optax exports", "bcejax exports"]
    _results.write(
        "Training steps",
        "Microseconds of one jitted step with Adam in float32, rows × features as they "
        f"are given, medians of {ROUNDS} shuffled rounds. `exports`: "
        "`jax.export.export(step)(...).serialize()` works.\n\n"
        + _results.table(header, rows),
    )


if __name__ == "__main__":
    main()
