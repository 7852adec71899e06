"""What a fit gives XLA to compile, and that a derivative sees through it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bcejax import _cli
from bcejax.logistic_regression import _objective, _problem, _rows, fit
from bcejax.logistic_regression._fit import compiled_fit
from bcejax.logistic_regression._given import Given

ROWS, COLUMNS = 60, 3


def data():
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, COLUMNS))
    y = x[:, 0] + random.logistic(size=ROWS) > 0
    return x.astype(np.float32), y.astype(np.float32)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_rows, "BLOCK", ROWS * COLUMNS // 4)
    jax.clear_caches()
    yield
    jax.clear_caches()


def lowered_fit(solver="newton") -> str:
    """The program that XLA gets."""
    given = Given(*data(), np.float32(0.1), None, None)
    arguments = given, None, 1e-6, 100, None, True, solver
    return compiled_fit.lower(*arguments).as_text()


def test_a_small_fit_evaluates_and_factors_in_one_place_and_its_verdict_in_another():
    text = lowered_fit()
    # The calls, and no function that more of them could share.
    assert len(re.findall(r"custom_call @lapack_spotrf", text)) == 2
    assert len(re.findall(r"custom_call @lapack_strsm", text)) == 2
    gradients = r"dot_general .*\(tensor<60xf32>, tensor<60x3xf32>\)"
    assert len(re.findall(gradients, text)) == 2
    assert "stablehlo.sort" not in text  # nothing of the table that vmap needs


def test_fits_of_vmap_have_a_table():
    x, y = data()
    many = jax.jit(jax.vmap(lambda w: fit(x, y, l2=0.1, sample_weight=w)))
    assert "stablehlo.sort" in many.lower(jnp.ones((2, ROWS))).as_text()


@pytest.mark.parametrize(
    ("platform", "loops"), [("cpu", 1), ("cuda", 0), ("rocm", 0), ("tpu", 0)]
)
def test_an_accelerator_takes_the_rows_at_once(small_blocks, platform, loops):
    x, y = data()
    share = np.full(ROWS, 1 / ROWS, np.float32)
    problem = _problem.Problem(x, y, share, 0 * share, np.float32(0.1))
    params = _problem.Params(np.zeros(COLUMNS, np.float32), np.float32(0))
    gradient = jax.jit(jax.value_and_grad(_objective.objective))
    text = gradient.trace(params, problem).lower(lowering_platforms=(platform,))
    assert text.as_text().count("stablehlo.while") == loops


@pytest.mark.full
def test_a_fit_has_a_forward_derivative(x64, small_blocks):
    x, y = (a.astype(np.float64) for a in data())
    weights = jax.jit(lambda l2: fit(x, y, l2=l2, tol=1e-10)[:2])
    (beta, bias), (slope, _) = jax.jvp(weights, (0.1,), (1.0,))
    # Of the gradient's root in l2: −H⁻¹ (β, 0), with H in the parameters.
    z = np.append(x, np.ones((ROWS, 1)), 1)
    p = 1 / (1 + np.exp(-(x @ beta + bias)))
    h = (z.T * (p * (1 - p) / ROWS)) @ z + np.diag([0.1] * COLUMNS + [0])
    expected = -np.linalg.solve(h, np.append(beta, 0))[:-1]
    np.testing.assert_allclose(slope, expected, rtol=1e-6)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """JAX's persistent cache as it was, and a home of its own."""
    names = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update(names[0], None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_command_line_keeps_what_it_compiles(cache, monkeypatch):
    monkeypatch.setattr(_cli, "JAX", (0, 10))
    _cli.keep_compiled()
    assert jax.config.jax_compilation_cache_dir is None
    monkeypatch.setattr(_cli, "JAX", (0, 11))
    _cli.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == str(cache / "bcejax")


def test_a_cache_that_the_user_has_is_left_alone(cache):
    jax.config.update("jax_compilation_cache_dir", str(cache / "mine"))
    _cli.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == str(cache / "mine")


def test_no_cache_is_set_where_nothing_can_be_written(cache, monkeypatch):
    (cache / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    _cli.keep_compiled()
    assert jax.config.jax_compilation_cache_dir is None
