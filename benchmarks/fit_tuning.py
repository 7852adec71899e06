"""Every tuning number of the search over a few values: what it costs, what it gains.

    python benchmarks/fit_tuning.py              everything: some twenty minutes
    python benchmarks/fit_tuning.py ARMIJO       these numbers, printed and not written

Run it on a machine that does nothing else: the programs of all values of a number take
turns, in an order that is shuffled in every round, and their median times are compared
with that of the value in the package, which is bold. A number that does not change the
time decides about digits or verdicts: what the loss is above the least one of that row,
or how many verdicts are wrong. A value is replaced in its module before its program is
compiled, so the names here are the names there, and each of them has a row.
"""

import argparse
from collections.abc import Callable
from types import ModuleType

import _results
import _timing
import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from sklearn.datasets import load_breast_cancer

from bcejax.logistic_regression import (
    _design,
    _factor,
    _first_order,
    _large,
    _newton,
    _objective,
    _outcome,
    _overlap,
    _rows,
    _scaling,
    covariance,
    fit,
    separation,
)

ROUNDS = 9


def made(n: int, d: int, correlated: bool = False):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    if correlated:
        x = x @ rng.normal(size=(d, d)) + 3
    logits = (x - x.mean(0)) / x.std(0) @ rng.normal(size=d) / np.sqrt(d)
    y = rng.uniform(size=n) < 1 / (1 + np.exp(-2 * logits))
    return np.float32(x), np.float32(y)


def cancer(scaled: bool = True):
    x, y = load_breast_cancer(return_X_y=True)
    return np.float32((x - x.mean(0)) / x.std(0) if scaled else x), np.float32(y)


# The problems: each the features and labels, and the fits of them.


def one(x, y, **options):
    return (x, y), lambda x, y: fit(x, y, **options)


def by_weights(x, y, weights, **options):
    fits = jax.vmap(
        lambda x, y, w: fit(x, y, sample_weight=w, **options), (None, None, 0)
    )
    return (x, y, np.float32(weights)), fits


def bootstraps():
    x, y = cancer()
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=100)
    return by_weights(x, y, counts, l2=1 / len(y))


def groups():
    """Ten groups of rows, each 1000 deviations from the next, fitted alone."""
    x, y = made(1000, 1)
    group = np.repeat(np.arange(10), 100)
    return by_weights(
        np.float32(1000 * group[:, None] + x), y, group == np.arange(10)[:, None]
    )


def nearly_equal():
    rng, group = np.random.default_rng(0), np.repeat([0.0, 1.0], 300)
    x = 3000 * group[:, None] + rng.normal(size=(600, 8))
    return one(np.float32(x), np.float32(rng.uniform(size=600) < 0.2 + 0.6 * group))


def constant_columns():
    x, y = made(500, 5)
    more = [x[:, 0], 0 * y + 0.1, 0 * y, 1e6 + np.round(10 * x[:, 1])]
    return one(np.float32(np.column_stack([x, *more])), y)


def rare_column():
    x, y = made(200_000, 40)
    x[:, 1] = np.arange(len(x)) % 20_000 == 7
    return one(x, y, l2=1e-5)


PROBLEMS = {
    "raw columns": lambda: one(*cancer(scaled=False), l2=1e-6 / 569),
    "far start": lambda: one(*cancer(), l2=0.01, init=(np.full(30, 50.0), 50.0)),
    "wrong side": lambda: one(*made(200, 12), l2=0.1, offset=200.0),
    "tiny column": lambda: one(
        np.float32(made(400, 2)[0] * [1, 1e-20]), made(400, 2)[1], l2=0.01
    ),
    "separated": lambda: one(*cancer()),
    "nearly equal": nearly_equal,
    "constant columns": constant_columns,
    "100 bootstraps": bootstraps,
    "groups": groups,
    "L-BFGS": lambda: one(*cancer(), l2=0.01, solver="lbfgs"),
    "200,000 × 40": lambda: one(*made(200_000, 40), l2=1e-5),
    "100,000 × 80, correlated": lambda: one(*made(100_000, 80, True), l2=1e-5),
    "20,000 × 300": lambda: one(*made(20_000, 300), l2=1e-3),
    "5,000 × 2,100": lambda: one(*made(5_000, 2_100), l2=1e-2),
    "rare column": rare_column,
}
SMALL = "raw columns", "far start", "separated"
MANY = "200,000 × 40", "100,000 × 80, correlated"

