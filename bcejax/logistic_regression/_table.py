"""A fit told as a table: what it holds, and how it is printed."""

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

TESTS = "coefficient", "std. error", "z", "p-value"
WIDTH = 80  # characters of a printed table
SHOWN = 30  # coefficients of a fit in a notebook


class Coefficient(NamedTuple):
    """One line of a `Summary`: what the logit gains per unit of a feature.

    Attributes:
      name: of the feature, or "bias".
      value: β, in nats.
      standard_error: root of its variance; ∞ if the data leave it undetermined.
      z: value / standard_error; of profiles the signed root of the likelihood ratio.
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
      kind: of the covariance, such as "fisher"; or "profile".
      level: of the confidence intervals, such as 0.95.
      converged: whether the fit has converged; if not, the figures mean nothing.
      escapes: for each coefficient 1 if it runs to +∞, −1 if to −∞, and 0 if it has an
        optimum: what `separation` finds of a fit that has not converged. None if the
        data are too many for that: call it yourself, if time allows.
      n: Σ w, the number of rows if they are not weighted.
      log_likelihood: −Σ w ℓ, in nats.
      deviance: 2 Σ w KL(y ‖ σ(x)), which is −2 log_likelihood for labels 0 and 1.
      null_deviance: that of the best constant (plus the offset).
      mcfadden_r2: 1 − log_likelihood / that of the best constant.
      aic, bic: −2 log_likelihood + k · 2 or k · log n, for k coefficients. The penalty
        of the fit is not in them. The likelihood is that of single rows, also where a
        weight counts many. Of grouped counts, m of n in a group, a binomial GLM takes
        the probability of m in any order: its log-likelihood has Σ log C(n, m) more,
        whatever the coefficients are, and its BIC may count groups.
      firth: whether the fit was with Firth's penalty.
      penalised_log_likelihood: −Σ w times the loss of the fit, its penalty included.
    """

    coefficients: tuple[Coefficient, ...]
    kind: str
    level: float
    converged: bool
    escapes: tuple[int, ...] | None
    n: float
    log_likelihood: float
    deviance: float
    null_deviance: float
    mcfadden_r2: float
    aic: float
    bic: float
    firth: bool
    penalised_log_likelihood: float

    def to_dict(self) -> dict:
        """Plain dicts, lists, strings, floats and bools; ∞ and NaN stay floats."""
        coefficients = [c._asdict() for c in self.coefficients]
        lists = {
            "coefficients": coefficients,
            "escapes": self.escapes and list(self.escapes),
        }
        return asdict(self) | lists

    def __str__(self) -> str:
        ends = self._ends()
        first = [[c.name, *map(number, c[1:7])] for c in self.coefficients]
        second = [[c.name, *map(number, c[7:])] for c in self.coefficients]
        tests = aligned([["", *TESTS, *ends], *first])
        odds = aligned([["", "odds ratio", *ends], *second])
        return "\n\n".join([self._title(), tests, odds, "\n".join(self._merits())])

    def _repr_html_(self) -> str:
        ends = self._ends()
        head = ["", *TESTS, *ends, "odds ratio", *ends]
        lines = [[c.name, *map(number, c[1:])] for c in self.coefficients]
        table = html_row("th", head) + "".join(html_row("td", line) for line in lines)
        notes = "<br>".join(map(html.escape, self._merits()))
        return f"<p>{self._title()}</p><table>{table}</table><p>{notes}</p>"

    def _title(self) -> str:
        end = "converged" if self.converged else "NOT CONVERGED: trust no figure"
        places = zip(self.coefficients, self.escapes or (), strict=False)
        runs = [f"{c.name} to {'−+'[to > 0]}∞" for c, to in places if to]
        if runs:
            end += f",\nthe data are separated: {', '.join(runs)}"
        kind = "Logistic regression" + " with Firth's penalty" * self.firth
        return f"{kind}, n = {self.n:,.10g}, {end}"

    def _ends(self) -> list[str]:
        return [f"{50 * (1 + side * self.level):.4g}%" for side in (-1, 1)]

    def _merits(self) -> list[str]:
        errors = self.kind
        if errors == "profile":
            errors = "fisher; tests and intervals: profile likelihood"
        merits = [
            f"deviance {self.deviance:,.2f}, null deviance {self.null_deviance:,.2f}",
            f"McFadden R² {self.mcfadden_r2:.4f}, AIC {self.aic:,.2f}, "
            f"BIC {self.bic:,.2f}",
            f"standard errors: {errors}",
        ]
        if self.firth:
            penalised = f"penalised log-likelihood {self.penalised_log_likelihood:,.4f}"
            merits.insert(1, penalised)
        return merits


def html_of_fit(model) -> str:
    """A `Fit` in a notebook: how it ended, and its coefficients by name."""
    weights, options = model.weights.tolist(), model.options
    names = options.columns or [f"x{i}" for i in range(len(weights))]
    lines = list(zip(names, weights, strict=True))[:SHOWN]
    if options.fit_intercept:
        lines.append(("bias", float(model.bias)))
    end = "converged" if model.converged else "NOT CONVERGED"
    end += ", the data are separated" * bool(model.separated)
    firth = " with Firth's penalty" * options.firth
    title = (
        f"Logistic regression{firth}, {end}, "
        f"{int(model.steps)} steps, loss {number(float(model.loss))} nats"
    )
    table = html_row("th", ["", "coefficient"])
    table += "".join(html_row("td", [name, number(x)]) for name, x in lines)
    more = len(weights) - SHOWN
    note = f"<p>and {more} more features</p>" if more > 0 else ""
    return f"<p>{title}</p><table>{table}</table>{note}"


def html_row(tag: str, cells: list[str]) -> str:
    inner = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr>{inner}</tr>"


def number(x: float) -> str:
    return f"{x:.4g}"


def aligned(lines: list[list[str]]) -> str:
    """Columns two spaces apart within WIDTH, for which long names are cut."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    room = min(widths[0], WIDTH - sum(2 + width for width in widths[1:]))
    names = shortened([name for name, *_ in lines], room)

    def line(name, cells):
        rest = zip(cells, widths[1:], strict=True)
        return name.ljust(room) + "".join(f"  {c:>{width}}" for c, width in rest)

    rows = zip(names, lines, strict=True)
    return "\n".join(line(name, cells[1:]).rstrip() for name, cells in rows)


def shortened(names: Sequence[str], room: int) -> list[str]:
    """Names in one line of at most `room` characters; those alike get a number."""
    names = [" ".join(name.split()) for name in names]
    cut = [name if len(name) <= room else name[: room - 1] + "…" for name in names]

    def distinct(i: int, name: str) -> str:
        end = f"…{i}"
        alike = name.endswith("…") and cut.count(name) > 1
        return name[: room - len(end)] + end if alike else name

    return [distinct(i, name) for i, name in enumerate(cut)]
