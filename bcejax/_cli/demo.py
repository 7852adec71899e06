"""The demo behind `python -m bcejax`: load, train, compare, report, draw."""

import time
import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from sklearn import datasets, linear_model, metrics, model_selection, preprocessing

import bcejax
from bcejax import logistic_regression
from bcejax._cli import Refused, picture
from bcejax.logistic_regression import _first_order, _outcome, _problem
from bcejax.logistic_regression._objective import objective

TOLERANCE = 1e-6  # of the largest component of the gradient, where training stops
COMPARABLE = 2 * 10**7  # numbers in the training data; beyond, scikit-learn takes long


class Data(NamedTuple):
    name: str
    columns: list[str]
    train: tuple  # features (n, d) and labels (n,)
    test: tuple


class Run(NamedTuple):
    state: _first_order.State
    losses: np.ndarray  # before each step and after the last
    compile_seconds: float
    train_seconds: float


def run(options) -> None:
    picture.check_path(options.plot)
    jax.config.update("jax_enable_x64", options.float64)
    with jax.default_device(_device(options.device)):
        data = _synthetic(options) if options.synthetic else _breast_cancer(options)
        _describe(data)
        problem = _problem.checked_problem(*data.train, options.l2, None, None)
        trained = _train(_solver(options), problem, options.steps)
        if not np.isfinite(trained.losses[-1]):
            raise Refused("training diverged: lower --learning-rate")
        fit = logistic_regression.Fit(*trained.state.params, *[None] * 6)
        best = _optimum(problem)
        _report(options, data, trained, fit, best)
        if options.synthetic:
            _report_throughput(trained.state.params, problem)
        picture.draw(
            options.plot, trained.losses, best and best.loss, *_held_out(fit, data)
        )
        print(f"picture      {options.plot}")


def _device(name: str | None) -> jax.Device:
    try:
        return jax.devices(name)[0]
    except RuntimeError:
        raise Refused(
            f"--device {name}: JAX finds none here, only {jax.default_backend()}"
        ) from None


def _breast_cancer(options) -> Data:
    bunch = datasets.load_breast_cancer()
    train_x, test_x, train_y, test_y = model_selection.train_test_split(
        bunch.data,
        bunch.target,
        test_size=0.2,
        stratify=bunch.target,
        random_state=options.seed,
    )
    scaler = preprocessing.StandardScaler().fit(train_x)
    return Data(
        "Wisconsin breast cancer, label 1 = benign",
        list(bunch.feature_names),
        (jnp.asarray(scaler.transform(train_x)), jnp.asarray(train_y)),
        (jnp.asarray(scaler.transform(test_x)), jnp.asarray(test_y)),
    )


