"""bcejax.plot: what is drawn are the numbers, where and in which style it is drawn."""

import subprocess
import sys
from io import BytesIO

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot, rcParams
from matplotlib.colors import to_rgb, to_rgba_array
from matplotlib.figure import Figure
from sklearn import metrics as theirs
from statsmodels.stats.proportion import proportion_confint

from bcejax import metrics, plot
from bcejax.logistic_regression import Coefficient, Fit, MultinomialFit, Path, Summary
from bcejax.logistic_regression._outcome import Options
from bcejax.plot._names import apart

pyplot.switch_backend("agg")

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=300).round(1)  # with ties
LABELS = (RANDOM.random(300) < 1 / (1 + np.exp(-LOGITS))).astype(float)
WEIGHTS = 1.0 + np.arange(300) % 3
OURS = to_rgb("#0072B2")  # the first colour of the style


def axes():
    return Figure().subplots()


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def intervals(collection):
    """The two ends of each line of a collection, `(lines, 2, 2)`."""
    return np.array([path.vertices for path in collection.get_paths()])


def table(names, values, errors, escapes=None, z=None):
    """A summary with these coefficients, and intervals of two standard errors."""
    values, errors = np.float64(values), np.float64(errors)
    low, high = values - 2 * errors, values + 2 * errors
    z = values / errors if z is None else z
    with np.errstate(over="ignore"):
        odds = [np.exp(a) for a in (values, low, high)]
    columns = values, errors, z, 0 * values, low, high, *odds
    lines = np.transpose(columns).tolist()
    found = tuple(Coefficient(n, *line) for n, line in zip(names, lines, strict=True))
    return Summary(found, "fisher", 0.95, True, escapes, *[1.0] * 7, False, 1.0)


def a_path(weights, l2s, loss=None, columns=None, kind=Fit):
    """A path with these coefficients, as `fit_path` returns it."""
    nothing = np.zeros(len(l2s))
    found = [nothing, nothing, nothing, nothing, nothing == 0, nothing, nothing > 0]
    model = kind(np.float64(weights), *found, np.float64(l2s), Options(columns=columns))
    best = None if loss is None else np.nanargmin(loss)
    there = nothing == 0 if loss is None else ~np.isnan(loss)
    return Path(model, loss, loss, there, best, None)


EVERY = {
    "calibration": lambda ax: plot.calibration(
        LOGITS, LABELS, weights=WEIGHTS, bins=6, ax=ax
    ),
    "roc": lambda ax: plot.roc(LOGITS, LABELS, weights=WEIGHTS, ax=ax),
    "precision_recall": lambda ax: plot.precision_recall(
        LOGITS, LABELS, weights=WEIGHTS, ax=ax
    ),
    "coefficients": lambda ax: plot.coefficients(table("ab", [1, 2], [1, 1]), ax=ax),
    "path": lambda ax: plot.path(a_path([[1.0], [2.0]], [1, 0.1]), ax=ax),
    "held_out_loss": lambda ax: plot.held_out_loss(
        a_path([[1.0], [2.0]], [1, 0.1], np.array([0.7, 0.6])), ax=ax
    ),
}


# Where, and in which style


def test_every_function_is_tried_below():
    assert sorted(EVERY) == sorted(plot.__all__)


@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
def test_it_draws_into_the_axes_given_in_the_style_and_leaves_the_callers(draw):
    with pyplot.rc_context({"xtick.labelsize": 20, "axes.spines.top": True}):
        before, ax = dict(rcParams), axes()
        figures = pyplot.get_fignums()
        assert draw(ax) is ax and ax.has_data()
        assert dict(rcParams) == before and pyplot.get_fignums() == figures
        ax.figure.savefig(BytesIO())
        assert not ax.spines["top"].get_visible()
        assert {label.get_size() for label in ax.get_xticklabels()} == {11.0}
        drawn = [*ax.lines, *ax.collections]
        colors = [np.atleast_2d(to_rgba_array(a.get_color()))[0] for a in drawn]
        assert any(np.all(color[:3] == OURS) for color in colors)


