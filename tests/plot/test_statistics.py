import itertools

import numpy as np
import pytest

from jaxeval import plot
from jaxeval.results import Results
from jaxeval.types import Outcome

NAMES = [f"ExplainerNumber{i}" for i in range(12)]


def make(explainers, metrics=3, n=40, noise=1.0, names=None):
    """Explainer i is the better the larger i, under metrics that are settings of one class."""
    rng = np.random.default_rng(0)
    described = {
        f"Flip(n_steps={2**m})": {"class": "Flip", "n_steps": 2**m} for m in range(metrics)
    }
    outcomes = {
        (e, m): Outcome(score=(i + rng.normal(0, noise, n)).astype(np.float32))
        for i, e in enumerate(names or NAMES[:explainers])
        for m in described
    }
    higher = dict.fromkeys(described, "higher")
    return Results(
        outcomes, higher, higher, np.arange(n), np.zeros(n, int), settings={"metrics": described}
    )


def inside(figure):
    """Whether all that is drawn lies on the page."""
    figure.draw_without_rendering()
    page, drawn = figure.bbox, figure.get_tightbbox()
    low, high = drawn.min * figure.dpi, drawn.max * figure.dpi
    return (low >= page.min - 1).all() and (high <= page.max + 1).all()


def overlaps(axes):
    """Pairs of texts of an axes that lie on each other."""
    axes.figure.draw_without_rendering()
    boxes = [(t.get_text(), t.get_window_extent()) for t in axes.texts if t.get_text()]
    return [
        (a, b)
        for i, (a, box) in enumerate(boxes)
        for b, other in boxes[i + 1 :]
        if box.shrunk(0.98, 0.9).overlaps(other.shrunk(0.98, 0.9))
    ]


@pytest.mark.parametrize("width", [3.4, 6.4])
@pytest.mark.parametrize("explainers", [2, 5, 12])
def test_critical_difference_names_every_explainer_and_joins_the_groups(explainers, width):
    r = make(explainers, noise=3.0)
    metric = r.metrics[0]
    found = r.friedman(metric)
    figure = plot.critical_difference(r, metric, width=width)
    (axes,) = figure.axes
    texts = [t.get_text().replace("\n", "") for t in axes.texts]
    assert texts[-explainers:] == [f"{e}  {rank:.2f}" for e, rank in found.ranks.items()]
    bars = [line for line in axes.lines if line.get_linewidth() == 4]
    assert len(bars) == len(found.groups())
    for bar, group in zip(bars, found.groups(), strict=True):
        low, high = bar.get_xdata()
        assert low < found.ranks[group[0]] < found.ranks[group[-1]] < high
    assert not overlaps(axes)
    assert inside(figure)
    assert "40 samples" in figure.get_supxlabel()


def test_critical_difference_of_a_test_that_is_there_and_over_metrics():
    r = make(4, metrics=2)
    assert "α = 0.1)" in plot.critical_difference(r.friedman(alpha=0.1)).get_supxlabel()
    figure = plot.critical_difference(r)
    assert "2 metrics" in figure.get_supxlabel()
    assert "α = 0.05" in figure.get_supxlabel()
    assert any("wider than the axis" in t.get_text() for t in figure.axes[0].texts)
    assert inside(figure)


def test_bars_of_groups_that_overlap_lie_apart():
    r = make(12, noise=6.0, n=60)
    (axes,) = plot.critical_difference(r, r.metrics[0]).axes
    bars = sorted(
        (line.get_ydata()[0], *line.get_xdata()) for line in axes.lines if line.get_linewidth() == 4
    )
    assert len(bars) > 2
    for (y, _, end), (next_y, start, _) in itertools.pairwise(bars):
        assert next_y > y or start > end


@pytest.mark.parametrize("width", [None, 3.4])
def test_correlation_shows_every_number(width):
    r = make(4, metrics=5)
    figure = plot.correlation(r, width=width)
    axes = figure.axes[0]
    rho = r.correlations()
    np.testing.assert_allclose(axes.images[0].get_array(), rho)
    labels = [t.get_text().replace("\n", " ") for t in axes.get_yticklabels()]
    assert labels == [f"{m} ↑  {i}" for i, m in enumerate(r.metrics, start=1)]
    assert [t.get_text() for t in axes.get_xticklabels()] == list("12345")
    if width is None:
        assert len(axes.texts) == 25
        assert axes.texts[1].get_text() == f"{rho.iat[0, 1]:.2f}".replace("-", "−")
    assert inside(figure)
    again = plot.correlation(r.correlations(over="means"), metrics=r.metrics[:2])
    assert again.axes[0].images[0].get_array().shape == (2, 2)


