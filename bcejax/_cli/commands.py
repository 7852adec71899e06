"""The options of the commands, and what each command does with them, in order."""

import sys
import warnings
from pathlib import Path

import click
import jax
import numpy as np
from click import FloatRange, argument, option

from bcejax import log_softmax, sigmoid
from bcejax._cli import (
    UserError,
    about,
    dataset,
    demo,
    listed,
    model,
    output,
    picture,
    processes,
    report,
)
from bcejax._cli import table as tables
from bcejax._cli.rows import Scored
from bcejax._cli.training import train


class Commands(click.Group):
    """The commands, of which the demo is meant where none is named."""

    def parse_args(self, ctx, args):
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            for name in set(args) & set(self.commands):
                ctx.fail(f"{name} must come first, and its options after it")
            args = ["demo", *args]
        return super().parse_args(ctx, args)


class Penalty(FloatRange):
    """A number, or the word cv."""

    name = "number|cv"

    def convert(self, value, param, ctx):
        return value if value == "cv" else super().convert(value, param, ctx)


COLUMN = {"metavar": "COLUMN"}
COLUMNS = COLUMN | {"multiple": True}
INPUT = click.Path(exists=True, allow_dash=True, path_type=Path)
MODEL = click.Path(exists=True, dir_okay=False, path_type=Path)
GIGABYTE = 1e9
MEMORY = option(
    "--memory",
    metavar="GB",
    type=FloatRange(0),
    help="What the rows may take. By default half of what is free.",
)
SEED = {"type": click.IntRange(0, 2**32 - 1), "default": 0}
SHARE = {"type": FloatRange(0, 1, max_open=True), "default": 0.0}
OUTPUT = click.Path(path_type=Path)


def run(arguments: list[str]) -> None:
    try:
        with warnings.catch_warnings():
            # A heavily penalised fit has logits that look like probabilities.
            warnings.filterwarnings("ignore", "logits all lie in")
            commands.main(arguments, "python -m bcejax", standalone_mode=False)
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        raise UserError(error.format_message()) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def commands():
    """Logistic regression of the rows of a file. Without a command: the demo."""


@commands.command("demo")
@option("--optimizer", type=click.Choice(demo.OPTIMIZERS), default="lbfgs")
@option("--steps", type=click.IntRange(1), default=200, help="At most so many.")
@option("--learning-rate", type=FloatRange(0, min_open=True), help="Of adam and sgd.")
@option("--l2", type=FloatRange(0), default=0.01, help="Of (l2/2) |weights|^2.")
@option("--seed", **SEED, help="Of the choice of test rows.")
@option("--device", type=click.Choice(["cpu", "gpu", "tpu"]), help="By default JAX's.")
@option("--float64", is_flag=True, help="64 bits, not 32.")
@option("--plot", type=OUTPUT, default="bcejax-demo.png", help="The picture.")
def run_demo(optimizer, learning_rate, device, float64, plot, **options):
    """Train on the Wisconsin breast-cancer data with optax, and draw how it went.

    The loop is one that anyone would write; `logistic_regression.fit` gives the exact
    answer beside it.
    """
    output.check(plot, picture.ENDINGS)
    if learning_rate and optimizer not in ("adam", "sgd"):
        raise UserError("--learning-rate is for adam and sgd: others find their own")
    with about(f"--device {device}"):
        place = jax.devices(device)[0]
    with jax.default_device(place), jax.enable_x64(float64):
        demo.run(optimizer, learning_rate, plot, **options)


@commands.command()
@argument("file", type=INPUT)
@option("--label", **COLUMN, required=True, help="What to predict: two values or more.")
@option("--positive", metavar="VALUE", help="Which of them is 1; not for 0 and 1.")
@option("--one-hot", **COLUMNS, help="A column of categories. Repeatable.")
@option("--exclude", **COLUMNS, help="To leave out. Repeatable.")
@option("--weight", **COLUMN, help="How often each row counts.")
@option("--offset", **COLUMN, help="What is added to the logit of each row.")
@option("--impute", type=click.Choice(["mean"]), help="Fills in missing numbers.")
@option("--standardize", is_flag=True, help="Penalises per standard deviation.")
@option("--l2", type=Penalty(0), default=0.0, help="Penalty of the coefficients.")
@option("--test-fraction", **SHARE, help="Share of the rows to keep for the test.")
@option("--seed", **SEED, help="Of the choice of test rows and folds.")
@option("--out", metavar="MODEL.json", type=OUTPUT, help="File for the model.")
@option("--plot", type=OUTPUT, help="File for the picture.")
@MEMORY
@option("--coordinator", metavar="HOST:PORT", help="Where process 0 of several is.")
@option("--processes", type=click.IntRange(1), help="How many there are.")
@option("--process-id", type=click.IntRange(0), help="Which of them this one is.")
def fit(file, l2, standardize, out, plot, memory, **options):
    """Fit a logistic regression to FILE, and print its coefficients.

    FILE is .csv or .tsv with a line of names (or either .gz), .parquet, or - for CSV
    from standard input; or a directory of such files. A directory is read part by part,
    again and again, and so is a file that may take more than --memory. All columns are
    features but those that an option names. The weighted mean loss + (l2/2)
    |coefficients|^2 is minimised, in 64 bits.

    --one-hot gives a category a coefficient for each level but the first. --l2 cv takes
    the penalty of least log loss in 5-fold cross-validation, of 50 from 1e-7 to 10.
    --test-fraction keeps a share of the rows, of either class alike, to test on.

    Example: python -m bcejax fit patients.csv --label ill --positive yes --one-hot city
    --exclude patient_id --impute mean --standardize --l2 cv --out model.json
    """
    output.check(out, others=(file, plot))
    output.check(plot, picture.ENDINGS, (file,))
    number, count = processes.join(
        *(options.pop(name) for name in ("coordinator", "processes", "process_id")),
        alone={
            "--plot": plot,
            "--test-fraction": options["test_fraction"],
            "--l2 cv": l2 == "cv",
        },
    )
    with jax.enable_x64(True):  # the optimum is right to more digits than the data
        rows = tables.opened(
            file, bytes_of(memory), lambda _: options["one_hot"], (number, count)
        )
        options |= {"plot": plot}
        data = dataset.load(rows, options, l2=l2, standardized=standardize)
        if number > 0:  # the first one speaks for all
            train(data, options["seed"])
            return
        print(report.data(data, file), flush=True)
        fitted = data.model
        trained = train(data, options["seed"])
        print(report.coefficients(trained, fitted))
        if data.test:
            print(report.scores("test", data.scored(True)))
        doubts = report.doubts(trained, fitted, data.train.classes.sum())
        for warning in data.warnings + doubts:
            print(f"python -m bcejax: warning: {warning}", file=sys.stderr)
        if out:
            model.save(out, fitted)
            print(f"model        {out}", flush=True)
        if plot:
            picture.draw(plot, data)
            print(f"picture      {plot}")


