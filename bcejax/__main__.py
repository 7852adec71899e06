"""The command line.

python -m bcejax          the demo: fits real data and draws what it did
python -m bcejax fit      fits a file
python -m bcejax predict  applies what was fitted to another file
python -m bcejax verify   checks the promised digits on this machine
"""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from bcejax._cli import Refused


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _options(arguments)
    try:
        _run(options)
    except BrokenPipeError:  # as when piped into head: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        _fail(f"interrupted, no {'file' if options.command else 'picture'} written")


def _run(options: argparse.Namespace) -> None:
    try:
        run = _command(options.command)
    except ModuleNotFoundError as missing:
        _fail(f"{missing.name} is not installed: pip install 'bcejax[demo]'")
    try:
        run(options)
    except BrokenPipeError:
        raise
    except (Refused, OSError) as reason:
        _fail(str(reason))
    except MemoryError:
        _fail("there is not enough memory for so many rows and columns")


def _command(name: str | None) -> Callable[[argparse.Namespace], None]:
    if name == "verify":  # which runs without what the demo needs
        from bcejax._cli import verify

        return verify.run
    from bcejax._cli import command, demo

    return getattr(command, name) if name else demo.run


def _fail(reason: str) -> NoReturn:
    print(f"python -m bcejax: error: {reason}", file=sys.stderr)
    sys.exit(2)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bcejax",
        description="Without a command: fit a logistic regression to the Wisconsin "
        "breast-cancer data and draw the fit, its calibration, and where the textbook "
        "loss breaks. The options below are those of this demo.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.error = _fail  # one line, without the usage
    _add_demo(parser)
    commands = parser.add_subparsers(
        dest="command", title="commands; each has its own --help"
    )
    _add_fit(commands)
    _add_predict(commands)
    _add_verify(commands)
    options = parser.parse_args(arguments)
    if options.command and arguments[0] != options.command:
        _fail(f"{options.command} must come first, and its options after it")
    if not options.command:
        _check_demo(options)
    return options


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--optimizer", choices=["lbfgs", "adam", "sgd"], default="lbfgs", help="optax's"
    )
    parser.add_argument(
        "--steps", type=_at_least(1, int), default=200, help="how many at the most"
    )
    parser.add_argument(
        "--learning-rate",
        type=_above_zero,
        help="of adam (else 0.1) and sgd (else 1); lbfgs searches for its own",
    )
    parser.add_argument(
        "--l2",
        type=_at_least(0, float),
        default=0.01,
        help="penalty (l2/2) |weights|^2",
    )
    parser.add_argument(
        "--synthetic", metavar="ROWSxCOLUMNS", type=_size, help="fit made data instead"
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, help="of the split, or of the made data"
    )
    parser.add_argument("--device", choices=["cpu", "gpu", "tpu"], help="JAX's choice")
    parser.add_argument("--float64", action="store_true", help="64 bits, not 32")
    parser.add_argument("--plot", type=Path, default="bcejax-demo.png", help="picture")


def _check_demo(options: argparse.Namespace) -> None:
    if options.optimizer == "lbfgs" and options.learning_rate is not None:
        _fail("--learning-rate is for adam and sgd: lbfgs searches for its own")
    if not options.plot.absolute().parent.is_dir():
        _fail(f"--plot {options.plot}: there is no folder {options.plot.parent}")


