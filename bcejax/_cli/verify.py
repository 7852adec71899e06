"""`python -m bcejax verify`. It needs nothing that the package itself does not need."""

import json
import sys

from bcejax import verify
from bcejax._cli import Refused
from bcejax._cli.whole import whole


def run(options) -> None:
    """Print the table, write the record, and exit with status 1 on a broken promise."""
    if options.json and not options.json.absolute().parent.is_dir():
        raise Refused(
            f"--json {options.json}: there is no folder {options.json.parent}"
        )
    report = verify.run(peers=options.peers)
    print(verify.table(report), flush=True)
    if options.json:
        with whole(options.json) as unfinished:
            text = json.dumps(verify.to_json(report), indent=1, ensure_ascii=False)
            unfinished.write_text(text + "\n", encoding="utf-8")
    if not report.passed:
        sys.exit(1)
