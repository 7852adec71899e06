"""Checks of values that cost nothing until `checkify` asks for them.

`checkify.debug_check` is an effect. JAX dispatches a compiled program that holds an
effect from Python and not from C++, which makes a small training step up to eight times
as slow, and `jax.export` refuses to serialise it. So the check is not an operation of
the program here. It is a parameter of an identity, which compiles to nothing:

    x = in_range[call_jaxpr={ debug_check(low ≤ x ≤ high); x }] x

`checkify.checkify` evaluates a program equation by equation. A primitive that it has no
rule for, but that has a parameter named `call_jaxpr`, counts as a call of that jaxpr:
checkify looks into it, finds the `debug_check`, and reports it. Nothing else in JAX
reads the parameter. That checkify treats calls in this way is the one undocumented fact
here; `tests/test_checks.py` guards it on each JAX version that is tested.
"""

import jax
import jax.numpy as jnp
from jax.experimental import checkify
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


class _InRange(Primitive):
    multiple_results = True  # as checkify expects of a call

    def bind(self, *args, subfuns=None, **params):
        # checkify passes the checked jaxpr as a function, to be called in its place.
        if subfuns is not None:
            (checked_call,) = subfuns
            return checked_call.call_wrapped(*args)
        return super().bind(*args, **params)


_in_range = _InRange("in_range")


def in_range(x: jax.Array, name: str, low: float, high: float) -> jax.Array:
    """`x`, of which every element must lie in [low, high]: under checkify an error.

    To be used in place of `x` in what is computed, so that the check stays in the
    program for as long as the number does. Eager code would make the jaxpr anew at
    every call: use it inside a compiled function.
    """

    def check(x):
        # Integers cannot hold the ±∞ of the reductions.
        numbers = x.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)
        checkify.debug_check(
            jnp.all((numbers >= low) & (numbers <= high)),
            f"{name} must lie in [{low:g}, {high:g}], got {{least}} to {{most}}",
            least=jnp.min(numbers, initial=jnp.inf),
            most=jnp.max(numbers, initial=-jnp.inf),
        )
        return [x]

    call_jaxpr = jax.make_jaxpr(check)(x)
    (x,) = _in_range.bind(x, call_jaxpr=call_jaxpr, name=name, low=low, high=high)
    return x


@_in_range.def_impl
@_in_range.def_abstract_eval
def _identity(x, **params):
    return [x]


mlir.register_lowering(_in_range, lambda context, x, **params: [x])


def _jvp(primals, tangents, *, call_jaxpr, **rule):
    return [in_range(*primals, **rule)], tangents


ad.primitive_jvps[_in_range] = _jvp


def _batch(args, axes, *, call_jaxpr, **rule):
    # Every element is held to the same range: one check holds for the whole batch.
    return [in_range(*args, **rule)], axes


batching.primitive_batchers[_in_range] = _batch
