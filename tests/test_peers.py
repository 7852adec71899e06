"""Other libraries as witnesses where they are right, and a list of where they are not.

In float64 at moderate arguments peers and bcejax must agree. Of each input in the list
the test asks that bcejax has the exact value, and that the peer, in the version named,
has not: so the list stays true.
"""

import importlib.metadata
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special
from sklearn.metrics import log_loss

from bcejax import (
    bce_with_logits,
    bce_with_probs,
    kl_divergence,
    log_softmax,
    sigmoid,
    sigmoid_focal_loss,
    smooth_labels,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)

INF = jnp.inf
RECORDED = {
    "jax": ("0.10.", "0.12.0"),
    "optax": ("0.2.8",),
    "torch": ("2.13.", "2.14."),
}
CLOSE = dict(rtol=1e-12, atol=1e-12)
integer = softmax_cross_entropy_with_integer_labels
optax_integer = optax.softmax_cross_entropy_with_integer_labels


def moderate(shape=(50, 7)):
    """Logits, and labels that are distributions along the last axis."""
    rng = np.random.default_rng(0)
    return rng.normal(size=shape) * 3, rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def both(loss):
    """Loss and gradient, compiled once."""
    gradient = jax.grad(lambda x, y: loss(x, y).sum())
    return jax.jit(lambda x, y: (loss(x, y), gradient(x, y)))


# Where they are right


def of_the_largest(loss):
    return lambda x, y: loss(x, jnp.argmax(y, -1))


def focal(loss, **kwargs):
    return lambda x, y: loss(x, y, **kwargs)


def optax_divergence(of, change_targets=lambda y: y):
    return lambda x, y: of(jax.nn.log_softmax(x), change_targets(y))


def divergence(x, y):
    return kl_divergence(y, jnp.exp(log_softmax(x)))


def smoothed_bce(x, y):
    return bce_with_logits(x, smooth_labels(y, 0.1))


def optax_smoothed_bce(x, y):  # over both classes, which optax must be given
    both = optax.smooth_labels(jnp.stack([y, 1 - y], -1), 0.1)
    return optax.sigmoid_binary_cross_entropy(x, both[..., 0])


OPTAX = {
    "bce": (bce_with_logits, optax.sigmoid_binary_cross_entropy),
    "smoothed": (smoothed_bce, optax_smoothed_bce),
    "focal": (sigmoid_focal_loss, optax.sigmoid_focal_loss),
    "focal, γ = ½, α = ¼": [
        focal(loss, gamma=0.5, alpha=0.25)
        for loss in (sigmoid_focal_loss, optax.sigmoid_focal_loss)
    ],
    "softmax": (softmax_cross_entropy, optax.softmax_cross_entropy),
    "safe softmax": (softmax_cross_entropy, optax.losses.safe_softmax_cross_entropy),
    "integer": (of_the_largest(integer), of_the_largest(optax_integer)),
    "divergence": (divergence, optax_divergence(optax.kl_divergence)),
    "divergence, log targets": (
        divergence,
        optax_divergence(optax.losses.kl_divergence_with_log_targets, jnp.log),
    ),
    "generalized divergence": (  # of what is no distribution, too
        lambda x, y: kl_divergence(y, jnp.exp(x - 12)),
        lambda x, y: optax.losses.generalized_kl_divergence(x - 12, y),
    ),
}


@pytest.mark.parametrize(("ours", "theirs"), OPTAX.values(), ids=list(OPTAX))
def test_optax_agrees_in_float64(x64, ours, theirs):
    x, y = moderate()
    for got, expected in zip(both(ours)(x, y), both(theirs)(x, y), strict=True):
        np.testing.assert_allclose(got, expected, **CLOSE)


TORCH = {
    "bce": (bce_with_logits, lambda f: f.binary_cross_entropy_with_logits),
    "bce of probabilities": (
        lambda x, y: bce_with_probs(sigmoid(x), y),
        lambda f: (
            lambda x, y, reduction: f.binary_cross_entropy(
                x.sigmoid(), y, reduction=reduction
            )
        ),
    ),
    "softmax": (softmax_cross_entropy, lambda f: f.cross_entropy),
    "integer": (
        of_the_largest(integer),
        lambda f: (
            lambda x, y, reduction: f.cross_entropy(
                x, y.argmax(-1), reduction=reduction
            )
        ),
    ),
    "divergence": (
        divergence,
        lambda f: (
            lambda x, y, reduction: f.kl_div(
                f.log_softmax(x, -1), y, reduction=reduction
            ).sum(-1)
        ),
    ),
}


