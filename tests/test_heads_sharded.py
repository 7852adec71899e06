"""The heads and the loss of all pairs on eight devices: the numbers of one device, and
no kernel and no logits gathered.

The devices of a process are fixed when JAX starts, so the checks run in one of their
own: `python tests/test_heads_sharded.py`.
"""

import os
import re
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest

ROWS, D, CLASSES, CHUNK = 32, 16, 1024, 48


@pytest.mark.full
def test_eight_devices():
    flags = "--xla_force_host_platform_device_count=8"
    root = str(Path(__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-W", "error", __file__],
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=570,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.split()[-1] == "passed" and int(run.stdout.split()[-2]) >= 4


COLLECTIVES = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"


def collectives(compiled) -> list[tuple[str, int]]:
    """Each collective operation, and how many numbers its largest result has."""
    found = []
    for line in compiled.as_text().splitlines():
        match = re.search(rf" = (.+?) ({COLLECTIVES})(?:-start)?\(", line)
        if match:
            shapes = re.findall(r"\w+\[([\d,]*)\]", match[1])
            sizes = [prod(map(int, filter(None, s.split(",")))) for s in shapes]
            found.append((match[2], max(sizes)))
    return found


def main() -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import AxisType, NamedSharding
    from jax.sharding import PartitionSpec as P

    from bcejax import (
        linear_bce,
        linear_softmax_cross_entropy,
        sigmoid_contrastive_loss,
    )

    assert jax.device_count() == 8
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    layer = normal(ROWS, D), normal(D, CLASSES), normal(CLASSES)
    positives = jnp.asarray(rng.integers(-1, CLASSES, (ROWS, 5)))
    dense = jnp.asarray(rng.integers(0, 2, (ROWS, CLASSES)), jnp.int8)

    def bce(f, k, b, y):
        return linear_bce(f, k, y, bias=b, chunk_size=CHUNK).mean()

    def softmax(f, k, b, y):
        return linear_softmax_cross_entropy(f, k, y, bias=b, chunk_size=CHUNK).mean()

    losses = {
        "sparse": (bce, positives, lambda rows, classes: P(rows, None)),
        "softmax": (softmax, jnp.abs(positives[:, 0]), lambda rows, classes: P(rows)),
        "dense": (bce, dense, P),
    }
    layouts = {  # the axes of the mesh that share rows, d and classes
        "classes": ("x", None, "y"),
        "d": ("x", "y", None),
        "rows": (("x", "y"), None, None),
        "classes over all": (None, None, ("x", "y")),
    }
    chosen = [(a, b, c) for a in ("Auto", "Explicit") for b in losses for c in layouts]

    def agree(got, expected):
        got = jax.tree.leaves(jax.device_get(got))
        for a, b in zip(got, jax.tree.leaves(expected), strict=True):
            scale = np.max(np.abs(b))
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * scale)

    passed = 0
    for kind, name, layout in chosen:
        kinds = (getattr(AxisType, kind),) * 2
        mesh = jax.make_mesh((2, 4), ("x", "y"), axis_types=kinds)
        loss, labels, spec_of_labels = losses[name]
        rows, d, classes = layouts[layout]
        specs = P(rows, d), P(d, classes), P(classes), spec_of_labels(rows, classes)
        arguments = *layer, labels
        expected = jax.value_and_grad(loss, (0, 1, 2))(*arguments)
        with jax.set_mesh(mesh):
            parts = [
                jax.device_put(a, NamedSharding(mesh, s))
                for a, s in zip(arguments, specs, strict=True)
            ]
            program = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
            compiled = program.lower(*parts).compile()
            result = compiled(*parts)
        agree(result, expected)
        found = collectives(compiled)
        # Sums over rows and over classes are all that devices tell each other: of a
        # chunk of the kernel, and of the logits of a chunk where d is shared.
        assert found and {what for what, _ in found} == {"all-reduce"}, found
        parts_of_axis = 8
        allowed = (
            max(ROWS * D, D * CHUNK, ROWS * CHUNK * (d is not None)) * parts_of_axis
        )
        assert max(size for _, size in found) <= allowed < ROWS * CLASSES, found
        gradient_of_kernel = result[1][1].sharding
        assert gradient_of_kernel.is_equivalent_to(parts[1].sharding, 2)
        passed += 1

    # Inside shard_map: classes shared, each device told which of its own are positive.
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def of_part(f, k, b, y):
        first = k.shape[1] * jax.lax.axis_index("data")
        here = (y >= first) & (y < first + k.shape[1])
        part = linear_bce(
            f, k, jnp.where(here, y - first, -1), bias=b, chunk_size=CHUNK
        )
        return jax.lax.psum(part, "data").mean()

    specs = P(), P(None, "data"), P("data"), P()
    shared = jax.shard_map(of_part, mesh=mesh, in_specs=specs, out_specs=P())
    arguments = *layer, positives
    expected = jax.value_and_grad(bce, (0, 1, 2))(*arguments)
    compiled = (
        jax.jit(jax.value_and_grad(shared, (0, 1, 2))).lower(*arguments).compile()
    )
    agree(compiled(*arguments), expected)
    assert {what for what, _ in collectives(compiled)} == {"all-reduce"}
    passed += 1

    # All pairs, as a ring.
    images, texts = normal(ROWS, D), normal(ROWS, D)
    scalars = jnp.float32(0.5), jnp.float32(-2)

    def pairs(axis_name):
        return lambda *a: sigmoid_contrastive_loss(
            *a, chunk_size=3, axis_name=axis_name
        )

    specs = P("data"), P("data"), P(), P()
    ring = jax.shard_map(pairs("data"), mesh=mesh, in_specs=specs, out_specs=P())
    arguments = images, texts, *scalars
    moving = tuple(range(4))

    def curvature(loss):  # forward over reverse
        return jax.jvp(jax.grad(loss, moving), arguments, arguments)[1]

    program = jax.jit(jax.value_and_grad(ring, moving)).lower(*arguments).compile()
    agree(program(*arguments), jax.value_and_grad(pairs(None), moving)(*arguments))
    agree(jax.jit(lambda: curvature(ring))(), curvature(pairs(None)))
    found = collectives(program)
    assert {what for what, _ in found} == {"all-reduce", "collective-permute"}
    assert max(n for what, n in found if what == "all-reduce") == 1
    # Nothing larger than the embeddings of one device travels.
    assert max(n for _, n in found) <= ROWS // 8 * D
    print(passed + 1, "passed")


if __name__ == "__main__":
    main()
