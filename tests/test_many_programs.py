"""Many programs in one process: no result may depend on what else was compiled.

Every public function, its gradient and its second derivative along a direction are
compiled for many random shapes in random order, alone and inside larger programs, and
all programs are kept alive. XLA's CPU has been seen to hand a program the constants of
an earlier one, and to drop NaN where a reduction is large (`test_xla_reproductions`);
both show only in such company.

    pytest tests/test_many_programs.py --shapes 5000 --shapes-seed 3

tries more shapes, and other ones: two seeds that differ modulo 16 have no shape in
common. The tolerances are counted, not tried: see `ROUNDINGS` and `expected`.
"""

import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import references

import bcejax
from bcejax import metrics

PROGRAMS_A_SHAPE = 2
LARGEST_ARRAY = 600_000
SEEDS_APART = 16
# Where XLA and the package are known to change their ways, and one beside.
ROWS = [1, 2, 15, 16, 17, 4096, 4097, 16_384, 16_385, 32_768, 32_769, 65_537, 70_000]
CLASSES = [1, 2, 3, 5, 8, 15, 16, 17, 32, 33, 100, 999, 1000]

# One term of a result is the work of at most 32 operations, each of which is off by an
# ulp at most, which is two units of 2⁻²⁴.
ROUNDINGS = 64
UNIT = 2.0**-24
LEAST = 1e-37  # XLA's CPU may flush a term that is smaller to 0

kept_alive = deque(maxlen=2000)  # each takes some of the process's memory mappings


# What is called, with which arguments


@dataclass(frozen=True)
class Case:
    """A public function of its first argument, and how the others are drawn."""

    name: str
    call: Callable
    reference: Callable
    others: tuple[Callable, ...] = ()
    space: str = "logits"  # or "probabilities"
    of_rows: bool = False  # takes one number a row, no classes
    sums_classes: bool = False
    orders: int = 3
    nan_anywhere: bool = False  # NaN may stand in any argument, not just the first
    few_values: bool = False  # has ties and keeps away from the edges of bins
    others_like_first: bool = False  # in dtype

    def __str__(self):
        return self.name


def label(rng, shape):
    return np.where(
        rng.random(shape) < 0.5, rng.integers(0, 2, shape), rng.random(shape)
    )


def soft_label(rng, shape):
    return 0.1 + 0.8 * rng.random(shape)


def hard_label(rng, shape):
    return rng.integers(0, 2, shape)


def weight(rng, shape):
    return rng.integers(1, 4, shape) / 1.0


def number(rng, shape):
    return rng.integers(-24, 25, shape) / 8


def mask(rng, shape):
    return rng.random(shape) < 0.7


def class_index(rng, shape):
    return rng.integers(0, shape[-1], shape[:-1])


def distribution(rng, shape):
    p = rng.exponential(size=shape) + 1e-3
    return p / p.sum(-1, keepdims=True)


def amount(rng, shape):
    return rng.random(shape)


def masked_bce(x, y, w, where):
    return bcejax.bce_with_logits(x, y, pos_weight=w, where=where)


def weighted(function):
    return lambda x, y, w: function(x, y, pos_weight=w)


def focal(x, y):
    return bcejax.sigmoid_focal_loss(x, y, alpha=0.25, gamma=2.5)


def focal_reference(x, y, t):
    return references.focal(x, y, 0.25, 2.5, t)


def asymmetric_reference(x, y, t):
    return references.asymmetric(x, y, 1, 4, 0.05, t)


def best_logit(y, w, offset=None):
    return bcejax.optimal_logit(y, weights=w, offset=offset, axis=-1)


def smoothed(x, label):
    return integer(x, label, label_smoothing=0.25)


def smoothed_reference(x, label, t):
    return references.smoothed_loss(x, label, 0.25, t)


def of_rows(function):
    return lambda x, y, w: function(x, y, weights=w)


