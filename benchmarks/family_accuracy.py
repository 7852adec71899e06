"""Errors of the losses around binary cross-entropy, beside peers.

    python benchmarks/family_accuracy.py    about two minutes

Judged as in accuracy.py, by formulas in which nothing cancels: float64 judges the
narrower types, long double float64. Distributions are judged by mpmath.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import _results
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import tqdm
from accuracy import (  # also switches 64 bits on
    Quantity,
    derivative,
    errors_in_ulp,
    every_16_bit,
    float64s,
    judge_float64,
    sigmoid,
    softplus,
    sweep,
)

import bcejax

DTYPES = "bfloat16", "float16", "float32", "float64"
GAMMAS = 0, 0.5, 1, 2, 5
STEP = 16381  # prime to 2³²


def float32s() -> list[jax.Array]:
    """A code in 16,381, and as many numbers evenly between ±90."""
    codes = np.arange(0, 2**32, STEP, dtype=np.uint64).astype(np.uint32)
    codes = codes.view(np.float32)
    even = np.linspace(-90, 90, codes.size, dtype=np.float32)
    return [jnp.asarray(np.concatenate([codes[~np.isnan(codes)], even]))]


def largest_errors(quantities: list[Quantity]) -> list[list[str]]:
    """Rows of the largest errors over all of `quantities`, bcejax first."""
    found = {}
    for quantity in quantities:
        functions = quantity.ours | quantity.peers
        sampled = [*map(every_16_bit, (jnp.bfloat16, jnp.float16)), float32s()]
        swept = [sweep(quantity, functions, chunks) for chunks in sampled]
        for name, function in functions.items():
            errors = [found_by[name] for found_by in swept]
            errors.append(judge_float64(quantity, function, float64s()[::4]))
            found.setdefault(name, []).append(errors)
    rows = []
    for name, of_quantities in found.items():
        worst = [max(column) for column in zip(*of_quantities, strict=True)]
        rows.append([quantities[0].name, bold(name)])
        rows[-1] += [f"{one.worst:.3g} at {one.at:.4g}" for one in worst]
        print(*rows[-1], sep="  ", flush=True)
    return rows


def bold(name: str) -> str:
    return f"**{name}**" if hasattr(bcejax, name) else name


# Functions of one logit


def focal_loss(u, gamma, np):  # u is the logit of the wrong class
    return sigmoid(u, np) ** gamma * softplus(u, np)


def focal_slope(u, gamma, np):
    q, p = sigmoid(u, np), sigmoid(-u, np)
    return q**gamma * (gamma * p * softplus(u, np) + q)


def focal_curvature_terms(u, gamma, np):
    q, p, loss = sigmoid(u, np), sigmoid(-u, np), softplus(u, np)
    rising = q**gamma * p * (gamma**2 * p * loss + (2 * gamma + 1) * q)
    return rising, q**gamma * p * gamma * q * loss


def far_from_underflow(x, scale, np):
    """`scale` where e^−|x| can be halved, 0 (not judged) elsewhere.

    Of Hessians, whose factors underflow before their product does. float64 judges what
    is computed in float32, long double what is computed in float64.
    """
    reach = 86 if x.dtype == jnp.float64 else 707
    return np.where(abs(x) <= reach, scale, 0)


def focal() -> list[list[str]]:
    def orders(loss):
        of_logit = [loss, jax.grad(loss), jax.grad(jax.grad(loss))]
        return [jax.jit(jax.vmap(f, (0, None, None))) for f in of_logit]

    ours = orders(lambda x, y, g: bcejax.sigmoid_focal_loss(x, y, gamma=g))
    theirs = orders(lambda x, y, g: optax.sigmoid_focal_loss(x, y, gamma=g))
    rows = []
    for gamma in tqdm.tqdm(GAMMAS, "focal", leave=False, disable=None):

        def curvature(u, np, combine, gamma=gamma):
            return combine(*focal_curvature_terms(u, gamma, np))

        formulas = (
            ("loss", lambda u, np, g=gamma: focal_loss(u, g, np), None),
            ("gradient", lambda u, np, g=gamma: focal_slope(u, g, np), None),
            (  # falls where the loss is nearly a line: in ulp of the larger term
                "Hessian",
                lambda u, np, f=curvature: f(u, np, lambda a, b: a - b),
                lambda u, np, f=curvature: far_from_underflow(
                    u, f(u, np, np.maximum), np
                ),
            ),
        )
        for order, (name, exact, scale) in enumerate(formulas):
            rows += largest_errors(
                [
                    Quantity(
                        f"γ={gamma}, {name}",
                        mirrored(exact, y, order),
                        {"sigmoid_focal_loss": at(ours[order], y, gamma)},
                        {"optax": at(theirs[order], y, gamma)},
                        scale=scale and mirrored(scale, y),
                    )
                    for y in (0, 1)
                ]
            )
    return rows


def at(function, y, gamma):
    return lambda x: function(x, jnp.asarray(y, x.dtype), jnp.asarray(gamma, x.dtype))


def mirrored(formula, y, order=0):
    """`formula` of the wrong class's logit, as of x with label y."""
    sign = 1 if y == 0 else -1
    return lambda x, np=np: sign**order * formula(sign * x, np)


