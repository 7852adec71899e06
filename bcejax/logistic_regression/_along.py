"""The loop along penalties, for two classes or many: what a step of it does.

A step fits the next smaller penalty from the optimum of the one before, and says what
the model is worth on held-out rows.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bcejax.logistic_regression import _class_objective, _objective
from bcejax.logistic_regression._class_newton import preconditioner
from bcejax.logistic_regression._class_objective import is_index, over_blocks
from bcejax.logistic_regression._compiled import STILL_FAST, compiled
from bcejax.logistic_regression._fit import by_newton, checked_start, solved
from bcejax.logistic_regression._given import Given
from bcejax.logistic_regression._large import Sample, sample_for_hessian
from bcejax.logistic_regression._many_classes import checked_classes
from bcejax.logistic_regression._multinomial import by_newton as by_newton_of_classes
from bcejax.logistic_regression._multinomial import (
    checked_class_start,
    class_scaling,
    class_solved,
)
from bcejax.logistic_regression._outcome import Fit, MultinomialFit
from bcejax.logistic_regression._problem import Params, Problem, checked_problem
from bcejax.logistic_regression._products import Products
from bcejax.logistic_regression._rows import sum_over_blocks

Model = Fit | MultinomialFit


class Task(NamedTuple):
    start: Params
    solve: Callable  # of a penalty and parameters to start at: a model
    score: Callable | None  # of parameters: loss and accuracy on the held-out rows


class State(NamedTuple):
    turns: jax.Array
    params: Params  # of the last penalty
    models: Model  # with an axis of the penalties
    losses: jax.Array
    accuracies: jax.Array
    reached: jax.Array
    worse: jax.Array  # penalties in a row whose loss is above the least


def task_of_two(
    given: Given, held: Given | None, fit_intercept, tol, max_steps
) -> Task:
    data = checked_problem(*given)
    sample = sample_for_hessian(data, fit_intercept, False)

    def solve(l2, start):
        now = penalised(data, sample, l2)
        return solved(by_newton, *now, start, tol, max_steps)

    def of_block(params, block):
        x = _objective.logits_of(params, block)
        right = jnp.where(x >= 0, block.labels, 1 - block.labels)
        return _objective.mean_loss(x, block), mean_of(right, block)

    start = checked_start(None, data.features, fit_intercept)
    if held is None:
        return Task(start, solve, None)
    rows = checked_problem(*held)
    return Task(start, solve, lambda p: sum_over_blocks(of_block, p, rows))


def task_of_classes(
    given: Given, held: Given | None, fit_intercept, tol, max_steps, classes, products
) -> Task:
    data = checked_classes(given, classes)
    sample = sample_for_hessian(data, fit_intercept, False, classes)
    at = class_scaling(data, sample, classes, fit_intercept)

    def solve(l2, start):
        now, sample_now = penalised(data, sample, l2)
        # The optimum before is near enough for all steps of this penalty.
        held = preconditioner(products, sample_now.rows, at, at.point(start))
        search = partial(by_newton_of_classes, held=held)
        return class_solved(
            search, products, now, sample_now, at, start, tol, max_steps
        )

    def of_block(params, block):
        x = _class_objective.logits_of(products, params, block)
        called = jnp.argmax(x, -1)
        if is_index(block):
            right = (called == block.labels).astype(x.dtype)
        else:
            chosen = called[:, None] == jnp.arange(classes)
            right = jnp.sum(jnp.where(chosen, block.labels, 0), -1)
        return _class_objective.mean_loss(x, block), mean_of(right, block)

    start = checked_class_start(None, data, classes, fit_intercept)
    if held is None:
        return Task(start, solve, None)
    rows = checked_classes(held, classes)
    return Task(start, solve, lambda p: over_blocks(of_block, p, rows))


def mean_of(right: jax.Array, data: Problem) -> jax.Array:
    return jnp.sum(data.share * right, where=data.share != 0)


def penalised(data: Problem, sample: Sample, l2) -> tuple[Problem, Sample]:
    now = data._replace(l2=l2.astype(data.share.dtype))
    rows = now if sample.rows is data else sample.rows._replace(l2=now.l2)
    return now, sample._replace(rows=rows)


@compiled(STILL_FAST, static_argnames=("classes", "fit_intercept", "products"))
def compiled_path(
    given: Given,
    held: Given | None,
    l2s,
    tol,
    max_steps,
    patience,
    classes: int | None,
    fit_intercept: bool,
    products: Products,
) -> State:
    options = given, held, fit_intercept, tol, max_steps
    if classes is None:
        task = task_of_two(*options)
    else:
        task = task_of_classes(*options, classes, products)
    return along(task, jnp.asarray(l2s), patience)


def along(task: Task, l2s: jax.Array, patience) -> State:
    size = jnp.max(l2s.reshape(len(l2s), -1), 1)
    order = jnp.argsort(-size)
    model = jax.eval_shape(task.solve, l2s[0], task.start)
    nothing = jnp.full(len(l2s), jnp.nan, model.loss.dtype)
    models = jax.tree.map(lambda a: jnp.zeros((len(l2s), *a.shape), a.dtype), model)
    no = jnp.zeros(len(l2s), bool)
    first = jnp.int32(0)

    def goes_on(state: State):
        return (state.turns < len(l2s)) & (state.worse < patience)

    def turn(state: State) -> State:
        i = order[state.turns]
        model = task.solve(l2s[i], state.params)
        params = Params(model.weights, model.bias)
        loss, accuracy = task.score(params) if task.score else (jnp.nan, jnp.nan)
        above = loss > jnp.nanmin(jnp.append(state.losses, jnp.inf))
        return State(
            state.turns + 1,
            params,
            jax.tree.map(lambda all, one: all.at[i].set(one), state.models, model),
            state.losses.at[i].set(loss),
            state.accuracies.at[i].set(accuracy),
            state.reached.at[i].set(True),
            jnp.where(above, state.worse + 1, 0),
        )

    start = State(first, task.start, models, nothing, nothing, no, first)
    return jax.lax.while_loop(goes_on, turn, start)
