import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)  # shard_map needs something to shard over


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