def _add_fit(commands) -> None:
    parser = commands.add_parser(
        "fit",
        help="fit a logistic regression to a CSV or Parquet file",
        description="Fit a logistic regression to a CSV or Parquet file and print its "
        "coefficients. All columns are features but those that an option names. It "
        "minimises the weighted mean loss + (l2/2) |coefficients|^2, in 64 bits.",
        epilog="Example: python -m bcejax fit patients.csv --label ill --one-hot city "
        "--standardize --l2 cv --test-fraction 0.2 --out model.json --plot fit.png",
    )
    parser.error = _fail
    add = parser.add_argument
    add(
        "file",
        metavar="FILE",
        type=Path,
        help=".csv (with a line of names) or .parquet",
    )
    add(
        "--label",
        metavar="COLUMN",
        required=True,
        help="what to predict: 0 and 1, true and false, or two other values",
    )
    add("--positive", metavar="VALUE", help="the value of the label that counts as 1")
    add(
        "--one-hot",
        metavar="COLUMN",
        action="append",
        default=[],
        help="a category: a coefficient per level but the first; repeatable",
    )
    add(
        "--exclude",
        metavar="COLUMN",
        action="append",
        default=[],
        help="a column to leave out; repeatable",
    )
    add("--weight", metavar="COLUMN", help="how often each row counts")
    add("--offset", metavar="COLUMN", help="what is added to the logit of each row")
    add(
        "--impute",
        choices=["mean"],
        help="fill missing numbers with the mean of their column in training",
    )
    add(
        "--standardize",
        action="store_true",
        help="penalise coefficients per standard deviation; they are printed per unit",
    )
    add(
        "--l2",
        metavar="NUMBER|cv",
        type=_penalty,
        default=0.0,
        help="penalty, 0 by default; cv takes the one of least log loss in 5-fold "
        "cross-validation, of 50 from 1e-7 to 10 in equal ratios",
    )
    add(
        "--test-fraction",
        metavar="FRACTION",
        type=_fraction,
        default=0.0,
        help="share of the rows, of either class alike, kept to test on; 0 by default",
    )
    add(
        "--seed",
        type=_seed,
        default=0,
        help="of the choice of test rows and folds, 0 by default",
    )
    add("--out", metavar="MODEL.json", type=Path, help="where to write the model")
    add(
        "--plot",
        metavar="FILE.png",
        type=Path,
        help="where to draw calibration and coefficients",
    )


def _add_predict(commands) -> None:
    parser = commands.add_parser(
        "predict",
        help="probabilities of the rows of a file, by a fitted model",
        description="Write the probability that the label is positive, and its logit, "
        "for each row of a file, in order. Columns are found by name; those that the "
        "model does not know are ignored.",
    )
    parser.error = _fail
    parser.add_argument(
        "model", metavar="MODEL.json", type=Path, help="what `fit --out` wrote"
    )
    parser.add_argument("file", metavar="FILE", type=Path, help=".csv or .parquet")
    parser.add_argument(
        "--out",
        metavar="PREDICTIONS.csv",
        type=Path,
        required=True,
        help="where to write columns probability and logit",
    )


def _add_verify(commands) -> None:
    parser = commands.add_parser(
        "verify",
        help="check the promised digits on this device with this JAX",
        description="Measure the largest error of every function on JAX's default "
        "device, hold it to its bound, and check infinities, masks, NaN and larger "
        "programs. Takes about half a minute. Exit status 1 if a promise is not kept.",
    )
    parser.error = _fail
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="where to write the record"
    )
    parser.add_argument(
        "--peers", action="store_true", help="measure jax.nn and optax as well"
    )


def _penalty(text: str) -> float | str:
    try:
        return text if text == "cv" else _at_least(0, float)(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a number or cv, got {text}"
        ) from None


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to below 1, got {text}")
    return value


def _at_least(least, kind):
    def parse(text):
        value = kind(text)
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"must be {least} or more, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse names it: "invalid int value: 'x'"
    return parse


def _seed(text: str) -> int:
    value = _at_least(0, int)(text)
    if value >= 2**32:
        raise argparse.ArgumentTypeError("must be below 2^32")
    return value


def _above_zero(text: str) -> float:
    value = _at_least(0, float)(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match or int(match[1]) < 100:
        raise argparse.ArgumentTypeError(
            f"must be ROWSxCOLUMNS, at least 100 rows, such as 1000000x50, got {text}"
        )
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    main()
