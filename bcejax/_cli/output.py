"""Where a command writes to, and what is said if it cannot."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bcejax import _files
from bcejax._cli import UserError


def check(path: Path | None, endings: Iterable[str] = (), others=()) -> None:
    """Refuse before the work is done what could not be written after it, if anything.

    Written over would be what is named more than once, among `others`.
    """
    if path is None:
        return
    if endings and path.suffix.lower() not in endings:
        raise UserError(f"the ending must be one of {', '.join(endings)}, got {path}")
    path = path.resolve()  # a link is followed, so that it stays a link
    if path in [other.resolve() for other in others if other]:
        raise UserError(f"{path} is named more than once: it would be overwritten")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file, and is left alone")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"there is no permission to write into {path.parent}")


@contextmanager
def complete(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, as of `_files`, and in words what became of it."""
    try:
        with _files.complete(path) as file:
            yield file
    except OSError as error:
        kept = "what it held before is kept" if path.exists() else "there is no file"
        reason = error.strerror or error
        raise UserError(f"{path} could not be written: {reason}; {kept}") from None
