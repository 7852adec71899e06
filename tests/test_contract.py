"""What every public function promises, whatever it computes: shapes, dtypes, limits,
masks, NaN, transformations, ranges, and no recompilation, effect or output.

A new loss is one entry of `LOSSES`, and all tests below then hold for it. The files of
the single losses test their digits and what is special about them.
"""

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from jax.flatten_util import ravel_pytree
from jax.sharding import NamedSharding, PartitionSpec

import bcejax
from bcejax import logistic_regression, metrics

INF, NAN = jnp.inf, jnp.nan
DTYPES = ["float16", "bfloat16", "float32", "float64"]

X = jnp.array([-2.0, 0.0, 0.5, 3.0])
P = jnp.array([0.1, 0.5, 0.6, 0.9])
Y = jnp.array([0.2, 0.3, 0.6, 0.999])
W = jnp.array([1.0, 2.0, 0.5, 3.0])
KEPT = jnp.array([True, True, False, True])
HIDDEN = 2  # the element that `KEPT` leaves out


# The table


class Argument(NamedTuple):
    """An argument: the numbers that it is tried with, and what else it may be."""

    values: jax.Array
    kind: str  # floating, real, integer or bool
    shape: str  # same as the first, or scalar, without classes, broadcasts or scalar
    low: float = -INF  # the range that checkify holds it to
    high: float = INF
    nothing: float | None = None  # with this value an element of a row is no element


logits = Argument(X, "floating", "same", nothing=-INF)
other_logits = Argument(Y, "floating", "same", nothing=-INF)
probs = Argument(P, "floating", "same", 0, 1, nothing=0)
other_probs = Argument(P[::-1], "floating", "same", 0, 1, nothing=0)
labels = Argument(Y, "real", "or scalar", 0, 1)
masses = Argument(Y, "real", "same", 0, nothing=0)  # need not sum to one
index = Argument(jnp.array(3), "integer", "without classes", 0, 3)
weight = Argument(W, "real", "broadcasts", 0)
share = Argument(P, "real", "broadcasts", 0, 1)
of_rows = Argument(W, "real", "broadcasts", 0, nothing=0)
offset = Argument(X, "floating", "broadcasts")
smoothing = Argument(jnp.array(0.1), "real", "scalar", 0, 1)
base = Argument(jnp.array(2.0), "real", "scalar", 0)
kept = Argument(KEPT, "bool", "broadcasts")


class Loss(NamedTuple):
    """A public function and the arguments that it is tried with.

    `limits` names points, by all arguments in their order, and the value there and the
    slope in the first argument; None leaves one of the two open.
    """

    function: Callable
    arguments: dict[str, Argument]
    limits: dict[tuple, tuple]
    of_classes: bool  # does an element depend on its neighbours along the last axis?

    def __call__(self, values: dict):
        return self.function(**values)

    @property
    def first(self):
        return next(iter(self.arguments))

    @property
    def values(self):
        return {name: argument.values for name, argument in self.arguments.items()}

    def named(self, **properties):
        """The names of the arguments that have these properties."""
        return [
            name
            for name, argument in self.arguments.items()
            if all(getattr(argument, k) == v for k, v in properties.items())
        ]


def elements(function, limits, **arguments):
    return Loss(function, arguments, limits, of_classes=False)


def classes(function, **arguments):
    return Loss(function, arguments, {}, of_classes=True)


