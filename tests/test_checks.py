"""Ranges: errors under checkify, for every public function, and no price without it."""

import jax
import jax.numpy as jnp
import pytest
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
        (lambda: bcejax.logit(1.5), "p must lie in"),
        (lambda: smooth_labels(3, 0.1), "labels must lie in"),
        (lambda: smooth_labels(1, 1.1), "amount must lie in"),
        (lambda: bcejax.optimal_logit(jnp.array([0, 3])), "labels must lie in"),
        (
            lambda: bcejax.optimal_logit(jnp.ones(2), weights=-1.0),
            "weights must lie in",
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


def test_eager_calls_hold_no_check_and_traced_ones_do(monkeypatch):
    functions = bce_with_logits, bce_with_probs, smooth_labels
    for function in functions:
        assert jax.make_jaxpr(function)(0.5, 1).jaxpr.effects
    monkeypatch.setattr(checkify, "debug_check", None)  # no call to it would survive
    for function in functions:
        function(0.5, 1)
    bcejax.optimal_logit(jnp.ones(2))
    bcejax.logit(0.5)
    bcejax.entropy(jnp.ones(1))
    bcejax.logistic_regression.fit(jnp.ones((2, 1)), jnp.ones(2), l2=1.0)