@pytest.mark.parametrize("draw", EVERY.values(), ids=EVERY)
def test_without_axes_it_makes_a_figure(draw):
    figures = pyplot.get_fignums()
    ax = draw(None)
    (number,) = set(pyplot.get_fignums()) - set(figures)
    assert pyplot.figure(number) is ax.figure
    pyplot.close(ax.figure)


def test_axes_with_something_in_them_keep_their_look():
    ax = axes()
    ax.set_prop_cycle(color=["red", "green", "blue"])
    ax.plot([0, 1], [0, 0])
    plot.roc(LOGITS, LABELS, weights=WEIGHTS, ax=ax)
    assert ax.lines[1].get_color() == "green" and ax.spines["top"].get_visible()


def test_several_axes_are_refused_in_words():
    with pytest.raises(
        TypeError, match=r"one matplotlib Axes, got ndarray.*choose one"
    ):
        plot.roc(LOGITS, LABELS, weights=WEIGHTS, ax=Figure().subplots(1, 2))


@pytest.mark.full
def test_matplotlib_is_imported_when_something_is_drawn():
    script = "import sys; from bcejax import plot; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.stdout == "False\n"


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[demo\]'"):
        plot.coefficients(table("ab", [1, 2], [1, 1]))


# Any classifier


def test_roc_is_that_of_sklearn():
    ax = plot.roc(LOGITS, LABELS, weights=WEIGHTS, label="fit", ax=axes())
    wrong, right, _ = theirs.roc_curve(LABELS, LOGITS, sample_weight=WEIGHTS)
    points = {tuple(p) for p in np.round(ax.lines[0].get_xydata(), 5)}
    assert points >= {tuple(p) for p in np.round(np.stack([wrong, right], 1), 5)}
    area = theirs.roc_auc_score(LABELS, LOGITS, sample_weight=WEIGHTS)
    assert legend(ax) == [f"fit, area {area:.3f}", "chance"]


def test_precision_recall_is_that_of_sklearn():
    ax = plot.precision_recall(LOGITS, LABELS, weights=WEIGHTS, ax=axes())
    precision, recall, _ = theirs.precision_recall_curve(
        LABELS, LOGITS, sample_weight=WEIGHTS
    )
    points = {tuple(p) for p in np.round(ax.lines[0].get_xydata(), 5)}
    assert points >= {tuple(p) for p in np.round(np.stack([recall, precision], 1), 5)}
    area = theirs.average_precision_score(LABELS, LOGITS, sample_weight=WEIGHTS)
    share = np.average(LABELS, weights=WEIGHTS)
    assert legend(ax) == [f"average precision {area:.3f}", f"chance, {share:.3g}"]
    assert ax.lines[0].get_drawstyle() == "steps-pre"


def test_a_second_curve_has_its_colour_and_no_second_reference():
    ax = plot.roc(LOGITS, LABELS, weights=WEIGHTS, label="a", ax=axes())
    plot.roc(-LOGITS, LABELS, weights=WEIGHTS, label="b", ax=ax)
    assert [line.get_label()[:6] for line in ax.lines] == ["a, are", "chance", "b, are"]
    assert ax.lines[0].get_color() != ax.lines[2].get_color()


@pytest.mark.full
@pytest.mark.parametrize("share", [0.5, 0.01])
@pytest.mark.parametrize("draw", [plot.roc, plot.precision_recall])
def test_a_curve_of_many_rows_is_drawn_by_few_points(draw, share):
    random = np.random.default_rng(1)
    labels = random.random(200_000) < share
    logits = random.normal(size=labels.size) + labels
    thin = draw(logits, labels, ax=axes()).lines[0].get_xydata()
    curve = metrics.roc_curve if draw is plot.roc else metrics.precision_recall
    x, y = (
        curve(logits, labels)[:2] if draw is plot.roc else curve(logits, labels)[1::-1]
    )
    full = np.stack([x, y], axis=1)
    assert len(thin) < 10_000 and np.all(thin[[0, -1]] == full[[0, -1]])
    # Every point that is left out is next to the last one before it that is not.
    order = {}
    for i, point in enumerate(full.tolist()):
        order.setdefault(tuple(point), i)
    kept = np.sort([order[tuple(p)] for p in thin.tolist()])
    last = kept[np.searchsorted(kept, np.arange(len(full)), side="right") - 1]
    assert np.abs(full - full[last]).max() <= 1.001 / 1000


