"""Exact values to judge by, in NumPy on the host, and errors in ulp.

Nothing here calls JAX or the functions that are judged. Every formula keeps its digits
wherever it is evaluated: what would cancel is regrouped or summed as a series. float64
judges 16 and 32 bits, and `numpy.longdouble` judges float64 where it is wider.
"""

import jax.numpy as jnp
import numpy as np

HOST_IS_WIDER = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant


def widen(x: np.ndarray) -> np.ndarray:
    """x in the dtype that judges it."""
    return x.astype(np.longdouble if x.dtype == np.float64 else np.float64)


@np.errstate(all="ignore")
def errors_in_ulp(got: np.ndarray, exact: np.ndarray, scale=None) -> np.ndarray:
    """|got − exact| in ulp of `exact`, or of `scale` where that is larger.

    Where neither is normal the device may return 0: the error is 0 if `got` is tiny as
    well, and ∞ if not. It is also ∞ for a NaN and for a wrong infinity. What overflows
    the dtype is not judged, nor what has a scale of NaN.
    """
    info = jnp.finfo(got.dtype)
    wide_info = np.finfo(np.float64 if got.dtype == np.float64 else np.float32)
    floor, most = wide_info.smallest_normal, float(info.max)
    got = got.astype(exact.dtype)
    scale = np.abs(exact) if scale is None else np.maximum(np.abs(exact), scale)
    exponent = np.frexp(np.where((scale >= floor) & (scale <= most), scale, 1))[1] - 1
    power = np.maximum(exponent, int(info.minexp)) - info.nmant
    errors = np.ldexp(np.abs(got - exact), -power)
    tiny = np.where(np.abs(got) <= 2 * floor, 0, np.inf)
    errors = np.where(scale < floor, tiny, errors)
    errors = np.where(np.isinf(exact), np.where(got == exact, 0, np.inf), errors)
    errors = np.where(np.isnan(errors), np.inf, errors)
    unjudged = np.isnan(scale) | (scale > most) & np.isfinite(exact)
    return np.where(unjudged, 0, errors).astype(float)


# Of logits


def tail(x):
    """log(1 + e^−|x|)"""
    return np.log1p(np.exp(-np.abs(x)))


def softplus(x):
    return np.maximum(x, 0) + tail(x)


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x > 0, 1, e) / (1 + e)


def sigmoid_slope(x):
    e = np.exp(-np.abs(x))
    return e / (1 + e) ** 2


def zero_times(factor, x):
    """The product, where 0 · ∞ is 0."""
    return np.where(factor == 0, 0, factor * x)


def focal(u, gamma):
    """q^γ ℓ, two derivatives, and the larger term of the second; u = ±x."""
    q, p, loss = sigmoid(u), sigmoid(-u), softplus(u)
    slope = q**gamma * (zero_times(gamma * p, loss) + q)
    rising = q**gamma * p * (zero_times(gamma**2 * p, loss) + (2 * gamma + 1) * q)
    falling = q**gamma * zero_times(p * gamma * q, loss)
    return q**gamma * loss, slope, rising - falling, np.maximum(rising, falling)


def shifted_focal(u, gamma, clip):
    """p_m^γ (−log(1 − p_m)) with p_m = max(σ(u) − clip, 0), as `focal` has it.

    Each order comes with the size of its terms, one of which is that p − clip cancels.
    """
    q, p, bend = sigmoid(-u), sigmoid(u), sigmoid_slope(u)
    on = p > clip
    left, rest = np.where(on, p - clip, 1), q + clip
    z = clip / left
    loss = np.where(clip == 0, softplus(u), -np.log(np.where(clip == 0, 1, rest)))
    loss = np.where(left < 0.5, -np.log1p(-np.minimum(left, 0.5)), loss)
    rate = gamma * q * (1 + z)  # of log p_m^γ
    own, clipped = np.where(clip == 0, 1, q / rest), np.where(clip == 0, 0, clip / rest)
    slope = p * own
    rate_slope = rate * (p + z * q)
    power = np.where(on, left**gamma, 0)
    first = zero_times(rate, loss) + slope
    rising = zero_times(rate, zero_times(rate, loss)) + 2 * rate * slope + bend * own
    falling = zero_times(rate_slope, loss) + p * p * own * clipped
    terms = loss, first, rising - falling
    sizes = loss, first, np.maximum(rising, falling)
    blur = 1 + z
    return [
        (zero_times(power, a), zero_times(power, b) * blur)
        for a, b in zip(terms, sizes, strict=True)
    ]


def x_minus_log1p(u, log1p_u):
    """u − log(1 + u), given the logarithm; by its series where the two cancel."""
    small = np.abs(u) < 0.1
    v, series = np.where(small, u, 0), 0
    for k in range(24, 1, -1):
        series = (-1) ** k / u.dtype.type(k) + v * series
    return np.where(small, v * v * series, u - log1p_u)


def bernoulli_divergence(a, b):
    """KL(σ(a) ‖ σ(b)), a sum of two terms that are never negative."""

    def term(a, b):  # p g((q − p)/p) with p = σ(a), q = σ(b)
        log_quotient = np.minimum(b, 0) - np.minimum(a, 0) + tail(a) - tail(b)
        relative_step = -np.expm1(a - b) * sigmoid(b) * np.exp(-a)
        return sigmoid(a) * x_minus_log1p(relative_step, log_quotient)

    return term(a, b) + term(-a, -b)


def sigmoid_difference(a, b):
    """σ(b) − σ(a)"""
    high, low = np.maximum(a, b), np.minimum(a, b)
    size = -np.expm1(low - high) * sigmoid(high) * sigmoid(-low)
    return np.where(b >= a, size, -size)


# Of probabilities


def log_odds(p):
    """log p − log(1 − p); near ½ by a logarithm of 1 + a small number."""
    near = np.log1p((2 * p - 1) / (1 - p))
    return np.where(np.abs(p - 0.5) < 0.25, near, np.log(p) - np.log1p(-p))


def divergence_terms(p, q):
    """p log(p/q) − p + q of each class."""
    return p * x_minus_log1p((q - p) / p, np.log(q / p))


# Of rows of logits


def softmax_parts(x):
    """−log p, p and 1 − p of each class."""
    ahead = np.arange(x.shape[-1]) == np.argmax(x, -1)[:, None]
    gap = np.max(x, -1, keepdims=True) - x
    mass = np.exp(-gap)
    rest = np.sum(np.where(ahead, 0, mass), -1, keepdims=True)
    others = np.where(ahead, rest, 1 + rest - mass)  # at most half of it cancels
    return gap + np.log1p(rest), mass / (1 + rest), others / (1 + rest)


def softmax_loss(x, y):
    """−Σ y log p, its gradient, and the larger of the two terms in that."""
    minus_log_p, p, q = softmax_parts(x)
    largest = np.arange(y.shape[-1]) == np.argmax(y, -1)[:, None]
    smaller = np.sum(np.where(largest, 0, y), -1, keepdims=True)
    rest = np.where(largest, smaller, np.max(y, -1, keepdims=True) + smaller - y)
    pull, push = p * rest, y * q
    return np.sum(zero_times(y, minus_log_p), -1), pull - push, np.maximum(pull, push)


def softmax_curvature(x, total, direction):
    """The column `direction` of the Hessian, for labels that sum to `total`."""
    _, p, q = softmax_parts(x)
    own = np.arange(x.shape[-1]) == direction[:, None]
    p_own = np.take_along_axis(p, direction[:, None], -1)
    return total[:, None] * p * np.where(own, q, -p_own)
