import importlib.metadata
import platform
from collections import defaultdict

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)  # shard_map needs something to shard over


# What runs with --full alone, beside what is marked so: the examples of fits, in these
# pages and in the docstrings of these packages,
PAGES_OF_FITS = {"logistic_regression.md", "plots.md", "probes.md", "scale.md"}
PACKAGES_OF_FITS = {"logistic_regression", "plot"}
# and, of a test with many parameters in these modules, all but one of six.
MANY_PARAMETERS = {
    "test_asymmetric",
    "test_batches",
    "test_bce",
    "test_classes",
    "test_constant",
    "test_contract",
    "test_evaluate",
    "test_focal",
    "test_given",
    "test_heads",
    "test_inference",
    "test_information",
    "test_logistic_regression",
    "test_main",
    "test_newton",
    "test_peers",
    "test_softmax",
    "test_softmax_information",
    "test_verify",
}
ONE_OF = 6
# These look for errors of compiled code, or compare two programs to the last bit, and
# are always compiled as users' code is.
FULLY_COMPILED = {
    "test_focal",
    "test_many_programs",
    "test_numerics",
    "test_xla_reproductions",
}


def pytest_addoption(parser):
    group = parser.getgroup("bcejax")
    group.addoption(
        "--shapes",
        type=int,
        help="how many shapes test_many_programs tries (default 12, with --full 200)",
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
        help="all tests, more shapes, and all code optimised as users' code is",
    )
    group.addoption(
        "--quick",
        action="store_true",
        help="with --full: compile quickly, as the tests do without it",
    )
    group.addoption(
        "--part",
        type=int,
        default=0,
        help=f"which of {ONE_OF} parts of the parameters runs without --full",
    )


def pytest_configure(config):
    full = config.getoption("--full")
    config.option.shapes = config.getoption("--shapes") or (200 if full else 12)
    config.addinivalue_line("markers", "full: takes long, and runs with --full alone")
    if not full:
        chosen = config.option.markexpr
        config.option.markexpr = f"({chosen}) and not full" if chosen else "not full"


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marks
def pytest_collection_modifyitems(config, items):
    of_tests = defaultdict(list)
    for item in items:
        path = item.path
        if path.name in PAGES_OF_FITS or path.parent.name in PACKAGES_OF_FITS:
            item.add_marker(pytest.mark.full)
        with_parameters = path.stem in MANY_PARAMETERS and hasattr(item, "callspec")
        if with_parameters and item.get_closest_marker("full") is None:
            of_tests[path, item.originalname].append(item)
    part = config.getoption("--part")
    for number, same in enumerate(of_tests.values(), part):
        # Not all tests begin at the first: their parameters are often the same ones.
        first = number % min(ONE_OF, len(same))
        for place, item in enumerate(same):
            if (place - first) % ONE_OF:
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


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly(request):
    """Tests compile without LLVM's optimisations.

    A fit then compiles in half the time, and `test_inference` takes 29 CPU-seconds in
    place of 40. What XLA makes of a program before LLVM sees it, its fusions and its
    calls of YNNPACK included, was seen to be the same to the last letter. The tests of
    digits run with fully optimised code too, in `.ci/run`.
    """
    option = request.config.getoption
    fully = option("--full") and not option("--quick")
    if fully or request.module.__name__ in FULLY_COMPILED:
        yield
        return
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
