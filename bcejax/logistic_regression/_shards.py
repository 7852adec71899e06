"""Rows laid over the devices of a mesh."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from bcejax.logistic_regression._given import read


def shard_rows(
    mesh: Mesh,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
) -> dict[str, jax.Array]:
    """The data of a fit with an equal part of the rows on every device of a mesh.

    Rows that do not divide are filled up with rows of weight 0, which do not count.
    `fit` then runs where the rows are: the devices exchange sums, and never rows.

    Args:
      mesh: of devices, such as `jax.make_mesh((8,), ("rows",))`; all axes are used.
      features: `(n, d)`, real: an array or a table, whose names are not kept.
      labels: `(n,)`, real.
      sample_weight: `(n,)` or a scalar.
      offset: `(n,)` or a scalar.
    Returns:
      The arguments for `fit` and others by name, `sample_weight` and `offset` only if
      they were given or are needed. In the dtypes that JAX gives them.
    Raises:
      TypeError: if an argument is not real.
      ValueError: if the arrays have different numbers of rows.
    Example:
      >>> from bcejax.logistic_regression import fit
      >>> x, y = np.arange(6.0)[:, None], np.array([0, 1, 0, 1, 0, 1])
      >>> mesh = jax.make_mesh((len(jax.devices()),), ("rows",))
      >>> print(fit(**shard_rows(mesh, x, y)).weights)
      [0.3613]
    """
    given, _ = read(features, labels, 0.0, sample_weight, offset)
    n, missing = len(given.features), -len(given.features) % mesh.size
    weight = 1.0 if missing and sample_weight is None else given.sample_weight
    data = given._asdict() | {"sample_weight": weight}
    data = {name: x for name, x in data.items() if x is not None and name != "l2"}

    def laid(x, name):
        x = np.asarray(x)
        x = np.broadcast_to(x, (n,)) if x.ndim == 0 else x
        if len(x) != n:
            raise ValueError(
                f"{name} must have the {n} rows of features, got shape {x.shape}."
            )
        padded = np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
        spec = PartitionSpec(mesh.axis_names, *[None] * (x.ndim - 1))
        return jax.device_put(padded, NamedSharding(mesh, spec))

    return {name: laid(x, name) for name, x in data.items()}
