"""`python -m bcejax fit` and `predict`: from a file to a model, to probabilities."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import jax
import numpy as np
import tqdm

import bcejax
from bcejax import logistic_regression
from bcejax._cli import (
    Refused,
    columns,
    dataset,
    files,
    model_file,
    picture,
    report,
    training,
)
from bcejax._cli.dataset import Table
from bcejax._cli.model_file import Model
from bcejax._cli.training import Scaling


class Fitted(NamedTuple):
    scaling: Scaling
    fit: logistic_regression.Fit  # in scaled coordinates
    l2: float
    loss_out_of_fold: float | None  # if that chose l2
    summary: logistic_regression.Summary | None  # not of very many columns


def fit(options) -> None:
    _check_outputs(options)
    # In 64 bits the optimum is right to more digits than the data, whatever the solver.
    with jax.enable_x64(True):
        with _stages(4) as stage:
            stage("reading")
            table = dataset.load(options)
            table, warnings = dataset.without_constants(table)
            stage("fitting")
            fitted = _fit(options, table, stage)
            stage("writing")
            model = _model(options, table, fitted)
            if options.out:
                model_file.save(options.out, model)
            if options.plot:
                _draw(options, table, fitted, model)
            warnings += _doubts(table, fitted)
        _print(options, table, fitted, model)
        for warning in warnings:
            print(f"python -m bcejax: warning: {warning}", file=sys.stderr)


def predict(options) -> None:
    files.check_output("--out", options.out, options.model, options.file)
    with jax.enable_x64(True), _stages(3) as stage:
        stage("reading")
        model = model_file.load(options.model)
        table = files.read(options.file, model.levels)
        stage("predicting")
        logits = _logits(model, _inputs(model, table, options.file))
        if model.offset is not None:
            logits = logits + columns.vector(table, "offset", model.offset)
        stage("writing")
        files.write_predictions(options.out, bcejax.sigmoid(logits), logits)
    print(
        f"predictions  {options.out}, {len(logits)} rows, of {model.label.name!r} = "
        f"{model.label.positive!r}"
    )


@contextmanager
def _stages(count: int) -> Iterator[Callable[[str], None]]:
    """Say on a terminal what is being done."""
    with tqdm.tqdm(total=count, unit="step", leave=False, disable=None) as bar:

        def stage(name: str) -> None:
            bar.set_description(name)
            bar.update()

        yield stage


def _check_outputs(options) -> None:
    for option, path in (("--out", options.out), ("--plot", options.plot)):
        if path:
            files.check_output(option, path, options.file)
    if options.plot:
        picture.check_path(options.plot)


def _fit(options, table: Table, stage) -> Fitted:
    data, loss_out_of_fold = table.train, None
    chosen = options.l2 == "cv"
    by = training.scaling(data, divide=options.standardize or options.l2 == 0)
    scaled = training.scaled(data, by)
    l2 = options.l2
    if chosen:
        l2, loss_out_of_fold = training.choose_l2(scaled, options.seed)
    found = training.fit(scaled, l2)
    if not np.isfinite(found.weights).all():
        raise Refused("the fit left the numbers: a penalty, --l2, may keep it in them")
    stage("standard errors")
    names = [feature.name for feature in table.features]
    summary = None
    if len(names) <= training.MOST_COLUMNS:
        summary = training.summarise(found, data, by, l2, names)
    return Fitted(by, found, l2, loss_out_of_fold, summary)


def _model(options, table: Table, fitted: Fitted) -> Model:
    raw = training.unscaled(fitted.fit, fitted.scaling)
    errors = None
    if fitted.summary:
        errors = np.array([c.standard_error for c in fitted.summary.coefficients])
    return Model(
        label=table.label,
        offset=options.offset,
        l2=fitted.l2,
        standardized=options.standardize,
        intercept=float(raw.bias),
        intercept_error=None if errors is None else float(errors[-1]),
        features=table.features,
        coefficients=np.asarray(raw.weights),
        errors=None if errors is None else errors[:-1],
        means=fitted.scaling.mean,
        scales=fitted.scaling.deviation,
        levels=table.levels,
        imputed=table.imputed,
    )


def _logits(model: Model, features: np.ndarray) -> np.ndarray:
    return features @ model.coefficients + model.intercept


def _inputs(model: Model, table, path) -> np.ndarray:
    """The features of the model, from the columns of these names."""
    needed = dict.fromkeys(feature.column for feature in model.features)
    if model.offset is not None:
        needed[model.offset] = None
    files.require(table, [*needed, *model.levels], str(path))
    for name, known in model.levels.items():
        columns.check_levels(table, name, known)
    values = columns.matrix(table, model.features)
    columns.fill(values, model.features, model.imputed)
    return values


def _draw(options, table: Table, fitted: Fitted, model: Model) -> None:
    data, part = (table.test, "test") if table.test else (table.train, "training")
    probs = bcejax.sigmoid(_logits(model, data.features) + data.offset)
    names = [feature.name for feature in model.features]
    picture.draw_model(
        options.plot,
        (np.asarray(probs), data.labels, part),
        (names, model.coefficients, model.errors, model.scales),
    )


def _doubts(table: Table, fitted: Fitted) -> list[str]:
    by, summary = fitted.scaling, fitted.summary
    vague = training.vague(summary, by, table.train.weight) if summary else []
    return report.doubts(fitted.fit, summary, vague)


def _print(options, table: Table, fitted: Fitted, model: Model) -> None:
    print(report.data(table, options.file))
    if fitted.l2:
        print(report.penalty(fitted.l2, fitted.loss_out_of_fold, options.standardize))
    print(f"\n{report.coefficients(fitted.summary, model)}\n")
    if table.test:
        logits = _logits(model, table.test.features) + table.test.offset
        print(report.scores(logits, table.test))
    for name, path in (("model", options.out), ("picture", options.plot)):
        if path:
            print(f"{name:13}{path}")
