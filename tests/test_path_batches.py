"""Fits along penalties in passes over batches: the losses that `fit_path` finds."""

import numpy as np
import pandas as pd
import pytest
from test_batches import (  # noqa: F401
    D,
    N,
    _small_chunks,
    cut,
    made,
)

from bcejax.logistic_regression import _newton, _passes, _path_batches, fit_path
from bcejax.logistic_regression._path_batches import losses_along

L2S = np.array([1e-4, 10.0, 0.1, 1e-2])
PRECISELY = {"tol": 1e-10, "max_steps": 100}


def parts(data, held=slice(200, 300)):
    """The rows to fit, and those that are held out."""
    which = np.zeros(len(data[1]), bool)
    which[held] = True
    return [a[~which] for a in data], [a[which] for a in data]


def in_memory(seen, held, l2s=L2S):
    x, y, weight, offset = seen
    given = {"sample_weight": weight, "offset": offset, "held_out": held}
    return fit_path(x, y, l2s, **given, **PRECISELY).held_out_loss


def assert_same_losses(seen, held, l2s=L2S, sizes=(17, 0, 90), rtol=1e-9):
    losses, weight = losses_along(cut(seen, sizes), cut(held, [13]), l2s, **PRECISELY)
    np.testing.assert_allclose(losses, in_memory(seen, held, l2s), rtol)
    assert weight == held[2].sum()


def test_the_losses_of_a_path_in_memory(x64):
    assert_same_losses(*parts(made()))


@pytest.mark.full
def test_a_penalty_for_each_column(x64):
    assert_same_losses(*parts(made()), np.multiply.outer(L2S, np.arange(1, D + 1)))


@pytest.mark.full
def test_penalties_in_several_groups(x64, monkeypatch):
    monkeypatch.setattr(_path_batches, "MOST_STORED", 3 * D**2)
    assert_same_losses(*parts(made()))


@pytest.mark.full
def test_without_a_hessian(x64, monkeypatch):
    monkeypatch.setattr(_newton, "MOST_COLUMNS", D - 1)
    assert_same_losses(*parts(made()), rtol=1e-6)


@pytest.mark.parametrize(
    "fall_back", [False, pytest.param(True, marks=pytest.mark.full)]
)
def test_a_start_that_is_far_away(x64, monkeypatch, fall_back):
    """Its steps are shortened, or zeros taken in its place, whose loss is known."""
    shortened = []
    advance_all, survey = _path_batches.advance_all, _path_batches.survey

    def watched(asked, setting, search):
        shortened.append(bool(np.any(search.goes_on & ~search.fell)))
        return advance_all(asked, setting, search)

    def far(stream, rows, l2s):
        signs = np.where(np.arange(len(l2s)) % 2, 1.0, -1.0)
        weights = np.multiply.outer(signs, [8.0, 5, -9, 3])
        return _passes.Params(weights, 20 * signs)

    def without_zeros(*given):
        return survey(*given)._replace(losses=np.full(2, np.inf))

    monkeypatch.setattr(_path_batches, "advance_all", watched)
    monkeypatch.setattr(_path_batches, "path_of_sample", far)
    if not fall_back:
        monkeypatch.setattr(_path_batches, "survey", without_zeros)
    assert_same_losses(*parts(made()))
    assert any(shortened) != fall_back


@pytest.mark.full
def test_columns_of_tables_in_another_order(x64):
    seen, held = parts(made())

    def tables(rows, names):
        frame = pd.DataFrame(rows[0], columns=list("abcd"))[list(names)]
        return lambda: [(frame, *rows[1:])]

    losses, _ = losses_along(
        tables(seen, "abcd"), tables(held, "dbca"), L2S, **PRECISELY
    )
    np.testing.assert_allclose(losses, in_memory(seen, held), 1e-9)


@pytest.mark.full
def test_no_pass_for_searches_that_are_over(x64):
    """As many passes as the longest search takes, not as all of them together."""
    seen, held = parts(made())
    passes = []

    def make_batches():
        passes.append(1)
        return cut(seen, [50])()

    losses_along(make_batches, cut(held, [50]), np.logspace(-4, 1, 20), **PRECISELY)
    assert (
        len(passes) <= 10
    )  # a look at the first batch, survey, sample, start, 6 steps


def test_held_out_rows_without_a_weight_are_refused(x64):
    seen, held = parts(made())
    held[2][:] = 0
    with pytest.raises(ValueError, match="must have a positive finite sum, got 0"):
        losses_along(cut(seen, [N]), cut(held, [N]), L2S, **PRECISELY)
