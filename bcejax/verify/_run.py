"""Runs all checks, two at a time, since compiling is what takes the time."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import jax

from bcejax.verify import _behaviour, _digits, _probes
from bcejax.verify._digits import Check, Digits
from bcejax.verify._report import Report, environment
from bcejax.verify._row_subjects import of_rows
from bcejax.verify._subjects import Subject, of_elements
from bcejax.verify.bounds import DTYPES, ORDERS

# As many 32- and 64-bit inputs as keep the host's part of the time small.
POINTS = 2**16


def run(*, peers: bool = False, points: int | None = None) -> Report:
    """Check every promise on JAX's default device.

    Args:
      peers: measure jax.nn, jax.scipy and optax as well. Nothing is asked of them.
      points: how many inputs of a function of one logit are measured in each dtype.
        From 65,536 on all 16-bit floats are.
    Returns:
      A `Report`. Its `failures` are sentences, and empty if all promises are kept.
    """
    points = POINTS if points is None else points
    device = jax.config.values["jax_default_device"]
    with ThreadPoolExecutor(2) as pool:
        skipped = {
            dtype: _in(dtype, device, _digits.unsupported, dtype) for dtype in DTYPES
        }
        jobs = [
            pool.submit(_in, dtype, device, _results, title, job)
            for dtype, title, job in _jobs(skipped, peers, points)
        ]
        found = [result for job in jobs for result in job.result()]
    digits = [r for r in found if isinstance(r, Digits)]
    checks = [r for r in found if isinstance(r, Check)]
    probes = _in("float32", device, _probes.probes, checks)
    return Report(environment(), digits, checks, probes)


def _jobs(skipped: dict[str, str], peers: bool, points: int) -> Iterator:
    """Triples: a dtype, a title, and results to iterate over within its mode."""
    if not skipped["float32"]:
        for check, names in (
            (_behaviour.fused, _behaviour.cases()),
            (_behaviour.nan, _behaviour.nan_cases()),
        ):
            for name in names:
                yield "float32", name, check(name)
        yield "float32", "masks", _behaviour.masks()
    for subject in [*of_elements(), *of_rows()]:
        for dtype in subject.dtypes:
            results: Iterable
            if skipped[dtype]:
                results = _skipped(subject, dtype, skipped[dtype])
            else:
                results = _digits.measure(subject, dtype, points, peers)
            yield dtype, f"{subject.name}, {dtype}", results


def _results(title: str, job: Iterable) -> list:
    try:
        return list(job)
    except Exception as reason:  # whatever a backend may raise breaks this one promise
        first_line = (str(reason).splitlines() or [""])[0]
        words = f"raises {type(reason).__name__}: {first_line}"
        return [Check("it runs at all", title, False, words)]


def _skipped(subject: Subject, dtype: str, reason: str) -> list[Digits]:
    return [
        Digits(subject.name, "bcejax", order, dtype, None, "", None, reason)
        for order in ORDERS
    ]


def _in(dtype: str, device, function: Callable, *arguments):
    """The function's result, in JAX's standard settings and the mode of the dtype.

    They are contexts, which hold in this thread and end with it.
    """
    settings = [
        partial(jax.enable_x64, dtype == "float64"),
        partial(jax.default_device, device),
        partial(jax.numpy_dtype_promotion, "standard"),
        partial(jax.debug_nans, False),
        partial(jax.debug_infs, False),
    ]
    with ExitStack() as stack:
        for setting in settings:
            stack.enter_context(setting())
        return function(*arguments)
