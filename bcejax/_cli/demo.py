"""The demo: a loop with optax as anyone writes it, and the exact answer beside it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow as pa
from sklearn import datasets, preprocessing

from bcejax import bce_with_logits
from bcejax._cli import UserError, dataset, picture, report, training
from bcejax._cli.table import of_table

TOLERANCE = 1e-6  # of the largest component of the gradient, where training stops


def objective(params, features, labels, l2):
    """The mean loss, and a penalty of the weights. The last parameter is the bias."""
    weights, bias = params[:-1], params[-1]
    loss = bce_with_logits(features @ weights + bias, labels).mean()
    return loss + l2 / 2 * jnp.sum(weights**2)


def train(optimizer: optax.GradientTransformation, loss, params, steps: int):
    """Train until the gradient is within TOLERANCE, or the steps are used up.

    Returns the parameters, the largest component of the gradient, and the losses.
    """
    optimizer = optax.with_extra_args_support(optimizer)
    state, losses = optimizer.init(params), []

    @jax.jit
    def step(params, state):
        value, grad = jax.value_and_grad(loss)(params)
        for_line_search = {"value": value, "grad": grad, "value_fn": loss}
        update, state = optimizer.update(grad, state, params, **for_line_search)
        return optax.apply_updates(params, update), state, value, jnp.abs(grad).max()

    while True:
        moved, state, value, slope = step(params, state)
        losses.append(float(value))
        if slope <= TOLERANCE or len(losses) > steps:
            return params, slope, np.array(losses)
        params = moved


def newton() -> optax.GradientTransformationExtraArgs:
    """Newton's method as an optimiser: it also asks for the second derivative."""

    def update(gradient, state, params, *, value_fn, **_):
        return -jnp.linalg.solve(jax.hessian(value_fn)(params), gradient), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


OPTIMIZERS = {
    "lbfgs": optax.lbfgs,
    "adam": partial(optax.adam, learning_rate=0.1),
    "sgd": partial(optax.sgd, learning_rate=1.0),
    "newton": newton,
}


def run(optimizer: str, learning_rate, plot, steps: int, l2: float, seed: int) -> None:
    bunch = datasets.load_breast_cancer(as_frame=False)
    columns = dict(zip(bunch.feature_names, bunch.data.T, strict=True))
    table = pa.table(columns | {"benign": bunch.target})
    with jax.enable_x64(True):
        options = {"label": "benign", "test_fraction": 0.2, "seed": seed}
        data = dataset.load(of_table(table), options, l2=l2, standardized=True)
        trained = training.train(data, seed)
    print(report.data(data, "Wisconsin breast cancer"))

    model, exact, rows = data.model, trained.fit, data.all_rows
    x, y = jnp.asarray(preprocessing.scale(rows.features)), jnp.asarray(rows.labels)
    rate = {"learning_rate": learning_rate} if learning_rate else {}
    loss = partial(objective, features=x, labels=y, l2=l2)
    start = jnp.zeros(x.shape[1] + 1)
    params, slope, losses = train(OPTIMIZERS[optimizer](**rate), loss, start, steps)
    if not np.isfinite(losses[-1]):
        raise UserError("training diverged: lower --learning-rate, or raise --l2")
    end = "within" if slope <= TOLERANCE else "not within"
    print(f"{optimizer:13}loss {losses[-1]:.8f}, {x.dtype}, {losses.size - 1} steps")
    print(f"             gradient {slope:.1e}, {end} tolerance")
    print(f"fit          loss {exact.loss:.8f}, float64, {exact.steps} steps")
    sizes, params = model.per_deviation(), np.asarray(params)
    if exact.converged:
        gap = np.abs(sizes - params[:-1]).max()
        print(f"             largest difference of the coefficients: {gap:.1e}")
    else:
        print("no optimum  ", *report.doubts(trained, model, rows.labels.size))
    for part, test in (("training", False), ("test", True)):
        print(report.scores(part, data.scored(test)))
    print("largest coefficients per standard deviation, by the loop and by fit")
    for i in model.largest(10):
        print(f"{params[i]:+10.4f} {sizes[i]:+10.4f}   {model.features[i].name}")
    picture.draw(plot, data, losses - float(exact.loss) * bool(exact.converged))
    print(f"picture      {plot}")
