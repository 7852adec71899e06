"""What is judged: logsumexp, entropy and divergence of rows of logits."""

import jax
import numpy as np

import bcejax
from bcejax.verify import _exact as exact
from bcejax.verify import _points as at
from bcejax.verify._subjects import INF, NAN, WIDE, Subject, smallest_normal
from bcejax.verify.bounds import DTYPES

CLASSES = 10


def of_softmax_information() -> list[Subject]:
    return [*_of_one_row(), *_of_pairs()]


def _of_one_row() -> list[Subject]:
    """logsumexp, and the entropy of softmax."""

    def inputs(dtype, points):
        rows = min(points, 512)
        return at.logit_rows(dtype, rows, CLASSES), at.labels(rows, CLASSES)

    def logsumexp(x, k):
        minus_log_p, p, _ = exact.softmax_parts(x)
        top, over = np.max(x, -1), np.min(minus_log_p, -1)
        curvature = exact.softmax_curvature(x, np.ones(len(x)), k)
        larger = np.maximum(np.abs(top), over)
        return [(top + over, larger), (p, None), (curvature, None)]

    def entropy(x, k):
        minus_log_p, p, q = exact.softmax_parts(x)
        gap = np.max(x, -1, keepdims=True) - x
        mean = np.sum(p * gap, -1, keepdims=True)
        slope, larger = p * (gap - mean), p * np.maximum(gap, mean)
        # c (s − p) − p s_k, where c = e_k − p_k
        own, k = np.arange(CLASSES) == k[:, None], k[:, None]
        c = np.where(own, q, -np.take_along_axis(p, k, -1))
        of_k = p * np.take_along_axis(slope, k, -1)
        scale = np.abs(c) * np.maximum(p, larger)
        scale = np.maximum(scale, p * np.take_along_axis(larger, k, -1))
        scale = np.where(scale < 1e3 * smallest_normal(x), NAN, scale)
        return [
            (np.sum(p * minus_log_p, -1), None),
            (slope, larger),
            (c * (slope - p) - of_k, scale),
        ]

    rest = [0.0] * (CLASSES - 1)
    none, first = np.zeros(CLASSES), np.eye(CLASSES)[0]
    nan = (([NAN, *rest], 0), (NAN, np.full(CLASSES, NAN), None))
    alone = [0.0, *([-INF] * (CLASSES - 1))]
    theirs = {"jax.nn": jax.nn.logsumexp}
    return [
        Subject(
            f"{name}, {CLASSES} classes",
            "softmax information",
            function,
            inputs,
            formula,
            (nan, (([INF, *rest], 0), infinite), ((alone, 0), single)),
            peers,
            rows=True,
        )
        for name, function, formula, infinite, single, peers in (
            (
                "logsumexp",
                bcejax.logsumexp,
                logsumexp,
                (INF, first, None),
                (0, first, None),
                theirs,
            ),
            (
                "softmax_entropy",
                bcejax.softmax_entropy,
                entropy,
                (0, none, None),
                (0, none, None),
                {},
            ),
        )
    ]


def _of_pairs() -> list[Subject]:
    def pairs(dtype, points):
        # Leads of up to 42, as the terms of a divergence are products of three.
        rows = min(points, 512)
        rng = np.random.default_rng(5)
        a = at.logit_rows(np.dtype(np.float64), rows, CLASSES) / 2
        moves = np.round(32 * rng.normal(size=a.shape)) / 8
        moves[::2] = rng.choice([-1, 1], moves[::2].shape) / 8
        return a.astype(dtype), (a + moves).astype(dtype), at.labels(rows, CLASSES)

    def value(a, b):
        minus_log_p, p, _ = exact.softmax_parts(a)
        r = minus_log_p - exact.softmax_parts(b)[0]
        return np.sum(p * exact.x_minus_log1p(np.expm1(r), r), -1)

    def distances(a, b):
        """p, d, Σ p d and its size, where d is b − a less that of the largest a."""
        top = np.argmax(a, -1)[:, None]
        d = (b - a) - np.take_along_axis(b - a, top, -1)
        _, p, _ = exact.softmax_parts(a)
        mean, size = (np.sum(p * x, -1, keepdims=True) for x in (d, np.abs(d)))
        return p, d, mean, size

    def in_p(a, b, k):
        p, d, mean, size = distances(a, b)
        slope, larger = p * (mean - d), p * np.maximum(np.abs(d), size)
        # c (s + p) − p s_k, where c = e_k − p_k
        own, k = np.arange(CLASSES) == k[:, None], k[:, None]
        q = exact.softmax_parts(a)[2]  # 1 − p
        c = np.where(own, q, -np.take_along_axis(p, k, -1))
        scale = np.abs(c) * np.maximum(p, larger)
        scale = np.maximum(scale, p * np.take_along_axis(larger, k, -1))
        curvature = c * (slope + p) - p * np.take_along_axis(slope, k, -1)
        return [(value(a, b), None), (slope, larger), (curvature, scale)]

    def in_q(a, b, k):
        p, d, _, size = distances(a, b)
        _, q, _ = exact.softmax_parts(b)
        # log q − log p, from that of the class where a is largest
        top = np.argmax(a, -1)[:, None]
        parts = (exact.softmax_parts(x)[0] for x in (a, b))
        of_p, of_q = (np.take_along_axis(part, top, -1) for part in parts)
        r = d + (of_p - of_q)
        scale = np.maximum(p, q) * np.minimum(1, np.maximum(np.abs(d), size))
        curvature = exact.softmax_curvature(b, np.ones(len(b)), k)
        return [(value(a, b), None), (p * np.expm1(r), scale), (curvature, None)]

    rest = [0.0] * (CLASSES - 1)
    none = np.zeros(CLASSES)
    alone, other = ([*row, *([-INF] * 8)] for row in ([0.0, -INF], [-INF, 0.0]))
    corners = (
        (([NAN, *rest], none, 0), (NAN, np.full(CLASSES, NAN), None)),
        ((none, [NAN, *rest], 0), (NAN, np.full(CLASSES, NAN), None)),
        ((alone, alone, 0), (0, none, None)),
        ((alone, other, 0), (INF, None, None)),
        (([INF, *rest], [INF, *rest], 0), (0, none, None)),
    )
    return [
        Subject(
            f"softmax_kl_divergence in {name}",
            "softmax information",
            bcejax.softmax_kl_divergence,
            pairs,
            formula,
            corners,
            argument=argument,
            rows=True,
            dtypes=WIDE if argument else DTYPES,  # 16 bits are computed as 32 are
        )
        for argument, (name, formula) in enumerate({"p": in_p, "q": in_q}.items())
    ]
