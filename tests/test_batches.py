"""fit_batches: data that are read batch by batch are fitted as `fit` fits the whole."""

import errno
import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from bcejax.logistic_regression import (
    Progress,
    _batches,
    _checkpoint,
    _looks,
    _newton,
    _passes,
    _stream,
    fit,
    fit_batches,
)
from bcejax.logistic_regression._fingerprint import Fingerprint
from bcejax.logistic_regression._outcome import Options
from bcejax.logistic_regression._sums import Total

N, D = 300, 4
L2 = np.array([0.0, 0.01, 0.02, 0.0])


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """64 rows, so that there are five of them."""
    monkeypatch.setattr(_stream, "CHUNK", 64 * D)


def made(dtype=np.float64, seed=0):
    """Features, labels of 0 and 1 with some between, weights with some 0, offsets."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D)).astype(dtype)
    y = np.float64(x @ [1, -1, 0.5, 0] + rng.logistic(size=N) > 0)
    y[::10] = rng.uniform(size=N // 10)
    return x, y, rng.integers(0, 3, N).astype(float), rng.normal(size=N)


def cut(data, sizes):
    """A `make_batches` of these sizes, again and again."""

    def make_batches():
        start, number = 0, 0
        while start < len(data[1]):
            stop = start + sizes[number % len(sizes)]
            yield tuple(a[start:stop] for a in data)
            start, number = stop, number + 1

    return make_batches


def whole(data, **options):
    """`fit` of all rows, compiled once for all these tests."""
    x, y, *others = data
    weight, offset = others or (np.ones(N), np.zeros(N))
    return fit(x, y, sample_weight=weight, offset=offset, **options)


def assert_same_bits(one, two):
    for a, b in zip(one[:-1], two[:-1], strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(model, expected, rtol=1e-5):
    np.testing.assert_allclose(model.weights, expected.weights, rtol, rtol * 1e-1)
    np.testing.assert_allclose(model.bias, expected.bias, rtol, rtol * 1e-1)
    np.testing.assert_allclose(model.loss, expected.loss, rtol)
    assert bool(model.converged) == bool(expected.converged)
    assert bool(model.separated) == bool(expected.separated)


# The answer


@pytest.mark.parametrize(
    ("dtype", "fit_intercept"),
    [
        (np.float32, True),
        pytest.param(np.float64, True, marks=pytest.mark.full),
        (np.float64, False),
    ],
)
def test_batches_of_any_size_give_the_fit_of_the_whole(dtype, fit_intercept):
    data = made(dtype)
    options = {"l2": L2, "fit_intercept": fit_intercept}
    expected = whole(data, **options)
    models = [
        fit_batches(cut(data, sizes), **options)
        for sizes in ([1], [17], [N], [0, 130, 0, 1])
    ]
    assert_close(models[0], expected)
    assert models[0].converged
    assert models[0].options == expected.options
    assert models[0].weights.dtype == expected.weights.dtype
    np.testing.assert_array_equal(models[0].l2, expected.l2)
    for other in models[1:]:
        assert_same_bits(models[0], other)


def test_without_weights_and_offset():
    data = made()[:2]
    model = fit_batches(cut(data, [17]), l2=L2)
    assert_close(model, whole(data, l2=L2))
    assert model.options == Options()


@pytest.mark.full
def test_columns_of_bad_scales():
    x, *others = made()
    x = x * [1e-4, 1, 1e3, 1] + [1, 0, 1e5, 3]
    x = np.append(x[:, :3], np.full((N, 1), 0.1), 1)  # the last one is constant
    for dtype in (np.float64, np.float32):
        data = x.astype(dtype), *others
        model = fit_batches(cut(data, [17]), l2=np.zeros(D))
        assert model.converged
        assert model.weights[3] == 0
        expected = whole((np.float64(data[0]), *others), l2=np.zeros(D))
        if dtype == np.float64:
            assert_close(model, expected)
        # A logit in float32 is a difference of numbers of 100, whose eps is 1e-5.
        np.testing.assert_allclose(model.loss, expected.loss, 1e-5)


@pytest.mark.parametrize("border", [False, True])
def test_separated_data_are_called_so(border):
    x, _, weight, _ = made()
    y = np.float64(x[:, 0] > 0)
    if border:  # where both labels lie on the border between the sides
        x[:50, 0], y[:50] = 0, np.arange(50) % 2
    data = x, y, weight, np.zeros(N)
    model = fit_batches(cut(data, [17]))
    expected = whole(data, l2=np.zeros(D))
    assert model.separated and expected.separated
    assert not model.converged
    penalised = fit_batches(cut(data, [17]), l2=L2 + 0.1)
    assert_close(penalised, whole(data, l2=L2 + 0.1))
    assert penalised.converged


def test_a_far_start_takes_shorter_steps(monkeypatch):
    data, far = made(), (np.array([5.0, 5, -9, 3]), -20.0)
    shortened = []

    def shorten(*arguments):
        shortened.append(arguments)
        return _passes.shorten(*arguments)

    monkeypatch.setattr(_batches, "shorten", shorten)
    monkeypatch.setattr(_batches, "better_start", lambda start, *_: start)
    model = fit_batches(cut(data, [17]), init=far, l2=L2)
    assert_close(model, whole(data, l2=L2))
    assert shortened
    monkeypatch.undo()
    from_optimum = fit_batches(cut(data, [17]), init=model, l2=L2)
    assert from_optimum.steps <= 1


def test_a_start_that_is_worse_than_none_is_left():
    data, told = made(), []
    far = np.full(D, 500.0), -500.0
    model = fit_batches(cut(data, [17]), init=far, l2=L2, callback=told.append)
    cold = fit_batches(cut(data, [17]), l2=L2)
    assert_same_bits(model, cold)
    stays = fit_batches(cut(data, [17]), init=far, l2=L2, max_steps=0)
    np.testing.assert_array_equal(stays.weights, far[0])


def test_a_step_that_promised_much_is_not_the_last():
    x, _, *others = made()
    rng = np.random.default_rng(1)
    y = np.float64(0.2 * x[:, 2] + 3 * x[:, 1] + rng.logistic(size=N) > 0)
    x[:, 1] = x[:, 0] + 1e-5 * x[:, 1]  # what is left moves y, by a tiny gradient
    data, told = (x, y, *others), []
    options = {"l2": np.zeros(D), "tol": 6e-4}
    model = fit_batches(cut(data, [17]), **options, callback=told.append)
    assert told[-2].gradient_norm <= 6e-4  # where the tolerance alone would stop
    assert told[-2].loss - model.loss > 1e-5
    assert model.steps == whole(data, **options).steps


@pytest.mark.parametrize("stored", [True, False])
def test_lbfgs_and_its_certificate(monkeypatch, stored):
    data = made()
    if not stored:
        monkeypatch.setattr(_newton, "MOST_COLUMNS", D - 1)
        monkeypatch.setattr(_batches, "UNSTORED_ROWS", 70)
    solver = "lbfgs" if stored else "newton"
    model = fit_batches(cut(data, [17]), l2=L2, solver=solver)
    newton = whole(data, l2=L2) if stored else None
    monkeypatch.undo()
    assert_close(model, newton or whole(data, l2=L2))
    # The gradient is some 1e-7, and H about 1/5.
    assert 0 < model.newton_decrement < 1e-5
    early = fit_batches(cut(data, [64]), l2=L2, solver="lbfgs", max_steps=2)
    left = early.loss - model.loss
    np.testing.assert_allclose(early.newton_decrement**2 / 2, left, rtol=0.2)


def test_a_sum_of_many_terms_keeps_its_digits():
    term, times = jnp.float32(0.1), 100_000

    @jax.jit
    def sums():
        def add(_, both):
            plain, total = both
            return plain + term, total.plus(term)

        start = jnp.float32(0), Total.of_none(term)
        plain, total = jax.lax.fori_loop(0, times, add, start)
        return plain, total.sum

    plain, total = sums()
    exact = times * float(term)
    np.testing.assert_allclose(total, exact, np.finfo(np.float32).eps)
    assert abs(plain - exact) > 1e-4 * exact  # which is why


# The passes


def test_passes_and_steps_are_told_in_the_mode_that_jax_is_in():
    def tell(progress):
        assert jnp.ones(()).dtype == jnp.float32
        told.append(progress)

    data, told = made(), []
    model = fit_batches(cut(data, [17]), l2=L2, callback=tell)
    first, *_, last = told
    rows = np.sum(data[2] > 0)
    assert first == Progress(1, rows, 0, np.inf, np.inf)
    assert [p.passes for p in told] == list(range(1, len(told) + 1))
    assert last.steps == model.steps == len(told) - 2  # no pass but of a step
    np.testing.assert_allclose(last.loss, model.loss, 1e-6)
    none = fit_batches(cut(data, [17]), l2=L2, max_steps=0)
    np.testing.assert_array_equal(none.weights, np.zeros(D))
    np.testing.assert_allclose(none.loss, told[1].loss, 1e-6)
    assert not none.converged


def test_nothing_compiles_anew_for_other_sizes():
    options = {"l2": L2}
    fit_batches(cut(made(), [17]), **options)
    functions = _passes.add_sums, _looks.add_first_look, _passes.advance
    before = [function._cache_size() for function in functions]
    for data, sizes in ((made(seed=1), [1, 3]), ([a[:77] for a in made()], [9, 11])):
        fit_batches(cut(data, sizes), **options)
    assert [function._cache_size() for function in functions] == before


def test_at_most_two_chunks_are_ahead_of_the_work(monkeypatch):
    data, given, worked = made(np.float64), [], []
    ahead = []

    def make_batches():
        given.clear(), worked.clear()
        for batch in cut(data, [64])():
            given.append(1)
            yield (*batch[:2], None, batch[3])

    real = _passes.add_sums

    def add_sums(*arguments):
        ahead.append(len(given) - len(worked))
        worked.append(1)
        return real(*arguments)

    monkeypatch.setattr(_passes, "add_sums", add_sums)
    fit_batches(make_batches, l2=L2, max_steps=1)
    assert 1 <= max(ahead) <= 2


def test_a_batch_may_be_overwritten_by_the_next_one():
    data = made()
    room = [np.empty((64, *a.shape[1:])) for a in data]

    def make_batches():
        for batch in cut(data, [50])():
            for a, b in zip(room, batch, strict=True):
                a[:50] = b
            yield tuple(a[:50] for a in room)

    model = fit_batches(make_batches, l2=L2)
    assert_same_bits(model, fit_batches(cut(data, [N]), l2=L2))


def test_tables_with_columns_in_any_order_and_rows_in_any_order():
    x, y, weight, offset = made()
    names = ["a", "b", "c", "d"]
    order = np.random.default_rng(0)

    def make_batches():
        for rows in np.split(order.permutation(N), 3):
            table = pd.DataFrame(x[rows], columns=names)[order.permutation(names)]
            table = table.assign(more=0) if len(given) else table[names]
            given.append(rows)
            yield table, pd.Series(y[rows]), weight[rows], offset[rows]
            yield table[:0], y[:0]

    given = []
    model = fit_batches(make_batches, l2=L2)
    assert model.options == Options(weighted=True, shifted=True, columns=tuple(names))
    assert_close(model, whole(made(), l2=L2))


def test_kinds_of_rows_and_scalars():
    x, y, *_ = made()
    other_kinds = [
        (x[:100].tolist(), (y[:100] > 0.5).tolist(), 2, None),
        (jnp.asarray(x[100:200]), y[100:200] > 0.5, None, 0.5),
        (np.float32(x[200:]), (y[200:] > 0.5).astype(np.int64)),
    ]
    model = fit_batches(lambda: other_kinds, l2=L2)
    weight, offset = np.repeat([2.0, 1, 1], 100), np.repeat([0, 0.5, 0], 100)
    # What passed through JAX, or is of float32, is rounded.
    assert_close(model, whole((x, y > 0.5, weight, offset), l2=L2))
    assert model.options == Options(weighted=True, shifted=True)


# What is refused


def replaced(data, field, row, value, column=None):
    data = [np.array(a) for a in data]
    data[field][row if column is None else (row, column)] = value
    return data


def test_values_that_cannot_be_meant_are_named_by_batch_row_and_column():
    data = made()
    data[2][:] = 1
    cases = [
        ((0, 71, np.nan, 2), r"batch 4: features .* got nan in row 3 of column 2"),
        ((1, 70, 2), "batch 4: labels must be 0, 1 or a probability .*got 2 in row 2"),
        ((1, 35, np.nan), "batch 2: labels must be .*got nan in row 1"),
        ((2, 35, -1), "batch 2: sample_weight must be .*got -1.0 in row 1"),
        ((3, 299, np.inf), "batch 17: offset must be finite, got inf in row 10"),
    ]
    for change, message in cases:
        with pytest.raises(ValueError, match=message):
            fit_batches(cut(replaced(data, *change), [17]))
    for change in ((0, 71, np.nan, 2), (1, 71, 7), (3, 71, np.nan)):  # but not here
        data[2][71] = 0
        fit_batches(cut(replaced(data, *change), [17]), max_steps=0)
    large = replaced(made(np.float32), 0, slice(0, 4), 2e38, 0)
    large[2][:4] = 1
    assert np.sum(np.float64(large[0][:4])) > np.finfo(np.float32).max
    fit_batches(cut(large, [17]), max_steps=0)


def test_shapes_that_do_not_fit_are_named_by_batch():
    x, y, *_ = made()
    good = x[:9], y[:9]
    cases = [
        ((x[:9, :3], y[:9]), ValueError, "batch 2: features must have the 4 columns"),
        ((x[:9], y[:8]), ValueError, "batch 2: labels must hold one value per row"),
        ((x[:9], y[:9], y[:8]), ValueError, "batch 2: sample_weight must have"),
        ((x[:9], y[:9, None]), ValueError, "batch 2: labels must hold one value"),
        ((x[0], y[:9]), ValueError, "batch 2: features must have shape"),
        ((x[:9],), TypeError, "batch 2: a batch must be .*got 1 elements"),
        (x[:9], TypeError, "batch 2: a batch must be .*got ndarray"),
        ((x[:9].astype(str), y[:9]), TypeError, "batch 2: features must be numbers"),
        ((x[:9], y[:9] * 1j), TypeError, "batch 2: labels must be numbers"),
    ]
    for bad, error, message in cases:
        with pytest.raises(error, match=message):
            fit_batches(lambda bad=bad: [good, (x[:0], y[:0]), bad])
    first = pd.DataFrame(x[:9], columns=list("abcd")), y[:9]
    second = pd.DataFrame(x[:9], columns=list("abce")), y[:9]
    with pytest.raises(ValueError, match='batch 1: features lacks the column "d"'):
        fit_batches(lambda: [first, second])


def test_data_that_change_between_passes_are_refused():
    data, passes = made(), []
    data[2][123] = 1

    def changing(change):
        passes.clear()

        def make_batches():
            passes.append(1)
            new = change([np.array(a) for a in data]) if len(passes) > 3 else data
            return cut(new, [17])()

        return make_batches

    def one_value(new):
        new[0][123, 1] = np.nextafter(new[0][123, 1], 9)
        return new

    def swapped_labels(new):
        new[1] = np.roll(new[1], 1)
        return new

    def swapped_columns(new):
        new[0] = new[0][:, ::-1]
        return new

    for change in (one_value, swapped_labels, swapped_columns):
        with pytest.raises(ValueError, match="same rows in each pass, got other val"):
            fit_batches(changing(change), l2=L2)
    rows = np.sum(data[2] > 0)
    fewer = f"got {np.sum(data[2][:-9] > 0)} of positive weight after {rows} in the"
    with pytest.raises(ValueError, match=fewer):
        fit_batches(changing(lambda new: [a[:-9] for a in new]), l2=L2)
    with pytest.raises(ValueError, match=f"got 0 of positive weight after {rows} in"):
        fit_batches(changing(lambda new: [a[:0] for a in new]), l2=L2)


def test_make_batches_is_a_function_that_returns_a_fresh_iterator():
    generator = cut(made(), [17])()
    with pytest.raises(TypeError, match=r"must be a function .*got generator"):
        fit_batches(generator)
    with pytest.raises(ValueError, match=r"fresh iterator .*the same one again"):
        fit_batches(lambda: generator)
    with pytest.raises(ValueError, match="a batch with rows, got none"):
        fit_batches(lambda: [])
    x, y, *_ = made()
    with pytest.raises(ValueError, match=r"positive finite sum, got 0\.0"):
        fit_batches(lambda: [(x, y, np.zeros(N))])


def test_other_options_that_cannot_be_meant():
    batches = cut(made(), [17])
    with pytest.raises(ValueError, match='solver must be "newton" or "lbfgs"'):
        fit_batches(batches, solver="adam")
    with pytest.raises(ValueError, match=r"l2 must be 0 or more and finite, got -1.0"):
        fit_batches(batches, l2=-1.0)
    with pytest.raises(ValueError, match="l2 must be a scalar or hold one value per"):
        fit_batches(batches, l2=np.ones(3))
    with pytest.raises(ValueError, match="init must hold weights of one value per"):
        fit_batches(batches, init=(np.zeros(3), 0.0))


def test_an_error_of_the_iterator_comes_out_as_it_is():
    def make_batches():
        yield from cut(made(), [N])()
        raise KeyError("a file")

    with pytest.raises(KeyError, match="a file"):
        fit_batches(make_batches)


def test_a_fingerprint_does_not_depend_on_the_order_or_the_cuts():
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x, y, weight, offset = made(dtype)
        rows = x, y.astype(dtype), offset.astype(dtype), weight
        one = Fingerprint.of(*rows)
        order = rng.permutation(N)
        parts = [[a[order][:99] for a in rows], [a[order][99:] for a in rows]]
        assert Fingerprint.of(*parts[0]).also(Fingerprint.of(*parts[1])).matches(one)
        assert not Fingerprint.of(*parts[0]).matches(one)
        for a in rows:
            a[7] = np.nextafter(a[7], 9)
            assert not Fingerprint.of(*rows).matches(one)
            one = Fingerprint.of(*rows)


# Checkpoints


class Stop(BaseException):
    """What kills a fit in the tests."""


def stops_at(data, rows):
    """A `make_batches` that gives so many rows over all passes, and then stops."""
    left = [rows]

    def make_batches():
        for batch in cut(data, [17])():
            left[0] -= len(batch[1])
            if left[0] < 0:
                raise Stop
            yield batch

    return make_batches


@pytest.mark.parametrize(("solver", "apart"), [("newton", 403), ("lbfgs", 701)])
def test_a_fit_stopped_anywhere_goes_on_to_the_same_bits(tmp_path, solver, apart):
    data, told = made(), []
    options = {"l2": L2, "solver": solver, "init": (np.array([5.0, 5, -9, 3]), -20.0)}
    straight = fit_batches(cut(data, [17]), **options, callback=told.append)
    stops = 0
    for rows in range(17, 400 * len(told), apart):
        directory = tmp_path / str(rows)
        try:
            fit_batches(stops_at(data, rows), **options, checkpoint=directory)
        except Stop:
            stops += 1
        retold = []
        again = {"checkpoint": directory, "callback": retold.append}
        assert_same_bits(fit_batches(cut(data, [50]), **options, **again), straight)
        assert retold == told[len(told) - len(retold) :]
    assert stops > 4


def test_a_finished_fit_is_there_again_after_one_pass(tmp_path):
    passes = []

    def make_batches():
        passes.append(1)
        return cut(made(), [17])()

    straight = fit_batches(make_batches, l2=L2, checkpoint=tmp_path)
    passes.clear()
    assert_same_bits(fit_batches(make_batches, l2=L2, checkpoint=tmp_path), straight)
    assert len(passes) == 2  # one to look at the first batch
    assert [path.name for path in tmp_path.iterdir()] == ["fit.npz"]


def test_a_checkpoint_of_something_else_is_refused_in_words(tmp_path):
    data = made()
    fit_batches(cut(data, [17]), l2=0.1, checkpoint=tmp_path, max_steps=1)
    content = (tmp_path / "fit.npz").read_bytes()

    def refused(message, rows=data, **options):
        options = {"l2": 0.1, "max_steps": 1, "checkpoint": tmp_path} | options
        with pytest.raises(ValueError, match=message):
            fit_batches(cut(rows, [17]), **options)
        assert (tmp_path / "fit.npz").read_bytes() == content

    refused("same fit, but its l2 is 0.1, and here it is 0.2", l2=0.2)
    refused("l2 is 0.1, and here it is 4 numbers with the digest", l2=L2)
    refused("its max_steps is 1, and here it is 2", max_steps=2)
    refused("its tol is 1e-06, and here it is 0.1", tol=0.1)
    refused("its solver is newton, and here it is lbfgs", solver="lbfgs")
    refused("its fit_intercept is True, and here it is False", fit_intercept=False)
    refused("its start is 5 numbers", init=(np.ones(D), 0.0))
    refused("its columns is 4, and here it is 3", (data[0][:, :3], *data[1:]))
    refused("its dtype is float64, and here", (data[0].astype(np.float32), *data[1:]))
    refused("got other values than in the checkpoint", replaced(data, 0, 9, 0.5, 1))
    refused("after [0-9]+ in the checkpoint", [a[:-9] for a in data])


def test_a_checkpoint_of_another_version_or_no_checkpoint_is_refused(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(_checkpoint, "FORMAT", 0)
    fit_batches(cut(made(), [17]), checkpoint=tmp_path, max_steps=0)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="its format is 0, and here it is 2"):
        fit_batches(cut(made(), [17]), checkpoint=tmp_path, max_steps=0)
    for content in (b"", b"no zip", (tmp_path / "fit.npz").read_bytes()[:-9]):
        (tmp_path / "fit.npz").write_bytes(content)
        with pytest.raises(ValueError, match="must be a checkpoint of fit_batches"):
            fit_batches(cut(made(), [17]), checkpoint=tmp_path, max_steps=0)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    data = made()
    straight = fit_batches(cut(data, [17]), l2=L2)
    writes = []

    def fsync(file):
        writes.append(file)
        if len(writes) > 4:  # of the file and of the directory, for two passes
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="pass 3 could not be written, the one before"):
        fit_batches(cut(data, [17]), l2=L2, checkpoint=tmp_path)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["fit.npz"]
    monkeypatch.setattr(_stream, "CHUNK", 64 * D)
    told = []
    options = {"l2": L2, "checkpoint": tmp_path, "callback": told.append}
    assert_same_bits(fit_batches(cut(data, [17]), **options), straight)
    assert told[0].passes == 3


def test_runs_into_one_directory_do_not_harm_each_other(tmp_path):
    data, other = made(), made(seed=1)
    options = {"l2": L2, "checkpoint": tmp_path}
    straight = fit_batches(cut(data, [17]), l2=L2)
    same = []

    def a_second_run(progress):
        if progress.passes == 3 and not same:
            same.append(None)
            same[0] = fit_batches(cut(data, [50]), **options)

    first = fit_batches(cut(data, [17]), **options, callback=a_second_run)
    assert_same_bits(first, straight)
    assert_same_bits(same[0], straight)
    (tmp_path / "fit.npz").unlink()

    def with_other_data(progress):
        (tmp_path / "fit.npz").unlink()
        fit_batches(cut(other, [17]), **options)

    with pytest.raises(ValueError, match="another run has written that of other data"):
        fit_batches(cut(data, [17]), **options, callback=with_other_data)
    of_other = fit_batches(cut(other, [17]), l2=L2)
    assert_same_bits(fit_batches(cut(other, [17]), **options), of_other)


KILLED = """
import os, signal, sys
import jax
import numpy as np
from bcejax.logistic_regression import _checkpoint, _stream, fit_batches