@pytest.mark.parametrize(("ours", "theirs"), TORCH.values(), ids=list(TORCH))
def test_torch_agrees_in_float64(x64, ours, theirs):
    torch = pytest.importorskip("torch")
    x, y = moderate()
    logits = torch.tensor(x, requires_grad=True)
    loss = theirs(torch.nn.functional)(logits, torch.tensor(y), reduction="none")
    loss.sum().backward()
    value, slope = both(ours)(x, y)
    np.testing.assert_allclose(value, loss.detach(), **CLOSE)
    np.testing.assert_allclose(slope, logits.grad, **CLOSE)


def test_sklearn_agrees_in_float64(x64):
    x, y = moderate()
    hard = np.argmax(y, -1)
    probs = np.asarray(jnp.exp(log_softmax(x)))
    np.testing.assert_allclose(integer(x, hard).mean(), log_loss(hard, probs), **CLOSE)
    x, hard = x[:, 0], hard > 2
    expected = log_loss(hard, sigmoid(x))
    np.testing.assert_allclose(bce_with_logits(x, hard).mean(), expected, **CLOSE)
    np.testing.assert_allclose(
        bce_with_probs(sigmoid(x), hard).mean(), expected, **CLOSE
    )


# Where they are not


def torch_grad(of: str, x: list, y, dtype="float32"):
    """A function of nothing: torch is imported only when it is called."""

    def gradient():
        torch = pytest.importorskip("torch")
        logits = torch.tensor(x, dtype=getattr(torch, dtype), requires_grad=True)
        labels = torch.tensor(y)
        labels = labels.to(logits.dtype) if labels.is_floating_point() else labels
        getattr(torch.nn.functional, of)(logits, labels).backward()
        return logits.grad.float().numpy()

    return gradient


def wrong(peer: str, name: str, exact, ours: Callable, theirs: Callable):
    return pytest.param(peer, exact, ours, theirs, id=f"{peer}: {name}")


def of_both(loss, peer_loss, through=lambda f: f):
    """A test of `loss(*args)`, and of the peer's, as functions of nothing."""
    return lambda *args: [lambda f=f: through(f)(*args) for f in (loss, peer_loss)]


def second(f):
    return jax.grad(jax.grad(f))


bce = bce_with_logits, optax.sigmoid_binary_cross_entropy
focals = sigmoid_focal_loss, optax.sigmoid_focal_loss
AHEAD = jnp.array([17.0, 0, 0])
P, Q, LOSS = special.expit(-20.0), special.expit(20.0), np.logaddexp(0, 20.0)
REST = 2 * np.exp(-17.0)
NEARLY = jnp.array([0.3, 0.7]), jnp.array([0.3001, 0.6999])
WITHOUT = jnp.array([True, False])

