import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from jaxeval import plot
from jaxeval.results import Results, bootstrap_mean_ci
from jaxeval.types import Outcome

NAMES = [f"Explainer{i}" for i in range(12)]
METRICS = {
    "flip": ("lower", "faithfulness"),
    "a long name of a metric, longer than its cell": ("higher", "complexity"),
    "mprt": ("lower", "randomisation"),
    "AnotherLongNameOfAMetricInOneWord": ("higher", "robustness"),
}


def make(explainers, n_samples=30, steps=5, settings=None, names=None):
    """Explainer i has the mean score i on every metric, and a curve around i."""
    rng = np.random.default_rng(0)
    outcomes = {}
    for i, name in enumerate(names or NAMES[:explainers]):
        for metric in METRICS:
            noise = rng.normal(size=n_samples)
            curve = i + rng.normal(size=(n_samples, steps))
            outcomes[name, metric] = Outcome(
                score=(i + noise - noise.mean()).astype(np.float32),
                curve=curve.astype(np.float32) if metric in ("flip", "mprt") else None,
            )
    return Results(
        outcomes,
        {m: d for m, (d, _) in METRICS.items()},
        {m: f for m, (_, f) in METRICS.items()},
        np.arange(n_samples),
        np.zeros(n_samples, int),
        settings=settings or {},
    )


def legend_of(figure):
    (box,) = figure.legends
    return [text.get_text() for text in box.get_texts()]


def all_texts_inside(figure):
    """Whether all that is drawn lies on the page: nothing is clipped."""
    figure.draw_without_rendering()
    page, drawn = figure.bbox, figure.get_tightbbox()
    low, high = drawn.min * figure.dpi, drawn.max * figure.dpi
    return (low >= page.min - 1).all() and (high <= page.max + 1).all()


def test_curves_draw_means_bands_and_an_ordered_legend():
    r = make(3)
    figure = plot.curves(r, "flip")
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    assert len(axes.lines) == len(axes.collections) == 3
    for name, line, band in zip(r.explainers, axes.lines, axes.collections, strict=True):
        curve = r.curves[name, "flip"].astype(float)
        assert line.get_label() == name
        assert to_hex(line.get_color()).upper() == plot.colours(r.explainers)[name]
        np.testing.assert_allclose(line.get_xdata(), np.arange(1, 6))
        np.testing.assert_allclose(line.get_ydata(), curve.mean(axis=0))
        low, high = bootstrap_mean_ci(curve)
        corners = band.get_paths()[0].vertices
        np.testing.assert_allclose(corners[:, 1].max(), high.max())
        np.testing.assert_allclose(corners[:, 1].min(), low.min())
    assert axes.get_xlabel() == "step"
    assert "flip" in axes.get_title("left")
    assert "30 samples" in axes.get_title("left")
    assert [text.split()[0] for text in legend_of(figure)] == list(r.explainers)
    assert "lower is better" in figure.legends[0].get_title().get_text()
    assert all_texts_inside(figure)


def test_curves_legend_follows_the_direction_and_puts_the_undefined_last():
    r = make(3)
    outcomes = dict(r.outcomes)
    outcomes[NAMES[0], "flip"] = Outcome(
        score=np.full(30, np.nan), curve=outcomes[NAMES[0], "flip"].curve
    )
    r = Results(outcomes, {**r.directions, "flip": "higher"}, r.families, r.index, r.y)
    assert [t.split()[0] for t in legend_of(plot.curves(r, "flip"))] == [
        NAMES[2],
        NAMES[1],
        NAMES[0],
    ]


@pytest.mark.parametrize(
    ("fields", "x", "label"),
    [
        ({"n_steps": 5}, [0.2, 0.4, 0.6, 0.8, 1], "fraction of features changed"),
        ({"n_steps": 4}, [0, 0.25, 0.5, 0.75, 1], "fraction of features changed"),
        ({"percentages": [1, 3, 5, 7, 9]}, [0.01, 0.03, 0.05, 0.07, 0.09], "fraction of"),
        ({"n_steps": 9}, [1, 2, 3, 4, 5], "step"),
        (None, [1, 2, 3, 4, 5], "step"),
    ],
)
def test_curves_know_their_steps_from_the_settings(fields, x, label):
    r = make(2, settings={"metrics": {"flip": fields, "mprt": fields}})
    (axes,) = plot.curves(r, "flip").axes
    np.testing.assert_allclose(axes.lines[0].get_xdata(), x)
    assert axes.get_xlabel().startswith(label)
    (axes,) = plot.curves(r, "mprt").axes  # its steps are layers, whatever its fields are
    np.testing.assert_allclose(axes.lines[0].get_xdata(), np.arange(1, 6))


