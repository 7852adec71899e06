"""A fit told as a table: tests of its coefficients, and how well the model fits."""

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy import special

from bcejax.logistic_regression._batches import fit_batches
from bcejax.logistic_regression._covariance import (
    check_kind,
    compiled_covariance,
    covariance_of_batches,
)
from bcejax.logistic_regression._given import Given, read_again, refuse
from bcejax.logistic_regression._likelihood import Totals, penalty, totals_of
from bcejax.logistic_regression._outcome import Fit
from bcejax.logistic_regression._precision import precision_of
from bcejax.logistic_regression._separation import separation

TESTS = "coefficient", "std. error", "z", "p-value"
SAME_LOSS = 1e-4  # of the loss, or in nats, that rounding may change it by
MOST_FEATURES = 10**6  # numbers of which a linear program takes seconds
WIDTH = 80  # characters of a printed table


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
      escapes: for each coefficient 1 if it runs to +∞, −1 if to −∞, and 0 if it has an
        optimum: what `separation` finds of a fit that has not converged. None if the
        data are too many for that: call it yourself, if time allows.
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
    escapes: tuple[int, ...] | None
    n: float
    log_likelihood: float
    deviance: float
    null_deviance: float
    mcfadden_r2: float
    aic: float
    bic: float

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


def html_row(tag: str, cells: list[str]) -> str:
    inner = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr>{inner}</tr>"


def number(x: float) -> str:
    return f"{x:.4g}"


def aligned(lines: list[list[str]]) -> str:
    """Columns two spaces apart within WIDTH, for which long names are cut."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    room = min(widths[0], WIDTH - sum(2 + width for width in widths[1:]))

    def line(name, *cells):
        name = " ".join(name.split())
        name = name if len(name) <= room else name[: room - 1] + "…"
        rest = zip(cells, widths[1:], strict=True)
        return name.ljust(room) + "".join(f"  {c:>{width}}" for c, width in rest)

    return "\n".join(line(*cells).rstrip() for cells in lines)


def summary(
    model: Fit,
    features: ArrayLike | Callable[[], Iterable],
    labels: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    l2: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    fit_intercept: bool | None = None,
    level: float = 0.95,
    kind: str = "fisher",
) -> Summary:
    """A table of coefficients, their standard errors and tests, and figures of merit.

    z, p-values and intervals are those of the normal distribution (Wald's). Of a
    penalised fit they describe the shrunken coefficients. The other arguments are those
    of `covariance`. Of batches with an offset, the loss of the best constant takes some
    passes more. Not for jit: the result holds Python numbers.

    Args:
      names: of the d features; by default those of the table that was fitted, or x0,
        x1, ...
      level: of the confidence intervals, between 0 and 1.
    Returns:
      A `Summary`.
    Raises:
      TypeError: if an argument is not real.
      ValueError: if a shape does not fit that of `features`, the data or options are
        not those of the fit, a value cannot be meant, there are not d names,
        `level` is not between 0 and 1, or `kind` is unknown.
    Example:
      >>> from bcejax.logistic_regression import fit
      >>> x, y = np.array([[0], [0], [1], [1]]), np.array([0, 1, 0, 1])
      >>> counts = np.array([15, 5, 5, 15])
      >>> model = fit(x, y, sample_weight=counts)
      >>> print(summary(model, x, y, sample_weight=counts, names=["treated"]))
      Logistic regression, n = 40, converged
      <BLANKLINE>
               coefficient  std. error       z   p-value    2.5%     97.5%
      treated        2.197      0.7303   3.009  0.002624  0.7659     3.629
      bias          -1.099      0.5164  -2.127   0.03338  -2.111  -0.08649
      <BLANKLINE>
               odds ratio    2.5%   97.5%
      treated           9   2.151   37.66
      bias         0.3333  0.1211  0.9171
      <BLANKLINE>
      deviance 44.99, null deviance 55.45
      McFadden R² 0.1887, AIC 48.99, BIC 52.36
      standard errors: fisher

    Reference:
      D. W. Hosmer, S. Lemeshow and R. X. Sturdivant, Applied logistic regression, 3rd
      ed., Wiley, 2013.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}: 0.95 is 95%.")
    check_kind(kind)
    given = features, labels, l2, sample_weight, offset, fit_intercept
    look = look_at_batches if callable(features) else look_at_rows
    seen = look(model, *given, kind)
    fit_intercept = model.options.fit_intercept
    columns = model.options.columns if names is None else names
    variance = np.diagonal(seen.variance)
    n, loss, null_loss, half_deviance, half_null_deviance = seen.totals
    value = np.append(model.weights, model.bias)[: variance.size]
    check_loss(float(model.loss), loss / n + seen.penalty)
    return Summary(
        coefficients=coefficient_lines(
            checked_names(columns, model, fit_intercept), value, variance, level
        ),
        kind=kind,
        level=float(level),
        converged=bool(model.converged),
        escapes=seen.escapes,
        n=n,
        log_likelihood=-loss,
        deviance=2 * half_deviance,
        null_deviance=2 * half_null_deviance,
        mcfadden_r2=1 - loss / null_loss if null_loss else np.nan,
        aic=2 * loss + 2 * variance.size,
        bic=2 * loss + float(np.log(n)) * variance.size,
    )


