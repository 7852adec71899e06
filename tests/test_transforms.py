"""Every public function under every transformation of JAX."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import bcejax
from bcejax import logistic_regression

X = jnp.array([-2.0, 0.0, 0.5, 3.0])
P = jnp.array([0.1, 0.5, 0.6, 0.9])
Y = jnp.array([0.0, 0.3, 1.0, 1.0])
W = jnp.array([1.0, 2.0, 0.5, 3.0])
MASK = jnp.array([True, True, False, True])

# What maps arrays of one shape to that shape, element by element.
ELEMENTWISE = {
    "sigmoid": (bcejax.sigmoid, X),
    "log_sigmoid": (bcejax.log_sigmoid, X),
    "softplus": (bcejax.softplus, X),
    "logit": (bcejax.logit, P),
    "bce_with_logits": (bcejax.bce_with_logits, X, Y),
    "bce_with_logits_grad": (bcejax.bce_with_logits_grad, X, Y),
    "bce_with_logits_hessian": (bcejax.bce_with_logits_hessian, X, Y),
    "bce_with_probs": (bcejax.bce_with_probs, P, Y),
    "smooth_labels": (bcejax.smooth_labels, Y, P),
    "sigmoid_focal_loss": (
        lambda x, y, a, g: bcejax.sigmoid_focal_loss(x, y, alpha=a, gamma=g),
        X,
        Y,
        P,
        W,
    ),
    "asymmetric_loss": (
        lambda x, y, g, c: bcejax.asymmetric_loss(x, y, gamma_negative=g, clip=c),
        X,
        Y,
        W,
        P / 8,
    ),
    "bernoulli_entropy": (bcejax.bernoulli_entropy, X),
    "bernoulli_kl_divergence": (bcejax.bernoulli_kl_divergence, X, Y),
    "pos_weight": (lambda x, y, w: bcejax.bce_with_logits(x, y, pos_weight=w), X, Y, W),
    "where": (lambda x, y: bcejax.bce_with_logits(x, y, where=x != 0.5), X, Y),
}
REDUCING = {
    "log_softmax": (bcejax.log_softmax, X),
    "logsumexp": (bcejax.logsumexp, X),
    "softmax_entropy": (bcejax.softmax_entropy, X),
    "softmax_kl_divergence": (bcejax.softmax_kl_divergence, X, Y),
    "softmax_cross_entropy": (bcejax.softmax_cross_entropy, X, P),
    "softmax_cross_entropy with where": (
        lambda x, y: bcejax.softmax_cross_entropy(x, y, where=MASK),
        X,
        P,
    ),
    "softmax_cross_entropy_with_integer_labels": (
        lambda x: bcejax.softmax_cross_entropy_with_integer_labels(x, 2),
        X,
    ),
    "softmax_cross_entropy_with_integer_labels, smoothed": (
        lambda x: bcejax.softmax_cross_entropy_with_integer_labels(
            x, 2, label_smoothing=0.1
        ),
        X,
    ),
    "entropy": (bcejax.entropy, P),
    "cross_entropy": (bcejax.cross_entropy, P, P[::-1]),
    "kl_divergence": (bcejax.kl_divergence, P, P[::-1]),
    "optimal_logit": (bcejax.optimal_logit, P),
    "optimal_logit with offset": (
        lambda y, f: bcejax.optimal_logit(y, offset=f),
        P,
        X,
    ),
    "fit": (lambda x, y: logistic_regression.fit(x[:, None], y, l2=0.1), X, P),
    "log_loss": (logistic_regression.log_loss, X, Y),
    "brier_score": (logistic_regression.brier_score, X, Y),
    "roc_auc": (logistic_regression.roc_auc, X, Y),
    "calibration": (logistic_regression.calibration, X, Y),
    "calibration of quantiles": (
        lambda x, y: logistic_regression.calibration(x, y, strategy="quantile"),
        X,
        Y,
    ),
    "covariance": (
        lambda w, x: logistic_regression.covariance(
            logistic_regression.Fit(w[:1], w[0], *[w[0]] * 6), x[:, None], P, l2=0.1
        ),
        X,
        Y,
    ),
    "predict_probs": (
        lambda w, x: logistic_regression.predict_probs(
            logistic_regression.Fit(w, w[0], *[w[0]] * 6), jnp.outer(x, x)
        ),
        X,
        Y,
    ),
}
# What returns several leaves, or has its gradients tested beside its values.
ELSEWHERE = {"fit", "calibration", "calibration of quantiles", "covariance", "roc_auc"}
DIFFERENTIABLE = {
    k: v for k, v in (ELEMENTWISE | REDUCING).items() if k not in ELSEWHERE
}


def cases(table):
    return pytest.mark.parametrize(
        ("function", "arguments"), [(f, a) for f, *a in table.values()], ids=list(table)
    )


def close(got, expected, tolerance=2e-6):
    # The map is over leaves: `fit` returns several.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        got,
        expected,
    )


def test_every_public_function_is_here():
    covered = {name.split()[0].rstrip(",") for name in ELEMENTWISE | REDUCING}
    functions = {n for n in bcejax.__all__ if callable(getattr(bcejax, n))}
    fitting = set(logistic_regression.__all__) - {"predict_logits", "summary"}
    values = {"Calibration", "Coefficient", "Fit", "Summary"}
    assert functions | (fitting - values) <= covered


@cases(ELEMENTWISE | REDUCING)
def test_jit_vmap_scan_and_map(function, arguments):
    expected = function(*arguments)
    close(jax.jit(function)(*arguments), expected)
    twice = [jnp.stack([a, a[::-1]]) for a in arguments]
    both = jax.vmap(function)(*twice)
    close(jax.tree.map(lambda leaf: leaf[0], both), expected)
    close(jax.tree.map(lambda leaf: leaf[1], both), function(*[a[1] for a in twice]))
    _, scanned = jax.lax.scan(lambda _, a: (None, function(*a)), None, tuple(twice))
    close(scanned, both)
    close(jax.lax.map(lambda a: function(*a), tuple(twice)), both)


@cases(ELEMENTWISE)
def test_vmap_over_scalars_and_over_one_argument(function, arguments):
    close(jax.vmap(function)(*arguments), function(*arguments))
    others = len(arguments) - 1
    for axes in [(0, *[None] * others), (None, *[0] * others)][: len(arguments)]:
        fixed = [
            a if axis == 0 else a[1] for a, axis in zip(arguments, axes, strict=True)
        ]
        got = jax.vmap(function, axes)(*fixed)
        close(got, function(*[jnp.broadcast_to(a, (4,)) for a in fixed]))


@cases(DIFFERENTIABLE)
def test_all_ways_to_differentiate_agree(function, arguments):
    every = tuple(range(len(arguments)))

    def total(*arguments):
        return (function(*arguments) * jnp.cos(1.0)).sum()

    gradient = jax.grad(total, every)(*arguments)
    close(jax.value_and_grad(total, every)(*arguments), (total(*arguments), gradient))
    close(jax.jacfwd(total, every)(*arguments), gradient)
    close(jax.jacrev(total, every)(*arguments), gradient)
    close(jax.grad(jax.checkpoint(total), every)(*arguments), gradient)
    close(jax.jit(jax.grad(total, every))(*arguments), gradient)

    tangents = tuple(jnp.sin(jnp.arange(4.0) + i) for i in every)
    along = sum(jnp.vdot(g, t) for g, t in zip(gradient, tangents, strict=True))
    close(jax.jvp(total, tuple(arguments), tangents), (total(*arguments), along))
    value, linear = jax.linearize(total, *arguments)
    close((value, linear(*tangents)), (total(*arguments), along))

    hessian = jax.hessian(total, every)(*arguments)
    close(jax.jacrev(jax.jacfwd(total, every), every)(*arguments), hessian, 1e-5)
    for i, j in np.ndindex(len(every), len(every)):
        close(hessian[i][j], hessian[j][i].T, 1e-5)


@cases(DIFFERENTIABLE)
def test_a_zero_tangent_gives_a_zero_tangent(function, arguments):
    zeros = tuple(map(jnp.zeros_like, arguments))
    _, tangent = jax.jvp(function, tuple(arguments), zeros)
    np.testing.assert_array_equal(tangent, 0)


@cases(ELEMENTWISE)
def test_shard_map_and_sharded_arrays(function, arguments):
    mesh = jax.make_mesh((2,), ("i",))
    spec = PartitionSpec("i")
    sharded = jax.device_put(tuple(arguments), NamedSharding(mesh, spec))
    for run in (
        function,
        jax.shard_map(
            function, mesh=mesh, in_specs=(spec,) * len(arguments), out_specs=spec
        ),
    ):
        close(run(*sharded), function(*arguments))
        gradient = jax.jit(jax.grad(lambda *a, run=run: run(*a).sum()))(*sharded)
        close(gradient, jax.grad(lambda *a: function(*a).sum())(*arguments))


@cases(REDUCING)
def test_shard_map_over_problems(function, arguments):
    mesh, spec = jax.make_mesh((2,), ("i",)), PartitionSpec("i")
    each = jax.vmap(function)
    twice = tuple(jnp.stack([a, a[::-1]]) for a in arguments)
    run = jax.shard_map(
        each,
        mesh=mesh,
        in_specs=(spec,) * len(arguments),
        out_specs=spec,
        check_vma=False,  # which the line search of optax's lbfgs does not pass
    )
    sharded = jax.device_put(twice, NamedSharding(mesh, spec))
    close(jax.jit(run)(*sharded), each(*twice))


@cases(ELEMENTWISE | REDUCING)
def test_nothing_is_called_back_and_nothing_is_printed(function, arguments, capfd):
    program = str(jax.make_jaxpr(function)(*arguments))
    assert "callback" not in program
    function(*arguments)
    assert capfd.readouterr() == ("", "")


def test_the_map_in_the_package_docstring_names_every_public_name():
    for name in bcejax.__all__:
        assert f"\n  {name} " in bcejax.__doc__
    for name in logistic_regression.__all__:
        assert f"\n  {name} " in logistic_regression.__doc__


def test_every_public_function_has_help_and_a_signature():
    functions = [getattr(bcejax, name) for name in bcejax.__all__]
    rooms = "covariance", "summary", "log_loss", "brier_score", "roc_auc", "calibration"
    functions += [getattr(logistic_regression, name) for name in rooms]
    for function in filter(callable, functions):
        doc = inspect.getdoc(function)
        assert {"Returns:", "Example:"} <= set(doc.split())
        # Some docstrings refer to another function for the arguments that they share.
        told = doc + "".join(
            inspect.getdoc(f) for f in functions if f"`{f.__name__}`" in doc
        )
        for name in inspect.signature(function).parameters:
            assert f"\n  {name}:" in told, (function.__name__, name)


@cases(ELEMENTWISE | REDUCING)
def test_no_program_has_an_effect(function, arguments):
    assert not jax.make_jaxpr(function)(*arguments).effects


@cases(DIFFERENTIABLE)
def test_no_gradient_has_an_effect(function, arguments):
    gradient = jax.grad(lambda *arguments: function(*arguments).sum())
    assert not jax.make_jaxpr(gradient)(*arguments).effects
