"""The pages of docs/ say what the code does."""

import functools
import importlib
import re
import sys
from pathlib import Path

import pytest

import jaxeval as je

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
QUANTUS = (DOCS / "quantus.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script():
    """A script of docs/ by its name."""
    before = list(sys.path)
    sys.path.insert(0, str(DOCS))  # as when it is run
    yield importlib.import_module
    sys.path[:] = before


@pytest.fixture(scope="module")
def generator(script):
    return script("make_metrics")


def test_the_page_of_metrics_is_current(generator):
    page = generator.page()
    current = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert page == current, "run: python docs/make_metrics.py"


@pytest.mark.slow
def test_the_page_of_explainers_is_current(script):
    page = script("make_explainers").page()
    current = (DOCS / "explainer-reference.md").read_text(encoding="utf-8")
    assert page == current, "run: python docs/make_metrics.py"
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    listed = [c.__name__ for f in je.explain.FAMILIES.values() for c in f]
    assert headings == listed


@pytest.mark.parametrize("page", ["metrics.md", "explainer-reference.md"])
def test_every_setting_has_a_meaning(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w, ]+)` \|.*\|(.*)\|$", text, re.MULTILINE)
    assert len(rows) > 60
    assert not [name for name, meaning in rows if not meaning.strip() or "," in name]


@pytest.mark.slow
def test_the_costs_of_explainers_are_counted(script):
    """Known from their definitions: captum's defaults, and one evaluation a feature."""
    said = {k: (v.forward, v.backward) for k, v in script("make_explainers").costs().items()}
    assert said["Saliency"] == (1, 1)
    assert said["IntegratedGradients"] == (50, 50)
    assert said["FeatureAblation"] == (1 + 8 * 8, 0)
    assert said["RISE"] == (je.explain.RISE().n_samples, 0)
    assert said["ExtremalPerturbation"] == (je.explain.ExtremalPerturbation().n_steps,) * 2
    assert said["ShapleyValueSampling"] == (25 * (8 * 8 - 1) + 2, 0)
    assert said["Random"] == (0, 0)
    assert said["LRP"] == (None, None)


def test_many_steps_are_counted_by_few_if_counts_are_linear_in_them(script):
    make, asked = script("make_explainers"), []

    def passes(cost, cls, **given):
        n = given.get("n_steps", cls().n_steps)
        asked.append(n)
        return make.Cost(cost(n), 0)

    cls = je.explain.ExtremalPerturbation
    assert make.of_many(cls, functools.partial(passes, lambda n: 2 * n + 1)).forward == 1601
    assert asked == list(make.FEW)
    for cost in (lambda n: n * n, lambda n: n // 3):
        assert make.of_many(cls, functools.partial(passes, cost)).forward == cost(800)
    assert asked.count(800) == 2


def test_what_asks_more_than_a_gradient_says_so():
    """Known from their definitions: a step is a pass, and a channel or feature one more."""
    page = (DOCS / "explainer-reference.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| \[(\w+)\]\(#\w+\) \| [^|]+ \| ([^|]+) \|", page, re.MULTILINE))
    assert sorted(said) == sorted(je.explain.EXPLAINERS)
    assert said["NeuronIntegratedGradients"] == f"{said['IntegratedGradients']}, up to the layer"
    assert said["NeuronFeatureAblation"] == f"{said['FeatureAblation']}, up to the layer"
    assert said["ScoreCAM"].endswith("a forward pass for each of its channels")
    for name in ("LayerGradientShap", "NeuronConductance", "LayerFeatureAblation", "DeepLift"):
        assert said[name] != said["LRP"]
    assert not {n for n, cost in said.items() if "backward" in cost} & {
        "ScoreCAM", "AblationCAM", "EigenCAM", "LayerFeatureAblation", "AttentionRollout",
    }  # fmt: skip
    assert "required" not in page.partition("### LRP")[2].partition("###")[0]


def test_the_tables_of_the_readme_are_current(generator):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert generator.readme(text) == text, "run: python docs/make_metrics.py"
    listed = re.findall(r"^\| [\w ]+ \| (.+) \|$", text, re.MULTILINE)
    names = set(re.findall(r"\w+", " ".join(listed)))
    assert names >= {*je.METRICS, *je.explain.EXPLAINERS, "ABPC"}


def test_the_page_of_metrics_has_them_all():
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert sorted(headings) == sorted(je.METRICS)
    assert not re.search(r"^\s*\.\. |:math:", page, re.MULTILINE)
    for name, cls in je.METRICS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| [{name}]"))
        assert cls.reference in row
        assert {"higher": "↑", "lower": "↓"}[cls.direction] in row
    assert (
        len(re.findall(r"^Cost of a sample and explainer, .*\d (?:out|exp)\w+\.$", page, re.M))
        >= 53
    )


def rows_of(text):
    """The first cells of all tables: what is said of which metric of Quantus."""
    return [v for v in re.findall(r"^\| (\w+) \|", text, re.MULTILINE) if v != "Quantus"]


def test_every_metric_of_quantus_is_compared():
    quantus = pytest.importorskip("quantus")
    theirs = {
        cls.__name__ for family in quantus.AVAILABLE_METRICS.values() for cls in family.values()
    }
    said = rows_of(QUANTUS)
    assert len(said) == len(set(said))
    assert set(said) == theirs


@pytest.mark.parametrize("call", sorted(set(re.findall(r"`(je\.\w+\([^`]*\))`", QUANTUS))))
def test_the_settings_that_are_named_exist(call):
    known = {"je": je, "m": 3}
    assert isinstance(eval(call, known), je.Metric)
