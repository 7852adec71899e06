"""The command line.

python -m bcejax          the demo: fits real data and draws how the search went
python -m bcejax fit      fits a file
python -m bcejax predict  applies what was fitted to another file
python -m bcejax verify   checks the promised digits on this machine
"""

import os
import sys

from bcejax._cli import UserError, keep_compiled


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["verify"]:  # which runs without what the others need
            from bcejax._cli import verify as command
        else:
            from bcejax._cli import commands as command
        command.run(arguments)
        sys.stdout.flush()
        return
    except BrokenPipeError:  # as when piped into head: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        reason = "interrupted; files that are not named above are not written"
    except ModuleNotFoundError as missing:
        reason = f"{missing.name} is not installed: run pip install '.[demo]'"
    except MemoryError:
        reason = "there is not enough memory for so many rows and columns"
    except (UserError, OSError) as error:
        reason = str(error)
    print(f"python -m bcejax: error: {reason}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    keep_compiled()
    main()
