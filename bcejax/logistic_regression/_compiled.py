"""How programs are compiled: quickly where the data are small.

Of the first fit of some hundreds of rows, compiling takes nearly all the time, and half
of that is what LLVM does at its highest levels of optimization. A small program gains
little or nothing by them.

JAX lets only the outermost `jit` choose its options. So it is chosen in an eager call;
within jit, grad or vmap of the caller everything is compiled as the caller wishes.
"""

from functools import wraps

import jax
import jax.numpy as jnp

MOST_NUMBERS = 2**20  # of small data, all arguments together
# Levels of LLVM, which JAX leaves at 3. At 1 a fit compiles in 5/6 of the time and then
# runs as fast. At 0 it takes half as long to compile, and twice as long to run.
STILL_FAST = 1
AT_ONCE = 0


def compiled(level: int, **static):
    """`jax.jit` with the static arguments named, and at `level` for small others."""
    quick = {"xla_backend_optimization_level": level}

    def decorate(function):
        thoroughly = jax.jit(function, **static)
        quickly = jax.jit(function, compiler_options=quick, **static)

        @wraps(function)
        def call(*arguments, **options):
            values = arguments, options
            small = size_of(values) <= MOST_NUMBERS and is_eager(values) and on_cpu()
            chosen = quickly if small and optimizes() else thoroughly
            return chosen(*arguments, **options)

        call.lower = thoroughly.lower
        return call

    return decorate


def is_eager(values) -> bool:
    """Whether nothing is traced, neither these values nor what is computed next."""
    # In a function that is traced whole, such as by jit, a new array is traced as well.
    leaves = jax.tree.leaves((values, jnp.zeros(())))
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)


def on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def optimizes():
    """Whether JAX has not been told to compile everything quickly."""
    return not jax.config.values["jax_disable_most_optimizations"]


def size_of(values) -> int:
    return sum(getattr(leaf, "size", 1) for leaf in jax.tree.leaves(values))