def test_curves_take_steps_and_labels():
    figure = plot.curves(make(2), "mprt", x=[1, 2, 4, 8, 16], xlabel="layer", ylabel="SSIM")
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[1].get_xdata(), [1, 2, 4, 8, 16])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer", "SSIM")


def test_curves_leave_undefined_points_out():
    r = make(1)
    r.curves[NAMES[0], "flip"][:, 4] = np.nan
    r.curves[NAMES[0], "flip"][0, 0] = np.nan
    (axes,) = plot.curves(r, "flip").axes
    y = axes.lines[0].get_ydata()
    assert np.isnan(y[4])
    np.testing.assert_allclose(y[0], r.curves[NAMES[0], "flip"][1:, 0].astype(float).mean())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda r: plot.curves(r, "flop"), "no metric 'flop'; there are 'flip'"),
        (
            lambda r: plot.curves(r, list(METRICS)[1]),
            "no curve; those that have one: 'flip', 'mprt'",
        ),
        (lambda r: plot.curves(r, "flip", x=[1, 2]), r"shape \[5\]"),
        (lambda r: plot.radar(r, ["flip", "mprt"]), "at least 3"),
        (lambda r: plot.radar(r, ["flip", "mprt", "x"]), "no metric 'x'"),
        (lambda r: plot.radar(r, scale="max"), "scale must be"),
    ],
)
def test_what_is_not_there_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(make(2))


@pytest.mark.parametrize("draw", [plot.ranks, plot.radar, lambda r: plot.curves(r, "flip")])
def test_results_without_scores_are_refused(draw):
    r = make(1)
    with pytest.raises(ValueError, match="no scores yet"):
        draw(Results({}, r.directions, r.families, r.index, r.y))


def test_radar_overlays_a_few_explainers():
    r = make(3)
    figure = plot.radar(r)
    (axes,) = figure.axes
    assert axes.name == "polar"
    assert len(axes.lines) == 3
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    # Explainer0 has the lowest scores: best where lower is better, worst elsewhere.
    np.testing.assert_allclose(drawn[NAMES[0]], [1, 0, 1, 0, 1])
    np.testing.assert_allclose(drawn[NAMES[1]], [0.5] * 5)
    np.testing.assert_allclose(drawn[NAMES[2]], [0, 1, 0, 1, 0])
    names = [text.get_text().replace("\n", "") for text in axes.texts]
    assert [name[-1] for name in names] == ["↓", "↑", "↓", "↑"]
    assert names[3] == "AnotherLongNameOfAMetricInOneWord ↑"
    assert "outward is better: rank" in figure.get_supxlabel()
    assert all_texts_inside(figure)


def test_radar_of_many_explainers_has_one_each_by_mean_rank():
    r = make(12)
    figure = plot.radar(r, metrics=["mprt", "flip", list(METRICS)[1]])
    assert len(figure.axes) == 12
    assert [axes.get_title().split()[0] for axes in figure.axes] == NAMES
    for axes, name in zip(figure.axes, NAMES, strict=True):
        (line,) = (line for line in axes.lines if line.get_label() == name)
        assert to_hex(line.get_color()).upper() == plot.colours(NAMES)[name]
        assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]
    assert legend_of(figure)[:2] == ["1  mprt ↓", "2  flip ↓"]
    assert all_texts_inside(figure)
    assert len(plot.radar(r, overlay=True).axes) == 1
    assert len(plot.radar(make(3), overlay=False).axes) == 3


def test_radar_of_means_lies_between_the_worst_and_the_best():
    figure = plot.radar(make(4), scale="mean")
    drawn = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_allclose(drawn[NAMES[1]], [2 / 3, 1 / 3, 2 / 3, 1 / 3, 2 / 3], atol=1e-6)
    assert "mean score" in figure.get_supxlabel()


@pytest.mark.parametrize("scale", ["rank", "mean"])
def test_radar_leaves_gaps_and_puts_equals_halfway(scale):
    scores = {"A": [1, 1, np.nan], "B": [1, 2, 1], "C": [1, 3, 2]}
    outcomes = {
        (e, m): Outcome(score=np.float32([value, value]))
        for e, values in scores.items()
        for m, value in zip("xyz", values, strict=True)
    }
    all_higher = dict.fromkeys("xyz", "higher")
    r = Results(outcomes, all_higher, all_higher, np.arange(2), np.zeros(2, int))
    drawn = {
        line.get_label(): line.get_ydata() for line in plot.radar(r, scale=scale).axes[0].lines
    }
    assert [drawn[e][0] for e in "ABC"] == [0.5] * 3
    assert np.isnan(drawn["A"][2])
    assert drawn["C"][2] == 1


