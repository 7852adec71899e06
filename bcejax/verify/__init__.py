"""The promises of bcejax, checked on the device at hand with the JAX at hand.

`python -m bcejax verify` prints what `run` returns. The digits of every function are
measured in ulp against exact values from the host, and held to the bounds in `bounds`;
the infinite corners, masks, NaN and larger programs are checked as well. JAX's default
device is the one that is judged, and the caller's settings are left as they are.

Importing bcejax does not import this package.
"""

from bcejax.verify._digits import Check, Digits
from bcejax.verify._probes import Probe
from bcejax.verify._report import Report, table, to_json
from bcejax.verify._run import run

__all__ = ["Check", "Digits", "Probe", "Report", "run", "table", "to_json"]
