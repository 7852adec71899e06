"""What is judged: each public function, where, and by which exact values.

A subject's function takes one example, and is mapped over all of them. It is
differentiated twice in one argument; of a row, the second derivative is the column of
the Hessian that a direction names. A corner is an example whose results must be equal
to those beside it, NaN included; None leaves a result open.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import bcejax
from bcejax.verify import _exact as exact
from bcejax.verify import _points as at

INF, NAN = np.inf, np.nan
CLASSES = 10
MANY = 1024


class Subject(NamedTuple):
    name: str
    family: str  # of `bounds.BOUNDS`
    function: Callable  # of one example; its result is a scalar
    inputs: Callable  # of dtype and number of points: one array per argument
    exact: Callable  # of the inputs, widened: (exact, scale or None) per order
    corners: tuple = ()  # ((arguments), (value, slope, curvature))
    peers: dict[str, Callable] = {}  # noqa: RUF012 - it is never written to
    argument: int = 0  # the one to differentiate in
    rows: bool = False  # is the last argument the direction of a second derivative?


def subjects() -> list[Subject]:
    return [*_of_logits(), *_of_labels(), *_of_probabilities(), *_of_rows()]


def _plain(*orders):
    return [(order, None) for order in orders]


# Functions of a logit


def _of_logits() -> list[Subject]:
    def logits(dtype, points):
        return (at.logits(dtype, points),)

    def softplus(x):
        return _plain(exact.softplus(x), exact.sigmoid(x), exact.sigmoid_slope(x))

    def log_sigmoid(x):
        return _plain(
            -exact.softplus(-x), exact.sigmoid(-x), -exact.sigmoid_slope(x)
        )

    def sigmoid(x):
        slope = exact.sigmoid_slope(x)
        return _plain(exact.sigmoid(x), slope, -slope * np.tanh(x / 2))

    def entropy(x):
        a, h = np.abs(x), exact.sigmoid_slope(x)
        value = exact.zero_times(exact.sigmoid(-a), a) + exact.tail(x)
        bend = np.minimum(a, 1e300) * np.tanh(a / 2)
        far = a > (707 if x.dtype == np.longdouble else 86)  # see the README's limits
        larger = np.where(far, 0, h * np.maximum(bend, 1))
        return [(value, None), (-h * np.where(h == 0, 0, x), None), (h * (bend - 1), larger)]

    nan = ((NAN,), (NAN, NAN, NAN))
    return [
        Subject(
            "sigmoid",
            "sigmoid",
            bcejax.sigmoid,
            logits,
            sigmoid,
            (nan, ((INF,), (1, 0, 0)), ((-INF,), (0, 0, 0)), ((0.0,), (0.5, 0.25, 0))),
            {"jax.nn": jax.nn.sigmoid},
        ),
        Subject(
            "log_sigmoid",
            "sigmoid",
            bcejax.log_sigmoid,
            logits,
            log_sigmoid,
            (
                nan,
                ((INF,), (0, 0, 0)),
                ((-INF,), (-INF, 1, 0)),
                ((0.0,), (None, 0.5, -0.25)),
            ),
            {"jax.nn": jax.nn.log_sigmoid},
        ),
        Subject(
            "softplus",
            "sigmoid",
            bcejax.softplus,
            logits,
            softplus,
            (
                nan,
                ((INF,), (INF, 1, 0)),
                ((-INF,), (0, 0, 0)),
                ((0.0,), (None, 0.5, 0.25)),
            ),
            {"jax.nn": jax.nn.softplus},
        ),
        Subject(
            "bernoulli_entropy",
            "bernoulli",
            bcejax.bernoulli_entropy,
            logits,
            entropy,
            (((NAN,), (NAN, NAN, None)), ((INF,), (0, 0, None)), ((-INF,), (0, 0, None))),
        ),
    ]


# Losses of a logit and a label


def _with_labels(points_of):
    """The inputs once with label 0 and once with label 1."""

    def inputs(dtype, points):
        x = points_of(dtype, points)
        return np.concatenate([x, x]), np.repeat(np.arange(2), x.size).astype(dtype)

    return inputs


BINARY_CORNERS = (
    ((NAN, 1.0), (NAN, NAN, NAN)),
    ((0.0, NAN), (NAN, NAN, None)),
    ((INF, 1.0), (0, 0, 0)),
    ((-INF, 0.0), (0, 0, 0)),
    ((INF, 0.0), (INF, 1, 0)),
    ((-INF, 1.0), (INF, -1, 0)),
    ((0.0, 0.0), (None, 0.5, 0.25)),
    ((0.0, 1.0), (None, -0.5, 0.25)),
)


def _of_labels() -> list[Subject]:
    def bce(x, y):
        sign = 1 - 2 * y
        u = sign * x
        return _plain(
            exact.softplus(u), sign * exact.sigmoid(u), exact.sigmoid_slope(x)
        )

    def soft_bce(x, y):  # a sum of two terms: in ulp of the sum, or of the larger slope
        one, none = bce(x, np.ones_like(y)), bce(x, np.zeros_like(y))
        terms = [(y * a, (1 - y) * b) for (a, _), (b, _) in zip(one, none, strict=True)]
        return [(a + b, np.maximum(np.abs(a), np.abs(b))) for a, b in terms]

    def soft(dtype, points):
        x = at.logits(dtype, points)
        x = x[np.abs(x.astype(np.float64)) < 1e30]
        return x, np.full_like(x, 0.3)

    def focal(x, y, gamma):
        sign = 1 - 2 * y
        value, slope, curvature, larger = exact.focal(sign * x, gamma)
        far = np.abs(x) > (707 if x.dtype == np.longdouble else 86)
        larger = np.where(far, 0, larger)
        return [(value, None), (sign * slope, None), (curvature, larger)]

    def focal_inputs(dtype, points):
        x, y = _with_labels(at.logits)(dtype, points)
        gamma = np.resize(np.array([0, 0.5, 1, 2, 5], dtype), x.size)
        return x, y, gamma

    return [
        Subject(
            "bce_with_logits",
            "sigmoid",
            bcejax.bce_with_logits,
            _with_labels(at.logits),
            bce,
            BINARY_CORNERS,
            {"optax": optax.sigmoid_binary_cross_entropy},
        ),
        Subject(
            "bce_with_logits, label 0.3",
            "sigmoid",
            bcejax.bce_with_logits,
            soft,
            soft_bce,
            peers={"optax": optax.sigmoid_binary_cross_entropy},
        ),
        Subject(
            "sigmoid_focal_loss",
            "focal",
            lambda x, y, g: bcejax.sigmoid_focal_loss(x, y, gamma=g),
            focal_inputs,
            focal,
            tuple(
                ((*arguments, 2.0), (*results[:2], None))
                for arguments, results in BINARY_CORNERS
                if arguments[0] != 0
            ),
            {"optax": lambda x, y, g: optax.sigmoid_focal_loss(x, y, gamma=g)},
        ),
        *_of_pairs(),
    ]


def _of_pairs() -> list[Subject]:
    def in_a(a, b):
        h, distance = exact.sigmoid_slope(a), a - b
        bend = -distance * np.tanh(a / 2)
        return [
            (exact.bernoulli_divergence(a, b), None),
            (h * distance, None),
            (h * (1 + bend), h * np.maximum(1, np.abs(bend))),
        ]

    def in_b(a, b):
        value = exact.bernoulli_divergence(a, b)
        return _plain(value, exact.sigmoid_difference(a, b), exact.sigmoid_slope(b))

    corners = (
        ((NAN, 0.0), (NAN, NAN, None)),
        ((0.0, NAN), (NAN, NAN, None)),
        ((INF, INF), (0, 0, None)),
        ((0.0, INF), (INF, None, None)),
        ((0.5, 0.5), (0, 0, None)),
    )
    return [
        Subject(
            f"bernoulli_kl_divergence in {name}",
            "bernoulli",
            bcejax.bernoulli_kl_divergence,
            at.logit_pairs,
            formula,
            corners,
            argument=argument,
        )
        for argument, (name, formula) in enumerate({"p": in_a, "q": in_b}.items())
    ]


# Functions of a probability


def _of_probabilities() -> list[Subject]:
    def probabilities(dtype, points):
        return (at.probabilities(dtype, points),)

    def logit(p):
        below, above = 1 / p**2, 1 / (1 - p) ** 2
        return [
            (exact.log_odds(p), None),
            (1 / p + 1 / (1 - p), None),
            (above - below, np.maximum(above, below)),
        ]

    def bce(p, y):
        own, sign = np.where(y == 1, p, 1 - p), 1 - 2 * y
        value = np.where(y == 1, -np.log(p), -np.log1p(-p))
        return _plain(value, sign / own, 1 / own**2)

    def smoothed(y, amount):
        value, rate = y * (1 - amount) + amount / 2, 1 - amount
        return [(value, None), (rate, None), (np.zeros_like(y), None)]

    def smoothing(dtype, points):
        y = at.probabilities(dtype, points)
        return y, np.resize(np.array([0.001, 0.1, 0.5], dtype), y.size)

    return [
        Subject(
            "logit",
            "probability",
            bcejax.logit,
            probabilities,
            logit,
            (
                ((NAN,), (NAN, NAN, None)),
                ((0.0,), (-INF, INF, None)),
                ((1.0,), (INF, INF, None)),
                ((0.5,), (0, 4, 0)),
            ),
            {"jax.scipy": jax.scipy.special.logit},
        ),
        Subject(
            "bce_with_probs",
            "probability",
            bcejax.bce_with_probs,
            _with_labels(at.probabilities),
            bce,
            (
                ((NAN, 1.0), (NAN, NAN, None)),
                ((1.0, 1.0), (0, -1, 1)),
                ((0.0, 0.0), (0, 1, 1)),
                ((0.0, 1.0), (INF, -INF, INF)),
                ((1.0, 0.0), (INF, INF, INF)),
            ),
        ),
        Subject(
            "smooth_labels",
            "probability",
            bcejax.smooth_labels,
            smoothing,
            smoothed,
            (((NAN, 0.1), (NAN, None, None)), ((0.0, 0.0), (0, 1, 0))),
        ),
    ]


# Functions of rows


def _of_rows() -> list[Subject]:
    return [
        *_softmax("softmax", CLASSES, 512),
        *_softmax("softmax of many", MANY, 48),
        *_information(),
    ]


def _softmax(family: str, classes: int, most_rows: int) -> list[Subject]:
    """The three functions as losses of a row and its label, and of soft labels."""
    title = f", {classes} classes"

    def hard(dtype, points):
        rows = min(points, most_rows)
        label = at.labels(rows, classes)
        return at.logit_rows(dtype, rows, classes), label, label

    def soft(dtype, points):
        x, label, direction = hard(dtype, points)
        rng = np.random.default_rng(4)
        y = 0.1 * rng.dirichlet(np.ones(classes), len(x))
        y[np.arange(len(x)), label] += 0.9
        return x, y.astype(dtype), direction

    def exact_soft(x, y, direction):
        value, slope, larger = exact.softmax_loss(x, y)
        curvature = exact.softmax_curvature(x, np.sum(y, -1), direction)
        return [(value, None), (slope, larger), (curvature, None)]

    def exact_hard(x, label, direction):
        return exact_soft(x, np.eye(classes, dtype=x.dtype)[label], direction)

    def one_hot(x, label):
        return jnp.arange(x.size) == label

    def functions(log_softmax, dense, integer):
        return {
            "log_softmax": lambda x, label: -log_softmax(x)[label],
            "softmax_cross_entropy": lambda x, label: dense(x, one_hot(x, label)),
            "softmax_cross_entropy_with_integer_labels": integer,
        }

    ours = functions(
        bcejax.log_softmax,
        bcejax.softmax_cross_entropy,
        bcejax.softmax_cross_entropy_with_integer_labels,
    )
    theirs = functions(
        jax.nn.log_softmax,
        optax.softmax_cross_entropy,
        optax.softmax_cross_entropy_with_integer_labels,
    )
    corners = _softmax_corners(classes)
    found = [
        Subject(
            name.replace("_with", " with").replace("_labels", " labels") + title,
            family,
            function,
            hard,
            exact_hard,
            corners,
            {"jax.nn" if name == "log_softmax" else "optax": theirs[name]},
            rows=True,
        )
        for name, function in ours.items()
    ]
    soft_labels = Subject(
        f"softmax_cross_entropy soft{title}",
        family,
        bcejax.softmax_cross_entropy,
        soft,
        exact_soft,
        peers={"optax": optax.softmax_cross_entropy},
        rows=True,
    )
    return [*found, soft_labels]


def _softmax_corners(classes: int) -> tuple:
    rest = [0.0] * (classes - 1)
    nothing = np.zeros(classes)
    wrong = np.array([1.0, -1.0, *rest[1:]])
    nan = np.full(classes, NAN)
    return (
        (([NAN, *rest], 1, 0), (NAN, nan, None)),
        (([INF, *rest], 0, 0), (0, nothing, None)),
        (([INF, *rest], 1, 0), (INF, wrong, None)),
        (([0.0, *([-INF] * (classes - 1))], 0, 0), (0, nothing, None)),
        (([0.0, *([-INF] * (classes - 1))], 1, 0), (INF, wrong, None)),
    )


def _information() -> list[Subject]:
    def pairs(dtype, points):
        rows = min(points, 512)
        return *at.distributions(dtype, rows, CLASSES), at.labels(rows, CLASSES)

    def column(diagonal, direction):
        return np.where(np.arange(CLASSES) == direction[:, None], diagonal, 0)

    def entropy(p, q, k):
        slope, scale = -1 - np.log(p), np.maximum(1, np.abs(np.log(p)))
        value = np.sum(-p * np.log(p), -1)
        return [(value, None), (slope, scale), (column(-1 / p, k), None)]

    def cross_entropy(p, q, k):
        value = np.sum(-p * np.log(q), -1)
        return _plain(value, -p / q, column(p / q**2, k))

    def divergence_in_p(p, q, k):
        value = np.sum(exact.divergence_terms(p, q), -1)
        return _plain(value, _log_quotient(p, q), column(1 / p, k))

    def divergence_in_q(p, q, k):
        value = np.sum(exact.divergence_terms(p, q), -1)
        return _plain(value, (q - p) / q, column(p / q**2, k))

    def only_p(function):
        return lambda p, q: function(p)

    def sum_of(function):
        return lambda p, q: jnp.sum(function(p, q))

    entr, kl_div = jax.scipy.special.entr, jax.scipy.special.kl_div
    even = [1 / 8] * 8 + [0.0] * (CLASSES - 8)
    nan = [NAN, *even[1:]]
    first = [1.0] + [0.0] * (CLASSES - 1)
    last = first[::-1]
    theirs = {"jax.scipy": sum_of(kl_div)}
    both_nan = (((nan, even, 0), (NAN, None, None)), ((even, nan, 0), (NAN, None, None)))
    of_pairs = (*both_nan, ((first, last, 0), (INF, None, None)))
    same = ((first, first, 0), (0, None, None))
    listed = [
        (
            "entropy",
            only_p(bcejax.entropy),
            entropy,
            (both_nan[0], ((first, first, 0), (0, None, None))),
            {"jax.scipy": sum_of(lambda p, q: entr(p))},
        ),
        ("cross_entropy in q", bcejax.cross_entropy, cross_entropy, (*of_pairs, same), {}),
        ("kl_divergence in p", bcejax.kl_divergence, divergence_in_p, of_pairs, theirs),
        (
            "kl_divergence in q",
            bcejax.kl_divergence,
            divergence_in_q,
            (*of_pairs, same),
            theirs,
        ),
    ]
    return [
        Subject(
            name,
            "information",
            function,
            pairs,
            formula,
            corners,
            peers,
            argument=int(name.endswith("in q")),
            rows=True,
        )
        for name, function, formula, corners, peers in listed
    ]


def _log_quotient(p, q):
    near = np.abs(p - q) < 0.5 * q
    return np.where(near, np.log1p((p - q) / q), np.log(p / q))