WRONG = [
    wrong("optax", "BCE at ∞", 0, *of_both(*bce)(jnp.float32(INF), 1.0)),
    wrong("optax", "BCE at −∞", 0, *of_both(*bce)(jnp.float32(-INF), 0.0)),
    wrong(
        "optax",
        "second derivative of BCE",
        P * Q,
        *of_both(*bce, second)(jnp.float32(-20), 1.0),
    ),
    wrong(
        "optax",
        "labels rounded to bfloat16",
        0.999 * np.log1p(np.exp(-8.0)) + 0.001 * np.log1p(np.exp(8.0)),
        *of_both(*bce)(jnp.bfloat16(8), np.float32(0.999)),
    ),
    wrong(
        "optax",
        "slope of the focal loss, float16",
        -1,
        *of_both(*focals, jax.grad)(jnp.float16(-40_000), 1.0),
    ),
    wrong(
        "optax",
        "second derivative of the focal loss",
        Q**2 * P * (4 * P * LOSS + 5 * Q - 2 * Q * LOSS),
        *of_both(*focals, second)(jnp.float32(-20), 1.0),
    ),
    wrong("optax", "focal loss at ∞", 0, *of_both(*focals)(jnp.float32(INF), 1.0)),
    wrong(
        "optax",
        "softmax, one class ahead",
        np.log1p(REST),
        *of_both(integer, optax_integer)(AHEAD, 0),
    ),
    wrong(
        "optax",
        "gradient of softmax, one class ahead",
        np.array([-REST, REST / 2, REST / 2]) / (1 + REST),
        *of_both(integer, optax_integer, jax.grad)(AHEAD, 0),
    ),
    wrong(
        "optax",
        "dense labels, one class ahead",
        np.log1p(REST),
        *of_both(softmax_cross_entropy, optax.softmax_cross_entropy)(
            AHEAD, jnp.array([1.0, 0, 0])
        ),
    ),
    wrong(
        "optax",
        "a class of probability 0",
        0,
        *of_both(softmax_cross_entropy, optax.softmax_cross_entropy)(
            jnp.array([0, -INF]), jnp.array([1.0, 0])
        ),
    ),
    wrong(
        "optax",
        "softmax at ∞",
        0,
        *of_both(integer, optax_integer)(jnp.array([INF, 0]), 0),
    ),
    wrong(
        "optax",
        "a masked class as the label",
        INF,
        *of_both(integer, optax_integer, lambda f: lambda *a: f(*a, where=WITHOUT))(
            jnp.zeros(2), 1
        ),
    ),
    wrong(
        "optax",
        "divergence of nearly equal ones",
        np.sum(special.kl_div(*map(np.float64, NEARLY))),
        lambda: kl_divergence(*NEARLY),
        lambda: optax.kl_divergence(jnp.log(NEARLY[1]), NEARLY[0]),
    ),
    wrong(
        "optax",
        "divergence, 0 log(0/0)",
        np.log(2),
        lambda: kl_divergence(jnp.array([1.0, 0, 0]), jnp.array([0.5, 0.5, 0])),
        lambda: optax.kl_divergence(
            jnp.log(jnp.array([0.5, 0.5, 0])), jnp.array([1.0, 0, 0])
        ),
    ),
    wrong(
        "jax",
        "log_softmax, one class ahead",
        np.array([0, -17, -17]) - np.log1p(REST),
        lambda: log_softmax(AHEAD),
        lambda: jax.nn.log_softmax(AHEAD),
    ),
    wrong(
        "torch",
        "gradient of BCE",
        -1 / (1 + np.exp(17.0)),
        lambda: jax.grad(bce_with_logits)(17.0, 1.0),
        torch_grad("binary_cross_entropy_with_logits", 17.0, 1.0),
    ),
    wrong(
        "torch",
        "gradient of BCE, bfloat16",
        -1 / (1 + np.exp(16.0)),
        lambda: jax.grad(bce_with_logits)(jnp.bfloat16(16), 1.0),
        torch_grad("binary_cross_entropy_with_logits", 16.0, 1.0, "bfloat16"),
    ),
    wrong(
        "torch",
        "gradient of softmax, one class ahead",
        np.array([-REST, REST / 2, REST / 2]) / (1 + REST),
        lambda: jax.grad(integer)(AHEAD, 0),
        torch_grad("cross_entropy", [17.0, 0, 0], 0),
    ),
]


@pytest.mark.parametrize(("peer", "exact", "ours", "theirs"), WRONG)
def test_bcejax_is_right_where_a_peer_is_wrong(peer, exact, ours, theirs):
    got = ours()
    rtol = 8 * float(jnp.finfo(got.dtype).eps)
    np.testing.assert_allclose(np.float64(got), exact, rtol=rtol)
    skip_unless_recorded(peer)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(np.float64(theirs()), exact, rtol=1e-3)


def skip_unless_recorded(peer):
    try:
        version = importlib.metadata.version(peer)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{peer} is not installed")
    if not version.startswith(RECORDED[peer]):
        recorded = " and ".join(RECORDED[peer])
        pytest.skip(f"what is wrong was recorded of {peer} {recorded}")


@pytest.mark.parametrize(
    ("ours", "theirs", "logits", "labels"),
    [
        (*bce, (4, 1), (4,)),
        (*focals, (4, 1), (4,)),
        (*bce, (4,), (3, 4)),
        (softmax_cross_entropy, optax.softmax_cross_entropy, (4, 1, 3), (4, 3)),
        (softmax_cross_entropy, optax.softmax_cross_entropy, (4, 3), (3,)),
    ],
)
def test_shapes_that_optax_broadcasts_are_refused(ours, theirs, logits, labels):
    x, y = jnp.zeros(logits), jnp.zeros(labels)
    with pytest.raises(ValueError, match=r"labels must have the shape of logits"):
        ours(x, y)
    skip_unless_recorded("optax")
    theirs(x, y)


def test_binary_labels_are_smoothed_towards_a_half_whatever_their_number():
    y = jnp.array([0.0, 1, 1, 0, 1])
    np.testing.assert_allclose(smooth_labels(y, 0.1), 0.05 + 0.9 * y, rtol=1e-6)
    skip_unless_recorded("optax")
    np.testing.assert_allclose(optax.smooth_labels(y, 0.1), 0.02 + 0.9 * y, rtol=1e-6)