def curve(x, y, w):
    """The calibration curve, with 0 for the means of an empty bin."""
    found = metrics.calibration(x, y, weights=w)
    empty = found.weight == 0
    means = (jnp.where(empty, 0, a) for a in (found.predicted, found.observed))
    return jnp.stack([*means, found.weight])


def head(function):
    """Of a layer whose kernel is the identity: the features are the logits."""

    def of_logits(x, labels):
        classes = x.shape[-1]
        features, kernel = x.reshape(-1, classes), jnp.eye(classes, dtype=x.dtype)
        labels = labels.reshape(len(features), *labels.shape[x.ndim - 1 :])
        size = max(1, classes // 3)
        loss = function(features, kernel, labels, chunk_size=size)
        return loss.reshape(x.shape[:-1])

    return of_logits


def swapped(function):
    return lambda second, first: function(first, second)


element = Case
probability = partial(Case, space="probabilities")
classes = partial(Case, sums_classes=True)
pair = partial(
    Case,
    space="probabilities",
    sums_classes=True,
    nan_anywhere=True,
    others_like_first=True,
)
rows = partial(Case, of_rows=True, sums_classes=True)
integer = bcejax.softmax_cross_entropy_with_integer_labels

CASES = [
    element("sigmoid", bcejax.sigmoid, references.sigmoid),
    element("log_sigmoid", bcejax.log_sigmoid, references.log_sigmoid),
    element("softplus", bcejax.softplus, references.softplus),
    probability("logit", bcejax.logit, references.logit),
    element(
        "bernoulli_entropy", bcejax.bernoulli_entropy, references.bernoulli_entropy
    ),
    element(
        "bernoulli_kl_divergence",
        bcejax.bernoulli_kl_divergence,
        references.bernoulli_kl,
        (number,),
        nan_anywhere=True,
        others_like_first=True,
    ),
    element(
        "bce_with_logits",
        bcejax.bce_with_logits,
        lambda x, y, t: references.bce(x, y, 1, t),
        (label,),
    ),
    element(
        "bce_with_logits, weighted and masked",
        masked_bce,
        references.masked_bce,
        (label, weight, mask),
    ),
    element(
        "bce_with_logits_grad",
        weighted(bcejax.bce_with_logits_grad),
        references.bce_slope,
        (label, weight),
    ),
    element(
        "bce_with_logits_hessian",
        weighted(bcejax.bce_with_logits_hessian),
        references.bce_curvature,
        (label, weight),
    ),
    probability(
        "bce_with_probs", bcejax.bce_with_probs, references.bce_of_probs, (label,)
    ),
    element("sigmoid_focal_loss", focal, focal_reference, (label,)),
    element("asymmetric_loss", bcejax.asymmetric_loss, asymmetric_reference, (label,)),
    probability(
        "smooth_labels", bcejax.smooth_labels, references.smoothed, (amount,), orders=2
    ),
    classes("log_softmax", bcejax.log_softmax, references.log_softmax),
    classes(
        "softmax_cross_entropy",
        bcejax.softmax_cross_entropy,
        references.softmax_loss,
        (distribution,),
        nan_anywhere=True,
    ),
    classes(
        "softmax_cross_entropy, in its labels",
        swapped(bcejax.softmax_cross_entropy),
        references.softmax_loss_in_labels,
        (number,),
        space="probabilities",
        orders=2,
        nan_anywhere=True,
    ),
    classes(
        "softmax_cross_entropy_with_integer_labels",
        integer,
        references.integer_loss,
        (class_index,),
    ),
    classes(
        "softmax_cross_entropy_with_integer_labels, smoothed",
        smoothed,
        smoothed_reference,
        (class_index,),
    ),
    classes("logsumexp", bcejax.logsumexp, references.logsumexp),
    classes("softmax_entropy", bcejax.softmax_entropy, references.softmax_entropy),
    classes(
        "softmax_kl_divergence",
        bcejax.softmax_kl_divergence,
        references.softmax_kl,
        (number,),
        nan_anywhere=True,
        others_like_first=True,
    ),
    classes(
        "softmax_kl_divergence, in q",
        swapped(bcejax.softmax_kl_divergence),
        references.softmax_kl_in_q,
        (number,),
        nan_anywhere=True,
        others_like_first=True,
    ),
    classes(
        "linear_bce",
        head(bcejax.linear_bce),
        references.bce_of_head,
        (label,),
    ),
    classes(
        "linear_softmax_cross_entropy",
        head(bcejax.linear_softmax_cross_entropy),
        references.integer_loss_of_head,
        (class_index,),
    ),
    classes("entropy", bcejax.entropy, references.entropy, space="probabilities"),
    pair(
        "cross_entropy",
        bcejax.cross_entropy,
        references.cross_entropy,
        (distribution,),
        orders=2,
    ),
    pair(
        "cross_entropy, in q",
        swapped(bcejax.cross_entropy),
        references.cross_entropy_in_q,
        (distribution,),
    ),
    pair("kl_divergence", bcejax.kl_divergence, references.divergence, (distribution,)),
    pair(
        "kl_divergence, in q",
        swapped(bcejax.kl_divergence),
        references.divergence_in_q,
        (distribution,),
    ),
    classes(
        "optimal_logit",
        best_logit,
        references.best_logit,
        (weight,),
        space="probabilities",
    ),
    classes(
        "optimal_logit, with an offset",
        best_logit,
        references.best_logit_with_offset,
        (weight, number),
        space="probabilities",
    ),
    rows(
        "log_loss",
        of_rows(metrics.log_loss),
        references.log_loss,
        (label, weight),
    ),
    rows(
        "brier_score",
        of_rows(metrics.brier_score),
        references.brier_score,
        (label, weight),
    ),
    rows(
        "roc_auc",
        of_rows(metrics.roc_auc),
        references.roc_auc,
        (hard_label, weight),
        few_values=True,
        orders=1,  # its gradient is 0, and XLA compiles nothing for that
    ),
    rows(
        "calibration",
        curve,
        references.calibration,
        (soft_label, weight),
        few_values=True,
        orders=1,
    ),
]
# The metrics are tried, but not the module. The loss of all pairs has a value for a
# matrix and not for a row: tests/test_heads.py tries it.
NOT_TRIED = {"logistic_regression", "metrics", "sigmoid_contrastive_loss"}

ORDERS = ["value", "gradient", "second derivative"]
# alone: the function by itself. norm: squared norms of its rows, under vmap where there
# are several. mean of features, of kernel: the mean of f(features @ kernel), and its
# derivatives in the one or the other. All but the first are fused with x = f @ k.
CONTEXTS = ["alone", "norm", "mean of features", "mean of kernel"]
PROGRAMS = [
    (case, order, context)
    for case in CASES
    for order in range(case.orders)
    for context in CONTEXTS[: 4 if order else 3]  # the mean's value has no direction
]


# What is drawn


def random_shape(rng) -> tuple[int, ...]:
    """1 to 4 axes, of which the last are classes and the others are rows."""

    def size(most, landmarks):
        if rng.random() < 0.4:
            landmarks = [n for n in landmarks if n <= most]
            return int(rng.choice(landmarks))
        return int(np.exp(rng.uniform(0, np.log(most + 1))))

    number_of_classes = size(1000, CLASSES)
    axes = rng.choice(4, p=[0.1, 0.5, 0.2, 0.2])
    if axes == 0:
        return (number_of_classes,)
    rest = size(min(70_000, LARGEST_ARRAY // number_of_classes), ROWS)
    lead = []
    for _ in range(axes - 1):
        factors = [n for n in range(1, min(rest, 40) + 1) if rest % n == 0]
        lead.append(int(rng.choice(factors)))
        rest //= lead[-1]
    return (*lead, rest, number_of_classes)


def belongs_to(shape: tuple[int, ...]) -> int:
    """Which seeds may draw the shape: those of this number modulo `SEEDS_APART`."""
    return zlib.crc32(repr(shape).encode()) % SEEDS_APART


def random_shapes(number: int, seed: int) -> list[tuple[int, ...]]:
    """So many different shapes, none of which a neighbouring seed draws."""
    rng, found = np.random.default_rng([seed, 1]), {}
    while len(found) < number:
        shape = random_shape(rng)
        if belongs_to(shape) == seed % SEEDS_APART:
            found[shape] = None
    return list(found)


def programs_of(index: int, seed: int) -> list:
    """The programs for shape number `index`: in turn, from a shuffled list of all."""
    chosen = []
    for k in range(index * PROGRAMS_A_SHAPE, (index + 1) * PROGRAMS_A_SHAPE):
        turn, place = divmod(k, len(PROGRAMS))
        order = np.random.default_rng([seed, 2, turn]).permutation(len(PROGRAMS))
        chosen.append(PROGRAMS[order[place]])
    return chosen


# What is compiled


def summed(call, others):
    return lambda x: jnp.sum(call(x, *others))


def derivative(call, order):
    """`call`, or the gradient of its sum, or the derivative of that along t."""

    def result(x, t, *others):
        if order == 0:
            return call(x, *others)
        slope = jax.grad(summed(call, others))
        return slope(x) if order == 1 else jax.jvp(slope, (x,), (t,))[1]

    return result


def product(features, kernel, dtype):
    # In float32, because XLA's CPU may add the terms of a bfloat16 product in bfloat16.
    return jnp.matmul(features, kernel, precision="highest").astype(dtype)


def of_product(call, order, side, dtype):
    """The mean of `call(features @ kernel)`, or derivatives in one of the two."""

    def result(sides, directions, *others):
        def mean(one):
            both = {**sides, side: one}
            x = product(both["features"], both["kernel"], dtype)
            return jnp.mean(call(x, *others))

        if order == 0:
            return mean(sides[side])
        slope = jax.grad(mean)
        if order == 1:
            return slope(sides[side])
        return jax.jvp(slope, (sides[side],), (directions[side],))[1]

    return result


def squared_norms(call, order, mapped, dtype):
    """Σ r² along the last axis, r = `derivative` at features @ kernel."""
    function = derivative(call, order)

    def norm(x, t, *others):
        r = function(x, t, *others)
        return jnp.sum(jnp.square(r), -1) if r.ndim else jnp.square(r)

    def result(sides, directions, *others):
        x = product(sides["features"], sides["kernel"], dtype)
        t = product(directions["features"], sides["kernel"], dtype)
        return (jax.vmap(norm) if mapped else norm)(x, t, *others)

    return result


# What is expected


def expected(case, order, x, t, others):
    """`derivative` in float64, and the largest error that each element may have.

    A sum of n terms is off by n roundings of its size at most, in whatever order it is
    taken. (That they cancel, so that some √n remain, cannot be counted on here: the
    terms take few values, and the roundings of equal terms are equal.)
    """
    found = case.reference(x, *others, t)
    for _ in range(order):
        next(found)
    exact, size = next(found)
    terms = x.shape[-1] if case.sums_classes else 1
    return exact, LEAST * terms + UNIT * (ROUNDINGS + terms) * size


def expected_of_product(case, order, side, sides, directions, others, unit):
    """`of_product` in float64, and the largest error it may have.

    A 16-bit program rounds the cotangent of the mean and the gradient in x; the sums
    themselves are taken in float32.
    """
    x = sides["features"] @ sides["kernel"]
    along = {**sides, side: directions[side]}
    t = along["features"] @ along["kernel"]
    value = expected(case, 0, x, t, others)
    count = np.size(value[0])
    if order == 0:
        exact, size = np.mean(value[0]), np.mean(np.abs(value[0]))
        rounded = count * UNIT + 2 * unit
        return exact, np.mean(value[1]) + rounded * size
    exact, error = expected(case, order, x, t, others)
    error = error + unit * np.abs(exact)
    columns = 1 if case.of_rows else x.shape[-1]
    exact, error = exact.reshape(-1, columns), error.reshape(-1, columns)
    features = sides["features"].reshape(len(exact), -1)
    kernel = sides["kernel"].reshape(-1, columns)

    def pulled(r, features, kernel):
        back = r @ kernel.T if side == "features" else features.T @ r
        return back.reshape(sides[side].shape) / count

    terms = columns if side == "features" else len(exact)
    size = pulled(np.abs(exact), np.abs(features), np.abs(kernel))
    rounded = terms * UNIT + 2 * unit
    largest = pulled(error, np.abs(features), np.abs(kernel)) + rounded * size
    return pulled(exact, features, kernel), largest


def expected_norms(case, order, mapped, sides, directions, others, unit):
    """`squared_norms` in float64, and the largest error they may have."""
    x, t = (s["features"] @ sides["kernel"] for s in (sides, directions))
    r, error = expected(case, order, x, t, others)
    error = error + unit * np.abs(r)
    exact, error = r**2, 2 * np.abs(r) * error + error**2 + LEAST
    terms = 1
    if r.ndim > mapped:  # else each row is a single number
        terms = r.shape[-1]
        exact, error = np.sum(exact, -1), np.sum(error, -1)
    return exact, error + (terms * UNIT + 3 * unit) * exact


# The arguments of one program


class Draw:
    """The arguments of one program, for JAX and in float64, and what must come out."""

    def __init__(self, program, shape, dtype, with_nan, rng):
        self.case, self.order, self.context = program
        self.dtype, self.rng = dtype, rng
        self.unit = UNIT if dtype == "float32" else 2.0**-8
        self.shape = (int(np.prod(shape[:-1])),) if self.case.of_rows else shape
        self.mapped = len(self.shape) > 1
        others_dtype = dtype if self.case.others_like_first else "float32"
        self.others = [
            self.rounded(other(rng, self.shape), others_dtype)
            for other in self.case.others
        ]
        # The direction last: first x, or features and kernel, then the others.
        self.firsts = [self.single(), self.direction(self.shape)]
        if self.context != "alone":
            self.firsts = [self.sides(self.few), self.sides(self.direction)]
        if with_nan:
            self.plant_nan()

    def rounded(self, x, dtype):
        x = np.asarray(x)
        return x.astype(dtype if x.dtype == np.float64 else x.dtype)

    def single(self):
        """Logits near 0, ordinary or large; or probabilities off 0 and 1."""
        if self.case.space == "probabilities":
            x = self.rng.uniform(0.01, 0.99, self.shape)
        elif self.case.few_values:
            x = self.rng.integers(-20, 21, self.shape) / 4
        else:
            x = self.rng.choice([0.1, 1, 4, 12]) * self.rng.normal(size=self.shape)
            x = np.clip(x, -40, 40)
        return self.rounded(x, self.dtype)

    def sides(self, numbers):
        """Features and kernel whose product is exact in every dtype."""
        of_kernel = () if self.case.of_rows else (self.shape[-1],)
        of_features = self.shape[: len(self.shape) - len(of_kernel)]
        return {
            "features": numbers((*of_features, 3)),
            "kernel": numbers((3, *of_kernel), "kernel"),
        }

    def few(self, shape, side="features"):
        if self.case.space == "probabilities":
            x = self.rng.integers(1, 4, shape) / (64 if side == "kernel" else 1)
        else:
            x = self.rng.integers(-3, 4, shape) / (4 if side == "kernel" else 1)
        return self.rounded(x, "float32")

    def direction(self, shape, side="features"):
        """Along x in its dtype, or along the features or the kernel."""
        x = self.rng.integers(-1, 2, shape) / 1.0
        return self.rounded(x, self.dtype if self.context == "alone" else "float32")

    def plant_nan(self):
        first = self.firsts[0]
        where = first if self.context == "alone" else first["features"]
        if self.case.nan_anywhere and self.rng.random() < 0.5:
            where = self.others[0]
        where[tuple(self.rng.integers(0, n) for n in where.shape)] = np.nan

    def function(self):
        case, order = self.case, self.order
        if self.context == "alone":
            return derivative(case.call, order)
        if self.context == "norm":
            return squared_norms(case.call, order, self.mapped, self.dtype)
        side = self.context.removeprefix("mean of ")
        return of_product(case.call, order, side, self.dtype)

    def expectation(self):
        def wide(x):
            return np.asarray(x, np.float64) if x.dtype.kind not in "ib" else x

        (first, along), others = jax.tree.map(wide, (self.firsts, self.others))
        case, order = self.case, self.order
        if self.context == "alone":
            exact, error = expected(case, order, first, along, others)
            return exact, error + self.unit * np.abs(exact)
        if self.context == "norm":
            return expected_norms(
                case, order, self.mapped, first, along, others, self.unit
            )
        side = self.context.removeprefix("mean of ")
        return expected_of_product(case, order, side, first, along, others, self.unit)

    def complaint(self):
        """What is wrong with the result, or None."""
        compiled = jax.jit(self.function())
        kept_alive.append(compiled)
        got = compiled(*jax.tree.map(jnp.asarray, self.firsts), *self.others)
        with np.errstate(all="ignore"):
            exact, error = self.expectation()
        got, exact = np.asarray(got, np.float64), np.asarray(exact)
        if got.shape != exact.shape:
            return f"shape {got.shape} for {exact.shape}"
        with np.errstate(invalid="ignore"):
            right = np.abs(got - exact) <= error
        right = np.where(np.isnan(exact), np.isnan(got), right)
        if np.all(right):
            return None
        first = tuple(int(i) for i in np.argwhere(~right)[0])
        allowed = np.broadcast_to(error, exact.shape)[first]
        return (
            f"{np.sum(~right)} of {right.size} wrong, the first at {first}: "
            f"got {float(got[first])!r} for {float(exact[first])!r}, "
            f"where the largest error allowed is {allowed:.3g}"
        )


# The tests


def pytest_generate_tests(metafunc):
    if "shape" in metafunc.fixturenames:
        number, seed = map(metafunc.config.getoption, ("--shapes", "--shapes-seed"))
        shapes = random_shapes(number, seed)
        ids = ["x".join(map(str, shape)) for shape in shapes]
        values = [(k, shape, seed) for k, shape in enumerate(shapes)]
        metafunc.parametrize(("index", "shape", "seed"), values, ids=ids)


def test_every_shape_has_right_results_among_all_others(index, shape, seed):
    dtype = "bfloat16" if index % 7 == 5 else "float32"
    with_nan = index % 3 == 2
    wrong = []
    for k, program in enumerate(programs_of(index, seed)):
        rng = np.random.default_rng([seed, 3, index, k])
        draw = Draw(program, shape, dtype, with_nan, rng)
        complaint = draw.complaint()
        if complaint:
            case, order, context = program
            wrong.append(f"{case}: {ORDERS[order]}, {context}: {complaint}")
    assert not wrong, "\n".join(
        [
            f"shape {shape}, {dtype}, {'with' if with_nan else 'without'} NaN, seed "
            f"{seed}, after {len(kept_alive)} programs:",
            *wrong,
        ]
    )


def test_every_program_is_tried_and_every_public_function_is_there():
    tried = {p for k in range(200) for p in programs_of(k, 0)}
    assert len(tried) == len(PROGRAMS)
    named = {case.name.split(",")[0] for case in CASES}
    assert {*bcejax.__all__} - named == NOT_TRIED


def test_another_seed_draws_other_shapes():
    seeds = [set(random_shapes(100, seed)) for seed in range(3)]
    assert len(set.union(*seeds)) == 300