def test_calibration_has_the_bins_and_wilsons_intervals():
    ax = plot.calibration(LOGITS, LABELS, weights=WEIGHTS, bins=6, ax=axes())
    found = metrics.calibration(
        LOGITS, LABELS, weights=WEIGHTS, bins=6, strategy="quantile"
    )
    points = ax.lines[1].get_xydata()
    np.testing.assert_array_equal(points, np.stack(found[:2], axis=1))
    low, high = proportion_confint(
        np.float64(found.observed) * found.weight, found.weight, 0.05, "wilson"
    )
    ends = intervals(ax.collections[0])
    np.testing.assert_allclose(ends[:, :, 1], np.stack([low, high], 1), rtol=1e-5)
    np.testing.assert_array_equal(ends[:, 0, 0], found.predicted)
    height, edges, _ = ax.patches[0].get_data()
    rows, _ = np.histogram(1 / (1 + np.exp(-LOGITS)), edges, weights=WEIGHTS)
    np.testing.assert_allclose(height / height.max(), rows / rows.max())
    assert (edges[0], edges[-1]) == (0, 1)


@pytest.mark.full
def test_intervals_of_nothing_and_of_all_end_at_0_and_1():
    x, y = np.repeat([-1.0, 1.0], 20), np.repeat([0, 1], 20)
    ends = intervals(plot.calibration(x, y, bins=2, ax=axes()).collections[0])
    assert ends[0, 0, 1] == 0 < ends[0, 1, 1] < 0.2
    assert ends[1, 1, 1] == 1 > ends[1, 0, 1] > 0.8


@pytest.mark.full
def test_calibration_of_rare_events_fills_the_axes():
    x = np.linspace(-6, -3, 3000)
    ax = plot.calibration(x, np.arange(3000) % 100 == 0, ax=axes())
    top = max(ax.lines[1].get_xdata().max(), intervals(ax.collections[0]).max())
    assert top < ax.get_xlim()[1] < 1.1 * top and top < ax.get_ylim()[1] < 1.1 * top


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: plot.roc(LOGITS, 0 * LABELS, weights=WEIGHTS),
            "a positive row .* got none",
        ),
        (
            lambda: plot.roc(LOGITS, 0 * LABELS + 1, weights=WEIGHTS),
            "a negative row .* got none",
        ),
        (
            lambda: plot.precision_recall(LOGITS, 0 * LABELS, weights=WEIGHTS),
            "a positive row",
        ),
        (
            lambda: plot.roc(np.nan * LOGITS, LABELS, weights=WEIGHTS),
            "logits must not be NaN",
        ),
        (
            lambda: plot.calibration(np.nan * LOGITS, LABELS, weights=WEIGHTS, bins=6),
            "logits must not be NaN",
        ),
        (lambda: plot.calibration(LOGITS, LABELS, level=95), "level must lie .*got 95"),
        (lambda: plot.calibration(LOGITS, LABELS, bins=0), "bins must be at least 1"),
        (
            lambda: plot.calibration(LOGITS, 2 * LABELS, weights=WEIGHTS, bins=6),
            "labels must be 0, 1 or a prob",
        ),
    ],
)
def test_rows_that_have_no_picture_are_refused_and_leave_no_figure(call, message):
    figures = pyplot.get_fignums()
    with pytest.raises(ValueError, match=message):
        call()
    assert pyplot.get_fignums() == figures


# Coefficients


NAMES = ["age", "cost in $ per $", "smoker", "bias"]
TABLE = table(NAMES, [0.5, -1.0, 0.25, 3.0], [0.1, 0.2, 0.5, 1.0])


