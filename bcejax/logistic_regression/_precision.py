"""In which precision a fit computes: that of the features it is given.

Outside 64-bit mode JAX rounds whatever it is given to float32. For coefficients that is
not enough: of the raw columns of star98, a data set of statsmodels, whose correlations
have a condition of 1e7, rounding the features alone costs 3e-5 of a coefficient, and
sums in float32 2e-3. So features of float64 in the memory of the host, as NumPy and
tables have them, are fitted in float64, and only the result is rounded to float32.

That needs an eager call, as within jit, grad or vmap JAX has rounded already, and a
CPU: accelerators take many times as long for float64, or do not have it.
"""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np

from bcejax.logistic_regression._compiled import is_eager, on_cpu
from bcejax.logistic_regression._given import Given


def precision_of(given: Given, *others):
    """A context in which JAX computes in the precision of the features."""
    wide = isinstance(given.features, np.ndarray) and given.features.dtype == np.float64
    if wide and is_eager((given, others)) and on_cpu():
        return jax.enable_x64(True)
    return nullcontext()


def rounded(result):
    """`result` in the dtypes that JAX has here, outside that context."""
    if jax.config.jax_enable_x64:
        return result

    def round_one(a):
        return jnp.asarray(np.asarray(a)) if a.dtype == np.float64 else a

    return jax.tree.map(round_one, result)
