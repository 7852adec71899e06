"""The fit of data that are read batch by batch, pass after pass."""

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bcejax.logistic_regression._checkpoint import Checkpoint, Saved, in_words
from bcejax.logistic_regression._fingerprint import Fingerprint
from bcejax.logistic_regression._fit import checked_start
from bcejax.logistic_regression._large import UNSTORED_ROWS
from bcejax.logistic_regression._newton import (
    MOST_COLUMNS,
    State,
    is_stored,
    newton_step,
)
from bcejax.logistic_regression._outcome import Fit, Options
from bcejax.logistic_regression._overlap import CG_LAST_RESIDUAL
from bcejax.logistic_regression._passes import (
    Search,
    Setting,
    advance,
    begin,
    evaluate,
    last_step,
    model_at,
    shorten,
)
from bcejax.logistic_regression._precision import rounded
from bcejax.logistic_regression._problem import Params, Problem
from bcejax.logistic_regression._processes import gathered_words
from bcejax.logistic_regression._stream import (
    Rows,
    Stream,
    compare,
    opened,
    without_penalty,
)
from bcejax.logistic_regression._survey import Survey, survey

SOLVERS = "newton", "lbfgs"
SAMPLED = 2**26  # features of a sample, at most


class Progress(NamedTuple):
    """How far a fit has come, after a pass.

    Attributes:
      passes: how many there were.
      rows: how many rows of positive weight each has.
      steps: how many steps were taken.
      loss: the objective, in nats a row; ∞ after the first pass.
      gradient_norm: what the fit compares with `tol`.
    """

    passes: int
    rows: int
    steps: int
    loss: float
    gradient_norm: float


def fit_batches(
    make_batches: Callable[[], Iterable],
    *,
    l2: ArrayLike = 0.0,
    fit_intercept: bool = True,
    init: Fit | Params | None = None,
    solver: str = "newton",
    tol: float = 1e-6,
    max_steps: int = 100,
    checkpoint: str | os.PathLike | None = None,
    callback: Callable[[Progress], object] | None = None,
    across_processes: bool = False,
) -> Fit:
    """Fit a logistic regression to data that do not fit into memory: `fit` of them all.

    The objective, the tolerance, `converged` and `separated` are those of `fit`. A step
    of Newton's method is one pass over the batches, and there are three more: the first
    finds the scales of the columns, the second the loss at the start, and the last
    whether the data are separated, for which some data need up to 20 more. The result
    does not depend on the sizes of the batches, whose rows are put together to chunks
    of 4 or 8 MB. In memory are two of these, the batch that is read, and some times
    (d + 1)² numbers.

    A thread reads the next rows while JAX works. `make_batches` is called in it, and so
    is its iterator.

    Args:
      make_batches: called once to look at the first batch, and once for every pass. It
        returns a fresh iterator of `(features, labels)` or `(features, labels, weight,
        offset)`, where weight and offset may be None. Each is what `fit` takes, of any
        number of rows, 0 included. Every pass must give the same rows. The first batch
        with rows decides the names of the columns, which are looked for in the others,
        and whether the fit computes in float64.
      l2: scalar or `(d,)`, not negative. Penalty of the weights, as in `fit`.
      fit_intercept: whether there is a bias.
      init: where to start: a `Fit` or (weights, bias). Zeros by default, and also if
        the loss of zeros is less.
      solver: "newton", or "lbfgs", which does without the Hessian until the end. With
        2,000 columns or more it is always used, the decrement is that of a sample, and
        `separated`, found by one look at the rows, may miss a separation.
      tol: stop when no component of the gradient exceeds this, and none exceeds 100 tol
        per standard deviation of its column.
      max_steps: stop after so many steps.
      checkpoint: a directory for the state after each pass but the last, in one small
        file. A fit that was killed goes on from there when it is called again with the
        same data and options, and has the same result to the last bit. The file stays.
      callback: called with a `Progress` after each pass but the last.
      across_processes: whether each process of `jax.distributed.initialize` calls this
        with batches of its own, perhaps of no rows, and the same options. All get the
        fit of all rows. They exchange sums once per pass. All have a checkpoint, or
        none; the first one reads and writes it, and goes on to the same bits if each
        process has the rows that it had. For fewer than 2,000 columns.
    Returns:
      A `Fit`. Look at `converged` before using it.
    Raises:
      TypeError: if `make_batches` is not a function, or a batch is not a tuple of two
        to four arrays or tables of real numbers.
      ValueError: for an unknown solver; where a shape or a value cannot be meant, such
        as NaN, with the number of the batch, counted from 0; if a batch has another
        number of columns than the first; if there are no rows, or other ones than in
        the pass before; if the checkpoint is of other data or options.
      OSError: if the checkpoint cannot be written. The one before stays.
    Example:
      >>> x, y = jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([0, 1, 0, 1])
      >>> model = fit_batches(lambda: ((x[i : i + 2], y[i : i + 2]) for i in (0, 2)))
      >>> print(model.converged, model.weights)
      True [0.908]
    """
    if solver not in SOLVERS:
        raise ValueError(f'solver must be "newton" or "lbfgs", got {solver!r}.')
    mode = jnp.result_type(float) == jnp.float64

    def tell(progress: Progress) -> None:
        with jax.enable_x64(mode):  # not in the precision of the fit
            if callback is not None:
                callback(progress)

    others = init, tol, max_steps
    with opened(make_batches, l2, None, across_processes, others) as (stream, l2):
        check_processes(stream, checkpoint is not None)
        like = jnp.zeros((1, stream.columns), stream.dtype)
        start = checked_start(init, like, fit_intercept)
        asked = Asked(start, l2, fit_intercept, tol, max_steps, solver)
        place = None
        if checkpoint is not None:
            made_with = described(stream, asked)
            place = Checkpoint(checkpoint, made_with, across_processes)
        model, seen = in_passes(stream, asked, place, tell)
    options = Options(
        fit_intercept=fit_intercept,
        weighted=seen.weighted,
        shifted=seen.shifted,
        columns=stream.names,
        across_processes=across_processes,
    )
    return rounded(model)._replace(options=options)


