"""`python -m bcejax verify`. It needs nothing that the package itself does not need."""

import argparse
import json
import sys
from pathlib import Path

from bcejax import verify
from bcejax._cli import UserError, output


def run(arguments: list[str]) -> None:
    """Print the table, write the record, and exit with status 1 on a broken promise."""
    parser = argparse.ArgumentParser(
        prog="python -m bcejax verify",
        description="Measure the largest error of every function on JAX's default "
        "device, hold it to its bound, and check infinities, masks, NaN and larger "
        "programs. Takes about a minute. Exit status 1 if a promise is not kept.",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the record")
    parser.add_argument("--peers", action="store_true", help="with jax.nn and optax")
    parser.error = _refuse
    options = parser.parse_args(arguments[1:])
    output.check(options.json)
    report = verify.run(peers=options.peers)
    print(verify.table(report), flush=True)
    if options.json:
        text = json.dumps(verify.to_json(report), indent=1, ensure_ascii=False)
        with output.complete(options.json) as file:
            file.write(f"{text}\n".encode())
    if not report.passed:
        sys.exit(1)


def _refuse(reason: str):
    raise UserError(reason)
