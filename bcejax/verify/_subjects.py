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
from bcejax.verify.bounds import DTYPES

INF, NAN = np.inf, np.nan
FEW = 3
CLASSES = 10  # of distributions
MANY = 1024
WIDE = ("float32", "float64")


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
    dtypes: tuple[str, ...] = DTYPES
    closed_forms: tuple[Callable, ...] | None = None  # instead of derivatives


def subjects() -> list[Subject]:
    return [*_of_logits(), *_of_labels(), *_of_probabilities(), *_of_rows()]


def _plain(*orders):
    return [(order, None) for order in orders]


def _unless_far(x, scale):
    """NaN, for not judged, where e^−|x| is nearly too small to be a normal number.

    There the factors of these second derivatives underflow before their product does,
    which is among the limits that the README states.
    """
    return np.where(np.abs(x) > (86 if x.dtype == np.float64 else 707), NAN, scale)


def _smallest_normal(wide):
    """Of the dtype computed in, given numbers of the dtype that judges it."""
    judged = np.float32 if wide.dtype == np.float64 else np.float64
    return np.finfo(judged).smallest_normal


# Functions of a logit


def _of_logits() -> list[Subject]:
    def logits(dtype, points):
        return (at.logits(dtype, points),)

    def softplus(x):
        return _plain(exact.softplus(x), exact.sigmoid(x), exact.sigmoid_slope(x))

    def log_sigmoid(x):
        return _plain(-exact.softplus(-x), exact.sigmoid(-x), -exact.sigmoid_slope(x))

    def sigmoid(x):
        slope = exact.sigmoid_slope(x)
        return _plain(exact.sigmoid(x), slope, -slope * np.tanh(x / 2))

    def entropy(x):
        a, h = np.abs(x), exact.sigmoid_slope(x)
        value = exact.zero_times(exact.sigmoid(-a), a) + exact.tail(x)
        bend = np.minimum(a, 1e300) * np.tanh(a / 2)
        slope = -h * np.where(h == 0, 0, x)
        larger = _unless_far(x, h * np.maximum(bend, 1))
        return [(value, None), (slope, None), (h * (bend - 1), larger)]

    nan = ((NAN,), (NAN, NAN, NAN))
    return [
        Subject(
            "sigmoid",
            "sigmoid itself",
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
            (
                ((NAN,), (NAN, NAN, None)),
                ((INF,), (0, 0, None)),
                ((-INF,), (0, 0, None)),
            ),
        ),
    ]


# Losses of a logit and a label


