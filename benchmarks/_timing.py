"""Times of candidates that take turns, in an order that is shuffled in every round.

What runs right after a candidate that frees much memory pays for the pages that it gets
anew: 36.7 ms for 26.9 was seen of one program. In a fixed order that is always the same
candidate; shuffled, it is each of them now and then, and the medians do not see it.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import jax


def shuffled_rounds(names: Iterable[str], rounds: int) -> Iterator[str]:
    """Every name once a round, each round in another order, the same in every run."""
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        order = list(names)
        shuffle(order)
        yield from order


def seconds_of(function: Callable) -> float:
    """One call, until its result is there."""
    clock = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - clock


def median_seconds(candidates: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Median time of a call of each candidate, which has been compiled before."""
    times = {name: [] for name in candidates}
    for name in shuffled_rounds(candidates, rounds):
        times[name].append(seconds_of(candidates[name]))
    return {name: statistics.median(found) for name, found in times.items()}


def repeated(function: Callable, times: int) -> None:
    for _ in range(times):
        jax.block_until_ready(function())


def milliseconds(candidates: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Median time of each candidate; a short one is called for 2 ms in each turn."""
    repeats, turns = {}, {}
    for name, candidate in candidates.items():
        jax.block_until_ready(candidate())
        repeats[name] = max(1, int(2e-3 / seconds_of(candidate)))
        turns[name] = partial(repeated, candidate, repeats[name])
    seconds = median_seconds(turns, rounds)
    return {name: seconds[name] / repeats[name] * 1e3 for name in candidates}
