"""Focal loss: binary cross-entropy, turned down where the answer is nearly right.

For a logit x and a label y in [0, 1], with ℓ the loss of `bce_with_logits`,

    L = α_t q^γ ℓ,    q = (1 − y) σ(x) + y σ(−x),    α_t = α y + (1 − α)(1 − y).

q is the probability of a wrong answer, 1 − p_t in the paper. Let w of the label be on
the wrong side of 0, and v = 1 − w on the right one. For a = |x|, q and ℓ are

    q = σ(a) (w + v e^−a),    ℓ = w softplus(a) + v softplus(−a),

linear in w with the slopes t = tanh(a/2) and a. Hence

    ∂ⁿ(q^γ ℓ)/∂wⁿ = γ (γ−1) … (γ−n+2) tⁿ⁻¹ q^(γ−n+1) ((γ−n+1) t ℓ/q + n a).

Far on the right side of a hard label q and ℓ underflow, but q^γ need not: what counts
there is log q and ℓ/q. And log q is so steep in y, t/q, that no derivative can be built
from it: all come from `_derivative`, along y by this formula and then by autodiff.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from bcejax._arguments import Argument, binary_labels, elementwise
from bcejax._numerics.limits import times_or_zero
from bcejax._numerics.log1p import log1p_over
from bcejax._numerics.sigmoid import sigmoid_slope, softplus


def sigmoid_focal_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    gamma: ArrayLike = 2.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Focal loss α_t q^γ ℓ(x, y) of each logit against its label, in nats.

    ℓ is `bce_with_logits`, and q the probability that the logit gives to the wrong
    class: the larger γ, the less easy examples count. γ = 0 is ℓ. Differentiable to
    every order in logits, labels, `alpha` and `gamma`. A certain right answer costs 0,
    a certain wrong one ∞, and the gradient there is 0 or ±α_t. `logits`, `labels`,
    `where` and errors are those of `bce_with_logits`.

    Args:
      alpha: broadcasts to `[...]`, in [0, 1]. Weight of class 1, and 1 − alpha that of
        class 0. None for 1 and 1.
      gamma: broadcasts to `[...]`, not negative.
    Returns:
      `[...]`, dtype of `logits`. In nats, never below 0.
    Example:
      >>> print(sigmoid_focal_loss(jnp.array([-2, 0.5, jnp.inf]), 1))
      [1.6501 0.0676 0.    ]

    Reference:
      T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollár, Focal loss for dense object
      detection, ICCV 2017, https://arxiv.org/abs/1708.02002
    """
    return elementwise(
        _focal,
        Argument("logits", logits),
        binary_labels(labels),
        Argument("alpha", alpha, (0, 1)),
        Argument("gamma", gamma, (0, jnp.inf)),
        where=where,
    )


@partial(jax.custom_jvp, nondiff_argnums=(0,))
@partial(jax.jit, static_argnums=0)  # traced once for all the rules that need it
def _derivative(orders: tuple[int, ...], x, y, alpha, g) -> jax.Array:
    # The loss, differentiated so many times along x, y, α and γ.
    in_x, n, in_alpha, in_g = orders
    side = jnp.where(x < 0, -1.0, 1.0)
    w, v = jnp.where(x < 0, y, 1 - y), jnp.where(x < 0, 1 - y, y)

    def f(a, alpha, g):  # n times along w, in which α_t is linear, too
        if alpha is None:
            return _along_label(n, 1, a, w, v, g)
        weight, slope = alpha * y + (1 - alpha) * (1 - y), side * (1 - 2 * alpha)
        rest = n * _along_label(n - 1, slope, a, w, v, g) if n else 0
        return _along_label(n, weight, a, w, v, g) + rest

    for argument, order in enumerate((in_x, in_alpha, in_g)):
        for _ in range(order):
            f = _along(argument, f)
    # Beyond `far` the loss is 0 or proportional to |x|, up to ∞, and any γ is ∞.
    most = float(jnp.finfo(x.dtype).max)
    far = most**0.25
    result = f(jnp.minimum(jnp.abs(x), far), alpha, jnp.minimum(g, far))
    result *= side**in_x * (-side) ** n
    if not in_x:
        result *= jnp.where(result == 0, 1, jnp.maximum(jnp.abs(x) / far, 1))
    # Finite from the second order on: it may meet a tangent of 0 in a rule elsewhere.
    return result if sum(orders) < 2 else jnp.clip(result, -most, most)


