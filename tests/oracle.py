"""Independent references, and errors in units in the last place (ulp).

Nothing of bcejax is called here; its table of bounds is all that is taken. float64
formulas are exact enough to judge float32 and 16 bits (2⁻²⁹ of a float32 ulp); float64
itself is judged by mpmath at 50 digits.
"""

import jax.numpy as jnp
import mpmath
import numpy as np
from scipy import special

from bcejax.verify import bounds

# The largest errors of the sigmoid and its loss, in ulp of the exact value where it is
# a normal float32 (float64 for float64).
BOUNDS = bounds.BOUNDS["sigmoid"]


def every(dtype) -> np.ndarray:
    """All values of a 16-bit float, without NaN."""
    codes = np.arange(2**16, dtype=np.uint16).view(jnp.dtype(dtype))
    return codes[~np.isnan(codes.astype(np.float32))]


def some_float32(step: int) -> np.ndarray:
    """Every `step`-th float32 by its code, without NaN; holds ±0, ±1 and ±inf."""
    codes = (
        np.arange(0, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    )
    codes = np.concatenate([codes, np.float32([0.0, -0.0, 1, -1, np.inf, -np.inf])])
    return codes[~np.isnan(codes)]


def softplus(x):
    return np.logaddexp(0, x)


def sigmoid(x):
    return special.expit(x)


def bce(x, y):
    """ℓ of hard and soft labels; both terms are positive, so nothing cancels."""
    with np.errstate(invalid="ignore"):  # 0 · ∞ is what nan_to_num is for
        positive = np.nan_to_num(y * softplus(-x), nan=0, posinf=np.inf)
        negative = np.nan_to_num((1 - y) * softplus(x), nan=0, posinf=np.inf)
    return positive + negative


def bce_dx(x, y):
    return (1 - y) * sigmoid(x) - y * sigmoid(-x)


def bce_dxx(x, y):
    return sigmoid(x) * sigmoid(-x)


def precise(function, x) -> np.ndarray:
    """`function` of mpmath numbers at each x; an object array."""
    with mpmath.workdps(50):
        return np.array([function(mpmath.mpf(float(v))) for v in x], dtype=object)


def ulp_errors(got, exact, relative_to=None) -> np.ndarray:
    """|got − exact| in ulp of `exact`, or of `relative_to`.

    Where that is not normal, XLA's CPU may return 0: there the error is 0 or ∞, as
    `got` is tiny too or not. `exact` is float64, or holds mpmath numbers.
    """
    dtype = jnp.finfo(got.dtype)
    scale = np.abs(exact if relative_to is None else relative_to).astype(np.float64)
    floor = jnp.finfo(jnp.float64 if dtype.bits == 64 else jnp.float32).smallest_normal
    floor = float(floor)
    judged = (scale >= floor) & (scale <= float(dtype.max))
    exponent = np.frexp(np.where(judged, scale, 1))[1] - 1
    ulp = 2.0 ** (np.maximum(exponent, dtype.minexp) - dtype.nmant)
    with np.errstate(invalid="ignore"):
        if exact.dtype == object:
            with mpmath.workdps(50):
                error = abs(np.array([mpmath.mpf(float(g)) for g in got]) - exact)
                error = error.astype(np.float64)
        else:
            error = np.abs(np.asarray(got, np.float64) - exact)
    tiny = np.abs(np.asarray(got, np.float64)) <= 2 * floor
    return np.where(judged, error / ulp, np.where((scale < floor) & ~tiny, np.inf, 0))


def assert_ulp(got, exact, bound, x, relative_to=None) -> None:
    errors = ulp_errors(got, exact, relative_to)
    worst = np.argmax(errors)
    assert errors[worst] <= bound, (
        f"{errors[worst]:.3g} ulp at {float(x[worst])!r}: "
        f"got {float(got[worst])!r}, exactly {exact[worst]}"
    )
    infinite = np.isinf(exact.astype(np.float64))
    np.testing.assert_array_equal(
        np.asarray(got, np.float64)[infinite], exact.astype(np.float64)[infinite]
    )
