"""Objects and progress in notebooks: everything is there, escaped, and needs no widgets."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import progress

EVIL = '<script>alert("1")</script>'


def cells(text):
    return re.findall(r"<t[hd]>(.*?)</t[hd]>", text)


def test_a_model_shows_its_parameters():
    model = je.Model(lambda p, x: x @ p[EVIL]["a  b"], {EVIL: {"a b": jnp.ones((3, 2))}})
    text = model._repr_html_()
    assert "<script>" not in text
    assert cells(text)[-2:] == [
        "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;/a b",
        "float32[3, 2]",
    ]
    many = je.Model(lambda p, x: x, {f"{i:03}": jnp.ones(2) for i in range(500)})
    assert many._repr_html_().count("<tr>") < 30


def test_every_metric_and_explainer_shows_its_settings():
    for table in (je.METRICS, je.explain.EXPLAINERS):
        for name, cls in table.items():
            try:
                text = cls()._repr_html_()
            except TypeError:  # it has no defaults, such as a background
                continue
            assert text.startswith(f"<p>{name}: ")
            assert text.count("<table>") == text.count("</table>") <= 1
    text = je.PixelFlipping(n_steps=7, baseline=np.zeros((2, 3)))._repr_html_()
    assert "<tr><th>n_steps</th><td>7</td><td>default: 32</td></tr>" in text
    assert "<th>baseline</th><td>float64[2, 3]</td>" in text
    assert "<th>order</th><td>&#x27;morf&#x27;</td><td></td>" in text
    assert "faithfulness, lower is better, Bach et al. 2015" in text


def meta():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 5)).astype(np.float32)
    model = je.Model(lambda w, x: x @ w, rng.normal(size=(5, 3)), channel_axis=None)
    return je.meta_evaluate(
        model, x, explainers={EVIL: je.explain.InputXGradient(), "b": je.explain.Random()},
        metrics={EVIL: je.Sparseness()}, tests=[je.MapNoise(levels=(0, 1))], n_perturbations=2,
        groups=1, progress=False,
    )  # fmt: skip


def test_results_of_evaluations_escape_names():
    found = meta()
    text = found._repr_html_()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "recovery" in text
    outcome = je.Outcome(score=np.float32([1, 2]))
    parts = {
        "directions": {EVIL: "lower"},
        "families": {EVIL: "f"},
        "index": np.arange(2),
        "y": np.zeros(2, int),
    }
    text = je.Results({(EVIL, EVIL): outcome}, **parts)._repr_html_()
    assert "<script>" not in text
    assert text.count("&lt;script&gt;") == 2


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook would show, in order, as if this was one, without ipywidgets."""
    shown = []

    class Handle:
        def update(self, what):
            shown.append(what)

    module = ModuleType("IPython.display")
    module.HTML = lambda text: text

    def display(what, display_id):
        shown.append(what)
        return Handle()

    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    return shown


def test_progress_in_a_notebook_needs_no_widgets(notebook, monkeypatch, recwarn):
    monkeypatch.setattr(progress.InNotebook, "EVERY", 0)
    bar = progress.Bar("evaluating", "<questions>")
    bar.start(2000)
    bar.advance(500)
    bar.advance(500)
    bar.stop()
    assert len(notebook) == 4
    assert 'value="500" max="2000"' in notebook[1]
    assert "1,000 of 2,000 &lt;questions&gt;" in notebook[2]
    assert notebook[-1] == ""
    assert not [w for w in recwarn if "ipywidgets" in str(w.message)]


def test_an_evaluation_shows_its_progress_in_a_notebook(notebook):
    x = np.ones((2, 3), np.float32)
    model = je.Model(lambda w, x: x @ w, np.eye(3, dtype=np.float32), channel_axis=None)
    explainers = {"e": je.explain.Saliency()}
    je.evaluate(model, x, explainers=explainers, metrics={"m": je.Sparseness()})
    assert notebook[0].startswith("evaluating <progress")
    assert notebook[-1] == ""


def test_a_sweep_shows_its_progress_in_a_notebook(notebook):
    from jaxeval.sweep.log import Progress

    shown = Progress()
    shown.start(3, 0)
    shown.advance(10)
    shown.stop()
    assert "0 of 3 shards" in notebook[0]
    assert notebook[-1] == ""
