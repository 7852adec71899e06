"""The inputs at which digits are measured: logits, probabilities and rows of them.

All are NumPy arrays of the dtype itself, so that the reference sees what the device
sees. `points` is how many are drawn of 32 and 64 bits; of 16 bits all are taken where
`points` allows it.
"""

import jax.numpy as jnp
import numpy as np


def logits(dtype: np.dtype, points: int) -> np.ndarray:
    """Finite ones of every size and sign, most of them where exp does something."""
    if dtype.itemsize == 2:
        return _codes(dtype, 0, 2**16, points)
    reach = 745 if dtype == np.float64 else 90
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-300 if reach > 90 else -37, 0, points // 4)
    parts = [
        np.linspace(-reach, reach, points // 2),
        np.linspace(-20, 20, points // 4),
        sizes * rng.choice([-1, 1], points // 4),
        np.array([0.0, -0.0, 1e30, -1e30]),
    ]
    return np.concatenate(parts).astype(dtype)


def probabilities(dtype: np.dtype, points: int) -> np.ndarray:
    """Inside (0, 1), next to 0, ½ and 1 as well."""
    if dtype.itemsize == 2:
        one = int(np.ones(1, dtype).view(np.uint16)[0])
        p = _codes(dtype, 1, one, points)
        return p[p.astype(np.float32) >= np.finfo(np.float32).smallest_normal]
    steps = np.finfo(dtype).eps * 2.0 ** np.arange(0, np.finfo(dtype).nmant - 2)
    parts = [
        np.linspace(0, 1, points // 2)[1:-1],
        np.geomspace(float(np.finfo(dtype).smallest_normal), 0.5, points // 2),
        *(0.5 - steps, 0.5 + steps, 1 - steps),
    ]
    return np.concatenate(parts).astype(dtype)


def _codes(dtype: np.dtype, low: int, high: int, points: int) -> np.ndarray:
    step = max(1, (high - low) // points)
    x = np.arange(low, high, step, dtype=np.uint16).view(dtype)
    return x[np.isfinite(x.astype(np.float32))]


def logit_rows(dtype: np.dtype, rows: int, classes: int) -> np.ndarray:
    """From all classes alike to one class 83 ahead; their differences are exact."""
    rng = np.random.default_rng(classes)
    gaps = np.linspace(0, 83, rows)[:, None]
    x = rng.normal(size=(rows, classes)) * np.minimum(gaps, 4)
    x[:, classes // 2] += gaps[:, 0]
    # No exponential may underflow, since a sum of those that do has no digits.
    x = np.maximum(x, np.max(x, -1, keepdims=True) - 85)
    return (np.round(8 * x) / 8).astype(dtype)


def labels(rows: int, classes: int) -> np.ndarray:
    """Of every second row the class that is ahead, else a random one."""
    label = np.random.default_rng(1).integers(classes, size=rows)
    label[::2] = classes // 2
    return label.astype(np.int32)


def distributions(dtype: np.dtype, rows: int, classes: int):
    """Pairs along the last axis: random ones, and in every second row nearly equal."""
    rng = np.random.default_rng(2)
    p, q = rng.dirichlet(np.ones(classes), (2, rows))
    p, q = np.maximum(p, 1e-6), np.maximum(q, 1e-6)
    q[::2] = p[::2] * (1 + 1e-3 * rng.choice([-1, 1], p[::2].shape))
    return p.astype(dtype), q.astype(dtype)


def logit_pairs(dtype: np.dtype, points: int):
    """Up to ±80: independent ones, and in every second pair nearly equal."""
    rng = np.random.default_rng(3)
    a, b = rng.uniform(-80, 80, (2, points))
    b[::2] = a[::2] * (1 + 1e-3 * rng.choice([-1, 1], a[::2].shape))
    return a.astype(dtype), b.astype(dtype)


def dtype_of(name: str) -> np.dtype:
    return np.dtype(jnp.dtype(name))
