"""Errors in units in the last place (ulp), over every input there is.

    python benchmarks/accuracy.py                seconds: every 257th float32
    python benchmarks/accuracy.py --exhaustive   minutes: all 2³² of them

All 65,536 bfloat16 and float16, and 1.2 million float64 up to ±745, are judged either
way. The reference for float64 is numpy's 80-bit long double, which is itself judged by
mpmath first; the reference for the narrower types is float64, judged by the same.
Errors count where the exact value is a normal number of the type computed in.
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import _results
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import tqdm

import bcejax

jax.config.update("jax_enable_x64", True)

CHUNK = 2**22
STEP = 257  # prime to 2³², so that every exponent and pattern of low bits is met


class Quantity(NamedTuple):
    name: str
    exact: Callable  # of x, in float64 or long double
    ours: dict[str, Callable]  # ways to get it
    peers: dict[str, Callable]
    low: float = -np.inf  # the range that no result may leave
    high: float = np.inf
    scale: Callable | None = None  # of x: errors are in ulp of it. None for `exact`


# The exact values. Nothing cancels in them, so they are as right as exp and log1p.


def softplus(x, np=np):
    return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))


def sigmoid(x, np=np):
    e = np.exp(-abs(x))
    return np.where(x > 0, 1, e) / (1 + e)


def curvature(x, np=np):
    e = np.exp(-abs(x))
    return e / (1 + e) ** 2


PRECISE = {  # the same, as mpmath has them
    softplus: lambda x: mpmath.log1p(mpmath.exp(x)),
    sigmoid: lambda x: 1 / (1 + mpmath.exp(-x)),
    curvature: lambda x: mpmath.exp(x) / (1 + mpmath.exp(x)) ** 2,
}


def derivative(function, order=1):
    """The `order`-th derivative of an element-wise function, by jax.grad."""
    for _ in range(order):
        function = jax.grad(function)
    return jax.jit(jax.vmap(function))


def with_label(loss, y):
    return jax.jit(lambda x: loss(x, jnp.asarray(y, x.dtype)))


def quantities() -> list[Quantity]:
    """What is judged, labels 0 and 1 apart."""
    optax_loss = optax.sigmoid_binary_cross_entropy
    listed = [
        Quantity(
            "σ",
            sigmoid,
            {"sigmoid": bcejax.sigmoid},
            {"jax.nn": jax.nn.sigmoid},
            0,
            1,
        ),
        Quantity(
            "log σ",
            lambda x, np=np: -softplus(-x, np),
            {"log_sigmoid": bcejax.log_sigmoid},
            {"jax.nn": jax.nn.log_sigmoid},
            high=0,
        ),
        Quantity(
            "softplus",
            softplus,
            {"softplus": bcejax.softplus},
            {"jax.nn": jax.nn.softplus},
            low=0,
        ),
    ]
    for y in (0, 1):
        sign = 1 if y == 0 else -1
        ours, theirs = with_label(bcejax.bce_with_logits, y), with_label(optax_loss, y)
        torch = torch_orders(y)
        listed += [
            Quantity(
                f"loss, y={y}",
                lambda x, np=np, sign=sign: softplus(sign * x, np),
                {"bce_with_logits": ours},
                {"optax": theirs} | torch[0],
                low=0,
            ),
            Quantity(
                f"gradient, y={y}",
                lambda x, np=np, sign=sign: sign * sigmoid(sign * x, np),
                {
                    "bce_with_logits_grad": with_label(bcejax.bce_with_logits_grad, y),
                    "jax.grad": derivative(ours),
                },
                {"optax": derivative(theirs)} | torch[1],
                -1,
                1,
            ),
            Quantity(
                f"Hessian, y={y}",
                curvature,
                {
                    "bce_with_logits_hessian": with_label(
                        bcejax.bce_with_logits_hessian, y
                    ),
                    "jax.grad twice": derivative(ours, 2),
                },
                {"optax": derivative(theirs, 2)} | torch[2],
                0,
                0.25,
            ),
        ]
    return listed


def torch_orders(y) -> list[dict[str, Callable]]:
    """Loss, gradient and Hessian as torch computes them, where it is installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return [{}, {}, {}]

    def result(x, order):
        # By their bits: numpy knows no bfloat16 that torch knows.
        bits = torch.from_numpy(np.array(x).view(f"int{x.dtype.itemsize * 8}"))
        logits = bits.view(getattr(torch, x.dtype.name)).requires_grad_()
        value = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, torch.full_like(logits, y), reduction="none"
        )
        for _ in range(order):
            (value,) = torch.autograd.grad(value.sum(), logits, create_graph=True)
        return value.detach().view(bits.dtype).numpy().view(x.dtype)

    return [{"torch": lambda x, order=order: result(x, order)} for order in range(3)]


# Judging


class Judgement(NamedTuple):
    worst: float
    at: float
    above_half: float
    above_one: float
    outside: int  # results outside the range that they must keep


