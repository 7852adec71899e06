"""What `python -m bcejax` does: the demo, `fit`, `predict` and `verify`."""


class UserError(ValueError):
    """The command cannot do what was asked; the message says why, in one line."""
