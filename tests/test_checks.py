"""Ranges: errors under checkify, for every public function, and no price without it."""

import jax
import jax.numpy as jnp
import pytest
from jax import export
from jax.experimental import checkify

import bcejax
from bcejax import bce_with_logits, bce_with_probs, smooth_labels


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: bce_with_logits(jnp.zeros(3), jnp.array([0, 1, 2])),
            "labels .* 0.* 2",
        ),
        (lambda: bce_with_logits(0.0, -0.25), "labels must lie in"),
        (lambda: bce_with_logits(0.0, jnp.nan), "labels must lie in"),
        (lambda: bce_with_logits(0.0, 1, pos_weight=-1.0), "pos_weight must lie in"),
        (lambda: bce_with_probs(1.5, 1), "probs must lie in"),
        (lambda: bce_with_probs(0.5, 3), "labels must lie in"),
        (lambda: bcejax.sigmoid_focal_loss(0.0, 2), "labels must lie in"),
        (lambda: bcejax.sigmoid_focal_loss(0.0, 1, gamma=-1.0), "gamma must lie in"),
        (
            lambda: bcejax.sigmoid_focal_loss(0.0, 1, alpha=1.5),
            r"alpha must lie in \[0, 1\], got 1.5",
        ),
        (lambda: bcejax.asymmetric_loss(0.0, 1, clip=1.5), "clip must lie in"),
        (
            lambda: bcejax.asymmetric_loss(0.0, 1, gamma_negative=-1.0),
            "gamma_negative must lie in",
        ),
        (lambda: bcejax.logit(1.5), "p must lie in"),
        (lambda: smooth_labels(3, 0.1), "labels must lie in"),
        (lambda: smooth_labels(1, 1.1), "amount must lie in"),
        (lambda: bcejax.optimal_logit(jnp.array([0, 3])), "labels must lie in"),
        (
            lambda: bcejax.optimal_logit(jnp.ones(2), weights=-1.0),
            "weights must lie in",
        ),
        (
            lambda: bcejax.softmax_cross_entropy_with_integer_labels(
                jnp.zeros(3), 0, label_smoothing=1.5
            ),
            r"label_smoothing must lie in \[0, 1\], got 1.5",
        ),
        (lambda: bcejax.entropy(jnp.array([1.5, 0.5])), "probs must lie in .* 1.5"),
        (lambda: bcejax.cross_entropy(-jnp.ones(2), jnp.ones(2)), "p must lie in"),
        (lambda: bcejax.kl_divergence(jnp.ones(1), jnp.full(1, jnp.nan)), "q must lie"),
        (lambda: bcejax.entropy(jnp.ones(2), base=-2.0), "base must lie in"),
    ],
)
def test_values_out_of_range_are_errors_under_checkify(call, message):
    error, _ = checkify.checkify(call)()
    with pytest.raises(checkify.JaxRuntimeError, match=message):
        error.throw()
    call()


def test_values_in_range_pass_checkify():
    y, where = jnp.array([0, 1, 7]), jnp.array([True, True, False])
    error, _ = checkify.checkify(bce_with_logits)(jnp.zeros(3), y, where=where)
    error.throw()
    error, _ = checkify.checkify(bce_with_logits)(jnp.zeros(0), jnp.zeros(0))
    error.throw()
    p = jnp.array([0.0, 1.0])
    error, _ = checkify.checkify(lambda p: bcejax.kl_divergence(p, p, base=2))(p)
    error.throw()


def bad(function):
    """What checkify says of a call with the labels 0, 1, 2 beside three logits."""
    logits, labels = jnp.zeros(3), jnp.array([0.0, 1.0, 2.0])
    error, _ = checkify.checkify(function)(logits, labels)
    return error.get()


def mesh_of_one():
    return jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))


SPEC = jax.sharding.PartitionSpec("i")
# The guard of the one undocumented fact in `_range_check`: that checkify looks into a
# primitive that it does not know, wherever that stands.
WAYS = {
    "alone": lambda f: f,
    "jit": jax.jit,
    "grad": lambda f: jax.grad(lambda x, y: f(x, y).sum()),
    "value_and_grad": lambda f: jax.value_and_grad(lambda x, y: f(x, y).sum()),
    "grad in labels": lambda f: jax.grad(lambda x, y: f(x, y).sum(), 1),
    "hessian": lambda f: jax.hessian(lambda x, y: f(x, y).sum()),
    "jvp": lambda f: lambda x, y: jax.jvp(f, (x, y), (x, y)),
    "linearize": lambda f: lambda x, y: jax.linearize(f, x, y)[1](x, y),
    "vmap": jax.vmap,
    "vmap over labels": lambda f: jax.vmap(f, (None, 0)),
    "vmap of grad": lambda f: jax.vmap(jax.grad(f)),
    "checkpoint": lambda f: jax.grad(lambda x, y: jax.checkpoint(f)(x, y).sum()),
    "scan": lambda f: lambda x, y: jax.lax.scan(lambda c, a: (c, f(*a)), 0, (x, y)),
    "cond": lambda f: lambda x, y: jax.lax.cond(x[0] < 1, lambda: f(x, y), lambda: x),
    "while": lambda f: (
        lambda x, y: jax.lax.while_loop(lambda x: x[0] < 0.5, lambda x: f(x, y), x)
    ),
    "shard_map": lambda f: jax.shard_map(
        f, mesh=mesh_of_one(), in_specs=(SPEC, SPEC), out_specs=SPEC
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_checkify_finds_a_bad_label_under_every_transformation(way):
    assert "labels must lie in [0, 1], got" in bad(WAYS[way](bce_with_logits))


def test_one_check_holds_for_a_whole_batch():
    assert "got 0.0 to 2.0" in bad(jax.vmap(bce_with_logits))


def test_a_negative_index_is_an_error_unless_it_is_said_to_count_from_the_end():
    loss = bcejax.softmax_cross_entropy_with_integer_labels
    logits, labels = jnp.zeros((2, 3)), jnp.array([0, -1])
    error, _ = checkify.checkify(loss)(logits, labels)
    assert "labels must lie in [0, 2], got -1.0 to 0.0" in error.get()
    error, _ = checkify.checkify(loss)(logits, labels % 3)
    error.throw()

    def without_classes(logits, labels):  # in the second row, whose label is not read
        return loss(logits, labels, where=jnp.array([[True], [False]]))

    error, _ = checkify.checkify(without_classes)(logits, labels)
    error.throw()


def step(x, y):
    return jax.value_and_grad(lambda x: bce_with_logits(x, y).mean())(x)


def test_a_program_with_a_check_is_exported_and_serialised():
    arguments = jnp.zeros(3), jnp.ones(3)
    stored = export.export(jax.jit(step))(*arguments).serialize()
    value, _ = export.deserialize(stored).call(*arguments)
    assert value == step(*arguments)[0]


def test_a_check_leaves_nothing_in_the_compiled_program():
    x, y = jnp.zeros(8), jnp.ones(8)
    program = jax.jit(bce_with_logits).lower(x, y).compile().as_text()
    # What a check would be: a comparison and a reduction.
    assert "compare(" not in program
    assert "reduce(" not in program
