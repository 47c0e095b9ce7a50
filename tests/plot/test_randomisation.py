import numpy as np
import pytest

from jaxeval import plot
from jaxeval.results import Results
from jaxeval.types import Outcome

LAYERS = ["head/Dense_0", "encoder/block_2/Conv_1", "encoder/block_1/Conv_0", "stem"]
MPRT = {"class": "MPRT", "order": "top_down", "similarity": "spearman", "n_seeds": 3}


def make(explainers, seeds=3, layers=LAYERS, settings=MPRT):
    """Also the similarities [N, seeds, L] of every explainer."""
    rng = np.random.default_rng(0)
    values = {e: rng.normal(i, 0.3, (20, seeds, len(layers))) for i, e in enumerate(explainers)}
    outcomes = {
        (e, "mprt"): Outcome(
            score=v.mean((1, 2)),
            curve=v.mean(1),
            curve_std=v.std(1) if seeds > 1 else None,
        )
        for e, v in values.items()
    }
    given = {"metrics": {"mprt": settings}, "points": {"mprt": layers}}
    lower, ids = {"mprt": "lower"}, np.arange(20)
    return Results(outcomes, lower, {"mprt": "randomisation"}, ids, ids, settings=given), values


@pytest.mark.parametrize("seeds", [1, 3])
def test_means_and_deviations_over_samples_and_seeds(seeds):
    results, values = make(["B", "A", "$C_1$"], seeds)
    figure = plot.randomisation(results, "mprt")
    (axes,) = figure.axes
    for name, line, band in zip(values, axes.lines, axes.collections, strict=False):
        mean, std = values[name].mean((0, 1)), values[name].std((0, 1))
        np.testing.assert_allclose(line.get_ydata(), mean)
        drawn = band.get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose(
            [drawn.min(), drawn.max()], [(mean - std).min(), (mean + std).max()]
        )
    assert [t.get_text() for t in axes.get_xticklabels()] == LAYERS
    assert "from the output" in axes.get_xlabel()
    assert axes.get_ylabel() == "spearman similarity to the clean map"
    legend = [t.get_text().split()[0] for t in figure.legends[0].get_texts()]
    assert legend == ["B", "A", "$C_1$"]
    figure.draw_without_rendering()
    page, drawn = figure.bbox, figure.get_tightbbox()
    assert (drawn.min * figure.dpi >= page.min - 1).all()
    assert (drawn.max * figure.dpi <= page.max + 1).all()


def test_undefined_samples_are_left_out():
    results, values = make(["A"])
    results["A", "mprt"].curve[3], results["A", "mprt"].curve_std[3] = np.nan, np.nan
    (axes,) = plot.randomisation(results, "mprt").axes
    want = np.delete(values["A"], 3, 0).mean((0, 1))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), want)


def test_a_metric_without_layers_is_refused():
    results, _ = make(["A"])
    with pytest.raises(ValueError, match="no metric 'mrpt'"):
        plot.randomisation(results, "mrpt")
    plain = Results(
        results.outcomes, results.directions, results.families, results.index, results.y
    )
    with pytest.raises(ValueError, match="no curve over layers; none has one"):
        plot.randomisation(plain, "mprt")
