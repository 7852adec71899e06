"""Known miscomputations of XLA, looked for in JAX itself.

They decide nothing. They say whether this JAX has the fault, so that a failure
elsewhere can be traced to it, and whether bcejax is met by it, which is what the checks
named beside each probe found.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bcejax.verify._behaviour import FUSED, MANY_ROWS, NANS, ROWS
from bcejax.verify._digits import Check


class Probe(NamedTuple):
    what: str  # JAX on this device miscomputes
    present: bool
    meets_bcejax: bool

    @property
    def words(self) -> str:
        if not self.present:
            return f"JAX on this device computes {self.what} correctly"
        meets = "it is seen in" if self.meets_bcejax else "it does not reach"
        return f"JAX on this device miscomputes {self.what}; {meets} bcejax"


def iota_of_an_earlier_program() -> bool:
    # Seen with jaxlib 0.11.1 to 0.12.0.1 on CPUs: a sum over few columns that holds an
    # iota reads the iota of an earlier, shorter program, and past its end.
    f = jax.jit(lambda x: jnp.sum(x + jnp.arange(x.shape[1], dtype="float32"), 1))
    short, long = (np.asarray(f(np.zeros((ROWS, n), np.float32))) for n in (3, 5))
    return bool(np.any(short != 0 + 1 + 2) or np.any(long != 0 + 1 + 2 + 3 + 4))


def squares_after_a_product() -> bool:
    # Seen with jaxlib 0.10.2 on CPUs, from 32,769 rows on.
    rng = np.random.default_rng(0)
    matrix, rows = rng.integers(-8, 9, (4, 4)), rng.integers(-8, 9, (MANY_ROWS, 4))
    m = jnp.asarray(matrix, "float32")
    got = jax.jit(jax.vmap(lambda row: ((m @ row) ** 2).sum()))(
        jnp.asarray(rows, "float32")
    )
    exact = ((rows @ matrix.T) ** 2).sum(1)
    return bool(np.max(np.abs(got - exact)) > 1e-3 * np.max(exact))


def nan_dropped_by_a_maximum() -> bool:
    # Seen with jaxlib 0.10.2 to 0.12.0.1 on CPUs, from some 4,000 elements on.
    x = np.zeros((ROWS, 5), np.float32)
    x[7, 4] = np.nan
    return not bool(np.isnan(jax.jit(jnp.max)(x)))


PROBES: dict[str, tuple[Callable[[], bool], str, str]] = {
    "a sum of x + iota once a smaller program is alive": (
        iota_of_an_earlier_program,
        FUSED,
        "softmax",
    ),
    "squares after a product of 32,769 rows or more": (
        squares_after_a_product,
        FUSED,
        "bce_with_logits",
    ),
    "the maximum of an array with a NaN": (nan_dropped_by_a_maximum, NANS, ""),
}


def probes(checks: list[Check]) -> list[Probe]:
    return [
        Probe(
            what,
            present(),
            any(c.kind == kind and name in c.name and not c.passed for c in checks),
        )
        for what, (present, kind, name) in PROBES.items()
    ]
