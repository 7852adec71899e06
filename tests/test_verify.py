"""`bcejax.verify`: what it finds in the package as it is, and in a broken one.

The references it judges by are themselves judged by mpmath.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import bcejax
from bcejax import verify
from bcejax.__main__ import main
from bcejax.verify import _behaviour, _digits, _exact, _run, bounds
from bcejax.verify._subjects import of_elements

GUARANTEES = (Path(__file__).parents[1] / "docs/guarantees.md").read_text("utf-8")
POINTS = 400


@pytest.fixture(scope="module")
def report():
    return verify.run(points=POINTS)


def only(monkeypatch, *names):
    """Let `verify.run` judge these element-wise functions only, in seconds."""
    monkeypatch.setattr(_run, "of_rows", list)
    monkeypatch.setattr(
        _run, "of_elements", lambda: [s for s in of_elements() if s.name in names]
    )
    for table in ("cases", "nan_cases"):
        chosen = {k: v for k, v in getattr(_behaviour, table)().items() if k in names}
        monkeypatch.setattr(_behaviour, table, lambda chosen=chosen: chosen)


# The package as it is


@pytest.mark.full
def test_every_promise_is_kept(report):
    assert report.failures == []
    assert report.passed


@pytest.mark.full
def test_every_function_is_judged_in_every_order_and_dtype(report):
    judged = {(d.function.split(",")[0].split(" ")[0], d.dtype) for d in report.digits}
    element_wise = set(bcejax.__all__) - {
        "logistic_regression",
        "metrics",
        "optimal_logit",  # in 32 and 64 bits
        "bce_with_logits_hessian",  # beside the gradient
    }
    for name in element_wise:
        assert {d for f, d in judged if f == name} == set(bounds.DTYPES), name
    assert ("optimal_logit", "float32") in judged
    assert {d.order for d in report.digits} == set(bounds.ORDERS)


@pytest.mark.full
def test_the_probes_of_jax_decide_nothing(report):
    assert len(report.probes) == 3
    for probe in report.probes:
        assert probe.words.startswith("JAX on this device ")
        assert ("miscomputes" in probe.words) == probe.present
    broken = report._replace(probes=[p._replace(present=True) for p in report.probes])
    assert broken.failures == report.failures


@pytest.mark.full
def test_json_holds_what_the_table_shows(report):
    record = json.loads(json.dumps(verify.to_json(report), allow_nan=False))
    assert record["passed"] == report.passed
    assert record["environment"]["jax"] == jax.__version__
    assert record["environment"]["backend"] == jax.default_backend()
    assert record["environment"]["device"]
    assert len(record["digits"]) == len(report.digits)
    assert len(record["checks"]) == len(report.checks)
    table = verify.table(report)
    for row in record["digits"]:
        assert row["function"] in table.splitlines()
        assert row["bound"] is not None and row["at"]
    for probe in record["probes"]:
        assert probe["words"] in table


def test_the_callers_settings_stay(x64):
    assert jnp.zeros(1).dtype == "float64"
    assert verify._run._in("float32", None, lambda: jnp.zeros(1).dtype) == "float32"
    assert jnp.zeros(1).dtype == "float64"


# Planted errors


def doubled_gradient(x):
    @jax.custom_jvp
    def f(x):
        return sigmoid(x)

    sigmoid = bcejax._sigmoid.sigmoid
    f.defjvps(lambda x_dot, _, x: 2 * x_dot * jax.grad(sigmoid)(x))
    return f(x)


def drops_nan(x, y, **options):
    return bcejax._bce.bce_with_logits(jnp.where(jnp.isnan(x), 0, x), y, **options)


def raises(x):
    raise NotImplementedError("not on this device")


def ignores_the_mask(x, y, where=None):
    return bcejax._bce.bce_with_logits(x, y)


@pytest.mark.parametrize(
    ("name", "broken", "words"),
    [
        (
            "sigmoid",
            doubled_gradient,
            "sigmoid, float32: the slope errs by 1.7e+07 ulp",
        ),
        ("sigmoid", doubled_gradient, "slope at (0) is 0.5, not 0.25"),
        ("softplus", raises, "softplus, float16: raises NotImplementedError: not on"),
        ("bce_with_logits", drops_nan, "NaN in, NaN out: bce_with_logits, 8 × 20,000"),
        ("bce_with_logits", drops_nan, "value at (nan, 1) is 0.693147, not nan"),
        ("bce_with_logits", ignores_the_mask, "masks: bce_with_logits: the loss where"),
    ],
)
def test_a_planted_error_fails_in_words(name, broken, words, monkeypatch, capsys):
    monkeypatch.setattr(bcejax, name, broken)
    only(monkeypatch, name)
    monkeypatch.setattr(_run, "POINTS", POINTS)
    with pytest.raises(SystemExit) as stop:
        main(["verify"])
    assert stop.value.code == 1
    printed = capsys.readouterr().out
    assert words in printed
    assert "not kept here:" in printed


def test_a_dtype_that_the_device_lacks_is_skipped_with_the_reason(monkeypatch):
    only(monkeypatch, "sigmoid")
    supported = _digits.unsupported
    monkeypatch.setattr(
        _digits,
        "unsupported",
        lambda dtype: (
            "no such numbers here" if dtype == "float64" else supported(dtype)
        ),
    )
    report = verify.run(points=POINTS)
    assert report.passed
    assert "float64 skipped: no such numbers here" in verify.table(report)
    skipped = [d for d in report.digits if d.skipped]
    assert {(d.dtype, d.error) for d in skipped} == {("float64", None)}


@pytest.mark.full
def test_peers_are_measured_and_held_to_nothing(monkeypatch):
    only(monkeypatch, "bce_with_logits")
    report = verify.run(peers=True, points=POINTS)
    theirs = [d for d in report.digits if d.by == "optax"]
    assert len(theirs) == len(bounds.DTYPES) * len(bounds.ORDERS)
    assert all(d.bound is None and d.passed for d in theirs)
    assert max(d.error for d in theirs) > 1e6  # its second derivative
    assert "curvature, optax" in verify.table(report)


# The command


def test_it_writes_the_record_and_exits_with_0(monkeypatch, tmp_path, capsys):
    only(monkeypatch, "softplus")
    monkeypatch.setattr(_run, "POINTS", POINTS)
    main(["verify", "--json", str(tmp_path / "record.json")])
    assert os.listdir(tmp_path) == ["record.json"]  # and no unfinished file
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert record["passed"]
    assert "Every promise is kept here." in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_said_before_anything_runs(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--json", str(tmp_path / "none" / "record.json")])
    assert stop.value.code == 2
    assert "there is no folder" in capsys.readouterr().err


def test_it_needs_no_extra_and_bcejax_does_not_import_it():
    script = (
        "import sys; import bcejax; print('bcejax.verify' in sys.modules);"
        "import bcejax._cli.verify;"
        "extras = {'matplotlib', 'sklearn', 'pyarrow', 'pandas', 'tqdm', 'mpmath'};"
        "print(sorted(extras & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "[]"]


# What it judges by


def precise(value) -> mpmath.mpf:
    """A long double, which is the sum of two doubles."""
    high = float(value)
    return mpmath.mpf(high) + mpmath.mpf(float(value - type(value)(high)))


def σ(x):
    return 1 / (1 + mpmath.exp(-x))


def focal(x, gamma=2):
    return σ(x) ** gamma * mpmath.log1p(mpmath.exp(x))


def asymmetric(x):
    rest = σ(-x) + mpmath.mpf(0.25)
    return (1 - rest) ** 4 * -mpmath.log(rest) if rest < 1 else mpmath.mpf(0)


def divergence(p, q):
    return p * mpmath.log(p / q) - p + q


REFERENCES = {
    "softplus": (_exact.softplus, lambda x, _: mpmath.log1p(mpmath.exp(x))),
    "σ": (_exact.sigmoid, lambda x, _: σ(x)),
    "σ′": (_exact.sigmoid_slope, lambda x, _: σ(x) * σ(-x)),
    "focal": (lambda x: _exact.focal(x, 2)[0], lambda x, _: focal(x)),
    "focal′": (lambda x: _exact.focal(x, 2)[1], lambda x, _: mpmath.diff(focal, x)),
    "asymmetric, without clip": (
        lambda x: _exact.shifted_focal(x, 2, np.zeros_like(x))[0][0],
        lambda x, _: focal(x),
    ),
    "asymmetric": (
        lambda x: _exact.shifted_focal(np.abs(x), 4, 0.25)[0][0],
        lambda x, _: asymmetric(abs(x)),
    ),
    "asymmetric′": (
        lambda x: _exact.shifted_focal(np.abs(x), 4, 0.25)[1][0],
        lambda x, _: mpmath.diff(asymmetric, abs(x)),
    ),
    "Bernoulli": (
        _exact.bernoulli_divergence,
        lambda a, b: divergence(σ(a), σ(b)) + divergence(σ(-a), σ(-b)),
    ),
    "difference": (_exact.sigmoid_difference, lambda a, b: σ(b) - σ(a)),
}
OF_PROBABILITIES = {
    "log odds": (_exact.log_odds, lambda p, _: mpmath.log(p / (1 - p))),
    "divergence": (_exact.divergence_terms, divergence),
}


@pytest.mark.parametrize("name", [*REFERENCES, *OF_PROBABILITIES])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_references_are_right_to_a_tenth_of_an_ulp(name, dtype):
    if dtype == "float64" and not _exact.HOST_IS_WIDER:
        pytest.skip("float64 is judged by float64 here, which `verify` says")
    formula, exact = (REFERENCES | OF_PROBABILITIES)[name]
    low, high = (-60, 60) if name in REFERENCES else (1e-6, 1)
    rng = np.random.default_rng(0)
    first, second = rng.uniform(low, high, (2, 60))
    second[::2] = first[::2] * (1 - 1e-3)
    wide = [_exact.widen(a.astype(dtype)) for a in (first, second)]
    got = formula(*wide[: formula.__code__.co_argcount])
    ulp = float(jnp.finfo(dtype).eps)
    with mpmath.workdps(120):
        for value, *arguments in zip(got, *wide, strict=True):
            right = exact(*map(precise, arguments))
            assert abs(precise(value) / right - 1) < 0.1 * ulp, arguments


def test_errors_in_ulp_of_wrong_infinities_nan_and_underflow():
    got = np.float32([np.inf, np.nan, 1, 0, 1e-3, 1 + 2**-22])
    exact = np.array([np.inf, 1, np.inf, 1e-45, 1e-45, 1])
    expected = [0, np.inf, np.inf, 0, np.inf, 2]
    np.testing.assert_array_equal(_exact.errors_in_ulp(got, exact), expected)


# The documentation


def test_the_documentation_promises_no_more_than_the_table_of_bounds():
    table = GUARANTEES[GUARANTEES.index("| labels 0 and 1 |") :].split("\n\n")[0]
    for line, order in zip(table.splitlines()[2:], bounds.ORDERS, strict=True):
        cells = [cell.strip() for cell in line.strip(" |").split("|")][1:4]
        for cell, dtype in zip(cells, ("float16", "float32", "float64"), strict=True):
            assert float(cell) <= bounds.BOUNDS["sigmoid"][order][dtype]
    sentence = GUARANTEES[GUARANTEES.index("The rest of the family") :]
    sentence = " ".join(sentence.split())
    figures = {
        r"softmax by at most ([\d.]+)": ("softmax of many", "slope"),
        r"entropies and divergences ([\d.]+)": ("bernoulli", "value"),
        r"up to γ = 5 by ([\d.]+)": ("focal", "value"),
        r"its gradient ([\d.]+)": ("focal", "slope"),
        r"Hessian ([\d.]+)\.": ("focal", "curvature"),
    }
    for pattern, (family, order) in figures.items():
        figure = float(re.search(pattern, sentence)[1].rstrip("."))
        assert figure <= bounds.BOUNDS[family][order]["float32"], pattern
