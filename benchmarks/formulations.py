"""Why the formulas in bcejax are the ones they are: the others that were tried.

    python benchmarks/formulations.py

Every row is a way to write the same function. Errors are the largest in ulp over 12
million float32; times are medians in ms at 10⁷ float32. The rows of a table take turns.
"""

from functools import partial

import _results
import _timing
import accuracy
import jax
import jax.numpy as jnp
import numpy as np
import speed

import bcejax
from bcejax._bce import bce_dx
from bcejax._numerics.limits import times_abs
from bcejax._numerics.log1p import atanh_coefficients, log1p_exp_neg_abs
from bcejax._numerics.sigmoid import sigmoid_slope

MOST = float(np.finfo(np.float32).max)


# log(1 + e^−|x|)


def log1p_exp(x):
    return jnp.log1p(jnp.exp(-jnp.abs(x)))


def log1p_logistic(x):
    return -jnp.log1p(-jax.lax.logistic(-jnp.abs(x)))


def log_and_what_it_lost(x):
    e = jnp.exp(-jnp.abs(x))
    u = jnp.abs(1 + e)  # without the bars XLA takes u − 1 for e
    return jnp.log(u) + (e - (u - 1)) / u


def atanh_around_e(x):
    e = jnp.exp(-jnp.abs(x))
    s = e / (2 + e)
    z = 4 * s * s
    return e - s * (e - 2 * z * polynomial(z))


def polynomial(z, terms=4):
    value = 0.0
    for c in atanh_coefficients(terms):
        value = value * z + c
    return value


def atanh(x, terms):
    q = 0.5 / (0.5 * jnp.exp(jnp.abs(x)) + 0.25)
    z = q * q
    return q + q * (z * polynomial(z, terms))


TAILS = {
    "log1p(exp(−\\|x\\|))": log1p_exp,
    "−log1p(−σ(−\\|x\\|))": log1p_logistic,
    "log(u) + (e − (u − 1))/u, u = 1 + e": log_and_what_it_lost,
    "e − s (e − z Q), s = e/(2 + e)": atanh_around_e,
    "q + q z Q, 3 terms": partial(atanh, terms=3),
    "**q + q z Q, 4 terms**": log1p_exp_neg_abs,
    "q + q z Q, 6 terms": partial(atanh, terms=6),
}


# σ(x) σ(−x)


def product_of_logistics(x):
    return jax.lax.logistic(x) * jax.lax.logistic(-x)


def one_exp(x):
    e = jnp.exp(-jnp.abs(x))
    return e / jnp.square(1 + e)


CURVATURES = {
    "σ(x) σ(−x)": product_of_logistics,
    "e/(1 + e)², e = e^−\\|x\\|": one_exp,
    "**1/(2 + (e^\\|x\\| + e^−\\|x\\|))**": sigmoid_slope,
}


# The loss, whose gradient is the same in every row


def usual(x, y):
    return jnp.maximum(x, 0) - x * y + jnp.log1p(jnp.exp(-jnp.abs(x)))


def usual_selecting(x, y):
    right = jnp.isinf(x) & (y == (x > 0))
    return jnp.where(right, 0, usual(jnp.where(right, 0, x), y)) * ~right


def wrong_mass(x, y):
    return jnp.abs(y - jnp.maximum(jnp.sign(x), 0))


def by_signs(x, y):
    a, wrong = jnp.minimum(jnp.abs(x), MOST), wrong_mass(x, y)
    infinite = jnp.sign(jnp.abs(x) - a)
    return jnp.log1p(jnp.exp(-a)) + a * (wrong + 2 * infinite * jnp.sign(wrong))


def with_log1p(x, y):
    return log1p_exp(x) + times_abs(x, wrong_mass(x, y))


def sharing_one(x, y):
    wrong = wrong_mass(x, y)
    reach = jnp.minimum(jnp.abs(x), wrong / (1 - jnp.sign(wrong)))
    return log1p_exp_neg_abs(x) + wrong * reach