NUMBERS = {
    (_rows, "BLOCK"): ((2**17, 2**18, 2**19, 2**20, 2**21), MANY),
    (_scaling, "FLAT"): ((1, 4, 16), ("constant columns",)),
    (_scaling, "MIDDLE"): ((5, 15, 45), ("100 bootstraps", "groups")),
    (_scaling, "NEAR"): ((3, 30, 300), ("100 bootstraps", "groups")),
    (_objective, "MOST_PENALTY"): ((1e-16, 1e-8, 1e-2), ("tiny column",)),
    (_outcome, "NOISE"): ((1, 4, 16), (*SMALL, "nearly equal")),
    (_outcome, "PER_DEVIATION"): ((10, 100, 1000), (*SMALL, MANY[0])),
    (_outcome, "FASTER"): ((0.25, 0.5, 0.75), (*SMALL, "nearly equal")),
    (_newton, "NEAR"): ((1e-7, 1e-5, 1e-3), (*SMALL, "nearly equal")),
    (_newton, "MOST_COLUMNS"): ((299, 1999), ("20,000 × 300",)),
    (_newton, "LONGEST"): ((5, 20, 80), ("far start", "wrong side")),
    (_newton, "ARMIJO"): ((1e-6, 1e-4, 1e-2, 0.1), SMALL),
    (_newton, "SHORTEST"): ((2.0**-10, 2.0**-20, 2.0**-30), (*SMALL, "nearly equal")),
    (_factor, "STIFFER"): ((3, 30, 300), ("constant columns", "nearly equal")),
    (_newton, "CG_STEPS"): ((50, 200, 800), ("5,000 × 2,100",)),
    (_newton, "CG_RESIDUAL"): ((0.01, 0.1, 0.5), ("5,000 × 2,100",)),
    (_overlap, "CG_LAST_RESIDUAL"): ((1e-3, 1e-2, 0.1), ("5,000 × 2,100",)),
    (_large, "SMALL"): ((2**26, 2**28, 2**30), ("raw columns", *MANY)),
    (_large, "LEAST_ROWS"): ((2, 4, 8), ("20,000 × 300",)),
    (_large, "MOST_ROWS"): ((20, 50, 200), MANY),
    (_large, "GRADIENTS"): ((1, 2, 4), MANY),
    (_large, "UNSTORED_ROWS"): ((1, 2, 4), ("5,000 × 2,100",)),
    (_large, "FITTED_ROWS"): ((4, 20, 100), (*MANY, "20,000 × 300")),
    (_large, "SAMPLE_TOLERANCE"): ((1e-2, 1e-4, 1e-6), MANY),
    (_large, "SAMPLE_STEPS"): ((5, 20, 40), MANY),
    (_large, "LBFGS_STEPS"): ((10, 50, 100), MANY),
    (_large, "WHITENED"): ((5, 20, 80), ("20,000 × 300",)),
    (_large, "CHANCE"): ((0, 1, 2, 8), (*MANY, "20,000 × 300")),
    (_large, "FLOOR"): ((1e-4, 1e-2, 0.1), ("rare column", MANY[0])),
    (_first_order, "MEMORY"): ((5, 10, 20, 40), ("L-BFGS", MANY[1])),
}
VERDICTS = {
    (_outcome, "LEFT"): (1e-8, 1e-6, 1e-4),
    (_overlap, "HALF"): (0.1, 0.5, 0.9),
    (_overlap, "BACK"): (1e-8, 1e-6, 1e-3),
    (_overlap, "ROUNDINGS"): (1, 32, 1000),
    (_overlap, "BEGIN"): (1.0, 4.0, 8.0),
    (_overlap, "WRONG"): (0.0, 2.0, 8.0),
    (_overlap, "STRIDE"): (2.0, 4.0, 8.0),
    (_overlap, "FIRST"): (0.2, 0.5, 1.0),
    (_overlap, "DEPTH"): (0.4, 0.8, 1.2),
    (_overlap, "MOST_STEPS"): (10, 50, 200),
    (_overlap, "MOST_STEPS_OF_ALL"): (20, 50),
    (_overlap, "FULL"): (3, 30, 300),
    (_design, "LOST"): (1, 4, 16),
}


def with_value(module: ModuleType, name: str, value, run: Callable):
    """What `run` returns while the number has that value."""
    chosen = getattr(module, name)
    setattr(module, name, value)
    jax.clear_caches()
    try:
        return run()
    finally:
        setattr(module, name, chosen)
        jax.clear_caches()