def rows_of(ax):
    """Names, values and ends of intervals, from the top down."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    ends = intervals(ax.collections[0])[:, :, 0]
    return names, ax.lines[-1].get_xdata(), ends


def test_coefficients_are_those_of_the_summary_and_the_bias_is_left_out():
    ax = plot.coefficients(TABLE, ax=axes())
    names, values, ends = rows_of(ax)
    assert names == NAMES[:3] and ax.yaxis_inverted()
    np.testing.assert_array_equal(values, [0.5, -1.0, 0.25])
    np.testing.assert_allclose(ends, [[0.3, 0.7], [-1.4, -0.6], [-0.75, 1.25]])
    ax.figure.savefig(BytesIO())  # what is between dollars is no formula


def test_names_choose_and_order_and_scale_multiplies():
    ax = plot.coefficients(
        TABLE, names=["bias", "age"], scale=[2.0, 3.0, 4.0], ax=axes()
    )
    names, values, ends = rows_of(ax)
    assert names == ["bias", "age"]
    np.testing.assert_allclose(values, [3.0, 1.0])
    np.testing.assert_allclose(ends, [[1.0, 5.0], [0.6, 1.4]])


def test_odds_ratios_are_exponentials_on_a_logarithmic_axis():
    ax = plot.coefficients(TABLE, odds_ratios=True, ax=axes())
    _, values, ends = rows_of(ax)
    np.testing.assert_allclose(values, np.exp([0.5, -1.0, 0.25]))
    np.testing.assert_allclose(np.log(ends[0]), [0.3, 0.7])
    assert ax.get_xscale() == "log" and "odds ratio" in ax.get_xlabel()


def test_of_many_the_largest_z_are_drawn_in_the_order_of_the_table():
    names = [*map(str, range(100)), "bias"]
    z = np.where(np.arange(101) % 10 == 3, 9.0, 1.0)
    summary = table(names, np.ones(101), np.ones(101), z=z)
    ax = plot.coefficients(summary, most=10, ax=axes())
    assert rows_of(ax)[0] == names[3:100:10] and "10 of 100" in ax.get_xlabel()


def test_long_names_are_cut_and_stay_apart():
    long = "the income of the household in the year "
    summary = table([f"{long}2019", f"{long}2020"], [1, 2], [1, 1])
    first, second = rows_of(plot.coefficients(summary, ax=axes()))[0]
    assert first != second and max(len(first), len(second)) <= 32


def test_what_has_no_end_is_an_arrow_at_the_edge():
    summary = table("abc", [1.0, 900.0, 2.0], [0.5, 1e4, np.inf], escapes=(0, 1, 0))
    ax = plot.coefficients(summary, ax=axes())
    _, values, ends = rows_of(ax)
    assert np.isnan(values[1]) and ax.get_xlim()[1] < 3
    np.testing.assert_allclose(ends[2], ax.get_xlim())
    assert legend(ax) == ["no optimum: +∞"]
    arrows = {
        (line.get_marker(), *point)
        for line in ax.lines
        if line.get_marker() in "<>"
        for point in line.get_xydata().tolist()
    }
    left, right = ax.get_xlim()
    assert arrows == {(">", right, 1), ("<", left, 2), (">", right, 2)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["height"]}, 'got "height": there are age, cost'),
        ({"names": []}, "got none to draw"),
        ({"scale": [1.0, 2.0]}, r"\(3,\), got \(2,\)"),
        ({"scale": [1.0, 0.0, 1.0]}, 'got 0.0 for "cost in .*constant column'),
        ({"most": 0}, "most must be at least 1, got 0"),
    ],
)
def test_coefficients_that_cannot_be_drawn_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plot.coefficients(TABLE, **options)


def test_a_fit_is_told_how_to_get_a_summary():
    model = Fit(*jnp.zeros(8))
    with pytest.raises(TypeError, match=r"got Fit: logistic_regression.summary\("):
        plot.coefficients(model)
    with pytest.raises(TypeError, match=r"got Fit: logistic_regression.fit_path"):
        plot.path(model)


# Paths


WEIGHTS_OF = np.array([[3.0, 0.3, -4.0], [1.0, 0.1, -1.0], [2.0, 0.2, -2.0]])
L2S = [0.01, 1.0, 0.1]  # in the order given, not by size


def test_path_goes_from_the_largest_penalty_down():
    ax = plot.path(a_path(WEIGHTS_OF, L2S, columns=("a", "b", "c")), most=2, ax=axes())
    named = [line.get_xydata() for line in ax.lines[1:3]]
    np.testing.assert_array_equal(named[0], [[1, -1], [0.1, -2], [0.01, -4]])
    np.testing.assert_array_equal(named[1], [[1, 1], [0.1, 2], [0.01, 3]])
    grey = intervals(ax.collections[0])
    np.testing.assert_array_equal(grey, [[[1, 0.1], [0.1, 0.2], [0.01, 0.3]]])
    assert [text.get_text() for text in ax.texts] == ["c", "a"]
    assert ax.get_xlim() == (1, 0.01) and ax.get_xscale() == "log"


def test_path_marks_the_best_penalty_and_leaves_out_those_not_reached():
    loss = np.array([np.nan, 0.7, 0.6])
    ax = plot.path(a_path(WEIGHTS_OF, L2S, loss))
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [1, 0.1])
    assert list(ax.lines[-1].get_xdata()) == [0.1, 0.1]
    upper, lower = ax.figure.axes
    assert upper is ax and lower.get_xlim() == ax.get_xlim() == (1, 0.1)
    np.testing.assert_array_equal(lower.lines[0].get_xydata(), [[1, 0.7], [0.1, 0.6]])
    np.testing.assert_array_equal(lower.lines[1].get_xydata(), [[0.1, 0.6]])
    pyplot.close(ax.figure)


def test_a_penalty_of_0_and_one_for_each_column_have_a_place():
    ax = plot.path(a_path(WEIGHTS_OF, [0.0, 1.0, 0.1]), ax=axes())
    assert ax.get_xscale() == "symlog" and ax.get_xlim() == (1, 0)
    l2s = np.outer(L2S, [1.0, 3.0, 2.0])
    ax = plot.path(a_path(WEIGHTS_OF, l2s), ax=axes())
    np.testing.assert_allclose(ax.lines[1].get_xdata(), [3, 0.3, 0.03])


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_a_path_of_one_penalty_is_drawn(l2):
    plot.path(a_path([[1.0]], [l2]), ax=axes()).figure.savefig(BytesIO())


def test_a_path_of_many_classes_has_a_line_for_each():
    weights = WEIGHTS_OF[:, :, None] * [1.0, -2.0]
    ax = plot.path(a_path(weights, L2S, kind=MultinomialFit), most=1, ax=axes())
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [2, 4, 8])
    assert (
        ax.texts[0].get_text() == "x2, class 1"
        and len(ax.collections[0].get_paths()) == 5
    )


def test_names_at_the_ends_are_apart_and_near():
    places = apart(np.array([0.0, 5.0, 0.1, 0.2]), 1.0)
    np.testing.assert_allclose(places, [-0.9, 5.0, 0.1, 1.1])


def test_paths_that_cannot_be_drawn_are_refused():
    several = a_path(WEIGHTS_OF, L2S)._replace(reached=np.ones((2, 3), bool))
    for found, options, message in (
        (several, {}, r"got \(2,\) of them"),
        (a_path(WEIGHTS_OF, L2S), {"names": ["a"]}, "one name per feature, 3, got 1"),
        (a_path(WEIGHTS_OF, L2S), {"scale": [1.0]}, r"\(3,\), got \(1,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            plot.path(found, **options)
    with pytest.raises(ValueError, match="held-out rows: give fit_path"):
        plot.held_out_loss(a_path(WEIGHTS_OF, L2S))


# In a notebook


def test_a_fit_shows_its_coefficients_by_name_and_many_fits_none():
    options = Options(columns=("age", "<b>"))
    model = Fit(np.array([1.5, -2.0]), 0.5, 0.25, 0, 7, True, 0, False, 0.0, options)
    page = model._repr_html_()
    assert "converged, 7 steps, loss 0.25 nats" in page and "&lt;b&gt;" in page
    assert "<td>age</td><td>1.5</td>" in page and "<td>bias</td><td>0.5</td>" in page
    lost = model._replace(converged=False, separated=True)._repr_html_()
    assert "NOT CONVERGED, the data are separated" in lost
    many = model._replace(weights=np.zeros(100), options=Options())
    assert "and 70 more features" in many._repr_html_()
    assert model._replace(loss=np.zeros(3))._repr_html_() is None
