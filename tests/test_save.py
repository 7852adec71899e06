"""`save` and `load`: every field comes back, and what is no model is refused."""

import errno
import json
import os
from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from bcejax import logistic_regression
from bcejax.logistic_regression import Fit, MultinomialFit, load, save
from bcejax.logistic_regression._outcome import Options

TINY = 1e-45  # below the normal numbers of float32
EVERYTHING = Options(
    fit_intercept=False,
    weighted=True,
    shifted=True,
    columns=("Größe", 'a "quoted", name', "city=Bern"),
    firth=True,
    class_weight=(1 / 3, 1e300),
    across_processes=True,
)


def binary(dtype=np.float32, options=EVERYTHING, axes=()):
    """A fit of three columns with another value in each field."""
    numbers = iter(np.random.default_rng(0).normal(size=1000))

    def draw(*shape):
        count = int(np.prod(shape))
        return np.array([next(numbers) for _ in range(count)], dtype).reshape(shape)

    weights = draw(*axes, 3)
    weights[..., :2] = -0.0, TINY
    flags = np.full(axes, True), np.full(axes, False)
    fit = Fit(
        weights=weights,
        bias=draw(*axes),
        loss=draw(*axes) * np.inf,
        gradient_norm=draw(*axes),
        steps=np.full(axes, 7, np.int32),
        converged=flags[0],
        newton_decrement=draw(*axes) * np.nan,
        separated=flags[1],
        l2=draw(*axes, 3),
    )
    return Fit(*map(jnp.asarray, fit[:-1]), options)


def of_classes(dtype=np.float32, axes=()):
    one = binary(dtype, axes=axes)
    weights = jnp.stack([one.weights, one.weights / 3], -1)
    bias = jnp.stack([one.bias, jnp.full_like(one.bias, -jnp.inf)], -1)
    return MultinomialFit(weights, bias, *one[2:])


def assert_same(one, other):
    assert type(one) is type(other)
    assert one.options == other.options
    for name in one._fields[:-1]:
        a, b = getattr(one, name), getattr(other, name)
        assert isinstance(b, jax.Array), name
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), name


def written(path, model):
    """What is in the file, and what comes back from it."""
    save(path, model)
    return json.loads(path.read_text("utf-8")), load(path)


@pytest.mark.parametrize("axes", [(), (4,), (2, 3)])
@pytest.mark.parametrize("make", [binary, of_classes])
def test_every_field_comes_back_to_the_bit(make, axes, tmp_path):
    model = make(axes=axes)
    content, again = written(tmp_path / "model.json", model)
    assert_same(model, again)
    assert content["model"]["weights"]["dtype"] == "float32"


@pytest.mark.parametrize("make", [binary, of_classes])
def test_float64_comes_back_in_64_bit_mode_and_is_rounded_outside(make, tmp_path, x64):
    path, model = tmp_path / "model.json", make(np.float64)
    save(path, model)
    assert_same(model, load(path))
    with jax.enable_x64(False):
        rounded = load(path)
    assert rounded.weights.dtype == np.float32
    np.testing.assert_array_equal(rounded.weights, np.float32(model.weights))


def test_the_options_that_are_tried_are_all_there_are():
    defaults = Options()
    for field in fields(Options):
        assert getattr(EVERYTHING, field.name) != getattr(defaults, field.name)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_options_without_a_value_come_back(class_weight, tmp_path):
    model = binary(options=Options(class_weight=class_weight))
    assert_same(model, written(tmp_path / "m.json", model)[1])


def test_a_penalty_that_is_a_number_of_python_comes_back_as_an_array(tmp_path):
    model = binary()._replace(l2=0.0)
    assert written(tmp_path / "m.json", model)[1].l2 == 0.0


def data():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"age": rng.normal(size=40), "dose": rng.normal(size=40)})
    return table, (table.age + rng.normal(size=40) > 0).to_numpy()