def check_processes(stream: Stream, has_checkpoint: bool) -> None:
    if not stream.across_processes:
        return
    if len(set(gathered_words(has_checkpoint))) > 1:
        raise ValueError("all processes must have a checkpoint, or none of them.")
    if not is_stored(stream.columns):
        raise ValueError(
            f"across_processes is for fewer than {MOST_COLUMNS + 1} columns, got "
            f"{stream.columns}: what is said at the end takes a sample of the rows."
        )


class Asked(NamedTuple):
    start: Params
    l2: jax.Array
    fit_intercept: bool
    tol: float
    max_steps: int
    solver: str


def described(stream: Stream, asked: Asked) -> dict[str, str]:
    """All that the result depends on but the rows, for a checkpoint."""
    options = {name: in_words(value) for name, value in asked._asdict().items()}
    layout = {"columns": stream.names or stream.columns, "dtype": stream.dtype}
    return options | {name: str(value) for name, value in layout.items()}


def in_passes(
    stream: Stream, asked: Asked, checkpoint: Checkpoint | None, tell
) -> tuple[Fit, Survey]:
    def note(search: Search) -> None:
        if checkpoint is not None:
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(search)]
            checkpoint.write(Saved(stream.passes, seen, leaves))
        tell(progress_of(stream, seen, search))

    saved = checkpoint.read() if checkpoint else None
    start, l2, fit_intercept, tol, max_steps, solver = asked
    if saved:
        seen = saved.survey
        check_rows(stream, seen.fingerprint, f"in {checkpoint}")
    else:
        seen = survey(stream, start, fit_intercept)
    stream.total = seen.weight
    start = better_start(start, l2, max_steps, seen.losses)
    newton = solver == "newton" and is_stored(stream.columns)
    options = tol, max_steps, fit_intercept, newton
    setting, search = begin(seen.mean, seen.deviation, start, l2, *options)
    if saved:
        stream.passes = saved.passes
        search = jax.tree.unflatten(jax.tree.structure(search), saved.search)
    else:
        note(search)
    while search.goes_on:
        if search.fell:
            total = evaluate(stream, setting, search.trial, newton)
            search = advance(search, total, setting, newton)
        else:
            search = shorten(stream, setting, search)
        note(search)
    step = search.step if newton else step_at(stream, setting, search.state)
    return model_at(stream, setting, search.state, step), seen


def check_rows(stream: Stream, known: Fingerprint, known_by: str) -> None:
    """Refuse rows that are not those of a checkpoint, or have later passes do so.

    Of several processes it says what all rows are together, and which of them are here
    takes a pass to tell.
    """
    if stream.across_processes:
        for _ in stream.chunks():
            pass
        compare(stream.everywhere(stream.known), known, known_by)
    else:
        stream.known, stream.known_by = known, known_by


def better_start(start: Params, l2, max_steps, losses: np.ndarray) -> Params:
    """The start, or 0 if that is better, by losses that are known.

    A start whose loss is NaN stays.
    """
    of_penalty = jnp.sum(l2 / 2 * jnp.square(start.weights))
    if max_steps > 0 and losses[1] < losses[0] + of_penalty:
        return jax.tree.map(jnp.zeros_like, start)
    return start


def progress_of(stream: Stream, seen: Survey, search: Search) -> Progress:
    state, rows = search.state, seen.fingerprint.rows
    steps = max(int(state.steps), 0)
    return Progress(stream.passes, rows, steps, float(state.loss), float(search.norm))


def step_at(stream: Stream, setting: Setting, state: State) -> jax.Array:
    """−H⁻¹ g where L-BFGS ended."""
    if is_stored(stream.columns):
        total = evaluate(stream, setting, state.point, True)
        return last_step(total, setting, state)
    most = max(SAMPLED // stream.columns, 1)
    sample = drawn(stream, min(UNSTORED_ROWS * stream.columns, most))
    sample = sample._replace(l2=setting.l2)
    return jax.jit(newton_step)(sample, setting.at, state, CG_LAST_RESIDUAL)


def drawn(stream: Stream, size: int) -> Problem:
    """So many rows of one share each, drawn as `_large.drawn` does, in one pass."""
    parts = np.arange(size) + np.random.default_rng(0).uniform(size=size)
    total, upto, taken = stream.total or 1.0, 0.0, []
    for chunk in stream.chunks():
        last = upto + chunk.weight / total
        share = upto + np.cumsum(np.asarray(chunk.rows.share, np.float64))
        places = parts[(parts >= upto * size) & (parts < last * size)] / size
        chosen = np.searchsorted(share, places, side="right")
        chosen = np.minimum(chosen, np.searchsorted(share, share[-1]))
        taken.append([np.asarray(a)[chosen] for a in chunk.rows])
        upto = last
    rows = Rows(*(jnp.asarray(np.concatenate(a)) for a in zip(*taken, strict=True)))
    equal = jnp.full_like(rows.share, 1 / len(rows.share))
    return without_penalty(rows._replace(share=equal))