def test_correlation_marks_what_is_undefined():
    r = make(3)
    flat = {e: Outcome(score=np.ones(40)) for e in r.explainers}
    outcomes = {(e, m): flat[e] if m == r.metrics[1] else o for (e, m), o in r.outcomes.items()}
    flat_one = Results(outcomes, r.directions, r.families, r.index, r.y)
    texts = [t.get_text() for t in plot.correlation(flat_one).axes[0].texts]
    assert texts.count("–") == 5


@pytest.mark.parametrize("width", [3.4, 6.4])
@pytest.mark.parametrize("explainers", [1, 4, 12])
def test_rank_stability_stacks_the_shares(explainers, width):
    r = make(explainers, metrics=6, noise=4.0, n=5)
    figure = plot.rank_stability(r, width=width)
    (axes,) = figure.axes
    table = r.rank_stability().loc["Flip"].sort_values("mean rank", kind="stable")
    assert [t.get_text().replace("\n", "") for t in axes.get_yticklabels()] == list(table.index)
    stacks, expected = axes.containers[1::2], axes.containers[::2]
    bars = np.array([[bar.get_width() for bar in own] for own in stacks]).T
    np.testing.assert_allclose(bars, table[list(range(1, explainers + 1))])
    starts = np.array([[bar.get_x() for bar in own] for own in stacks]).T
    np.testing.assert_allclose(starts[:, 1:], bars.cumsum(axis=1)[:, :-1], atol=1e-12)
    for own, stack in zip(expected, stacks, strict=True):
        assert own[0].get_facecolor() == stack[0].get_facecolor()
    assert "6 rankings" in axes.get_xlabel()
    assert inside(figure)


def test_rank_stability_asks_which():
    r = make(3)
    both = r.rank_stability({"a": r.metrics[:2], "b": r.metrics})
    with pytest.raises(ValueError, match="say which group; there are 'a', 'b'"):
        plot.rank_stability(both)
    with pytest.raises(ValueError, match="no group 'c'"):
        plot.rank_stability(both, "c")
    assert plot.rank_stability(both, "b").axes[0].get_title("left") == "b"


def test_names_are_text_whatever_they_contain():
    r = make(4, names=["_hidden", "a $x_1$ b", "50 % $", "Ü <b>"])
    for figure in (plot.critical_difference(r), plot.correlation(r), plot.rank_stability(r)):
        figure.draw_without_rendering()


@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (6, 8, 8), (6, 20)])
def test_best_and_worst_shows_them_by_direction(shape):
    score = np.float32([4, 1, np.nan, 3, 0, 2])
    r = Results(
        {("A", "m"): Outcome(score=score)}, {"m": "lower"}, {"m": "f"}, np.arange(10, 16),
        np.zeros(6, int),
    )  # fmt: skip
    best, worst = plot.extremes(r, "A", "m", 2)
    assert (best.tolist(), worst.tolist()) == ([4, 1], [0, 3])
    best, worst = plot.extremes(r, "A", "m", 5)
    assert (len(best), len(worst)) == (2, 2)
    assert not set(best) & set(worst)
    some = plot.extremes(r, "A", "m", 1, index=[13, 12, 11])
    assert [rows.tolist() for rows in some] == [[2], [0]]

    x = np.random.default_rng(0).uniform(size=shape)
    figure = plot.best_and_worst(r, "A", "m", x, x - 0.5, n=2)
    titles = [axes.get_title() for axes in figure.axes[:5]]
    assert titles == ["best\n14: 0.00", "\n11: 1.00", "", "worst\n10: 4.00", "\n13: 3.00"]
    assert inside(figure)
    with pytest.raises(ValueError, match="6 samples in index, got 5"):
        plot.best_and_worst(r, "A", "m", x[:5], x[:5])
    with pytest.raises(ValueError, match="fewer than two"):
        plot.best_and_worst(r, "A", "m", x[:1], x[:1], index=[10])