def test_a_model_predicts_and_is_summarised_as_the_one_that_was_saved(tmp_path):
    table, labels = data()
    model = logistic_regression.fit(table, labels, l2=[0.1, 0.2])
    _, again = written(tmp_path / "m.json", model)
    assert_same(model, again)
    shuffled = table[["dose", "age"]]
    for function in (
        lambda m: logistic_regression.predict_probs(m, shuffled),
        lambda m: logistic_regression.covariance(m, table, labels),
        lambda m: str(logistic_regression.summary(m, table, labels)),
    ):
        np.testing.assert_array_equal(function(model), function(again))


@pytest.mark.full
@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: logistic_regression.fit(x, y, firth=True),
        lambda x, y: logistic_regression.fit(x, y, class_weight={1: 3}, offset=0.5),
        lambda x, y: logistic_regression.fit_multinomial(x, y.astype(int), l2=0.1),
        lambda x, y: logistic_regression.fit_batches(lambda: [(x, y)], l2=0.1),
        lambda x, y: logistic_regression.fit_path(x, y, jnp.array([0.1, 0.01])).models,
        lambda x, y: jax.vmap(
            lambda l2: logistic_regression.fit(jnp.asarray(x), jnp.asarray(y), l2=l2)
        )(jnp.array([0.1, 0.2, 0.3])),
    ],
    ids=["firth", "weights", "multinomial", "batches", "path", "vmap"],
)
def test_what_every_fit_returns_comes_back(make, tmp_path):
    table, labels = data()
    model = make(table.to_numpy(), labels)
    assert_same(model, written(tmp_path / "m.json", model)[1])


@pytest.mark.full
def test_the_model_of_the_command_line_is_read(tmp_path):
    from bcejax.__main__ import main

    table, labels = data()
    table = table.assign(city=np.where(np.arange(40) % 3, "Bern", "Aarau"))
    path, rows = tmp_path / "model.json", tmp_path / "data.csv"
    table.assign(y=labels.astype(int)).to_csv(rows, index=False)
    given = ["--label", "y", "--one-hot", "city", "--out"]
    main(["fit", str(rows), *given, str(path)])
    predictions = tmp_path / "out.csv"
    main(["predict", str(path), str(rows), "--out", str(predictions)])

    features = table[["age", "dose"]].assign(**{"city=Bern": table.city == "Bern"})
    model = load(path)
    assert model.options == Options(columns=tuple(features))
    logits = logistic_regression.predict_logits(model, features.astype(float))
    np.testing.assert_allclose(logits, pd.read_csv(predictions).logit, 1e-5)
    table = logistic_regression.summary(model, features.astype(float), labels)
    assert [line.name for line in table.coefficients] == [*features, "bias"]


# What is refused


