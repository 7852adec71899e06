import importlib.metadata
import platform

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)  # shard_map needs something to shard over


# The examples of fits run with --full alone: in these pages, and in the docstrings of
# this package.
PAGES_OF_FITS = {"logistic_regression.md", "plots.md", "probes.md", "scale.md"}
PACKAGE_OF_FITS = "logistic_regression"


def pytest_addoption(parser):
    group = parser.getgroup("bcejax")
    group.addoption(
        "--shapes",
        type=int,
        help="how many shapes test_many_programs tries (default 25, with --full 200)",
    )
    group.addoption(
        "--shapes-seed",
        type=int,
        default=0,
        help="which shapes they are: two seeds have none in common (default 0)",
    )
    group.addoption(
        "--full",
        action="store_true",
        help="with the tests that take longest, more shapes, and all code optimised as "
        "users' code is: twenty minutes",
    )


def pytest_configure(config):
    full = config.getoption("--full")
    config.option.shapes = config.getoption("--shapes") or (200 if full else 25)
    config.addinivalue_line("markers", "full: takes long, and runs with --full alone")
    if not full:
        chosen = config.option.markexpr
        config.option.markexpr = f"({chosen}) and not full" if chosen else "not full"


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marks
def pytest_collection_modifyitems(items):
    for item in items:
        path = item.path
        if path.name in PAGES_OF_FITS or path.parent.name == PACKAGE_OF_FITS:
            item.add_marker(pytest.mark.full)


def pytest_report_header():
    """What the tests run with, for `.ci/run` to repeat at its end."""
    packages = ("jax", "jaxlib", "optax", "numpy", "scipy")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    return ", ".join([f"versions: Python {platform.python_version()}", *versions])


@pytest.fixture
def x64():
    """64-bit mode, for one test."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def strict_promotion():
    """JAX refuses to mix dtypes, for one test."""
    with jax.numpy_dtype_promotion("strict"):
        yield


# These modules compile many programs. `.ci/run` measures their digits with fully
# optimised code, too.
QUICKLY_COMPILED = {
    "test_batch_inference",
    "test_batches",
    "test_class_covariance",
    "test_class_metrics",
    "test_classes",
    "test_command",
    "test_command_files",
    "test_compiled_fit",
    "test_contract",
    "test_effects",
    "test_evaluate",
    "test_firth",
    "test_given",
    "test_heads",
    "test_inference",
    "test_logistic_regression",
    "test_main",
    "test_multinomial",
    "test_newton",
    "test_path",
    "test_peers",
    "test_plot",
    "test_precision",
    "test_processes",
    "test_save",
    "test_shards",
    "test_sklearn",
    "test_softmax",
    "test_softmax_information",
    "test_verdicts",
    "test_verify",
}


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly(request):
    """Tests that compile much do without LLVM's optimisations.

    A fit then compiles in half the time, and `test_inference` takes 29 CPU-seconds in
    place of 40. What XLA makes of a program before LLVM sees it, its fusions and its
    calls of YNNPACK included, was seen to be the same to the last letter. `.ci/run` has
    one run as it is here, and those with the newest and the oldest JAX compile fully.
    """
    if (
        request.config.getoption("--full")
        or request.module.__name__ not in QUICKLY_COMPILED
    ):
        yield
        return
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
