"""The sigmoid σ, log σ, softplus and logit.

Each public function accepts a floating array of any shape and returns the same shape
and dtype. 16-bit input is computed in float32 and rounded once, at the end. Infinities
are values like any other; NaN in gives NaN out. Derivatives keep their relative digits
in every order until they underflow. The equations and their rules of derivatives are in
`_numerics.sigmoid`.
"""

import jax
from jax.typing import ArrayLike

from bcejax._arguments import Argument, elementwise
from bcejax._numerics import sigmoid as equations


def sigmoid(x: ArrayLike) -> jax.Array:
    """Logistic sigmoid σ(x) = 1 / (1 + e⁻ˣ), the probability that belongs to a logit.

    σ(−∞) = 0, σ(0) = ½, σ(∞) = 1, and σ(−x) = 1 − σ(x): for the complement of a
    probability near 1 take σ(−x), which keeps the digits that 1 − σ(x) loses. The
    inverse is `logit`. The gradient is σ(x) σ(−x), never 0 before it underflows.

    Args:
      x: `[...]`, floating point.
    Returns:
      `[...]`, dtype of `x`, in [0, 1].
    Raises:
      TypeError: if `x` is not floating point.
    Example:
      >>> import jax.numpy as jnp
      >>> print(sigmoid(jnp.array([-jnp.inf, 0, 2])))
      [0.     0.5    0.8808]
    """
    return elementwise(equations.sigmoid, Argument("x", x))


def softplus(x: ArrayLike) -> jax.Array:
    """Softplus log(1 + eˣ), in nats: the loss of logit x against label 0.

    softplus(−∞) = 0, softplus(∞) = ∞, softplus(x) − softplus(−x) = x. The gradient is
    σ(x), ½ at x = 0.

    Args:
      x: `[...]`, floating point.
    Returns:
      `[...]`, dtype of `x`, never below 0.
    Raises:
      TypeError: if `x` is not floating point.
    Example:
      >>> import jax.numpy as jnp
      >>> print(softplus(jnp.array([-jnp.inf, 0, 100])))
      [  0.       0.6931 100.    ]
    """
    return elementwise(equations.softplus, Argument("x", x))


def log_sigmoid(x: ArrayLike) -> jax.Array:
    """Log-sigmoid log σ(x) = −softplus(−x), in nats: the log-likelihood of label 1.

    log σ(−∞) = −∞, log σ(∞) = 0. The gradient is σ(−x).

    Args:
      x: `[...]`, floating point.
    Returns:
      `[...]`, dtype of `x`, never above 0.
    Raises:
      TypeError: if `x` is not floating point.
    Example:
      >>> print(log_sigmoid(-100.0), f"{log_sigmoid(17.0):.3e}")
      -100.0 -4.140e-08
    """
    return elementwise(equations.log_sigmoid, Argument("x", x))


def logit(p: ArrayLike) -> jax.Array:
    """Logit log p − log(1 − p), the inverse of `sigmoid`.

    logit(0) = −∞, logit(½) = 0, logit(1) = ∞; NaN outside [0, 1]. The gradient is
    1/p + 1/(1 − p).

    Args:
      p: `[...]`, floating point, in [0, 1] (checked under `checkify`).
    Returns:
      `[...]`, dtype of `p`.
    Raises:
      TypeError: if `p` is not floating point.
    Example:
      >>> import jax.numpy as jnp
      >>> print(logit(jnp.array([0, 0.25, 0.5, 1])))
      [   -inf -1.0986  0.         inf]
    """
    return elementwise(equations.logit, Argument("p", p, (0, 1)))