# ℓ(+∞, 1) = ℓ(−∞, 0) = 0; the two wrong corners cost ∞.
OF_BCE = {
    (INF, 1): (0, 0),
    (-INF, 0): (0, 0),
    (INF, 0): (INF, 1),
    (-INF, 1): (INF, -1),
    (0, 0): (None, 0.5),
    (0, 1): (None, -0.5),
}
OF_MASKED = {(*corner, True): found for corner, found in OF_BCE.items()}
OF_WEIGHTED = {
    (x, y, 3): (value, 3 * slope if y else slope)
    for (x, y), (value, slope) in OF_BCE.items()
}
OF_FOCAL = {  # α_t is ¼ or ¾
    (x, y, 0.25, 2, True): (value, slope * (0.25 if y else 0.75))
    for (x, y), (value, slope) in OF_BCE.items()
    if x
}
LOSSES = {
    "sigmoid": elements(
        bcejax.sigmoid, {(INF,): (1, 0), (-INF,): (0, 0), (0,): (0.5, 0.25)}, x=logits
    ),
    "log_sigmoid": elements(
        bcejax.log_sigmoid,
        {(INF,): (0, 0), (-INF,): (-INF, 1), (0,): (None, 0.5)},
        x=logits,
    ),
    "softplus": elements(
        bcejax.softplus,
        {(INF,): (INF, 1), (-INF,): (0, 0), (0,): (None, 0.5)},
        x=logits,
    ),
    "logit": elements(
        bcejax.logit, {(0,): (-INF, INF), (1,): (INF, INF), (0.5,): (0, 4)}, p=probs
    ),
    "bce_with_logits": elements(
        bcejax.bce_with_logits, OF_BCE, logits=logits, labels=labels
    ),
    "bce_with_logits, masked": elements(
        bcejax.bce_with_logits, OF_MASKED, logits=logits, labels=labels, where=kept
    ),
    "bce_with_logits, weighted": elements(
        bcejax.bce_with_logits,
        OF_WEIGHTED,
        logits=logits,
        labels=labels,
        pos_weight=weight,
    ),
    "bce_with_logits_grad": elements(
        bcejax.bce_with_logits_grad,
        {(*corner, True): (slope, None) for corner, (_, slope) in OF_WEIGHTED.items()},
        logits=logits,
        labels=labels,
        pos_weight=weight,
        where=kept,
    ),
    "bce_with_logits_hessian": elements(
        bcejax.bce_with_logits_hessian,
        {(*corner, True): (0, 0) for corner in OF_WEIGHTED if corner[0]},
        logits=logits,
        labels=labels,
        pos_weight=weight,
        where=kept,
    ),
    "bce_with_probs": elements(
        bcejax.bce_with_probs,
        {
            (0, 0, True): (0, 1),
            (0, 1, True): (INF, -INF),
            (1, 1, True): (0, -1),
            (1, 0, True): (INF, INF),
        },
        probs=probs,
        labels=labels,
        where=kept,
    ),
    "smooth_labels": elements(
        bcejax.smooth_labels,
        {(0, 1): (0.5, 0), (1, 0): (1, 1)},
        labels=labels,
        amount=share,
    ),
    "sigmoid_focal_loss": elements(
        bcejax.sigmoid_focal_loss,
        OF_FOCAL,
        logits=logits,
        labels=labels,
        alpha=share,
        gamma=weight,
        where=kept,
    ),
    "asymmetric_loss": elements(
        bcejax.asymmetric_loss,
        {
            (INF, 1, 1, 4, 0.05, True): (0, 0),
            (-INF, 0, 1, 4, 0.05, True): (0, 0),
            (INF, 0, 1, 4, 0.05, True): (-(0.95**4) * np.log(0.05), 0),
            (-INF, 1, 1, 4, 0.05, True): (INF, -1),
        },
        logits=logits,
        labels=labels,
        gamma_positive=weight,
        gamma_negative=weight,
        clip=Argument(P / 10, "real", "broadcasts", 0, 1),
        where=kept,
    ),
    "bernoulli_entropy": elements(
        bcejax.bernoulli_entropy,
        {(INF,): (0, 0), (-INF,): (0, 0), (0,): (None, 0)},
        logits=logits,
    ),
    "bernoulli_kl_divergence": elements(
        bcejax.bernoulli_kl_divergence,
        {(INF, INF): (0, 0), (-INF, -INF): (0, 0), (INF, -INF): (INF, 0)},
        logits_p=logits,
        logits_q=other_logits,
    ),
    "log_softmax": classes(bcejax.log_softmax, logits=logits, where=kept),
    "logsumexp": classes(bcejax.logsumexp, logits=logits, where=kept),
    "softmax_cross_entropy": classes(
        bcejax.softmax_cross_entropy, logits=logits, labels=masses, where=kept
    ),
    "softmax_cross_entropy_with_integer_labels": classes(
        bcejax.softmax_cross_entropy_with_integer_labels,
        logits=logits,
        labels=index,
        where=kept,
    ),
    "softmax_cross_entropy_with_integer_labels, smoothed": classes(
        bcejax.softmax_cross_entropy_with_integer_labels,
        logits=logits,
        labels=index,
        where=kept,
        label_smoothing=smoothing,
    ),
    "softmax_entropy": classes(bcejax.softmax_entropy, logits=logits, where=kept),
    "softmax_kl_divergence": classes(
        bcejax.softmax_kl_divergence,
        logits_p=logits,
        logits_q=other_logits,
        where=kept,
    ),
    "entropy": classes(bcejax.entropy, probs=probs, base=base),
    "cross_entropy": classes(bcejax.cross_entropy, p=probs, q=other_probs, base=base),
    "kl_divergence": classes(bcejax.kl_divergence, p=probs, q=other_probs, base=base),
    "optimal_logit": classes(
        partial(bcejax.optimal_logit, axis=-1), labels=labels, weights=of_rows
    ),
    "optimal_logit, with an offset": classes(
        partial(bcejax.optimal_logit, axis=-1),
        labels=labels,
        weights=of_rows,
        offset=offset,
    ),
}