def errors_in_ulp(got, exact, scale, xp):
    """Errors in ulp of `scale`, or 0 where that is not normal; and where it is."""
    info = jnp.finfo(got.dtype)
    wide = info.dtype == jnp.float64
    floor = float(jnp.finfo(jnp.float64 if wide else jnp.float32).smallest_normal)
    scale = abs(scale).astype(np.float64)
    judged = (scale >= floor) & (scale <= float(info.max))
    exponent_only = scale.view(np.int64) & 0x7FF0000000000000  # a power of two
    power = xp.maximum(exponent_only.view(np.float64), 2.0**info.minexp)
    error = abs(got.astype(exact.dtype) - exact) / power * 2.0**info.nmant
    return xp.where(judged, error, 0), judged


@jax.jit
def judge(exact, got, scale, low, high):
    """Worst error of one chunk, the number above ½ and 1, judged, and out of range."""
    errors, judged = errors_in_ulp(got, exact, scale, jnp)
    errors = jnp.where(jnp.isnan(errors), jnp.inf, errors)  # NaN is as wrong as can be
    outside = ~((got >= low) & (got <= high))
    counts = [jnp.sum(a) for a in (errors > 0.5, errors > 1, judged, outside)]
    return jnp.max(errors), jnp.stack(counts)


@jax.jit
def worst_of(exact, got, scale):
    errors, _ = errors_in_ulp(got, exact, scale, jnp)
    return jnp.argmax(jnp.where(jnp.isnan(errors), jnp.inf, errors))


def sweep(quantity: Quantity, functions: dict[str, Callable], chunks):
    @jax.jit
    def exact_and_scale_of(x):
        x = x.astype(jnp.float64)
        exact = quantity.exact(x, np=jnp)
        return exact, quantity.scale(x, np=jnp) if quantity.scale else exact

    found = {name: (-1.0, np.nan, np.zeros(4)) for name in functions}
    for x in chunks:
        exact, scale = exact_and_scale_of(x)
        for name, function in functions.items():
            worst, at, totals = found[name]
            got = jnp.asarray(function(x))
            error, counts = judge(exact, got, scale, quantity.low, quantity.high)
            if error > worst:
                worst, at = float(error), float(x[worst_of(exact, got, scale)])
            found[name] = worst, at, totals + np.array(counts)
    return {
        name: Judgement(worst, at, half / judged, one / judged, int(outside))
        for name, (worst, at, (half, one, judged, outside)) in found.items()
    }


def every_16_bit(dtype):
    codes = jnp.arange(2**16, dtype=jnp.uint32).astype(jnp.uint16)
    x = jax.lax.bitcast_convert_type(codes, dtype)
    return [x[~jnp.isnan(x)]]


@jax.jit
def float32_codes(start, step):
    codes = start + step * jnp.arange(CHUNK, dtype=jnp.uint32)  # modulo 2³²
    x = jax.lax.bitcast_convert_type(codes, jnp.float32)
    return jnp.where(jnp.isnan(x), 1, x)


def float32s(step: int, title: str):
    starts = range(0, 2**32, CHUNK * step)
    for start in tqdm.tqdm(starts, title, leave=False, disable=None):
        yield float32_codes(jnp.uint32(start), jnp.uint32(step))


def float64s() -> np.ndarray:
    random = np.random.default_rng(0)
    tiny = 10.0 ** random.uniform(-300, 0, 200_000) * random.choice([-1, 1], 200_000)
    return np.concatenate(
        [random.uniform(-745, 745, 500_000), random.uniform(-40, 40, 500_000), tiny]
    )


def judge_float64(quantity: Quantity, function, x: np.ndarray) -> Judgement:
    with np.errstate(over="ignore"):
        wide = x.astype(np.longdouble)
        exact = quantity.exact(wide)
        scale = quantity.scale(wide) if quantity.scale else exact
    got = np.asarray(function(jnp.asarray(x)))
    errors, judged = errors_in_ulp(got, exact, scale, np)
    errors = np.where(np.isnan(errors), np.inf, errors)
    worst = np.argmax(errors)
    above = [np.sum(errors > limit) / np.sum(judged) for limit in (0.5, 1)]
    outside = np.sum((got < quantity.low) | (got > quantity.high) | np.isnan(got))
    return Judgement(float(errors[worst]), float(x[worst]), *above, int(outside))


def judge_the_judges() -> str:
    """How far the two references are from mpmath, in ulp of float64."""
    # Up to ±650: beyond, the second of the two doubles below would be subnormal.
    x = np.concatenate([np.linspace(-650, 650, 401), np.linspace(-3, 3, 400)])
    worst = {}
    for reference, xp, dtype in (
        ("long double", np, np.longdouble),
        ("float64 on this device", jnp, jnp.float64),
    ):
        largest = 0.0
        for formula, precise in PRECISE.items():
            got = np.asarray(formula(xp.asarray(x, dtype), xp), np.longdouble)
            with mpmath.workdps(40):
                for value, point in zip(got, x, strict=True):
                    high = float(value)  # a long double is the sum of two doubles
                    value = mpmath.mpf(high) + mpmath.mpf(float(value - high))
                    exact = precise(mpmath.mpf(point))
                    error = abs(value - exact) / mpmath.mpf(np.spacing(float(exact)))
                    largest = max(largest, float(error))
        worst[reference] = largest
    assert worst["long double"] < 0.01, f"no extended precision here: {worst}"
    # Half a float32 ulp is 2²⁸ of these.
    assert worst["float64 on this device"] < 2**10, worst
    return (
        "Against mpmath at 801 points, the references err by "
        + " and ".join(f"{e:.2g} ulp of float64 ({name})" for name, e in worst.items())
        + ".\n\n"
    )


