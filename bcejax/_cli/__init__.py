"""What `python -m bcejax` does: the demo, `fit`, `predict` and `verify`."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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
