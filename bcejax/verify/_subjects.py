"""What is judged: each element-wise function, where, and by which exact values.

A subject's function takes one example, and is mapped over all of them. It is
differentiated twice in one argument; of a row, the second derivative is the column of
the Hessian that a direction names. A corner is an example whose results must be equal
to those beside it, NaN included; None leaves a result open.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import optax

import bcejax
from bcejax.verify import _exact as exact
from bcejax.verify import _points as at
from bcejax.verify.bounds import DTYPES

INF, NAN = np.inf, np.nan
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


def of_elements() -> list[Subject]:
    """What takes one logit or one probability."""
    return [*_of_logits(), *_of_labels(), *_of_probabilities()]


def plain(*orders):
    return [(order, None) for order in orders]


def _unless_far(x, scale):
    """NaN, for not judged, where e^−|x| is nearly too small to be a normal number.

    There the factors of these second derivatives underflow before their product does,
    which is among the limits that docs/guarantees.md states.
    """
    return np.where(np.abs(x) > (86 if x.dtype == np.float64 else 707), NAN, scale)


def smallest_normal(wide):
    """Of the dtype computed in, given numbers of the dtype that judges it."""
    judged = np.float32 if wide.dtype == np.float64 else np.float64
    return np.finfo(judged).smallest_normal


# Functions of a logit


def _of_logits() -> list[Subject]:
    def logits(dtype, points):
        return (at.logits(dtype, points),)

    def softplus(x):
        return plain(exact.softplus(x), exact.sigmoid(x), exact.sigmoid_slope(x))

    def log_sigmoid(x):
        return plain(-exact.softplus(-x), exact.sigmoid(-x), -exact.sigmoid_slope(x))

    def sigmoid(x):
        slope = exact.sigmoid_slope(x)
        return plain(exact.sigmoid(x), slope, -slope * np.tanh(x / 2))

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
        lost = np.abs(exact.sigmoid_slope(x)) * share < smallest_normal(x)
        lost &= share < 1
        scales = [np.maximum(np.abs(a), np.abs(b)) for a, b in terms]
        return [
            (a + b, np.where(lost, NAN, scale))
            for (a, b), scale in zip(terms, scales, strict=True)
        ]

    def weighted(x, y):  # by 7, where the smaller factor of the product is normal
        lost = exact.sigmoid_slope(x) < smallest_normal(x)
        return [((1 + 6 * y) * value, np.where(lost, NAN, 0)) for value, _ in bce(x, y)]

    def focal(x, y, gamma):
        sign = 1 - 2 * y
        value, slope, curvature, larger = exact.focal(sign * x, gamma)
        larger = _unless_far(x, larger)
        return [(value, None), (sign * slope, None), (curvature, larger)]

    def asymmetric(x, y, gamma_positive, gamma_negative, clip):
        # Of one label, the other being worth 0.
        gamma, clip = np.where(y, gamma_positive, gamma_negative), np.where(y, 0, clip)
        sign = 1 - 2 * y
        (value, of_value), (slope, of_slope), (bent, larger) = exact.shifted_focal(
            sign * x, gamma, clip
        )
        of_slope = np.where(clip == 0, of_slope, _unless_far(x, of_slope))
        larger = _unless_far(x, larger)
        return [(value, of_value), (sign * slope, of_slope), (bent, larger)]

    def asymmetric_inputs(dtype, points):
        x, y = _with_labels(at.logits)(dtype, points)
        settings = [[1, 0, 2], [4, 2.5, 1], [0.05, 0, 0.25]]
        return x, y, *(np.resize(np.array(row, dtype), x.size) for row in settings)

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
            weighted,
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
        Subject(
            "asymmetric_loss",
            "asymmetric",
            lambda x, y, p, n, clip: bcejax.asymmetric_loss(
                x, y, gamma_positive=p, gamma_negative=n, clip=clip
            ),
            asymmetric_inputs,
            asymmetric,
            (
                ((NAN, 1.0, 1.0, 4.0, 0.05), (NAN, NAN, None)),
                ((0.0, NAN, 1.0, 4.0, 0.05), (NAN, NAN, None)),
                ((INF, 1.0, 1.0, 4.0, 0.05), (0, 0, 0)),
                ((-INF, 0.0, 1.0, 4.0, 0.05), (0, 0, 0)),
                ((-INF, 1.0, 1.0, 4.0, 0.05), (INF, -1, 0)),
                ((INF, 0.0, 1.0, 4.0, 0.0), (INF, 1, 0)),
                ((INF, 0.0, 1.0, 4.0, 0.5), (None, 0, 0)),
                ((0.0, 0.0, 1.0, 4.0, 0.5), (0, 0, 0)),
            ),
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
        return plain(value, exact.sigmoid_difference(a, b), exact.sigmoid_slope(b))

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
            dtypes=WIDE if argument else DTYPES,  # 16 bits are computed as 32 are
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
        lost = p**2 < smallest_normal(p)
        larger = np.where(lost, NAN, np.maximum(above, below))
        return [
            (exact.log_odds(p), None),
            (1 / p + 1 / (1 - p), None),
            (above - below, larger),
        ]

    def bce(p, y):
        own, sign = np.where(y == 1, p, 1 - p), 1 - 2 * y
        value = np.where(y == 1, -np.log(p), -np.log1p(-p))
        return plain(value, sign / own, 1 / own**2)

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
