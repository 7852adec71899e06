"""What is judged: each function of a row of logits, probabilities or labels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import bcejax
from bcejax.verify import _exact as exact
from bcejax.verify import _points as at
from bcejax.verify._head_subjects import of_heads
from bcejax.verify._softmax_subjects import of_softmax_information
from bcejax.verify._subjects import INF, NAN, WIDE, Subject, plain, smallest_normal
from bcejax.verify.bounds import DTYPES

FEW = 3
CLASSES = 10  # of distributions
MANY = 1024


def of_rows() -> list[Subject]:
    return [
        *_softmax("softmax", FEW, 512),
        *(
            # log_softmax sums as the dense loss does, and 16 bits as 32 do.
            subject._replace(dtypes=WIDE)
            for subject in _softmax("softmax of many", MANY, 48)[1:]
        ),
        *of_softmax_information(),
        *of_heads(),
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
        scale = np.where(np.abs(curvature) * least < smallest_normal(x), NAN, 0)
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
        return plain(value, -p / q, column(p / q**2, k))

    def divergence_in_p(p, q, k):
        value = np.sum(exact.divergence_terms(p, q), -1)
        return plain(value, _log_quotient(p, q), column(1 / p, k))

    def divergence_in_q(p, q, k):
        value = np.sum(exact.divergence_terms(p, q), -1)
        return plain(value, (q - p) / q, column(p / q**2, k))

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
            # 16 bits are computed as 32 are.
            dtypes=WIDE if name == "kl_divergence in q" else DTYPES,
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
