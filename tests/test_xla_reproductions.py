"""What XLA's CPU gets wrong, as plain JAX without bcejax: the facts behind docs/xla.md.

Each reproduction runs in a process of its own, because what it shows depends on which
programs the process has compiled. Below stands which versions were tried and which of
them were wrong. On any other version the test is skipped and says what it saw: such a
skip asks for a look at docs/xla.md, and at the workarounds that it names.
"""

import os
import subprocess
import sys

import jaxlib
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
print("right" if jnp.isnan(jnp.max(x, axis=1)[7]) else "wrong")
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

# Fᵀ F k over 4,097 rows on two axes, within 2 % of the size of its terms.
BFLOAT16_SUMMED_OVER_TWO_AXES = """
import jax, jax.numpy as jnp, numpy as np

rng = np.random.default_rng(0)
features = rng.integers(-3, 4, (17, 241, 3)).astype(jnp.bfloat16)
kernel = rng.integers(-3, 4, (3, 17)).astype(jnp.bfloat16)
got = jax.jit(jax.grad(lambda k: jnp.sum(jnp.square(features @ k)) / 2))(kernel)
f = features.reshape(-1, 3).astype(float)
x = f @ kernel.astype(float)
error = np.abs(np.asarray(got, float) - f.T @ x)
print("right" if np.all(error <= 0.02 * (np.abs(f).T @ np.abs(x))) else "wrong")
"""

REPRODUCTIONS = {
    "a sum with an iota": IOTA_OF_ANOTHER_PROGRAM,
    "NaN in a large maximum": NAN_LOST_BY_MAX,
    "squares after a product": SQUARES_AFTER_A_PRODUCT,
    "bfloat16 summed over two axes": BFLOAT16_SUMMED_OVER_TWO_AXES,
}
# XLA is in jaxlib, whose version counts. Each was run on an AMD EPYC.
TRIED = [
    "0.10.0",
    "0.10.1",
    "0.10.2",
    "0.11.0",
    "0.11.1",
    "0.11.2",
    "0.12.0",
    "0.12.0.1",
]
WRONG = {
    "a sum with an iota": TRIED[4:],
    "NaN in a large maximum": TRIED[2:],
    "squares after a product": ["0.10.2"],
    "bfloat16 summed over two axes": TRIED[5:],
}
WITHOUT_YNNPACK = "--xla_cpu_experimental_ynn_fusion_type="


def outcome(program: str, flags: str = "") -> str:
    """What the program prints in a new process on the CPU."""
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_jax_is_wrong_in_the_versions_that_the_docs_name(name):
    version, seen = jaxlib.__version__, outcome(REPRODUCTIONS[name])
    if version not in TRIED:
        pytest.skip(f"{name} is {seen} with jaxlib {version}: add it to docs/xla.md")
    if version in WRONG[name] and seen == "right":
        pytest.skip(f"{name} is right on this machine, although not on the docs' one")
    assert seen == ("wrong" if version in WRONG[name] else "right")


@pytest.mark.full
@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_jax_is_right_without_ynnpack(name):
    if jaxlib.__version__ not in TRIED:
        pytest.skip("the switch is not a promise of XLA, which may have removed it")
    assert outcome(REPRODUCTIONS[name], WITHOUT_YNNPACK) == "right"