def sharing_label(x, y):
    negative, positive = (1 - y) * jnp.maximum(x, 0), y * jnp.maximum(-x, 0)
    return log1p_exp_neg_abs(x) + negative + positive


def ours(x, y):
    return log1p_exp_neg_abs(x) + times_abs(x, wrong_mass(x, y))


LOSSES = {
    "max(x, 0) − xy + log1p (NaN at ∞)": usual,
    "the same, selecting on isinf": usual_selecting,
    "signs, log1p": by_signs,
    "**reach**, log1p": with_log1p,
    "reach by a division, shares the constant 1": sharing_one,
    "max, shares 1 − y (NaN at ∞)": sharing_label,
    "**reach, atanh**": ours,
}


def shared(x, y):
    wide = bcejax.bce_with_logits(x.astype(jnp.float32), y)
    return wide.astype(x.dtype)


IN_BFLOAT16 = {
    "one conversion for loss and gradient": shared,
    "**one conversion each**": bcejax.bce_with_logits,
}


def with_our_gradient(loss):
    @jax.custom_jvp
    def function(x, y):
        return loss(x, y)

    function.defjvps(lambda x_dot, _, x, y: x_dot * bce_dx(x, y, None), None)
    return function


def worst_ulp(function, exact) -> str:
    x = np.unique(
        np.concatenate([np.linspace(-87, 87, 4_000_001), np.linspace(-3, 3, 8_000_001)])
        .astype(np.float32)
        .astype(np.float64)
    )
    got = np.asarray(jax.jit(function)(x.astype(np.float32)))
    errors, _ = accuracy.errors_in_ulp(got, exact(x), exact(x), np)
    return f"{np.max(errors):.3g}"


def milliseconds_of(losses, measured: str, x, y) -> dict[str, float]:
    candidates = speed.jax_candidates(speed.MEASURED[measured], x, y, losses)
    return _timing.milliseconds(candidates, speed.ROUNDS)


def main() -> None:
    jax.config.update("jax_enable_x64", False)
    x, y = speed.data(10**7, jnp.float32)
    text = (
        "Ways to write the same function in float32: largest error in ulp, and medians "
        "in ms at 10⁷ elements, of shuffled rounds. What bcejax does is in bold.\n\n"
    )

    def tail_exact(x):
        return np.log1p(np.exp(-abs(x)))

    for title, ways, exact in (
        ("log(1 + e^−\\|x\\|)", TAILS, tail_exact),
        ("σ(x) σ(−x)", CURVATURES, accuracy.curvature),
    ):
        unary = {name: lambda x, y, f=f: f(x) for name, f in ways.items()}
        array = milliseconds_of(unary, "loss, array", x, y)
        mean = milliseconds_of(unary, "mean loss", x, y)
        rows = [
            [n, worst_ulp(f, exact), f"{array[n]:.1f}", f"{mean[n]:.1f}"]
            for n, f in ways.items()
        ]
        text += _results.table([title, "ulp", "array", "mean"], rows)

    losses = {name: with_our_gradient(loss) for name, loss in LOSSES.items()}
    columns = [
        milliseconds_of(losses, measured, x, y) for measured in list(speed.MEASURED)[:4]
    ]
    rows = [[n, *(f"{times[n]:.1f}" for times in columns)] for n in losses]
    measured = ["array", "mean", "value_and_grad", "consumed"]
    text += _results.table(["ℓ(x, y)", *measured], rows)

    x, y = speed.data(10**7, jnp.bfloat16)
    columns = [
        milliseconds_of(IN_BFLOAT16, what, x, y) for what in list(speed.MEASURED)[:4]
    ]
    rows = [[n, *(f"{times[n]:.1f}" for times in columns)] for n in IN_BFLOAT16]
    text += _results.table(["ℓ(x, y), bfloat16", *measured], rows)
    print(text)
    _results.write("Formulations", text)


if __name__ == "__main__":
    main()
