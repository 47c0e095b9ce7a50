"""Nothing is cut off, however long the names; and intervals stay where their values can be."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.text import Text

from jaxeval import plot
from jaxeval.results import Results
from jaxeval.types import Outcome

NAMES = (
    "AnExplainerWithOneVeryLongNameThatNobodyWouldEverTypeTwice",
    "x" * 90,
    "an explainer of many words, which says all its settings, n_steps=4, baseline=mean",
    "short",
)
METRICS = (
    "flipping(baseline=mean, n_steps=32, order=morf, output=log_probability, normalise=max)",
    "y" * 80,
    "a metric of many words that goes on and on and on and on and on and on and on and on",
)
N, S = 12, 5
RNG = np.random.default_rng(0)
X, MAPS = RNG.random((N, 3, 10, 10)), RNG.normal(size=(N, 10, 10))


def results(names=NAMES, features=None) -> Results:
    rng = np.random.default_rng(1)
    outcomes = {
        (e, m): Outcome(
            score=(i + rng.normal(size=N)).astype(np.float32),
            curve=np.clip(rng.normal(0.9, 0.3, (N, S)), 0, 1).astype(np.float32),
        )
        for i, e in enumerate(names)
        for m in METRICS
    }
    settings = {
        "points": {METRICS[1]: [f"a very long name of a layer/with/parts/{i}" for i in range(S)]},
        "metrics": {
            m: {"class": "MPRT", "k": i, "similarity": "ssim"} for i, m in enumerate(METRICS)
        },
        **({} if features is None else {"features": features}),
    }
    return Results(
        outcomes, dict.fromkeys(METRICS, "lower"), dict.fromkeys(METRICS, "f"), np.arange(N),
        np.zeros(N, int), settings=settings,
    )  # fmt: skip


MANY = (*NAMES, "a", "b", "c")
GIVEN = dict.fromkeys(NAMES, MAPS)
FIGURES = {
    "curves": lambda: plot.curves(results(), METRICS[0]),
    "radar": lambda: plot.radar(results()),
    "radars": lambda: plot.radar(results(MANY)),
    "ranks": lambda: plot.ranks(results()),
    "critical difference": lambda: plot.critical_difference(results(), METRICS[0]),
    "narrow": lambda: plot.critical_difference(results(), METRICS[1], width=3.2),
    "correlation": lambda: plot.correlation(results()),
    "narrow correlation": lambda: plot.correlation(results(), width=4),
    "rank stability": lambda: plot.rank_stability(results(), width=3),
    "randomisation": lambda: plot.randomisation(results(), METRICS[1]),
    "attributions": lambda: plot.attributions(X, GIVEN, titles=NAMES, n=3),
    "one map": lambda: plot.attributions(X, {NAMES[0]: MAPS}, titles=NAMES, n=2),
    "series": lambda: plot.attributions(X[:, 0, 0], dict.fromkeys(NAMES, MAPS[:, 0]), NAMES, n=2),
    "gallery": lambda: plot.gallery(X[:2], dict.fromkeys(NAMES, MAPS[:2]), NAMES, columns=3),
    "best and worst": lambda: plot.best_and_worst(
        results(), "short", METRICS[0], X, MAPS, titles=NAMES * 3
    ),
}


def cut_off(figure) -> list[str]:
    """Texts that are not wholly on the page; those of ticks beyond an axis are not drawn."""
    figure.draw_without_rendering()
    page = figure.bbox
    hidden = set()
    for axes in figure.axes:
        for axis in getattr(axes, "_axis_map", {}).values():
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    hidden |= {id(tick.label1), id(tick.label2)}
    found = []
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden:
            box = text.get_window_extent()
            if (box.min < page.min - 1.5).any() or (box.max > page.max + 1.5).any():
                found.append(text.get_text())
    return found


@pytest.mark.parametrize("which", FIGURES)
def test_no_text_is_cut_off(which):
    assert not cut_off(FIGURES[which]())


def bands(figure):
    return np.concatenate([c.get_paths()[0].vertices[:, 1] for c in figure.axes[0].collections])


def test_intervals_of_shares_stay_among_shares():
    """Two of twelve curves fall from 1: the mean less two standard errors would still reach 1."""
    curve = np.ones((N, S), np.float32)
    curve[:2] = 0
    both = dict.fromkeys("mr", "lower")
    settings = {"points": {"r": list("abcde")}, "metrics": {"r": {"similarity": "pearson"}}}
    outcomes = {("A", m): Outcome(score=curve[:, 0], curve=curve) for m in both}
    r = Results(outcomes, both, both, np.arange(N), np.zeros(N, int), settings=settings)
    for figure in (plot.curves(r, "m"), plot.randomisation(r, "r")):
        assert bands(figure).max() <= 1
    assert bands(plot.curves(r, "m")).min() >= 0
    summary = r.summary()
    assert (summary["ci_high"] <= 1).all()
    assert (summary["ci_low"] >= 0).all()


def test_figures_say_what_is_not_compared():
    shapes = dict(zip(NAMES, [[3, 8, 8], [8, 8], [3, 8, 8], [3, 8, 8]], strict=True))
    r = results(features=shapes)
    with pytest.warns(UserWarning, match="different features"):
        figure = plot.ranks(r)
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels[-1].endswith("(8 x 8)")
    dashes = [t.get_text() for t in figure.axes[0].texts].count("–")
    assert dashes == len(METRICS) + 1
    assert "same" in figure.get_supxlabel()
    with pytest.warns(UserWarning, match="different features"):
        figure = plot.radar(r)
    assert len([v for v in figure.axes[0].lines if np.isfinite(v.get_ydata()).all()]) == 3
    with pytest.warns(UserWarning, match="left out"):
        figure = plot.critical_difference(r, METRICS[0])
    assert "left out" in figure.get_supxlabel()
    assert "same features" not in plot.ranks(r, mixed_features=True).get_supxlabel()
