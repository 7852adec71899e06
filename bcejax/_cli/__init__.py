"""What `python -m bcejax` does: the demo, `fit` and `predict`."""


class Refused(Exception):
    """What was asked for cannot be had; the message says why, in one line."""