def changed(*keys, to):
    """A change of one value in a document."""

    def change(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = to

    return change


def without(*keys):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return change


MODEL, VALUES = "model", "values"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("format", to="other"), "format must be 'bcejax logistic regression'"),
        (changed("version", to=1), "version must be 2, got 1"),
        (changed("version", to="2"), "version must be 2, got '2'"),
        (without("format"), "the file must hold 'format', and does not"),
        (changed(MODEL, to=[]), "model must hold an object of JSON, got []"),
        (changed(MODEL, "kind", to="Path"), "kind must be Fit or MultinomialFit, got"),
        (changed(MODEL, "kind", to=["Fit"]), "kind must be Fit or MultinomialFit, got"),
        (changed(MODEL, "kind", to="MultinomialFit"), "weights must have the shape"),
        (without(MODEL, "loss"), "model must hold 'loss', and does not"),
        (changed(MODEL, "l2", to=0.5), "l2 must hold an object of JSON, got 0.5"),
        (
            changed(MODEL, "weights", "dtype", to="float16"),
            "weights must be float32 or float64, got 'float16'",
        ),
        (
            changed(MODEL, "weights", VALUES, 1, to="one"),
            "weights[1] must be float32, got 'one'",
        ),
        (changed(MODEL, "bias", VALUES, to=None), "bias must be float32, got None"),
        (changed(MODEL, "bias", VALUES, to=True), "bias must be float32, got True"),
        (changed(MODEL, "bias", VALUES, to=1e39), "bias must be float32, got 1e+39"),
        (changed(MODEL, "steps", VALUES, to=7.5), "steps must be int32, got 7.5"),
        (changed(MODEL, "steps", VALUES, to=2**31), "steps must be int32, got 2147"),
        (changed(MODEL, "converged", VALUES, to=1), "converged must be bool, got 1"),
        (
            changed(MODEL, "weights", VALUES, to=[[1.0, 2.0], [3.0]]),
            "weights[0] must be float32, got [1.0, 2.0]",
        ),
        (
            changed(MODEL, "weights", VALUES, to=[[1.0], [2.0]]),
            "weights must have the shape (columns,), or these with axes of several",
        ),
        (changed(MODEL, "weights", VALUES, to=[]), "weights must have the shape"),
        (
            changed(MODEL, "l2", VALUES, to=[1.0, 2.0]),
            "l2 must have the shape () or (3,) beside weights (3,), got (2,)",
        ),
        (
            changed(MODEL, "loss", VALUES, to=[1.0]),
            "loss must have the shape () beside weights (3,), got (1,)",
        ),
        (without(MODEL, "options", "firth"), "options must hold 'firth', and does not"),
        (
            changed(MODEL, "options", "firth", to="no"),
            "firth must be true or false, got 'no'",
        ),
        (changed(MODEL, "options", "more", to=1), "options must not hold 'more'"),
        (
            changed(MODEL, "options", "columns", to=["a", "b"]),
            "columns must be null or 3 different names, one for each weight, got ['a'",
        ),
        (
            changed(MODEL, "options", "columns", to=["a", "b", "b"]),
            "columns must be null or 3 different names",
        ),
        (
            changed(MODEL, "options", "class_weight", to=[1, -1]),
            'class_weight must be null, "balanced" or two positive numbers, got [1, -1',
        ),
    ],
)
def test_a_document_that_is_no_model_is_refused(change, message, tmp_path):
    path = tmp_path / "model.json"
    document, _ = written(path, binary())
    change(document)
    path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(ValueError) as refusal:
        load(path)
    start = f"{path} is damaged, or no model that this version of bcejax writes: "
    assert str(refusal.value).startswith(start + message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no JSON, or ends too early"),
        (b"[" * 100_000, "it is no JSON, or ends too early"),
        (b"\xff\x00{", "it is no JSON, or ends too early"),
        (b"[1, 2]", "the file must hold an object of JSON, got [1, 2]"),
        (b"PK\x03\x04", "it is no JSON, or ends too early"),
        (b'{"version": NaN}', 'NaN must be in quotes, as "NaN"'),
    ],
)
def test_a_file_that_is_no_document_is_refused(content, message, tmp_path):
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(ValueError) as refusal:
        load(path)
    assert message in str(refusal.value) and str(path) in str(refusal.value)


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    path = tmp_path / "model.json"
    save(path, binary())
    content = path.read_bytes()
    for length in range(0, len(content) - 2, 97):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="ends too early"):
            load(path)


def test_save_refuses_what_load_would(tmp_path):
    path = tmp_path / "model.json"
    with pytest.raises(TypeError, match="got PosixPath: the path comes first"):
        save(binary(), path)
    with pytest.raises(ValueError, match="steps must be int32 or int64, got 'float32'"):
        save(path, binary()._replace(steps=jnp.float32(1)))
    with pytest.raises(ValueError, match="loss must have the shape"):
        save(path, binary()._replace(loss=jnp.zeros(2)))
    assert not list(tmp_path.iterdir())


# Files


def test_a_full_disk_leaves_the_model_that_was_there(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, model = tmp_path / "model.json", binary()
    save(path, model)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.* before is kept") as e:
        save(path, of_classes())
    assert (e.value.errno, e.value.filename) == (errno.ENOSPC, str(path))
    assert_same(model, load(path))
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="there is no file"):
        save(tmp_path / "other.json", model)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "folder" / "model.json"
    with pytest.raises(FileNotFoundError, match=r"model\.json"):
        save(path, binary())
    with pytest.raises(FileNotFoundError, match=r"model\.json"):
        load(path)


def test_a_later_model_takes_the_place_and_paths_may_be_text(tmp_path):
    path = str(tmp_path / "model.json")
    save(path, binary())
    save(path, of_classes())
    assert_same(of_classes(), load(path))