def _synthetic(options) -> Data:
    rows, columns = options.synthetic
    truth_key, *keys = jax.random.split(jax.random.key(options.seed), 3)
    truth = jax.random.normal(truth_key, (columns,)) / np.sqrt(columns)

    @partial(jax.jit, static_argnums=1)
    def draw(key, n):
        features_key, labels_key = jax.random.split(key)
        features = jax.random.normal(features_key, (n, columns))
        probs = bcejax.sigmoid(3 * features @ truth - 1)
        return features, jax.random.bernoulli(labels_key, probs).astype(jnp.int8)

    return Data(
        "synthetic, standard normal features",
        [f"column {i}" for i in range(columns)],
        draw(keys[0], rows),
        draw(keys[1], rows // 4),
    )


def _describe(data: Data) -> None:
    features, labels = data.train
    device = next(iter(features.devices()))
    constant = bcejax.optimal_logit(labels)
    loss = bcejax.bce_with_logits(jnp.full(labels.shape, constant), labels).mean()
    print(f"bcejax       jax {jax.__version__}, {device.device_kind}, {features.dtype}")
    print(f"data         {data.name}")
    print(
        f"             {features.shape[0]} training and {data.test[1].size} test rows, "
        f"{features.shape[1]} columns, {labels.mean():.1%} positive"
    )
    print(f"constant     best logit {constant:.4f}, training loss {loss:.4f} nats")


def _solver(options) -> str | optax.GradientTransformation:
    rate = options.learning_rate
    return {
        "lbfgs": "lbfgs",
        "adam": optax.adam(rate or 0.1),
        "sgd": optax.sgd(rate or 1.0),
    }[options.optimizer]


def _train(solver, problem: _problem.Problem, steps: int) -> Run:
    """The loop of `logistic_regression.fit`, step by step for the progress bar."""
    clock = time.perf_counter()
    weights = jnp.zeros_like(problem.features[0])
    begin, advance = (
        jax.jit(lambda at, data, f=f: f(solver, at, partial(objective, data=data)))
        for f in (_first_order.begin, _first_order.advance)
    )
    state = begin(_problem.Params(weights, weights[0]), problem)
    advance = advance.lower(state, problem).compile()
    gradient_norm = jax.jit(_gradient_norm).lower(state).compile()
    compile_seconds = time.perf_counter() - clock

    clock = time.perf_counter()
    losses = [float(state.loss)]
    with tqdm.tqdm(total=steps, unit="step", leave=False, disable=None) as bar:
        while len(losses) <= steps and gradient_norm(state) > TOLERANCE:
            state = advance(state, problem)
            losses.append(float(state.loss))
            bar.set_postfix(loss=losses[-1], refresh=False)
            bar.update()
    return Run(state, np.array(losses), compile_seconds, time.perf_counter() - clock)


def _gradient_norm(state: _first_order.State) -> jax.Array:
    return _outcome.max_norm(state.gradient)


class Optimum(NamedTuple):
    loss: float
    weights: np.ndarray
    bias: float


def _optimum(problem: _problem.Problem) -> Optimum | None:
    """scikit-learn's optimum in float64, if there is one and it does not take long."""
    if problem.features.size > COMPARABLE:
        return None
    x, y = np.asarray(problem.features, np.float64), np.asarray(problem.labels)
    l2 = float(problem.l2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it may find none: that is asked below
        model = linear_model.LogisticRegression(
            C=1 / (l2 * len(y)) if l2 else np.inf,
            solver="newton-cholesky",
            tol=1e-10,
            max_iter=1000,
        ).fit(x, y)
    weights, bias = model.coef_[0], model.intercept_[0]
    found = _problem.Params(jnp.asarray(weights), jnp.asarray(bias))
    if _outcome.separated(found, jax.tree.map(jnp.zeros_like, found), problem):
        print("no optimum   the data are separable: the weights grow until stopped")
        return None
    signed = np.where(y == 1, -1, 1) * (x @ weights + bias)
    loss = np.logaddexp(0, signed).mean() + l2 / 2 * weights @ weights
    return Optimum(loss, weights, bias)


def _held_out(fit, data: Data) -> tuple[np.ndarray, np.ndarray]:
    features, labels = data.test
    return np.asarray(logistic_regression.predict_probs(fit, features)), labels


def _report(options, data: Data, trained: Run, fit, best) -> None:
    state = trained.state
    norm = float(_gradient_norm(state))
    end = "within tolerance" if norm <= TOLERANCE else "not within tolerance"
    print(f"{options.optimizer:13}{state.steps} steps, gradient {norm:.1e}, {end}")
    print(
        f"seconds      {trained.compile_seconds:.2f} to compile, "
        f"{trained.train_seconds:.3f} to train"
    )
    print(f"{'':13}{'train':>10}{'test':>10}")
    scores = [_scores(fit, *part) for part in (data.train, data.test)]
    for name in scores[0]:
        print(f"{name:13}" + "".join(f"{score[name]:10.4f}" for score in scores))
    weights = np.asarray(fit.weights)
    if best:
        gap = max(np.abs(weights - best.weights).max(), abs(fit.bias - best.bias))
        print(f"largest difference to scikit-learn's coefficients: {gap:.1e}")
    print("largest coefficients")
    for i in np.argsort(-np.abs(weights))[:10]:
        print(f"{weights[i]:+10.4f}   {data.columns[i]}")


def _scores(fit, features, labels) -> dict[str, float]:
    logits = logistic_regression.predict_logits(fit, features)
    loss = float(bcejax.bce_with_logits(logits, labels).mean())
    probs, labels = np.asarray(bcejax.sigmoid(logits)), np.asarray(labels)
    return {
        "loss, nats": loss,
        "loss, bits": loss / np.log(2),
        "accuracy": metrics.accuracy_score(labels, probs > 0.5),
        "ROC AUC": metrics.roc_auc_score(labels, probs),
        "Brier score": metrics.brier_score_loss(labels, probs),
    }


def _report_throughput(params, problem: _problem.Problem) -> None:
    gradient = jax.jit(jax.value_and_grad(objective))
    jax.block_until_ready(gradient(params, problem))
    seconds = []
    for _ in range(7):
        clock = time.perf_counter()
        jax.block_until_ready(gradient(params, problem))
        seconds.append(time.perf_counter() - clock)
    second = float(np.median(seconds))
    rows, size = len(problem.labels), problem.features.nbytes
    print(
        f"one gradient {second * 1e3:.2f} ms: {rows / second:.3g} rows/s, "
        f"features at {size / second / 1e9:.3g} GB/s"
    )