def shown(module: ModuleType, name: str, value) -> str:
    power = np.log2(value) if value else 0.5
    text = f"2^{power:.0f}" if power == int(power) and abs(power) > 8 else f"{value:g}"
    return f"**{text}**" if value == getattr(module, name) else text


# Numbers that decide about time and digits


def tried(module, name, values, problem: str) -> list[str]:
    """For each value the steps, the time to that of the package, and the loss."""
    data, fits = PROBLEMS[problem]()
    data = jax.device_put(data)
    programs = {
        value: with_value(
            module, name, value, lambda: jax.jit(fits).lower(*data).compile()
        )
        for value in values
    }
    runs = {value: lambda p=program: p(*data) for value, program in programs.items()}
    models = {value: jax.block_until_ready(run()) for value, run in runs.items()}
    seconds = _timing.median_seconds(runs, ROUNDS)
    losses = {value: np.float64(model.loss) for value, model in models.items()}
    least = np.min(list(losses.values()), axis=0)

    def cell(value):
        steps = np.mean(models[value].steps)
        above = np.max((losses[value] - least) / np.abs(least))
        time = seconds[value] / seconds[getattr(module, name)]
        return f"{steps:.3g} steps, {time:.2f}×" + f", +{above:.0e}" * bool(above)

    return [cell(value) for value in values]


# Numbers that decide about verdicts


def wrong_separations() -> str:
    """Of small data on a grid, where rows often stand on the border."""
    rng = np.random.default_rng(0)
    x = np.float32(rng.integers(-2, 3, size=(500, 12, 2)))
    noise = 3 * rng.normal(size=(500, 12))
    y = np.float32(x.sum(2) + noise * rng.integers(0, 2, size=(500, 1)) > 0)
    truth = np.array([separation(*pair).any() for pair in zip(x, y, strict=True)])
    said = np.asarray(jax.jit(jax.vmap(lambda x, y: fit(x, y).separated))(x, y))
    missed, invented = (truth & ~said).sum(), (said & ~truth).sum()
    return f"{missed} of {truth.sum()} missed, {invented} of {(~truth).sum()} invented"


def wrong_infinities() -> str:
    """Of columns that are a sum of others, and of ones that are nearly so."""
    rng = np.random.default_rng(0)

    def lost(distance):
        scale = 10.0 ** rng.integers(-1, 2, size=(300, 1, 3))
        x = scale * rng.normal(size=(300, 60, 3))
        x[..., 2] = x[..., 0] + x[..., 1] + distance * x.std(1)[:, None, 2]
        y = np.float32(rng.uniform(size=(300, 60)) < 0.5)
        model = fit(np.float32(x[0]), y[0])._replace(weights=jnp.zeros(3), bias=0.0)
        each = jax.jit(jax.vmap(lambda x, y: covariance(model, x, y)[0, 0]))
        return np.isinf(each(np.float32(x), y)).sum()

    sums, near = lost(0), lost(1e-3 * rng.normal(size=(300, 60)))
    return f"{300 - sums} of 300 missed, {near} of 300 invented"


def section(numbers: dict, verdicts: dict) -> str:
    text = ""
    for (module, name), (values, problems) in tqdm.tqdm(numbers.items(), disable=None):
        head = [shown(module, name, value) for value in values]
        rows = [[p, *tried(module, name, values, p)] for p in problems]
        text += _results.table(
            [f"`{module.__name__.split('.')[-1]}.{name}`", *head], rows
        )
    for (module, name), values in tqdm.tqdm(verdicts.items(), disable=None):
        head = [shown(module, name, value) for value in values]
        ask = wrong_infinities if name == "LOST" else wrong_separations
        row = ["verdicts", *(with_value(module, name, v, ask) for v in values)]
        text += _results.table(
            [f"`{module.__name__.split('.')[-1]}.{name}`", *head], [row]
        )
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="print only these, write nothing")
    names = parser.parse_args().names
    chosen = [
        {key: value for key, value in table.items() if not names or key[1] in names}
        for table in (NUMBERS, VERDICTS)
    ]
    text = (
        "The tuning numbers of the fit. Steps, the median time of a fit to that with "
        f"the value of the package (bold) in {ROUNDS} shuffled rounds, and what the "
        "loss is above the least in the row, relative, if it is. float32.\n\n"
    ) + section(*chosen)
    print(text)
    if not names:
        _results.write("Tuning numbers of the fit", text)


if __name__ == "__main__":
    main()