# What is learnt from rows keeps the promises about transformations, and no others.
LEARNING = {
    "fit": (lambda x, y: logistic_regression.fit(x[:, None], y, l2=0.1), X, P),
    **{
        name: (getattr(metrics, name), X, Y)
        for name in metrics.__all__
        if name[0].islower() and name != "of_batches"
    },
    "calibration of quantiles": (
        lambda x, y: metrics.calibration(x, y, strategy="quantile"),
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
    "marginal_effects": (
        lambda w, x: logistic_regression.marginal_effects(
            logistic_regression.Fit(w[:1], w[0], *[w[0]] * 6), x[:, None], P, l2=0.1
        ),
        X,
        Y,
    ),
    "score_test": (
        lambda w, x: logistic_regression.score_test(
            logistic_regression.Fit(w[:1], w[0], *[w[0]] * 6), x[:, None], P, x**2
        )[::2],
        X,
        Y,
    ),
    "prior_shift": (lambda x, p: logistic_regression.prior_shift(x, p), X, P),
    "predict_probs": (
        lambda w, x: logistic_regression.predict_probs(
            logistic_regression.Fit(w, w[0], *[w[0]] * 6), jnp.outer(x, x)
        ),
        X,
        Y,
    ),
}

# So do the heads and the loss of all pairs, which have matrices as arguments.
FEW = jnp.array([[0, 2], [1, 1], [3, -1], [-1, -1]])
LEARNING |= {
    "linear_bce": (
        lambda x, k: bcejax.linear_bce(
            jnp.outer(x, x), jnp.outer(k, k), FEW, chunk_size=3
        ),
        X,
        Y,
    ),
    "linear_softmax_cross_entropy": (
        lambda x, k: bcejax.linear_softmax_cross_entropy(
            jnp.outer(x, x), jnp.outer(k, k), jnp.arange(4), chunk_size=3
        ),
        X,
        Y,
    ),
    "sigmoid_contrastive_loss": (
        lambda x, k: bcejax.sigmoid_contrastive_loss(
            jnp.outer(x, x), jnp.outer(k, k), 0.5, -1.0, chunk_size=3
        ),
        X,
        Y,
    ),
}


def those(condition):
    """Parametrise a test by the losses for which something holds."""
    chosen = {name: loss for name, loss in LOSSES.items() if condition(loss)}
    return pytest.mark.parametrize("loss", chosen.values(), ids=list(chosen))


LINEAR = ["labels", "p"]  # first arguments in which the loss is linear
every_loss = those(lambda _: True)
of_floats = those(lambda loss: loss.arguments[loss.first].kind == "floating")
with_mask = those(lambda loss: "where" in loss.arguments)
element_wise = those(lambda loss: not loss.of_classes)


def in_order(loss):
    """A loss and its values as a function of positions, and their list."""

    def function(*values):
        return loss(dict(zip(loss.arguments, values, strict=True)))

    return function, list(loss.values.values())


EVERY_FUNCTION = {name: in_order(loss) for name, loss in LOSSES.items()} | {
    name: (function, arguments) for name, (function, *arguments) in LEARNING.items()
}
every_function = pytest.mark.parametrize(
    ("function", "arguments"), EVERY_FUNCTION.values(), ids=list(EVERY_FUNCTION)
)
OF_ROWS = {
    name: pair
    for name, pair in EVERY_FUNCTION.items()
    if name in LEARNING or LOSSES[name].of_classes
}
every_row = pytest.mark.parametrize(
    ("function", "arguments"), OF_ROWS.values(), ids=list(OF_ROWS)
)


def test_every_public_function_is_here():
    covered = {name.split(",")[0] for name in EVERY_FUNCTION}
    functions = {n for n in bcejax.__all__ if callable(getattr(bcejax, n))}
    fitting = {*logistic_regression.__all__, *metrics.__all__}
    fitting -= {"fit_batches", "predict_logits", "separation", "shard_rows", "summary"}
    # Their own files try them in jit and vmap, which takes them long to compile.
    fitting -= {"fit_multinomial", "fit_path"}
    fitting -= {"likelihood_ratio_test", "load", "of_batches", "save"}
    fitting = {name for name in fitting if name[0].islower()}  # not the results
    assert functions | fitting <= covered


def close(got, expected, tolerance=2e-6):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        got,
        expected,
    )