jax.config.update("jax_disable_most_optimizations", True)
directory, moment = sys.argv[1], float(sys.argv[2])
rng = np.random.default_rng(0)
x, noise = rng.normal(size=(300, 4)), rng.logistic(size=300)
y = x @ [1, -1, 0.5, 0] > noise
_stream.CHUNK = 256
batches, writes = [], []

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def make_batches():
    for i in range(0, 300, 17):
        batches.append(1)
        if len(batches) == moment:
            kill()
        yield x[i : i + 17], y[i : i + 17]

replace = os.replace

def killing(*arguments):
    writes.append(1)
    if len(writes) == -moment + 0.5:
        kill()
    replace(*arguments)
    if len(writes) == -moment:
        kill()

os.replace = killing
model = fit_batches(make_batches, l2=0.01, checkpoint=directory)
sys.stdout.buffer.write(b"".join(np.asarray(leaf).tobytes() for leaf in model[:-1]))
"""


def run_killed(directory, moment):
    arguments = [sys.executable, "-c", KILLED, str(directory), str(moment)]
    return subprocess.run(arguments, capture_output=True, timeout=300)


def check_sigkill(tmp_path, moments):
    straight = run_killed(tmp_path / "straight", 1e9)
    assert straight.returncode == 0, straight.stderr
    for moment in moments:
        directory = tmp_path / str(moment)
        assert run_killed(directory, moment).returncode == -signal.SIGKILL
        again = run_killed(directory, 1e9)
        assert again.returncode == 0, again.stderr
        assert again.stdout == straight.stdout


@pytest.mark.full
def test_a_process_killed_in_mid_pass_goes_on_to_the_same_bits(tmp_path):
    check_sigkill(tmp_path, [60])


@pytest.mark.full
def test_a_process_killed_at_other_moments_goes_on_to_the_same_bits(tmp_path):
    # In the first look, the survey and later passes; before and after a renaming.
    check_sigkill(tmp_path, [1, 20, 55, -1, -2.5])
