"""The command line: `python -m bcejax` fits real data and draws what it did."""

import argparse
import math
import os
import re
import sys
from pathlib import Path
from typing import NoReturn


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    try:
        _run(options)
    except BrokenPipeError:  # as when piped into head: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        _fail("interrupted, no picture written")


def _run(options: argparse.Namespace) -> None:
    try:
        from bcejax import _demo
    except ModuleNotFoundError as missing:
        _fail(f"{missing.name} is not installed: pip install 'bcejax[demo]'")
    try:
        _demo.run(options)
    except BrokenPipeError:
        raise
    except (_demo.Unavailable, OSError) as reason:
        _fail(str(reason))


def _fail(reason: str) -> NoReturn:
    print(f"python -m bcejax: error: {reason}", file=sys.stderr)
    sys.exit(2)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bcejax",
        description="Fit a logistic regression to the Wisconsin breast-cancer data and "
        "draw the fit, its calibration, and where the textbook loss breaks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.error = _fail  # one line, without the usage
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
    options = parser.parse_args(arguments)
    if options.optimizer == "lbfgs" and options.learning_rate is not None:
        _fail("--learning-rate is for adam and sgd: lbfgs searches for its own")
    if not options.plot.absolute().parent.is_dir():
        _fail(f"--plot {options.plot}: there is no folder {options.plot.parent}")
    return options


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