def equal(got, expected):
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def moving(values):
    """Those of the values in which a function can be differentiated."""
    return {
        name: value
        for name, value in values.items()
        if jnp.issubdtype(value.dtype, jnp.floating)
    }


def gradient(loss, values, where=None):
    """The gradient of the sum of a loss in all its floating arguments."""

    def total(changed):
        return jnp.sum(loss(values | changed), where=where)

    return jax.grad(total)(moving(values))


# Shapes and dtypes


def of_shape(loss, shape, dtype=None):
    """Arguments of another shape, those that are floating in another dtype."""

    def filled(argument):
        if argument.shape == "scalar":
            return argument.values
        if argument.shape == "without classes":
            return jnp.zeros(shape[:-1], int)
        kind = dtype if dtype and argument.kind == "floating" else argument.values.dtype
        return jnp.full(shape, argument.values[1], kind)

    return {name: filled(argument) for name, argument in loss.arguments.items()}


@of_floats
@pytest.mark.parametrize("dtype", DTYPES)
def test_result_and_gradient_have_shape_and_dtype_of_the_logits(x64, loss, dtype):
    shapes = [(0, 4), (3, 4), (2, 3, 4)]
    for shape in shapes if loss.of_classes else [(), (0,), (3, 0), *shapes]:
        result = jax.eval_shape(loss, of_shape(loss, shape, dtype))
        reduced = loss.of_classes and loss.function is not bcejax.log_softmax
        assert result.shape == (shape[:-1] if reduced else shape)
        assert result.dtype == dtype
    values = of_shape(loss, (2, 3, 4), dtype)
    slopes = jax.eval_shape(lambda values: gradient(loss, values), values)
    for name, slope in slopes.items():
        assert (slope.shape, slope.dtype) == (values[name].shape, values[name].dtype)


@every_loss
def test_arrays_without_elements_pass(loss):
    assert loss(of_shape(loss, (0, 4))).size == 0


@of_floats
def test_16_bits_are_computed_in_float32_and_rounded_once(loss):
    """Nothing else, the labels first of all, is rounded to 16 bits on the way in."""
    floating = loss.named(kind="floating")
    both = jax.jit(lambda narrow, wide: (loss(narrow), loss(wide)))
    for dtype in ("bfloat16", "float16"):
        narrow = loss.values | {k: loss.values[k].astype(dtype) for k in floating}
        wide = narrow | {k: narrow[k].astype("float32") for k in floating}
        got, expected = both(narrow, wide)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, expected.astype(dtype))


ONES = [jnp.float32(1), np.uint8(1), np.int64(1), jnp.bfloat16(1), np.float64(1)]
ONES += [True, 1, 1.0]


@those(lambda loss: loss.named(kind="real") and loss.first not in LINEAR)
def test_numbers_of_any_real_dtype_are_the_same_number(loss):
    def at(values, one):
        ones = dict.fromkeys(loss.named(kind="real"), one)
        for name in loss.named(kind="real", shape="same"):
            ones[name] = jnp.full(4, one)
        return loss(values | ones)

    every = jax.jit(lambda values: [at(dict(values), one) for one in ONES])
    expected, *others = every(loss.values)
    for got in others:
        np.testing.assert_array_equal(got, expected)


@of_floats
def test_strict_promotion_and_labels_without_tangents_are_no_obstacle(
    strict_promotion, loss
):
    for dtype in ("bfloat16", "float32"):
        for whole in ("int8", "bool"):
            values = of_shape(loss, (2, 4), dtype)
            for name in loss.named(kind="real"):
                values[name] = values[name].astype(whole)
            slopes = jax.eval_shape(lambda values: gradient(loss, values), values)
            assert slopes[loss.first].dtype == dtype


