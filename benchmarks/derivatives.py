"""The README's picture: where the derivatives of the usual losses end.

python benchmarks/derivatives.py         writes derivatives.svg
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib import style
from matplotlib.figure import Figure

from bcejax import bce_with_logits

PICTURE = Path(__file__).with_name("derivatives.svg")


def textbook(x, y):
    p = 1 / (1 + jnp.exp(-x))
    return -y * jnp.log(p) - (1 - y) * jnp.log(1 - p)


LOSSES = {
    "bcejax": (bce_with_logits, {"linewidth": 6, "alpha": 0.4}),
    "optax": (optax.sigmoid_binary_cross_entropy, {}),
    "−log(1/(1 + e⁻ˣ))": (textbook, {"linestyle": ":", "color": "black"}),
}


@style.context("bcejax.pictures")
def main() -> None:
    x = jnp.linspace(-100, 100, 801, dtype=jnp.float32)
    figure = Figure(figsize=(10, 3.6))
    first, second = figure.subplots(1, 2, sharey=True)
    for name, (loss, look) in LOSSES.items():
        slope = jax.grad(loss)
        for panel, derivative in ((first, slope), (second, jax.grad(slope))):
            size = np.abs(jax.vmap(derivative, (0, None))(x, 1.0))
            (line,) = panel.plot(
                x, np.where(size > 0, size, np.nan), label=name, **look
            )
            ends = np.flatnonzero(size > 0)[[0, -1]]
            ends = ends[(np.abs(x[ends]) < 85) & (loss is not bce_with_logits)]
            panel.plot(x[ends], size[ends], "o", color=line.get_color())
    first.set(title="|∂ℓ/∂x|, label 1, float32, by jax.grad", xlabel="logit x")
    second.set(title="∂²ℓ/∂x²", xlabel="logit x", yscale="log", ylim=(1e-40, 1e4))
    first.legend(loc="lower left")
    second.text(0, 1e-25, "●  beyond this\n0, ∞ or NaN", ha="center")
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