def _with_labels(points_of, labels=(0, 1)):
    """The inputs once with each label."""

    def inputs(dtype, points):
        x = points_of(dtype, points)
        y = np.repeat(np.array(labels), x.size).astype(dtype)
        return np.concatenate([x] * len(labels)), y

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
    def hard(x, sign):
        u = sign * x
        return exact.softplus(u), sign * exact.sigmoid(u), exact.sigmoid_slope(x)

    def bce(x, y):  # a sum of two terms, which cancel in the slope of a soft label
        terms = [
            (exact.zero_times(y, positive), exact.zero_times(1 - y, negative))
            for positive, negative in zip(hard(x, -1), hard(x, 1), strict=True)
        ]
        # Where the smaller term underflows, the sum is off by as much as that.
        share = np.where((y == 0) | (y == 1), 1, np.minimum(y, 1 - y))
        lost = np.abs(exact.sigmoid_slope(x)) * share < _smallest_normal(x)
        lost &= share < 1
        scales = [np.maximum(np.abs(a), np.abs(b)) for a, b in terms]
        return [
            (a + b, np.where(lost, NAN, scale))
            for (a, b), scale in zip(terms, scales, strict=True)
        ]

    def focal(x, y, gamma):
        sign = 1 - 2 * y
        value, slope, curvature, larger = exact.focal(sign * x, gamma)
        larger = _unless_far(x, larger)
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
            _with_labels(at.logits, (0, 1, 0.3)),
            bce,
            BINARY_CORNERS,
            {"optax": optax.sigmoid_binary_cross_entropy},
        ),
        Subject(
            "bce_with_logits_grad and _hessian",
            "sigmoid",
            bcejax.bce_with_logits,
            _with_labels(at.logits, (0, 1, 0.3)),
            bce,
            BINARY_CORNERS,
            closed_forms=(
                bcejax.bce_with_logits,
                bcejax.bce_with_logits_grad,
                bcejax.bce_with_logits_hessian,
            ),
        ),
        Subject(
            "bce_with_logits, pos_weight 7",
            "sigmoid",
            lambda x, y: bcejax.bce_with_logits(x, y, pos_weight=7.0),
            _with_labels(at.logits),
            lambda x, y: [((1 + 6 * y) * value, scale) for value, scale in bce(x, y)],
            tuple(
                (arguments, tuple(r and r * (1 + 6 * arguments[1]) for r in results))
                for arguments, results in BINARY_CORNERS
                if arguments[1] in (0, 1)
            ),
            dtypes=WIDE,
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
        # Where p² underflows, so does a factor of the second derivative.
        lost = p**2 < _smallest_normal(p)
        larger = np.where(lost, NAN, np.maximum(above, below))
        return [
            (exact.log_odds(p), None),
            (1 / p + 1 / (1 - p), None),
            (above - below, larger),
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
        *_softmax("softmax", FEW, 512),
        *(
            # log_softmax sums as the dense loss does, and 16 bits as 32 do.
            subject._replace(dtypes=WIDE)
            for subject in _softmax("softmax of many", MANY, 48)[1:]
        ),
        *_information(),
        _optimal_logit(),
    ]


def _softmax(family: str, classes: int, most_rows: int) -> list[Subject]:
    """The three functions, the dense one with labels of one class and soft ones."""

    def hard(dtype, points):
        rows = min(points, most_rows)
        label = at.labels(rows, classes)
        return at.logit_rows(dtype, rows, classes), label, label

    def dense(dtype, points):
        x, label, direction = hard(dtype, points)
        rng = np.random.default_rng(4)
        y = np.eye(classes)[label]
        y[1::2] = 0.9 * y[1::2] + 0.1 * rng.dirichlet(np.ones(classes), len(y[1::2]))
        return x, y.astype(dtype), direction

    def exact_dense(x, y, direction):
        value, slope, larger = exact.softmax_loss(x, y)
        curvature = exact.softmax_curvature(x, np.sum(y, -1), direction)
        # Where the product with the smallest label underflows, so does a term of it.
        least = np.min(np.where(y > 0, y, 1), -1, keepdims=True)
        scale = np.where(np.abs(curvature) * least < _smallest_normal(x), NAN, 0)
        return [(value, None), (slope, larger), (curvature, scale)]

    def exact_hard(x, label, direction):
        return exact_dense(x, np.eye(classes, dtype=x.dtype)[label], direction)

    def at_label(log_softmax):
        return lambda x, label: -log_softmax(x)[label]

    def subject(name, function, inputs, formula, corners, peer):
        title = f"{name}, {classes} classes"
        arguments = title, family, function, inputs, formula, corners, peer
        return Subject(*arguments, rows=True)

    corners = _softmax_corners(classes)
    dense_corners = tuple(
        ((x, np.eye(classes)[label], k), expected)
        for (x, label, k), expected in corners
    )
    losses = bcejax, optax
    dense_loss, optax_dense = (of.softmax_cross_entropy for of in losses)
    integer, optax_integer = (
        of.softmax_cross_entropy_with_integer_labels for of in losses
    )
    return [
        subject(
            "log_softmax",
            at_label(bcejax.log_softmax),
            hard,
            exact_hard,
            corners,
            {"jax.nn": at_label(jax.nn.log_softmax)},
        ),
        subject(
            "softmax_cross_entropy",
            dense_loss,
            dense,
            exact_dense,
            dense_corners,
            {"optax": optax_dense},
        ),
        subject(
            "softmax_cross_entropy_with_integer_labels",
            integer,
            hard,
            exact_hard,
            corners,
            {"optax": optax_integer},
        ),
    ]


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
    both_nan = (
        ((nan, even, 0), (NAN, None, None)),
        ((even, nan, 0), (NAN, None, None)),
    )
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
        (
            "cross_entropy in q",
            bcejax.cross_entropy,
            cross_entropy,
            (*of_pairs, same),
            {},
        ),
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


def _optimal_logit() -> Subject:
    """Of 64 labels, of which 1 to 63 are ones."""
    n = 64

    def inputs(dtype, points):
        ones = np.arange(1, n)
        labels = (np.arange(n) < ones[:, None]).astype(dtype)
        return labels, ones.astype(np.int32)

    def formula(labels, _):
        ones, zeros = np.sum(labels, -1), np.sum(1 - labels, -1)
        both, above, below = np.ones_like(labels), 1 / zeros**2, 1 / ones**2
        return [
            (exact.log_odds(ones / n), None),
            (both * (1 / ones + 1 / zeros)[:, None], None),
            (
                # Each element, since the sums are all that the labels enter by.
                both * (above - below)[:, None],
                both * np.maximum(above, below)[:, None],
            ),
        ]

    corners = (
        (([0.0] * n, 0), (-INF, None, None)),
        (([1.0] * n, 0), (INF, None, None)),
        (([NAN] * n, 0), (NAN, None, None)),
    )
    return Subject(
        "optimal_logit",
        "probability",
        bcejax.optimal_logit,
        inputs,
        formula,
        corners,
        rows=True,
        dtypes=WIDE,
    )
