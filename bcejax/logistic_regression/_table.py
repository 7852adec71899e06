"""A summary of a fit, as a value: numbers, text of 80 columns, HTML, or plain dicts."""

import html
from dataclasses import asdict, dataclass
from typing import NamedTuple

_TESTS = "coefficient", "std. error", "z", "p-value"


class Coefficient(NamedTuple):
    """One line of a `Summary`: what the logit gains per unit of a feature.

    Attributes:
      name: of the feature, or "bias".
      value: β, in nats.
      standard_error: root of its variance; ∞ if the data leave it undetermined.
      z: value / standard_error.
      p_value: how often chance alone would take a true 0 that far from 0.
      low, high: ends of the confidence interval of β.
      odds_ratio: exp β, by which a unit of the feature multiplies the odds.
      odds_low, odds_high: ends of its confidence interval.
    """

    name: str
    value: float
    standard_error: float
    z: float
    p_value: float
    low: float
    high: float
    odds_ratio: float
    odds_low: float
    odds_high: float


@dataclass(frozen=True)
class Summary:
    """Coefficients and figures of merit of a fit; print it, or see it in a notebook.

    Attributes:
      coefficients: a `Coefficient` per feature, and the bias last.
      kind: of the covariance, "fisher" or "sandwich".
      level: of the confidence intervals, such as 0.95.
      converged: whether the fit has converged; if not, the figures mean nothing.
      n: Σ w, the number of rows if they are not weighted.
      log_likelihood: −Σ w ℓ, in nats.
      deviance: 2 Σ w KL(y ‖ σ(x)), which is −2 log_likelihood for labels 0 and 1.
      null_deviance: that of the best constant (plus the offset).
      mcfadden_r2: 1 − log_likelihood / that of the best constant.
      aic, bic: −2 log_likelihood + k · 2 or k · log n, for k coefficients. The penalty
        of the fit is not in them.
    """

    coefficients: tuple[Coefficient, ...]
    kind: str
    level: float
    converged: bool
    n: float
    log_likelihood: float
    deviance: float
    null_deviance: float
    mcfadden_r2: float
    aic: float
    bic: float

    def to_dict(self) -> dict:
        """Plain dicts, lists, strings, floats and bools; ∞ and NaN stay floats."""
        return asdict(self) | {"coefficients": [c._asdict() for c in self.coefficients]}

    def __str__(self) -> str:
        ends = self._ends()
        first = [[c.name, *map(_number, c[1:7])] for c in self.coefficients]
        second = [[c.name, *map(_number, c[7:])] for c in self.coefficients]
        tests = _aligned([["", *_TESTS, *ends], *first])
        odds = _aligned([["", "odds ratio", *ends], *second])
        return "\n\n".join([self._title(), tests, odds, "\n".join(self._merits())])

    def _repr_html_(self) -> str:
        ends = self._ends()
        head = ["", *_TESTS, *ends, "odds ratio", *ends]
        lines = [[c.name, *map(_number, c[1:])] for c in self.coefficients]
        table = _row("th", head) + "".join(_row("td", line) for line in lines)
        notes = "<br>".join(map(html.escape, self._merits()))
        return f"<p>{self._title()}</p><table>{table}</table><p>{notes}</p>"

    def _title(self) -> str:
        end = "converged" if self.converged else "NOT CONVERGED: trust no figure"
        return f"Logistic regression, n = {self.n:,.10g}, {end}"

    def _ends(self) -> list[str]:
        return [f"{50 * (1 + side * self.level):.4g}%" for side in (-1, 1)]

    def _merits(self) -> list[str]:
        return [
            f"deviance {self.deviance:,.2f}, null deviance {self.null_deviance:,.2f}",
            f"McFadden R² {self.mcfadden_r2:.4f}, AIC {self.aic:,.2f}, "
            f"BIC {self.bic:,.2f}",
            f"standard errors: {self.kind}",
        ]


def _row(tag: str, cells: list[str]) -> str:
    inner = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr>{inner}</tr>"


def _number(x: float) -> str:
    return f"{x:.4g}"


def _aligned(lines: list[list[str]]) -> str:
    """Columns two spaces apart within 80 characters, for which long names are cut."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    room = min(widths[0], 80 - sum(2 + width for width in widths[1:]))

    def line(name, *cells):
        name = " ".join(name.split())
        name = name if len(name) <= room else name[: room - 1] + "…"
        rest = zip(cells, widths[1:], strict=True)
        return name.ljust(room) + "".join(f"  {c:>{width}}" for c, width in rest)

    return "\n".join(line(*cells).rstrip() for cells in lines)