def _derivative_jvp(orders, primals, tangents):
    result_dot = jnp.zeros_like(primals[0])
    for argument, dot in enumerate(tangents):
        if dot is not None and not isinstance(dot, SymbolicZero):
            higher = tuple(n + (k == argument) for k, n in enumerate(orders))
            result_dot += times_or_zero(dot, _derivative(higher, *primals))
    return _derivative(orders, *primals), result_dot


_derivative.defjvp(_derivative_jvp, symbolic_zeros=True)
_focal = partial(_derivative, (0, 0, 0, 0))


def _along(k: int, f):
    # ∂f of its argument number k.
    def derivative(*args):
        one = jnp.ones_like(args[k])
        return jax.jvp(lambda t: f(*args[:k], t, *args[k + 1 :]), (args[k],), (one,))[1]

    return derivative


# What follows is differentiated along a, α and γ only, the label standing still.


def _along_label(n: int, weight, a, w, v, g) -> jax.Array:
    # weight · ∂ⁿ(q^γ ℓ)/∂wⁿ
    log_mass, wrong, right = _mass(a, w, v)
    log_q = log_mass, -softplus(-a)
    if n == 0:
        loss = w * softplus(a) + v * softplus(-a)
        return _times_power(0, weight * loss, log_q, g)
    t, e = _tanh_half(a), jnp.exp(-a)
    loss_over_q = (1 + e) * (wrong * a + (wrong * e + right) * log1p_over(e))
    factor = (g - (n - 1)) * t * loss_over_q + n * a
    falling = math.prod(g - m for m in range(n - 1))
    return _times_power(n - 1, weight * falling * t ** (n - 1) * factor, log_q, g)


@jax.custom_jvp
def _tanh_half(a):
    return jnp.tanh(a / 2)


# Not left to autodiff, whose 1 − tanh² is 0 from a = 18 on in float32.
_tanh_half.defjvps(lambda a_dot, _, a: a_dot * (2 * sigmoid_slope(a)))


@jax.custom_jvp
def _mass(a, w, v):
    # log(w + v e^−a), and the shares of its terms, also where w is 0 and e^−a too.
    e = jnp.exp(-a)
    mass = jnp.where(w == 0, 1, w + v * e)
    log_mass = jnp.where(w == 0, -a, -jnp.log1p(v * (1 - e) / mass))
    return log_mass, w / mass, jnp.where(w == 0, 1, v * e / mass)


@_mass.defjvp
def _mass_jvp(primals, tangents):
    log_mass, wrong, right = _mass(*primals)
    step = tangents[0] * right
    return (log_mass, wrong, right), (-step, step * wrong, -step * wrong)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _times_power(k: int, factor, log_q, g):
    # factor · q^(γ − k), log q given in two parts. (γ − k) log q is the sum of a high
    # part that is exact and a low one: rounding it would cost the power up to 64 ulp.
    # What its rounding loses comes back as a factor (and is noise past the exponents).
    info = jnp.finfo(g.dtype)

    def half(x):  # as many leading bits as have an exact product
        return jax.lax.reduce_precision(x, info.nexp, info.nmant // 2)

    big, small = log_q
    a, b = half(g - k), half(big)
    high, low = a * b, a * (big - b) + (g - (a + k)) * big + (g - k) * small
    rounded = high + low
    lost = jnp.clip((high - rounded) + low, -0.5, 0.5)
    # The root twice: the power may underflow where its product with `factor` does not.
    root = jnp.minimum(jnp.exp(rounded / 2), float(info.max) ** 0.5)
    return factor * (1 + lost) * root * root


# Again one product: the terms of a sum would underflow one after the other.
@_times_power.defjvp
def _times_power_jvp(k, primals, tangents):
    (factor, log_q, g), (factor_dot, log_q_dot, g_dot) = primals, tangents
    rate = (g - k) * sum(log_q_dot) + g_dot * sum(log_q)
    result_dot = _times_power(k, factor_dot + factor * rate, log_q, g)
    return _times_power(k, *primals), result_dot
