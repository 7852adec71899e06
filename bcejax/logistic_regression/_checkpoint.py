"""The state of a fit between two passes, in one file, from which it can go on.

The file is written beside its place, and put there by a renaming that is atomic. So it
is whole at any moment, whatever kills the process or fills the disk, and the last of
several writers wins. It is one of NumPy, of a few kilobytes: orbax-checkpoint takes
0.15 s and eleven files for the same arrays, deletes what another run into the same
directory has written, and would bring twenty packages along.
"""

import errno
import hashlib
import io
import json
import os
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bcejax._files import PARTIAL, complete
from bcejax.logistic_regression._fingerprint import Fingerprint
from bcejax.logistic_regression._processes import bytes_of_first
from bcejax.logistic_regression._survey import Survey

FORMAT = 2  # another one wherever what is saved, or computed from it, changes
NAME = "fit.npz"
OLD = 3600  # seconds, after which a partial file is that of a run which was killed


class Saved(NamedTuple):
    passes: int
    survey: Survey
    search: list[np.ndarray]  # its leaves


class Checkpoint:
    """The place for the state of one fit, of these options.

    Of several processes the first one reads and writes, and the others get what it has
    read: they take the same steps, so their states are the same.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        options: dict[str, str],
        across_processes: bool = False,
    ):
        self.path = Path(directory) / NAME
        self.options = {"format": str(FORMAT), **options}
        self.across_processes = across_processes
        self.is_ours = not across_processes or jax.process_index() == 0
        if not self.is_ours:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for partial in self.path.parent.glob(f".{NAME}.*{PARTIAL}"):
            if time.time() - partial.stat().st_mtime > OLD:
                partial.unlink(missing_ok=True)

    def __str__(self) -> str:
        return f"the checkpoint {self.path}"

    def read(self) -> Saved | None:
        """What is there, or None if nothing is. Refuses that of another fit."""
        content = self._content() if self.is_ours else None
        if self.across_processes:
            content = bytes_of_first(content)
        return None if content is None else self._saved(content)

    def _content(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def _saved(self, content: bytes) -> Saved:
        try:
            arrays = dict(np.load(io.BytesIO(content), allow_pickle=False))
            options = json.loads(str(arrays.pop("options")))
            saved = saved_of(arrays)
        except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path} must be a checkpoint of fit_batches, but cannot be read "
                f"as one ({error}). Use another directory, or remove the file."
            ) from None
        for name in sorted({*options, *self.options}):
            there, here = options.get(name), self.options.get(name)
            if there != here:
                raise ValueError(
                    f"the checkpoint {self.path} must be of the same fit, but its "
                    f"{name} is {there}, and here it is {here}. Use another directory, "
                    "or remove the file."
                )
        return saved

    def write(self, saved: Saved) -> None:
        """Put this in the place of what is there, unless that is of another fit."""
        if not self.is_ours:
            return
        content = self._content()
        there = None if content is None else self._saved(content)
        if there and not there.survey.fingerprint.matches(saved.survey.fingerprint):
            raise ValueError(
                f"the checkpoint {self.path} must be of the same data, but another run "
                "has written that of other data. Use a directory for each run."
            )
        memory = io.BytesIO()
        np.savez(memory, options=np.array(json.dumps(self.options)), **arrays_of(saved))
        try:
            with complete(self.path) as file:
                file.write(memory.getbuffer())
        except OSError as error:
            raise OSError(
                error.errno,
                f"The checkpoint after pass {saved.passes} could not be written, the "
                f"one before stays: {os.strerror(error.errno or errno.EIO)}",
                str(self.path),
            ) from error


def arrays_of(saved: Saved) -> dict:
    survey = saved.survey._asdict()
    survey |= survey.pop("fingerprint")._asdict()
    search = {f"search{i:02}": leaf for i, leaf in enumerate(saved.search)}
    return {"passes": saved.passes, **survey, **search}


def saved_of(arrays: dict) -> Saved:
    rows = int(arrays["rows"])
    return Saved(
        int(arrays["passes"]),
        Survey(
            Fingerprint(rows, arrays["keys"], arrays["bits"]),
            float(arrays["weight"]),
            arrays["mean"],
            arrays["deviation"],
            arrays["losses"],
            bool(arrays["weighted"]),
            bool(arrays["shifted"]),
        ),
        [arrays[name] for name in sorted(arrays) if name.startswith("search")],
    )


def in_words(value) -> str:
    """A value as it is, and large arrays such that others read differently."""
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(value)]
    if all(array.ndim == 0 for array in arrays):
        return ", ".join(str(array.item()) for array in arrays)
    content = b"".join(np.float64(array).tobytes() for array in arrays)
    size = sum(array.size for array in arrays)
    return f"{size} numbers with the digest {hashlib.sha256(content).hexdigest()[:8]}"
