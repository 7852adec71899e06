"""The README's table against what the three losses return (its code is a doctest)."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest

import bcejax

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def textbook(x, y):
    p = 1 / (1 + jnp.exp(-x))
    return -y * jnp.log(p) - (1 - y) * jnp.log(1 - p)


LOSSES = textbook, optax.sigmoid_binary_cross_entropy, bcejax.bce_with_logits


def rows():
    table = README[README.index("| logit |") :].split("\n\n")[0].splitlines()[2:]
    dtype = None
    for line in table:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        dtype = (re.match(r"float\d\d", name) or [dtype])[0]
        logit = name.split(", ")[-1].replace("−", "-").replace("∞", "inf")
        yield pytest.param(dtype, float(logit), cells, id=name)


def orders(loss, x, y):
    return [loss(x, y), jax.grad(loss)(x, y), jax.hessian(loss)(x, y)]


@pytest.mark.parametrize(("dtype", "logit", "cells"), list(rows()))
def test_the_table_is_true(dtype, logit, cells):
    x, y = jnp.array(logit, dtype), jnp.array(1, dtype)
    if np.isfinite(logit):
        with mpmath.workdps(50):
            e = mpmath.exp(-mpmath.mpf(logit))
            exact = [mpmath.log1p(e), -e / (1 + e), e / (1 + e) ** 2]
    else:
        exact = [0, 0, 0]
    exact = np.float64(exact)
    for loss, cell in zip(LOSSES, cells, strict=True):
        values = orders(loss, x, y)
        shown = cell.replace("*", "").split(" / ")
        right = np.isclose(np.float64(values), exact, rtol=0.06, atol=1e-37)
        if loss is bcejax.bce_with_logits:
            assert shown == [f"{float(v) + 0:.4g}" for v in values]
            assert right.all() and "**" not in cell
            continue
        # What is wrong differs a little from one release of XLA to the next.
        np.testing.assert_allclose(np.float64(shown), np.float64(values), rtol=0.5)
        if right.all():
            assert "**" not in cell
        else:
            bold = re.findall(r"\*\*(.+?)\*\*", cell)
            assert " / ".join(bold) == " / ".join(np.array(shown)[~right])


def test_both_commands_are_complete():
    for extra in ("demo", "test"):
        (command,) = [line for line in README.splitlines() if f"'.[{extra}]'" in line]
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
