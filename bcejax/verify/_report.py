"""What was found: as a record, as a table for people, and as JSON."""

import importlib.metadata
import math
import platform
from itertools import groupby
from typing import NamedTuple

import jax.numpy as jnp

from bcejax.verify._digits import Check, Digits
from bcejax.verify._exact import HOST_IS_WIDER
from bcejax.verify._probes import Probe
from bcejax.verify.bounds import DTYPES

TITLES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32", "float64": "f64"}


class Report(NamedTuple):
    environment: dict[str, str]
    digits: list[Digits]
    checks: list[Check]
    probes: list[Probe]

    @property
    def failures(self) -> list[str]:
        """One sentence for each promise that is not kept."""
        return [
            f"{d.function}, {d.dtype}: the {d.order} errs by {_number(d.error)} ulp at "
            f"{d.at}, and {d.bound:g} are promised"
            for d in self.digits
            if d.error is not None and not d.passed
        ] + [f"{c.kind}: {c.name}: {c.words}" for c in self.checks if not c.passed]

    @property
    def passed(self) -> bool:
        return not self.failures


def environment() -> dict[str, str]:
    """Where this runs: device, platform and versions."""
    (device,) = jnp.zeros(()).devices()
    packages = ("bcejax", "jax", "jaxlib", "optax", "numpy")
    return {
        "device": device.device_kind,
        "backend": device.platform,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "backend version": device.client.platform_version.strip(),
        "float64 judged by": "numpy.longdouble" if HOST_IS_WIDER else "float64",
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


# For people


def table(report: Report) -> str:
    """Every figure, then what fails, in lines of at most 88 characters."""
    return "\n".join(
        [
            *_heading(report),
            *_digits(report),
            *_checks(report),
            *(probe.words + "." for probe in report.probes),
            *_verdict(report),
        ]
    )


def _heading(report: Report) -> list[str]:
    e = report.environment
    versions = [f"{n} {e[n]}" for n in ("bcejax", "jax", "jaxlib", "optax", "numpy")]
    lines = [
        f"{e['backend']} ({e['device']}), {e['platform']}, Python {e['python']}",
        ", ".join(versions),
        "",
        "Largest error in units in the last place (ulp), the bound it is held to, and "
        "the",
        "input that came closest to its bound.",
    ]
    if e["float64 judged by"] == "float64":
        lines += [
            "This host has nothing wider than float64, so that float64 is judged by a",
            "reference that itself errs by about 1 ulp.",
        ]
    return lines


def _digits(report: Report) -> list[str]:
    heads = [f"{TITLES[dtype]:>8}" for dtype in DTYPES]
    lines = ["", f"{'':22}{''.join(heads)}   {'bounds':<14} nearest", ""]
    for function, found in groupby(report.digits, key=lambda d: d.function):
        lines.append(function)
        rows: dict[tuple[str, str], dict[str, Digits]] = {}
        for d in found:
            rows.setdefault((d.order, d.by), {})[d.dtype] = d
        for (order, by), row in sorted(rows.items(), key=lambda item: item[0][1]):
            name = order if by == "bcejax" else f"{order}, {by}"
            lines.append(_digits_line(name, row))
    skipped = {d.dtype: d.skipped for d in report.digits if d.skipped}
    lines += [f"{dtype} skipped: {why}" for dtype, why in skipped.items()]
    return lines


def _digits_line(name: str, row: dict[str, Digits]) -> str:
    cells = [_cell(row.get(dtype)) for dtype in DTYPES]
    judged = [d for d in row.values() if d.bound is not None]
    line = f"  {name:20}" + "".join(cells)
    if not judged:
        return line.rstrip()
    nearest = max(judged, key=_share_of_bound)
    bounds = " ".join(dict.fromkeys(f"{d.bound:g}" for d in judged))
    return f"{line}   {bounds:<14} {TITLES[nearest.dtype]} {nearest.at}"


def _share_of_bound(found: Digits) -> float:
    # Half an ulp is the price of any rounding, so only what exceeds it is compared.
    if found.error is None or found.bound is None:
        return 0.0
    return (found.error - 0.5) / (found.bound - 0.5)


def _cell(found: Digits | None) -> str:
    if found is None:
        return f"{'':8}"
    if found.error is None:
        return f"{'skipped':>8}"
    return f"{_number(found.error):>7}" + (" " if found.passed else "!")


def _number(x: float) -> str:
    """Rounded up, so that no figure looks better than it is."""
    if not math.isfinite(x):
        return "inf"
    return f"{math.ceil(x * 100) / 100:.2f}" if x < 1000 else f"{x:.1e}"


def _checks(report: Report) -> list[str]:
    lines = [""]
    kinds = dict.fromkeys(check.kind for check in report.checks)
    for kind in kinds:
        found = [check.passed for check in report.checks if check.kind == kind]
        lines.append(f"{kind + ':':24}{sum(found)} of {len(found)} checks hold")
    return [*lines, ""]


def _verdict(report: Report) -> list[str]:
    if report.passed:
        return ["", "Every promise is kept here."]
    count = len(report.failures)
    title = "1 promise is" if count == 1 else f"{count} promises are"
    return ["", f"{title} not kept here:", *(f"- {f}" for f in report.failures)]


# For programs


def to_json(report: Report) -> dict:
    """The report as plain numbers and texts; an infinite error is the text "inf"."""
    digits = [d._asdict() | {"passed": d.passed} for d in report.digits]
    for d in digits:
        if d["error"] is not None and not math.isfinite(d["error"]):
            d["error"] = "inf"
    return {
        "passed": report.passed,
        "environment": report.environment,
        "digits": digits,
        "checks": [c._asdict() for c in report.checks],
        "probes": [p._asdict() | {"words": p.words} for p in report.probes],
        "failures": report.failures,
    }