@every_loss
def test_a_list_is_an_array_and_not_an_argument_for_each_number(loss, caplog):
    lists = {k: v.tolist() if v.ndim else v for k, v in loss.values.items()}
    expected = loss(loss.values)
    with jax.log_compiles():
        np.testing.assert_array_equal(loss(lists), expected)
    assert not caplog.records


# Refusals


DIFFERENT = [((4, 1), (4,)), ((4,), (4, 1)), ((4, 4), (4,)), ((1,), (4,)), ((4,), (5,))]
WRONG_SHAPES = {  # of the first argument and of another one
    "same": [*DIFFERENT, ((4,), ())],
    "or scalar": DIFFERENT,
    "broadcasts": [(first, other) for first, other in DIFFERENT if first != (4, 4)],
    "without classes": [((2, 3), (3,)), ((2, 3), (2, 3)), ((3,), (1,))],
}
WRONG_KINDS = {
    "floating": (jnp.array([0, 1, 0, 1]), "{} must be bfloat16, float16, float32"),
    "real": (jnp.full(4, 1j), "{} must be bool, integer or floating"),
    "integer": (jnp.zeros(4), "{} must be integer"),
    "bool": (jnp.ones(4), "{} must be bool, got float32"),
}


def fitting(loss, name, shape):
    """The required arguments between the first and `name`, of a shape that fits."""
    parameters = inspect.signature(loss.function).parameters
    required = [
        other
        for other in loss.arguments
        if other != name and parameters[other].default is inspect.Parameter.empty
    ]
    values = of_shape(loss, shape)
    return {other: values[other] for other in required}


@every_loss
def test_nothing_broadcasts_silently(loss):
    for name in list(loss.arguments)[1:]:
        kind, dtype = loss.arguments[name].shape, loss.values[name].dtype
        for shape, wrong in WRONG_SHAPES.get(kind, []):
            values = fitting(loss, name, shape) | {name: jnp.ones(wrong, dtype)}
            with pytest.raises(ValueError) as error:
                loss(values)
            for part in (name, loss.first, str(wrong), str(shape)):
                assert part in str(error.value)


@every_loss
def test_a_scalar_must_be_one(loss):
    for name in loss.named(shape="scalar"):
        with pytest.raises(ValueError, match=rf"{name} must be a scalar.*\(4,\)"):
            loss(loss.values | {name: jnp.ones(4)})


@every_loss
def test_what_cannot_be_meant_is_refused(loss):
    for name, argument in loss.arguments.items():
        wrong, message = WRONG_KINDS[argument.kind]
        wrong = wrong[0] if argument.shape == "scalar" else wrong
        with pytest.raises(TypeError, match="^" + message.format(name)):
            loss(loss.values | {name: wrong})


@those(lambda loss: loss.first in ("logits", "probs") and "labels" in loss.arguments)
def test_who_exchanges_logits_and_labels_is_told_their_order(loss):
    exchanged = {loss.first: jnp.array([0, 1, 0, 1]), "labels": X}
    order = rf"The order of arguments is \({loss.first}, labels\)"
    with pytest.raises(TypeError, match=order):
        loss(loss.values | exchanged)


@those(lambda loss: loss.named(shape="broadcasts"))
def test_what_may_broadcast_does(loss):
    broadcast = loss.named(shape="broadcasts")
    values = {
        name: value if name in broadcast or value.ndim == 0 else jnp.stack([value] * 2)
        for name, value in loss.values.items()
    }
    values |= {name: jnp.full(2, 3) for name in loss.named(shape="without classes")}
    full = values | {name: jnp.stack([values[name]] * 2) for name in broadcast}
    got, expected = jax.jit(lambda *both: [loss(each) for each in both])(values, full)
    close(got, expected, 1e-7)


def ranges(loss):
    bounds = {name: (a.low, a.high) for name, a in loss.arguments.items()}
    return {name: b for name, b in bounds.items() if b != (-INF, INF)}


