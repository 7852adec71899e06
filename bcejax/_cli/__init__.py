"""What `python -m bcejax` does: the demo, `fit`, `predict` and `verify`."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

JAX = tuple(map(int, jax.__version__.split(".")[:2]))


class UserError(ValueError):
    """The command cannot do what was asked; the message says why, in one line."""


@contextmanager
def about(subject) -> Iterator[None]:
    """Say of an error in reading or checking what it is about, in one line."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:  # Arrow's are ValueErrors
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UserError(f"{subject}: {reason[:200]}") from None


def listed(names: Iterable[str], most: int = 5) -> str:
    """The names in quotes, or the first of many."""
    names = list(names)
    more = f" and {len(names) - most} more" * (len(names) > most)
    return ", ".join(map(repr, names[:most])) + more


def keep_compiled() -> None:
    """Let the next process find what this one compiles, unless the user has a cache."""
    # Before 0.11 XLA complains at length of the machine when it reads what it wrote.
    if jax.config.jax_compilation_cache_dir is not None or JAX < (0, 11):
        return
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        (folder / "bcejax").mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # there is no home, or it cannot be written
        return
    jax.config.update("jax_compilation_cache_dir", str(folder / "bcejax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
