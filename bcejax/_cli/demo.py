"""The demo: a loop with optax as anyone writes it, and the exact answer beside it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn import datasets, model_selection, preprocessing

from bcejax import bce_with_logits, logistic_regression
from bcejax._cli import UserError, picture, report

TOLERANCE = 1e-6  # of the largest component of the gradient, where training stops


def objective(params, features, labels, l2):
    """The mean loss, and a penalty of the weights. The last parameter is the bias."""
    weights, bias = params[:-1], params[-1]
    loss = bce_with_logits(features @ weights + bias, labels).mean()
    return loss + l2 / 2 * jnp.sum(weights**2)


def train(optimizer: optax.GradientTransformation, loss, params, steps: int):
    """Parameters where the gradient is 0, or the steps are used up, and the losses."""
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
            return params, losses
        params = moved


def train_by_newton(features, labels, l2, steps: int):
    """The same by `fit`, one step at a time."""
    params, losses = jnp.zeros(features.shape[1] + 1), [float(np.log(2))]
    while True:
        start = params[:-1], params[-1]
        model = logistic_regression.fit(
            features, labels, l2=l2, init=start, max_steps=1
        )
        params = jnp.append(model.weights, model.bias)
        losses.append(float(model.loss))
        if model.gradient_norm <= TOLERANCE or len(losses) > steps:
            return params, losses


def run(optimizer: str, steps: int, learning_rate, l2: float, seed: int, plot) -> None:
    data = datasets.load_breast_cancer()
    parts = model_selection.train_test_split(
        data.data, data.target, test_size=0.2, stratify=data.target, random_state=seed
    )
    scaler = preprocessing.StandardScaler().fit(parts[0])
    parts[:2] = map(scaler.transform, parts[:2])
    x, test_x, y, test_y = map(jnp.asarray, parts)
    print(f"data         Wisconsin breast cancer, 1 = benign, {x.dtype}, {x.device}")
    print(f"             {y.size} training and {test_y.size} test rows")

    loss = partial(objective, features=x, labels=y, l2=l2)
    if optimizer == "newton":
        params, losses = train_by_newton(x, y, l2, steps)
    else:
        make = {"lbfgs": optax.lbfgs, "adam": optax.adam, "sgd": optax.sgd}[optimizer]
        params, losses = train(make(learning_rate), loss, jnp.zeros(31), steps)
    if not np.isfinite(losses[-1]):
        raise UserError("training diverged: lower --learning-rate")
    slope = jnp.abs(jax.grad(loss)(params)).max()
    end = "within" if slope <= TOLERANCE else "not within"
    taken = f"{len(losses) - 1} steps, gradient {slope:.1e}, {end} tolerance"
    print(f"{optimizer:13}{taken}, loss {losses[-1]:.8f}")
    with jax.enable_x64(True):
        exact = logistic_regression.fit(parts[0], parts[2], l2=l2, tol=1e-12)
        covariance = logistic_regression.covariance(exact, parts[0], parts[2], l2=l2)
    weights, sizes = np.asarray(exact.weights), np.asarray(params[:-1])
    if exact.separated:
        print("no optimum   the data are separable: the weights grow until stopped")
    else:
        gap = np.abs(np.append(weights, exact.bias) - params).max()
        print(
            f"fit          {exact.steps} Newton steps in 64 bits, loss {exact.loss:.8f}"
        )
        print(f"             largest difference of the coefficients: {gap:.1e}")

    logits, test_logits = (x @ params[:-1] + params[-1] for x in (x, test_x))
    print(report.scores("training", logits, y))
    print(report.scores("test", test_logits, test_y))
    print("largest coefficients, by the loop and by fit")
    for i in np.argsort(-np.abs(sizes))[:10]:
        print(f"{sizes[i]:+10.4f} {weights[i]:+10.4f}   {data.feature_names[i]}")
    errors = np.sqrt(np.diag(covariance))[:-1]
    optimum = 0.0 if exact.separated else exact.loss
    picture.draw(
        plot,
        partial(picture.training, losses=losses, optimum=optimum),
        partial(picture.calibration, logits=test_logits, labels=test_y),
        partial(
            picture.coefficients, names=data.feature_names, sizes=sizes, errors=errors
        ),
    )
    print(f"picture      {plot}")