def bernoulli_entropy() -> list[list[str]]:
    def value(x, np=np):
        return abs(x) * sigmoid(-abs(x), np) + softplus(-abs(x), np)

    def slope(x, np=np):
        return -x * sigmoid(x, np) * sigmoid(-x, np)

    def curvature(x, np=np):
        return sigmoid(x, np) * sigmoid(-x, np) * (x * np.tanh(x / 2) - 1)

    def larger_term(x, np=np):
        larger = sigmoid(x, np) * sigmoid(-x, np) * np.maximum(x * np.tanh(x / 2), 1)
        return far_from_underflow(x, larger, np)

    def of_probabilities(x):
        entr = jax.scipy.special.entr
        return entr(jax.nn.sigmoid(x)) + entr(jax.nn.sigmoid(-x))

    rows, ours = [], bcejax.bernoulli_entropy
    formulas = ("entropy", value), ("gradient", slope), ("Hessian", curvature)
    for order, (name, exact) in enumerate(formulas):
        quantity = Quantity(
            name,
            exact,
            {"bernoulli_entropy": derivative(ours, order)},
            {"entr(σ(x)) + entr(σ(−x))": derivative(of_probabilities, order)},
            scale=larger_term if name == "Hessian" else None,
        )
        rows += largest_errors([quantity])
    return rows


# Softmax