def test_ranks_show_every_rank_sorted_by_mean_rank():
    r = make(3)
    outcomes = {**r.outcomes, (NAMES[1], "mprt"): Outcome(score=np.full(30, np.nan))}
    r = Results(outcomes, r.directions, r.families, r.index, r.y)
    ranking = r.ranking()
    figure = plot.ranks(r)
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == list(ranking.index)
    assert [t.get_text() for t in axes.get_xticklabels()] == [
        *(f"{m} {'↓' if d == 'lower' else '↑'}" for m, (d, _) in METRICS.items()),
        "mean rank",
    ]
    table, means = (np.ma.filled(image.get_array(), np.nan) for image in axes.images)
    np.testing.assert_array_equal(table, ranking.iloc[:, :-1])
    np.testing.assert_array_equal(means, ranking.iloc[:, -1:])
    numbers = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in axes.texts}
    assert len(numbers) == 3 * 5
    row = list(ranking.index).index(NAMES[1])
    assert numbers[row, 2] == "–"
    assert numbers[row, 0] == "2"
    assert numbers[row, 4.6] == f"{ranking.loc[NAMES[1], 'mean rank']:.2f}"
    assert "30 samples" in figure.get_supxlabel()
    assert all_texts_inside(figure)


@pytest.mark.parametrize("explainers", [1, 12])
def test_ranks_of_one_and_of_many(explainers):
    figure = plot.ranks(make(explainers))
    assert len(figure.axes[0].texts) == explainers * 5
    assert all_texts_inside(figure)


def test_names_are_text_whatever_they_contain():
    names = ["_hidden", "a $x_1$ b", "50 % $", "Ü <b>"]
    r = make(4, names=names)
    assert {t.rsplit("  ", 1)[0] for t in legend_of(plot.curves(r, "flip"))} == set(names)
    assert {t.rsplit("  ", 1)[0] for t in legend_of(plot.radar(r))} == set(names)
    for draw in (lambda: plot.curves(r, "flip"), lambda: plot.radar(r), lambda: plot.ranks(r)):
        draw().draw_without_rendering()  # "$" alone is no formula, and would be refused as one


def test_the_same_explainer_has_the_same_colour_everywhere():
    wanted = plot.colours(NAMES)
    assert wanted[NAMES[8]] == wanted[NAMES[0]]
    styles = set()
    for line in plot.curves(make(12), "flip").axes[0].lines:
        assert to_hex(line.get_color()).upper() == wanted[line.get_label()]
        styles.add((line.get_color(), line.get_linestyle(), line.get_marker()))
    assert len(styles) == 12


def test_colours_stay_apart_for_the_colour_blind():
    # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
    blind = {
        "none": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                   [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
    }  # fmt: skip
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    palette = list(plot.colours(NAMES[:8]).values())
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in palette])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for matrix in blind.values():
        xyz = np.clip(linear @ np.asarray(matrix).T, 0, 1) @ to_xyz.T / [0.9505, 1, 1.089]
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        lab = np.stack(
            [116 * f[:, 1] - 16, *(500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2]))]
        )
        apart = np.linalg.norm(lab[:, :, None] - lab[:, None], axis=0)
        assert apart[~np.eye(8, dtype=bool)].min() > 15


def test_notebooks_can_show_a_figure():
    assert plot.ranks(make(2))._repr_png_().startswith(b"\x89PNG")


def test_pyplot_stays_out_of_it_and_missing_matplotlib_says_what_to_do():
    script = """
import sys
sys.modules["matplotlib"] = None
import numpy as np
import jaxeval.plot as plot
try:
    plot.attributions(np.zeros((1, 8, 8)), {"A": np.zeros((1, 8, 8))})
except ImportError as e:
    assert 'pip install "jaxeval[plot]"' in str(e), e
else:
    raise SystemExit("no error")
del sys.modules["matplotlib"]
before = set(sys.modules)
figure = plot.attributions(np.zeros((1, 8, 8)), {"A": np.zeros((1, 8, 8))})
figure.draw_without_rendering()
assert "matplotlib.pyplot" not in set(sys.modules) - before
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=600)


def test_radar_and_ranks_give_the_same_mean_ranks():
    """Means that differ by rounding alone tie in both."""
    scores = {"A": [1.0, 3.0, 3.0], "B": [1.0 + 2e-7, 2.0, 2.0], "C": [0.5, 1.0, 1.0]}
    outcomes = {
        (e, m): Outcome(score=np.full(4, v))
        for e, row in scores.items()
        for m, v in zip("mno", row, strict=True)
    }
    r = Results(outcomes, dict.fromkeys("mno", "higher"), dict.fromkeys("mno", "f"), np.arange(4),
                np.zeros(4, int))  # fmt: skip
    titles = [axes.get_title() for axes in plot.radar(r, overlay=False).axes]
    wanted = r.ranking()["mean rank"]
    assert [t.split() for t in titles] == [[e, f"{wanted[e]:.2f}"] for e in wanted.index]
