"""A thousand small fits in one program, beside peers that take them one by one.

    python benchmarks/many_fits.py            a minute
    python benchmarks/many_fits.py --quick    a hundred fits, printed and not written

200 rows and 5 columns each, with Firth's penalty and without: a screen of many columns,
or a bootstrap. bcejax makes all of them by one `vmap` of `fit`. statsmodels and
firthmodels fit in float64 and with their own tolerances. The candidates take turns, as
in speed.py. Figures are medians, of programs that are compiled.
"""

import argparse
import warnings
from functools import partial

import _results
import jax
import numpy as np
import statsmodels.api as sm
from _timing import median_seconds
from firthmodels import FirthLogisticRegression

from bcejax.logistic_regression import fit

FITS, ROWS, COLUMNS = 1000, 200, 5
ROUNDS = 5
TOLERANCES = {"float32": 1e-6, "float64": 1e-8}


def made(fits: int, seed=0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(fits, ROWS, COLUMNS))
    slopes = 0.7 * rng.normal(size=(fits, COLUMNS))
    odds = np.exp(np.einsum("fnd,fd->fn", x, slopes))
    return x, (rng.random((fits, ROWS)) < odds / (1 + odds)).astype(float)


def ours(x, y, dtype: str, firth: bool):
    """The coefficients of all fits."""
    with jax.enable_x64(dtype == "float64"):
        x, y = (jax.device_put(a.astype(dtype)) for a in (x, y))
        one = partial(fit, firth=firth, tol=TOLERANCES[dtype])
        many = jax.jit(jax.vmap(lambda x, y: one(x, y).weights)).lower(x, y).compile()
    return partial(many, x, y)


def by_firthmodels(x, y):
    return [
        FirthLogisticRegression().fit(*pair).coef_ for pair in zip(x, y, strict=True)
    ]


def by_statsmodels(x, y):
    fits = [
        sm.Logit(b, sm.add_constant(a)).fit(disp=0) for a, b in zip(x, y, strict=True)
    ]
    return [found.params[1:] for found in fits]


def race(x, y, firth: bool, rounds: int) -> str:
    name, peer = "statsmodels", by_statsmodels
    if firth:
        name, peer = "firthmodels", by_firthmodels
    found = {}

    def kept(name, run):
        found[name] = jax.block_until_ready(run())

    runs = {f"bcejax, {dtype}": ours(x, y, dtype, firth) for dtype in TOLERANCES}
    runs[f"{name}, one by one"] = partial(peer, x, y)
    for run in runs.values():
        run()
    turns = {name: partial(kept, name, run) for name, run in runs.items()}
    seconds = median_seconds(turns, rounds)
    exact = np.asarray(found["bcejax, float64"])
    slowest = max(seconds.values())
    rows = []
    for name, time in seconds.items():
        far = np.max(np.abs(np.asarray(found[name]) - exact))
        rows.append([name, f"{time:.2f}", f"{slowest / time:.1f}×", f"{far:.0e}"])
    header = ["", "s", "as fast as the slowest", "coefficients from bcejax, float64"]
    return _results.table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    x, y = made(FITS // 10 if quick else FITS)
    rounds = 1 if quick else ROUNDS
    text = f"{len(x):,} fits of {ROWS} × {COLUMNS}, medians of {rounds} rounds.\n\n"
    for firth in (False, True):
        title = "With Firth's penalty" if firth else "Without penalty"
        text += f"{title}:\n\n" + race(x, y, firth, rounds)
    print(text)
    if not quick:
        _results.write("Many fits", text)


if __name__ == "__main__":
    main()