@commands.command()
@argument("model_file", metavar="MODEL.json", type=MODEL)
@argument("file", type=INPUT)
@option("--out", type=OUTPUT, required=True, help="File for the predictions.")
@option("--id", "key", **COLUMN, help="A column of FILE that is written as well.")
@option("--all-columns", is_flag=True, help="Write all columns of FILE as well.")
@option(
    "--threshold", type=FloatRange(0, 1), help="Predict a class, positive from here on."
)
@MEMORY
def predict(model_file, file, out, key, all_columns, threshold, memory):
    """Write the probability that the label is positive, and its logit, for each row.

    Of more than two classes: the probability of each, and the most probable.

    MODEL.json is what `fit --out` wrote. Columns of FILE are found by name; those that
    the model does not know are ignored. With --threshold a column `predicted` holds a
    value of the label. Where FILE has the label, scores are printed.
    """
    output.check(out, [*tables.SEPARATORS, ".parquet"], (model_file, file))
    if key and all_columns:
        raise UserError("--all-columns writes the column of --id too: give one of them")
    if threshold is not None and np.isnan(threshold):  # click lets it pass
        raise UserError("--threshold must be a number, got nan")
    with jax.enable_x64(True):
        fitted = model.load(model_file)
        if threshold is not None and fitted.label.classes:
            raise UserError("--threshold is for a label that holds two values")
        numbers = {f.column for f in fitted.features if f.level is None}
        texts = {*fitted.one_hot_levels, *([key] * (key is not None))}

        def as_text(names):
            return (set(names) if all_columns else texts) - numbers - {fitted.offset}

        rows = tables.opened(file, bytes_of(memory), as_text)
        rows.require(fitted.needed, str(file))
        rows.require([key] * (key is not None), f"--id: {file}")
        keys = rows.names if all_columns else [key] * (key is not None)
        with tables.writer(out) as write:
            found = [
                predicted(part, fitted, keys, threshold, write)
                for part in rows.parts(None)
            ]
            if not found:
                raise UserError(f"{file}: there are no rows")
    counts, scored = zip(*found, strict=True)
    label = fitted.label
    meaning = "" if label.classes else f" = {label.positive}"
    print(f"predictions  {out}, {sum(counts)} rows, {label.name}{meaning}")
    known = Scored(*map(np.concatenate, zip(*scored, strict=True)))
    if known.labels.size:
        cut = 0.5 if threshold is None else threshold
        at = "" if label.classes else f"; accuracy from {cut:g} on"
        print(f"labels       in {known.labels.size} rows{at}")
        print(report.scores("scores", known, cut))


def predicted(part, fitted, keys, threshold, write) -> tuple[int, Scored]:
    """Write the predictions of a part; how many, and those of rows with a label."""
    with part.about():
        rows = dataset.encode(part, fitted)
        dataset.complete(rows, fitted, part.first)
    logits, label = fitted.logits(rows), fitted.label
    written = _written(logits, label)
    if threshold is not None:
        above = written["probability"] >= threshold
        written["predicted"] = np.where(above, label.positive, label.negative)
    doubled = [key for key in keys if key in written]
    if doubled:
        raise UserError(f"{listed(doubled)} is the name of a column that is written")
    write({key: part.table[key] for key in keys} | written)
    known = np.isfinite(rows.labels)
    ones = np.ones(known.sum())
    return len(logits), Scored(logits[known], rows.labels[known], ones)


def _written(logits, label) -> dict:
    if not label.classes:
        return {"probability": np.asarray(sigmoid(logits)), "logit": logits}
    shares = np.exp(log_softmax(logits))
    names = [f"probability={name}" for name in label.classes]
    best = np.array(label.classes)[logits.argmax(axis=1)]
    return dict(zip(names, shares.T, strict=True)) | {"predicted": best}


def bytes_of(memory: float | None) -> float:
    return tables.free_memory() / 2 if memory is None else memory * GIGABYTE
