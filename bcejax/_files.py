"""Files that are written completely or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"  # the ending of a file that is not complete yet


@contextmanager
def complete(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of `path` once it is on the disk.

    It lies in the folder of `path` until then, because only within one file system can
    a file be renamed in one step. Of several writers the last one wins.
    """
    path = path.resolve()
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            unfinished.chmod(path.stat().st_mode)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    if os.name == "posix":  # elsewhere a directory cannot be opened
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