@those(ranges)
def test_values_out_of_range_are_errors_under_checkify(loss):
    run = jax.jit(checkify.checkify(loss))
    run(loss.values)[0].throw()
    for name, (low, high) in ranges(loss).items():
        good = loss.values[name]
        bad = [low - 1, high + 1, NAN] if name in moving(loss.values) else [low - 1]
        for number in bad:
            if number == INF:
                continue
            values = loss.values | {name: good.at[(0,) * good.ndim].set(number)}
            message = rf"{name} must lie in \[{low:g}, {high:g}\], got .*{number:g}"
            with pytest.raises(checkify.JaxRuntimeError, match=message):
                run(values)[0].throw()


# Infinities, masks, NaN


@those(lambda loss: loss.limits)
@pytest.mark.parametrize("summed", [False, True], ids=["alone", "in a sum"])
def test_values_and_slopes_at_the_limits(loss, summed):
    """A sum compiles to other code than its elements: both must know ∞."""
    columns = map(jnp.array, zip(*loss.limits, strict=True))
    values = dict(zip(loss.arguments, columns, strict=True))
    values = {
        name: value.astype(loss.values[name].dtype) for name, value in values.items()
    }

    @jax.jit
    def found(values):
        if not summed:
            return loss(values), gradient(loss, values)[loss.first]
        many = jax.tree.map(lambda column: jnp.tile(column, (64, 1)), values)
        return loss(many).sum(0) / 64, gradient(loss, many)[loss.first].mean(0)

    expected = np.array(list(loss.limits.values()), float)  # NaN for None
    for got, right in zip(found(values), expected.T, strict=True):
        known = ~np.isnan(right)
        np.testing.assert_allclose(got[known], right[known], rtol=1e-6)


def with_hidden(values, names, number):
    """Values with a number put where `KEPT` is False."""
    return values | {name: values[name].at[HIDDEN].set(number) for name in names}


@with_mask
def test_what_is_masked_adds_nothing_to_value_or_derivatives(loss):
    changing = [name for name, value in moving(loss.values).items() if value.ndim]

    @jax.jit
    def found(values):
        value = loss(values)
        counted = KEPT if value.ndim else None

        def slopes(changed):
            return gradient(loss, values | changed, counted)

        here = moving(values)
        return value, jax.jvp(slopes, (here,), (jax.tree.map(jnp.ones_like, here),))

    value, derivatives = expected = found(loss.values)
    if not loss.of_classes:
        assert value[HIDDEN] == 0
    for derivative in derivatives:
        for name in changing:
            assert derivative[name][HIDDEN] == 0
    for number in (NAN, INF, -INF, 1e30):
        for names in (changing, *([name] for name in changing)):
            equal(found(with_hidden(loss.values, names, number)), expected)


@those(lambda loss: loss.of_classes)
def test_a_class_that_is_masked_or_has_no_mass_does_not_exist(loss):
    def found(values, counted):
        value = loss(values)
        slopes = gradient(loss, values, counted if value.ndim else None)
        return value, {name: slope for name, slope in slopes.items() if slope.ndim}

    def of_the_kept(results):
        return jax.tree.map(lambda a: a[KEPT] if a.ndim else a, results)

    without = {name: v[KEPT] if v.ndim else v for name, v in loss.values.items()}
    without |= {name: jnp.array(2) for name in loss.named(shape="without classes")}
    expected, found = jax.jit(found)(without, KEPT[KEPT]), jax.jit(found)
    if "where" in loss.arguments:
        close(of_the_kept(found(loss.values, KEPT)), expected)
    if "label_smoothing" in loss.arguments:  # which gives mass to every class
        return
    values = loss.values | {name: KEPT | True for name in loss.named(kind="bool")}
    for name, argument in loss.arguments.items():
        if argument.nothing is not None:
            values = with_hidden(values, [name], argument.nothing)
    close(of_the_kept(found(values, KEPT)), expected)


ROWS = {name: (loss, 5) for name, loss in LOSSES.items()} | {
    f"{name}, many": (loss, 20_000) for name, loss in LOSSES.items() if loss.of_classes
}


