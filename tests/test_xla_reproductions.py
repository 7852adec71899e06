"""What XLA's CPU gets wrong, as plain JAX without bcejax: the facts behind docs/xla.md.

Each reproduction runs in a process of its own, because what it shows depends on which
programs the process has compiled. It says which versions of JAX were seen to be right
and which wrong. A version that is in neither list is skipped, with what was seen there:
such a skip asks for a look at docs/xla.md, and at the workarounds that it names.
"""

import os
import subprocess
import sys

import jax
import pytest

# For 10 = 0 + 1 + 2 + 3 + 4 the second program sums the iota of the first, and what
# stands behind it in memory.
IOTA_OF_ANOTHER_PROGRAM = """
import jax, jax.numpy as jnp

f = jax.jit(lambda x: jnp.sum(x + jnp.arange(x.shape[1], dtype="float32"), 1))
f(jnp.zeros((2000, 3)))
print("right" if f(jnp.zeros((2000, 5)))[0] == 10 else "wrong")
"""

# The largest of 5,000 numbers of which one is NaN.
NAN_LOST_BY_MAX = """
import jax.numpy as jnp

x = jnp.zeros((1000, 5)).at[7, 4].set(jnp.nan)
print("right" if jnp.isnan(jnp.max(x, 1)[7]) else "wrong")
"""

# ‖M r‖² of 40,000 rows of three numbers.
SQUARES_AFTER_A_PRODUCT = """
import jax, numpy as np

rng = np.random.default_rng(0)
m, rows = rng.normal(size=(3, 3)), rng.normal(size=(40_000, 3))
m, rows = m.astype("float32"), rows.astype("float32")
got = jax.jit(jax.vmap(lambda r: ((m @ r) ** 2).sum()))(rows)
expected = np.sum((rows.astype(float) @ m.T.astype(float)) ** 2, 1)
print("right" if np.allclose(got, expected, rtol=1e-4) else "wrong")
"""

REPRODUCTIONS = {
    "sum with an iota": IOTA_OF_ANOTHER_PROGRAM,
    "NaN in a large maximum": NAN_LOST_BY_MAX,
    "squares after a product": SQUARES_AFTER_A_PRODUCT,
}


def outcome(program: str, **environment: str) -> str:
    """What the program prints in a new process on the CPU."""
    kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()


if __name__ == "__main__":
    for name, program in REPRODUCTIONS.items():
        plain = outcome(program)
        off = outcome(program, XLA_FLAGS="--xla_cpu_experimental_ynn_fusion_type=")
        print(f"jax {jax.__version__}: {name}: {plain}, without YNNPACK {off}")