def logit_rows(classes: int) -> np.ndarray:
    """Logits from all alike to one class far ahead, all their differences exact."""
    rng = np.random.default_rng(classes)
    gaps = np.linspace(0, 83, 2**8 if classes > 100 else 2**11)[:, None]
    x = rng.normal(size=(gaps.size, classes)) * np.minimum(gaps, 4)
    x[:, classes // 2] += gaps[:, 0]
    # No exponential may underflow: a sum of those that do is not judged here.
    return np.round(8 * np.maximum(x, np.max(x, -1, keepdims=True) - 86)) / 8


def pairs() -> np.ndarray:
    """Two classes, (x, 0)."""
    x = np.linspace(-87, 87, 2**15 + 1)
    return np.stack([x, np.zeros_like(x)], -1)


def parts(x: np.ndarray):
    """−log p, p and q = 1 − p of each class."""
    ahead = np.arange(x.shape[-1]) == np.argmax(x, -1)[:, None]
    gap = np.max(x, -1, keepdims=True) - x
    mass = np.exp(-gap)
    rest = np.sum(np.where(ahead, 0, mass), -1, keepdims=True)
    others = np.where(ahead, rest, 1 + rest - mass)  # at most half of it cancels
    return gap + np.log1p(rest), mass / (1 + rest), others / (1 + rest)


def softmax_exact(x: np.ndarray, y: np.ndarray, order: int):
    """The derivative of −Σ y log p, and the larger term of its difference, if any."""
    minus_log_p, p, q = parts(x)
    if order == 0:
        value = np.sum(y * minus_log_p, -1)
        return value, value
    if order == 1:
        one = np.arange(x.shape[-1]) == np.argmax(y, -1)[:, None]
        smaller = np.sum(np.where(one, 0, y), -1, keepdims=True)
        y_others = np.where(one, smaller, np.max(y, -1, keepdims=True) + smaller - y)
        return p * y_others - y * q, np.maximum(p * y_others, y * q)
    diagonal = np.eye(x.shape[-1], dtype=bool)
    product = np.where(diagonal, (p * q)[..., None], -p[..., None] * p[:, None, :])
    product = product * np.sum(y, -1)[:, None, None]
    return product, product


def softmax() -> list[list[str]]:
    """The three functions as losses f(logits, labels) of one row."""
    dense, integer = (
        bcejax.softmax_cross_entropy,
        bcejax.softmax_cross_entropy_with_integer_labels,
    )
    optax_integer = optax.softmax_cross_entropy_with_integer_labels

    def of_index(f):
        return lambda x, y: f(x, jnp.argmax(y))

    def of_logs(f):
        return lambda x, y: -f(x)[jnp.argmax(y)]

    losses = {
        "log_softmax": of_logs(bcejax.log_softmax),
        "jax.nn.log_softmax": of_logs(jax.nn.log_softmax),
        "softmax_cross_entropy": dense,
        "optax.softmax_cross_entropy": optax.softmax_cross_entropy,
        "softmax_cross_entropy_with_integer_labels": of_index(integer),
        "optax, integer labels": of_index(optax_integer),
    }
    dense_only = {name: losses[name] for name in list(losses)[2:4]}
    rows = []
    for title, logits, soft in (
        ("two, (x, 0)", pairs(), False),
        ("3", logit_rows(3), False),
        ("3, soft labels", logit_rows(3), True),
        ("1000", logit_rows(1000), False),
        ("1000, soft labels", logit_rows(1000), True),
    ):
        classes = logits.shape[-1]
        rng = np.random.default_rng(0)
        labels = np.eye(classes)[rng.integers(classes, size=len(logits))]
        labels[: len(logits) // 2] = np.eye(classes)[classes // 2]
        if soft:
            labels = 0.1 * rng.dirichlet(np.ones(classes), len(logits)) + 0.9 * labels
        for order, what in enumerate(("loss", "gradient", "Hessian")):
            if order == 2 and (soft or classes > 3):
                continue  # the same sum again, and a million numbers a row
            for name, loss in (dense_only if soft else losses).items():
                function = loss
                for _ in range(order):
                    function = jax.jacfwd(function) if order == 2 else jax.grad(loss)
                rows.append([title, what, bold(name)])
                rows[-1] += softmax_errors(function, logits, labels, order)
                print(*rows[-1], sep="  ", flush=True)
    return rows


def softmax_errors(function, logits, labels, order) -> list[str]:
    cells = []
    function = jax.jit(jax.vmap(function))
    for dtype in DTYPES:
        x, y = jnp.asarray(logits).astype(dtype), jnp.asarray(labels).astype(dtype)
        wide = [np.asarray(a.astype("float64")).astype(np.longdouble) for a in (x, y)]
        exact, scale = softmax_exact(*wide, order)
        got = np.asarray(function(x, y))
        cells.append(worst_ulp(got, exact, scale))
    return cells


def worst_ulp(got, exact, scale) -> str:
    errors, _ = errors_in_ulp(got, exact, scale, np)
    return f"{np.max(np.where(np.isnan(errors), np.inf, errors)):.3g}"


# Distributions, and Bernoulli variables in pairs


class Formula(NamedTuple):
    name: str
    term: Callable  # of mpmath numbers p and q, to be summed over the classes or not
    summed: bool
    candidates: dict[str, Callable]


def plain(p, q):
    return p * mpmath.log(p / q)


def generalised(p, q):
    return plain(p, q) - p + q


def of_distributions() -> list[Formula]:
    log = mpmath.log
    entr, kl_div = jax.scipy.special.entr, jax.scipy.special.kl_div

    def entropy(p, q):
        return bcejax.entropy(p)

    def sum_of_entr(p, q):
        return jnp.sum(entr(p))

    def sum_of_kl_div(p, q):
        return jnp.sum(kl_div(p, q))

    def optax_divergence(p, q):
        return optax.kl_divergence(jnp.log(q), p)

    ours = bcejax.kl_divergence
    return [
        Formula(
            "entropy",
            lambda p, q: -p * log(p),
            True,
            {"entropy": entropy, "Σ jax.scipy.special.entr": sum_of_entr},
        ),
        Formula(
            "cross-entropy",
            lambda p, q: -p * log(q),
            True,
            {
                "cross_entropy": bcejax.cross_entropy,
                "−Σ p log q": lambda p, q: -jnp.sum(p * jnp.log(q)),
            },
        ),
        Formula(
            "divergence",
            generalised,
            True,
            {"kl_divergence": ours, "Σ jax.scipy.special.kl_div": sum_of_kl_div},
        ),
        Formula("divergence", plain, True, {"optax.kl_divergence": optax_divergence}),
        Formula(
            "divergence, gradient in p",
            lambda p, q: log(p / q),
            False,
            {
                "kl_divergence": jax.grad(ours),
                "Σ jax.scipy.special.kl_div": jax.grad(sum_of_kl_div),
            },
        ),
        Formula(
            "divergence, gradient in q",
            lambda p, q: (q - p) / q,
            False,
            {
                "kl_divergence": jax.grad(ours, 1),
                "Σ jax.scipy.special.kl_div": jax.grad(sum_of_kl_div, 1),
            },
        ),
    ]


def of_logit_pairs() -> list[Formula]:
    def p(x):
        return 1 / (1 + mpmath.exp(-x))

    def by_log_sigmoid(a, b):
        log = jax.nn.log_sigmoid
        positive = jax.nn.sigmoid(a) * (log(a) - log(b))
        return positive + jax.nn.sigmoid(-a) * (log(-a) - log(-b))

    def both(of):
        return {
            "bernoulli_kl_divergence": of(bcejax.bernoulli_kl_divergence),
            "Σ p log(p/q) by jax.nn": of(by_log_sigmoid),
        }

    return [
        Formula(
            "divergence of σ(a) from σ(b)",
            lambda a, b: plain(p(a), p(b)) + plain(p(-a), p(-b)),
            False,
            both(lambda f: f),
        ),
        Formula(
            "gradient in a",
            lambda a, b: (a - b) * p(a) * p(-a),
            False,
            both(lambda f: jax.grad(f, 0)),
        ),
        Formula(
            "gradient in b",
            lambda a, b: p(b) - p(a),
            False,
            both(lambda f: jax.grad(f, 1)),
        ),
    ]


def information() -> list[list[str]]:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(10), (2, 200))
    steps = 1 + 1e-4 * rng.choice([-1, 1], p.shape)
    near = p * steps / np.sum(p * steps, -1, keepdims=True)
    a, b = rng.uniform(-80, 80, (2, 1000))
    rows = []
    for formulas, cases in (
        (of_distributions(), {"": (p, q), ", p ≈ q": (p, near)}),
        (of_logit_pairs(), {"": (a, b), ", a ≈ b": (a, a * (1 + 1e-4))}),
    ):
        for (suffix, case), formula in itertools.product(cases.items(), formulas):
            if not (suffix and formula.name in ("entropy", "cross-entropy")):
                rows += of_pairs(formula, suffix, case)
    return rows


def of_pairs(formula: Formula, suffix: str, case) -> list[list[str]]:
    errors = {name: [] for name in formula.candidates}
    for dtype in DTYPES:
        rounded = [jnp.asarray(a).astype(dtype) for a in case]
        exact = exactly(formula, *rounded)
        for name, function in formula.candidates.items():
            got = np.asarray(jax.jit(jax.vmap(function))(*rounded))
            errors[name].append(worst_ulp(got, exact, exact))
    rows = [[formula.name + suffix, bold(n), *cells] for n, cells in errors.items()]
    for row in rows:
        print(*row, sep="  ", flush=True)
    return rows


def exactly(formula: Formula, *case) -> np.ndarray:
    """In long double, from 90 digits: 1 − σ(80) takes 35 of them."""
    with mpmath.workdps(90):
        wide = (np.vectorize(mpmath.mpf, [object])(np.float64(a)) for a in case)
        terms = np.vectorize(formula.term, [object])(*wide)
        exact = np.sum(terms, -1) if formula.summed else terms
        high = exact.astype(np.float64)  # a long double is the sum of two doubles
        return high.astype(np.longdouble) + (exact - high).astype(np.float64)


# What goes to RESULTS.md


def main() -> None:
    header = ["", "by", *DTYPES]
    text = (
        "Largest errors in ulp, and where; bcejax in bold. `inf` stands for NaN. Of "
        "functions of one logit: every bfloat16 and float16, a float32 code in "
        f"{STEP:,} and as many evenly between ±90, and {float64s()[::4].size:,} "
        "float64. What changes its sign is judged in ulp of the larger of the two "
        "terms that cancel there; these Hessians, where |x| ≤ 86 (707 in float64): "
        "beyond, below 1e-35, their factors underflow before they do.\n\n"
        "Focal loss, the worse of the labels 0 and 1:\n\n"
    )
    text += _results.table(header, focal())
    text += "A Bernoulli variable of logit x:\n\n"
    text += _results.table(header, bernoulli_entropy())
    text += (
        "Softmax losses, and their derivatives in the logits, by the number of "
        "classes: (x, 0) up to ±87, and rows from all alike to one class 86 ahead, "
        "whose differences are exact:\n\n"
    )
    text += _results.table(["classes", *header], softmax())
    text += (
        "200 pairs of distributions over ten classes, random or with p/q = 1 ± 1e-4, "
        "and 1000 pairs of logits up to ±80 or with b = 1.0001 a. Each is judged by "
        "the formula it computes for the numbers it was given: optax has Σ p log(p/q), "
        "bcejax and kl_div Σ p log(p/q) − p + q.\n\n"
    )
    text += _results.table(header, information())
    _results.write("Accuracy of the family", text)


if __name__ == "__main__":
    main()