class Seen(NamedTuple):
    """What the data of a fit show."""

    variance: np.ndarray
    totals: Totals
    penalty: float
    escapes: tuple[int, ...] | None


def look_at_rows(
    model: Fit, features, labels, l2, sample_weight, offset, fit_intercept, kind
) -> Seen:
    given, columns, fit_intercept = read_again(
        model, features, labels, l2, sample_weight, offset, fit_intercept
    )
    if not getattr(given.features, "is_fully_addressable", True):
        raise ValueError(
            "features must lie in this process, but others hold a part of them: "
            "covariance takes such arrays, and summary the batches of fit_batches with "
            "across_processes=True."
        )
    with precision_of(given, model):
        variance, logits, sound = compiled_covariance(model, given, fit_intercept, kind)
        refuse(sound, given, columns)
    escapes = escapes_of(model, given, fit_intercept)
    return Seen(variance, totals_of(logits, given), penalty(model, given.l2), escapes)


def look_at_batches(
    model: Fit, make_batches, labels, l2, sample_weight, offset, fit_intercept, kind
) -> Seen:
    beside = {"labels": labels, "sample_weight": sample_weight, "offset": offset}
    variance, tally = covariance_of_batches(
        model, make_batches, beside, l2, fit_intercept, kind
    )
    null_loss = None
    if model.options.shifted:
        mean = null_loss_of(make_batches, model.options.across_processes)
        null_loss = mean * tally.weight
    of_penalty = penalty(model, model.l2 if l2 is None else l2)
    # A linear program needs all rows at once.
    escapes = (0,) * len(variance) if model.converged else None
    return Seen(variance, tally.totals(null_loss), of_penalty, escapes)


def null_loss_of(make_batches, across_processes: bool) -> float:
    """The mean loss of the best constant beside the offset."""

    def without_features():
        for _, labels, *others in make_batches():
            yield np.zeros((len(labels), 1)), labels, *others

    found = fit_batches(without_features, across_processes=across_processes)
    return float(found.loss)


def escapes_of(model: Fit, given: Given, fit_intercept: bool):
    """What `separation` finds, if there is cause to ask and time to answer."""
    count = model.weights.size + fit_intercept
    if model.converged:
        return (0,) * count
    if given.features.size > MOST_FEATURES:
        return None
    found = separation(
        given.features,
        given.labels,
        l2=given.l2,
        sample_weight=given.sample_weight,
        fit_intercept=fit_intercept,
    )
    return tuple(found[:count].tolist())


def check_loss(fitted: float, found: float) -> None:
    """That the data are those of the fit, by the loss that the fit has on them.

    A model that was put together by hand may have NaN for its loss.
    """
    if abs(found - fitted) > SAME_LOSS * abs(fitted) + SAME_LOSS:  # False for NaN
        raise ValueError(
            "features, labels and options must be those of the fit, whose loss is "
            f"{fitted:.6g}; on these it is {found:.6g}."
        )


def checked_names(names, model: Fit, fit_intercept: bool) -> list[str]:
    count = model.weights.size
    names = [f"x{i}" for i in range(count)] if names is None else list(map(str, names))
    if len(names) != count:
        raise ValueError(
            "names must hold one name per column of features, "
            f"got {len(names)} for {count} columns."
        )
    return names + ["bias"] * fit_intercept


def coefficient_lines(names, value, variance, level: float) -> tuple[Coefficient, ...]:
    value, error = np.float64(value), np.sqrt(np.float64(variance))
    with np.errstate(all="ignore"):  # ∞ and NaN are answers here
        z = value / error
        reach = special.ndtri((1 + level) / 2) * error
        interval = value, value - reach, value + reach
        columns = value, error, z, 2 * special.ndtr(-np.abs(z)), *interval[1:]
        columns += tuple(map(np.exp, interval))
    numbers = np.stack(columns, axis=1).tolist()
    return tuple(Coefficient(n, *line) for n, line in zip(names, numbers, strict=True))