@pytest.mark.parametrize(("loss", "size"), ROWS.values(), ids=list(ROWS))
def test_nan_in_gives_nan_out_and_stays_in_its_row(loss, size):
    @jax.jit
    def found(values):
        value = loss(values)
        return value, value.mean(), gradient(loss, values)[loss.first]

    values = of_shape(loss, (10, size))
    place = jnp.zeros((10, size), bool).at[7, 4].set(True)
    row = jnp.broadcast_to(place.any(1, keepdims=True), place.shape)
    for name in [name for name, value in moving(values).items() if value.ndim]:
        value, mean, slope = found(with_nan(values, name))
        lost = row if loss.of_classes else place
        np.testing.assert_array_equal(
            jnp.isnan(value), lost if value.ndim == 2 else lost.any(1)
        )
        assert jnp.isnan(mean)
        assert not jnp.any(jnp.isnan(slope) & ~row)
        if loss.first not in LINEAR:
            of_softmax = loss.of_classes and loss.first.startswith("logits")
            assert jnp.all(jnp.isnan(slope) | ~(row if of_softmax else place))


def with_nan(values, name):
    return values | {name: values[name].at[7, 4].set(NAN)}


# Derivatives


GRADIENTS = {
    "grad": jax.grad,
    "value_and_grad": lambda f: lambda x: jax.value_and_grad(f)(x)[1],
    "forward": jax.jacfwd,
    "reverse": jax.jacrev,
    "checkpoint": lambda f: jax.grad(jax.checkpoint(f)),
    "linearize": lambda f: lambda x: jax.vmap(jax.linearize(f, x)[1])(jnp.eye(x.size)),
}
HESSIANS = {
    "forward over reverse": jax.hessian,
    "reverse over forward": lambda f: jax.jacrev(jax.jacfwd(f)),
}
EQUAL = jnp.array([0.5, 0.5, 0.25, 0.5])


STEP = 1e-5  # its square times derivatives of up to 10⁵ stays below STEP


def quotient(ahead, behind):
    return (ahead - behind) / (2 * STEP)


def along(function, direction):
    return lambda x: jax.jvp(function, (x,), (direction,))[1]


@pytest.mark.full
@every_loss
def test_derivatives_of_every_mode_and_order_are_difference_quotients(x64, loss):
    """In all arguments together, which are one vector here, and in one program."""
    values = {k: v for k, v in loss.values.items() if k in moving(loss.values)}
    here, back = ravel_pytree(jax.tree.map(jnp.float64, values))
    fixed = {k: loss.values[k] for k in loss.named(kind="integer")}
    direction = jnp.sin(1 + jnp.arange(here.size))

    def total(x):
        result = loss(fixed | back(x))
        return jnp.vdot(result, jnp.cos(jnp.arange(result.size)).reshape(result.shape))

    @jax.jit
    def found(x):
        bend = along(along(total, direction), direction)
        still = jax.jvp(lambda x: loss(fixed | back(x)), (x,), (jnp.zeros_like(x),))[1]
        slopes = {name: way(total)(x) for name, way in GRADIENTS.items()}
        curvatures = {name: way(total)(x) for name, way in HESSIANS.items()}
        return total(x), slopes, curvatures, bend(x), jax.grad(bend)(x), still

    alike = {name: jnp.float64(EQUAL) for name in loss.named(shape="same")}
    for x in (here, ravel_pytree(back(here) | alike)[0]):
        _, slopes, curvatures, bend, third, still = found(x)
        slope, curvature = slopes["grad"], curvatures["forward over reverse"]
        for name in GRADIENTS:
            close(slopes[name], slope, 1e-12)
        for name in HESSIANS:
            close(curvatures[name], curvature, 1e-12)
        close(curvature.T, curvature, 1e-12)
        close(direction @ curvature @ direction, bend, 1e-12)
        np.testing.assert_array_equal(still, 0)
        for k, e in enumerate(STEP * np.eye(x.size)):
            both = zip(*map(found, (x + e, x - e)), strict=True)
            value, slopes, _, bend, *_ = [jax.tree.map(quotient, *b) for b in both]
            close(value, slope[k], STEP)
            close(slopes["grad"], curvature[k], STEP)
            close(bend, third[k], STEP)


# Transformations


@every_function
def test_jit_vmap_and_scan(function, arguments):
    twice = [jnp.stack([a, a[::-1] if a.ndim else a]) for a in arguments]
    pairs = list(zip(*twice, strict=True))

    @jax.jit
    def by_all_ways(*twice):
        _, scanned = jax.lax.scan(lambda _, a: (None, function(*a)), None, twice)
        return function(*[a[0] for a in twice]), jax.vmap(function)(*twice), scanned

    expected = [function(*pair) for pair in pairs]
    one, *both = by_all_ways(*twice)
    close(one, expected[0])
    for got in both:
        close([jax.tree.map(lambda a, k=k: a[k], got) for k in (0, 1)], expected)