# What goes to RESULTS.md


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exhaustive", action="store_true", help="all 2³² float32")
    step = 1 if parser.parse_args().exhaustive else STEP

    text = judge_the_judges()
    text += (
        "Largest error in ulp and where, and the share of float32 results off by more "
        "than 0.5 and 1 ulp; bcejax in bold. bfloat16 and float16: every value. float32"
        f": {'every value' if step == 1 else f'every {step}th code'} for bcejax, "
        f"every {STEP}th code for peers. float64: {float64s().size:,} values.\n\n"
    )
    rows, outside = [], 0
    points = float64s()
    for quantity in quantities():
        both = quantity.ours | quantity.peers
        narrow = [
            sweep(quantity, both, every_16_bit(dtype))
            for dtype in (jnp.bfloat16, jnp.float16)
        ]
        float32 = sweep(quantity, quantity.ours, float32s(step, quantity.name))
        float32 |= sweep(quantity, quantity.peers, float32s(STEP, quantity.name))
        for name, function in both.items():
            results = [found[name] for found in (*narrow, float32)]
            results.append(judge_float64(quantity, function, points))
            if name in quantity.ours:
                outside += sum(result.outside for result in results)
            rows.append(
                [quantity.name, f"**{name}**" if name in quantity.ours else name]
                + [f"{result.worst:.3g} at {result.at:.4g}" for result in results]
                + [f"{float32[name].above_half:.2%}", f"{float32[name].above_one:.2%}"]
            )
            print(*rows[-1], sep="  ", flush=True)
    header = ["", "by", "bfloat16", "float16", "float32", "float64"]
    text += _results.table([*header, "f32 > 0.5", "f32 > 1"], rows)
    text += (
        f"Results of bcejax outside their range (σ in [0, 1], log σ ≤ 0, loss ≥ 0, "
        f"|gradient| ≤ 1, Hessian in [0, ¼]) or NaN: {outside}.\n\n"
    )
    text += soft_labels() + higher_derivatives()
    _results.write("Accuracy", text)


def soft_labels() -> str:
    """float32 loss, gradient and Hessian against soft labels."""
    rows = []
    x = np.concatenate([np.asarray(c) for c in float32s(STEP, "soft labels")])
    wide = x.astype(np.float64)
    for y in (0.1, 0.5, 0.999):
        label = np.float64(np.float32(y))
        for name, ours, term in (
            ("loss", bcejax.bce_with_logits, softplus),
            ("gradient", bcejax.bce_with_logits_grad, lambda x: sigmoid(x)),
            ("Hessian", bcejax.bce_with_logits_hessian, curvature),
        ):
            with np.errstate(invalid="ignore", over="ignore"):
                negative, positive = (1 - label) * term(wide), label * term(-wide)
                sign = -1 if name == "gradient" else 1
                exact = negative + sign * positive
                got = np.asarray(ours(x, np.float32(y)))
                row = [name, f"{y}"]
                for scale in (np.maximum(negative, positive), exact):
                    errors, _ = errors_in_ulp(got, exact, scale, np)
                    worst = np.nanargmax(errors)
                    row.append(f"{errors[worst]:.3g} at {x[worst]:.4g}")
            rows.append(row if name != "gradient" else [*row[:3], ""])
    return (
        f"Soft labels, float32, every {STEP}th code. ℓ and its derivatives are sums of "
        "a term of the positives and one of the negatives. The gradient's cancel at "
        "its zero, so it is judged in ulp of the larger term alone.\n\n"
        + _results.table(["", "label", "in ulp of the larger term", "of the sum"], rows)
    )


def higher_derivatives() -> str:
    """Third and fourth derivative of softplus, relative, away from their zeros."""
    x = np.array(
        [-85, -60, -40, -20, -10, -5, -2.5, -0.5, 0.5, 2.5, 5, 10, 20, 40, 60, 85]
    )
    rows = []
    for order in (3, 4):
        with mpmath.workdps(80):
            exact = [mpmath.diff(PRECISE[softplus], float(v), order) for v in x]
        exact = np.array(exact, float)
        row = [f"order {order}"]
        for function in (bcejax.softplus, jax.nn.softplus):
            for dtype in ("float32", "float64"):
                got = np.asarray(derivative(function, order)(jnp.asarray(x, dtype)))
                row.append(f"{np.max(np.abs(got / exact - 1)):.2g}")
        rows.append(row)
    header = ["", "bcejax f32", "bcejax f64", "jax.nn f32", "jax.nn f64"]
    return (
        "Derivatives of softplus by jax.grad at 16 logits up to ±85, largest relative "
        "error:\n\n" + _results.table(header, rows)
    )


if __name__ == "__main__":
    main()
