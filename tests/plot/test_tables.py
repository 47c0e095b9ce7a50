"""Tables are drawn as bars, with the names of the features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jaxeval import plot
from jaxeval.results import Results
from jaxeval.types import Outcome

X = pd.DataFrame({"age": [1.0, 2.0], "price": [3.0, 4.0], "$size_": [5.0, 6.0]})
A = np.array([[0.1, -3.0, 0.2], [1.0, 0.0, 2.0]])


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_bars_name_the_largest_features_first_and_sum_the_others():
    figure = plot.bars(X, {"A": A, "B": -A}, top=2, titles=["one", "two"])
    first, second = figure.axes[:2]
    assert labels(first) == ["price = 3", "$size_ = 5", "1 other"]
    np.testing.assert_allclose([p.get_width() for p in first.patches], [-3.0, 0.2, 0.1])
    np.testing.assert_allclose([p.get_width() for p in second.patches], [3.0, -0.2, -0.1])
    assert first.patches[0].get_facecolor() != first.patches[1].get_facecolor()
    figure.draw_without_rendering()


def test_frames_and_named_columns_are_bars():
    one = plot.attributions(X, {"A": A})
    two = plot.attributions(X.to_numpy(), {"A": A}, names=list(X))
    assert labels(one.axes[0]) == labels(two.axes[0]) == ["price = 3", "$size_ = 5", "age = 1"]


def test_importance_is_a_share_of_all_magnitudes():
    figure = plot.importance({"A": A, "B": 100 * A}, names=list(X))
    (axes,) = figure.axes
    assert labels(axes) == ["price", "$size_", "age"]
    want = np.array([3.0, 2.2, 1.1]) / 6.3
    widths = [p.get_width() for p in axes.patches]
    np.testing.assert_allclose(widths, [*want, *want])


def test_best_and_worst_take_the_names_of_the_results():
    scores = {("A", "m"): Outcome(score=np.array([0.0, 1.0]))}
    given = {"m": "lower"}, {"m": "f"}, np.arange(2), np.zeros(2, int)
    r = Results(scores, *given, settings={"feature_names": list(X)})
    figure = plot.best_and_worst(r, "A", "m", X.to_numpy(), A, n=1)
    assert labels(figure.axes[0]) == ["price = 3", "$size_ = 5", "age = 1"]
    assert [a.get_title().split()[0] for a in figure.axes] == ["best", "worst"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attributions": {}}, "attributions is empty"),
        ({"attributions": {"A": A[:, :2]}}, r"\[N, F\] = \[2, 3\], got \[2, 2\]"),
        ({"names": ["a"]}, "names must name 3 features, got 1"),
        ({"titles": ["a"]}, "titles must name 2"),
        ({"top": 0}, "top=0"),
    ],
)
def test_what_does_not_fit_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        plot.bars(**{"x": X, "attributions": {"A": A}, **change})