@element_wise
def test_vmap_over_scalars_and_over_one_argument(loss):
    function, arguments = in_order(loss)
    others = len(arguments) - 1
    ways = [(0,) * len(arguments), (0, *[None] * others), (None, *[0] * others)]

    @jax.jit
    def in_every_way(*arguments):
        found = []
        for axes in ways[: 1 + len(arguments)]:
            given = [
                a if at == 0 else a[1] for a, at in zip(arguments, axes, strict=True)
            ]
            full = [jnp.broadcast_to(a, (4,)) for a in given]
            found.append((jax.vmap(function, axes)(*given), function(*full)))
        return found

    for got, expected in in_every_way(*arguments):
        close(got, expected)


def on_two_devices(arguments):
    mesh, spec = jax.make_mesh((2,), ("i",)), PartitionSpec("i")
    given = jax.device_put(tuple(arguments), NamedSharding(mesh, spec))
    specs = {"in_specs": (spec,) * len(arguments), "out_specs": spec}
    # (optax's L-BFGS does not pass the check of what varies over the mesh.)
    return given, partial(jax.shard_map, mesh=mesh, check_vma=False, **specs)


@element_wise
def test_sharded_arrays_and_shard_map(loss):
    function, arguments = in_order(loss)
    given, shard_map = on_two_devices(arguments)
    by_parts = shard_map(function)

    def both(function):
        return lambda *a: (function(*a), jax.grad(lambda *a: function(*a).sum())(*a))

    expected = jax.jit(both(function))(*arguments)
    for got in jax.jit(lambda *a: (both(function)(*a), both(by_parts)(*a)))(*given):
        close(got, expected)


@every_row
def test_shard_map_over_problems(function, arguments):
    twice = [jnp.stack([a, a[::-1] if a.ndim else a]) for a in arguments]
    given, shard_map = on_two_devices(twice)
    got = jax.device_get(jax.jit(shard_map(jax.vmap(function)))(*given))
    for k, pair in enumerate(zip(*twice, strict=True)):
        close(jax.tree.map(lambda leaf, k=k: leaf[k], got), function(*pair))


# Purity


@every_function
def test_nothing_has_an_effect_is_called_back_or_printed(function, arguments, capfd):
    program = jax.make_jaxpr(function)(*arguments)
    assert not program.effects and "callback" not in str(program)
    function(*arguments)
    assert capfd.readouterr() == ("", "")


@every_loss
def test_no_gradient_has_an_effect(loss):
    program = jax.make_jaxpr(lambda values: gradient(loss, values))(loss.values)
    assert not program.effects


@every_function
def test_new_values_do_not_recompile(function, arguments, caplog):
    function(*arguments)
    others = [a[::-1] if a.ndim else a + 0 for a in arguments]
    with jax.log_compiles():
        function(*others)
        assert not caplog.records
        jax.jit(lambda: 0.0)()  # which is compiled, and seen to be
        assert caplog.records


# What is said about them


def test_the_map_in_the_package_docstring_names_every_public_name():
    for name in bcejax.__all__:
        assert f"\n  {name} " in bcejax.__doc__
    for name in logistic_regression.__all__:
        assert f"\n  {name} " in logistic_regression.__doc__


def public_functions():
    rooms = bcejax, logistic_regression
    names = [(room, name) for room in rooms for name in room.__all__]
    found = {name: getattr(room, name) for room, name in names}
    return {n: f for n, f in found.items() if inspect.isfunction(f)}


@pytest.mark.parametrize("name", public_functions())
def test_every_public_function_explains_its_arguments_and_its_result(name):
    functions = public_functions()
    doc = inspect.getdoc(functions[name])
    assert "\nReturns:\n" in doc and "\nExample:\n" in doc
    # Some docstrings refer to another function for the arguments that they share.
    told = doc + "".join(
        inspect.getdoc(f) for n, f in functions.items() if f"`{n}`" in doc
    )
    for argument in inspect.signature(functions[name]).parameters:
        mentioned = rf"^  (\w+, )*{argument}(, \w+)*:"
        assert re.search(mentioned, told, re.MULTILINE), argument
