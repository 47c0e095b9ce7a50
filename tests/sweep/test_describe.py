"""What a description says, and what is refused before anything runs, with the line."""

from __future__ import annotations

import numpy as np
import pytest
import things

import jaxeval as je
from jaxeval.sweep import Plan, SweepError

GOOD = """\
# a comment
data = "things:data"
model = "things:linear"
output = "scores"
seeds = [0, 1]
shard_size = 8

[explainers]
InputXGradient = {}
"IG" = { class = "IntegratedGradients", n_steps = [2, 4] }
mine = { import = "things:mine" }

[metrics.flip]
class = "PixelFlipping"
baseline = ["black", "mean"]
n_steps = 3

[metrics.SensitivityN]
sizes = [[1, 2], [3]]
n_runs = 4

[metrics.noisy]
class = "MaxSensitivity"
noise = { class = "Noise", scale = 0.1, n_samples = 3 }
"""


def written(tmp_path, text, name="sweep.toml"):
    file = tmp_path / name
    file.write_text(text)
    return file


def test_a_file(tmp_path):
    sweep = je.Sweep.from_file(written(tmp_path, GOOD))
    assert list(sweep.explainer_settings) == [
        "InputXGradient", "IG(n_steps=2)", "IG(n_steps=4)", "mine",
    ]  # fmt: skip
    assert list(sweep.metric_settings) == [
        "flip(baseline=black)",
        "flip(baseline=mean)",
        "SensitivityN(sizes=1 2)",
        "SensitivityN(sizes=3)",
        "noisy",
    ]
    made = {name: s.made for name, s in sweep.metric_settings.items()}
    assert made["flip(baseline=mean)"].baseline == "mean"
    assert made["flip(baseline=mean)"].n_steps == 3
    assert made["SensitivityN(sizes=1 2)"].sizes == (1, 2)
    assert made["noisy"].noise.n_samples == 3
    assert sweep.explainer_settings["IG(n_steps=4)"].made.n_steps == 4
    assert sweep.explainer_settings["mine"].made is not None
    assert sweep.seeds == (0, 1)
    assert sweep.output == tmp_path / "scores"
    plan = Plan(sweep)
    assert plan.n == things.N
    assert len(plan.shards()) == 3 * 2


YAML = """\
data: things:data
models:
  small: {factory: things:linear, scale: [1.0, 2.0]}
output: scores
explainers: [InputXGradient]
metrics:
  flip:
    class: PixelFlipping
    n_steps: 3
    normalise: [none, max]
"""


def test_yaml_says_the_same(tmp_path):
    pytest.importorskip("yaml")
    sweep = je.Sweep.from_file(written(tmp_path, YAML, "sweep.yaml"))
    assert list(sweep.models) == ["small(scale=1)", "small(scale=2)"]
    metrics = sweep.metric_settings
    assert [s.made.normalise for s in metrics.values()] == [None, "max"]
    assert list(metrics) == ["flip(normalise=none)", "flip(normalise=max)"]
    wrong = written(tmp_path, YAML.replace("n_steps", "n_step"), "wrong.yml")
    with pytest.raises(SweepError, match=r"wrong.yml:9: flip has no setting 'n_step'.*'n_steps'"):
        je.Sweep.from_file(wrong)
    with pytest.raises(SweepError, match=r"broken.yaml:\d+: invalid YAML"):
        je.Sweep.from_file(written(tmp_path, "a: [1\nb: }", "broken.yaml"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds =", "seed =", r":5: a sweep has no key 'seed'. Did you mean 'seeds'\?"),
        ("seeds = [0, 1]", "seeds = [0, 0]", r":5: seeds has duplicates"),
        ("seeds = [0, 1]", 'seeds = "all"', r":5: seeds must be integers"),
        ("shard_size = 8", "shard_size = 0", r":6: shard_size must be an integer"),
        ("shard_size = 8", 'precision = "hi"', r":6: precision='hi': must be one of"),
        ("shard_size = 8", 'class_score = "logits"', r":6: class_score.*Did you mean 'logit'\?"),
        ("shard_size = 8", "shard_size = [8", r":\d+: invalid TOML"),
        ("InputXGradient", "InputxGradeint", r":9: there is no explainer.*'InputXGradient'\?"),
        ('"things:mine"', '"things:mien"', r":11: things has no 'mien'. Did you mean 'mine'\?"),
        ('"things:mine"', '"thongs:mine"', r":11: 'thongs:mine': cannot import thongs"),
        ('"PixelFlipping"', '"PixelFliping"', r":14: there is no metric 'PixelFliping'.*Flipping"),
        ("baseline =", "baselin =", r":15: flip has no setting 'baselin'. Did you mean 'baseline'"),
        ('"mean"', '"maen"', r":15: flip: .*baseline must be one of.*Did you mean 'mean'\?"),
        ('["black", "mean"]', "[]", r":15: flip: the grid of 'baseline' is empty"),
        ('["black", "mean"]', '["mean", "mean"]', r":15: .* occurs twice"),
        ("n_steps = 3", "n_steps = 0", r":16: flip: .*n_steps must be a whole number"),
        ("[[1, 2], [3]]", "[1, 2]", r":19: SensitivityN.*A list is a grid.*sizes = \[\[\.\.\.\]\]"),
        ("scale = 0.1", "scal = 0.1", r":24: Noise has no setting 'scal'. Did you mean 'scale'"),
        ('class = "Noise"', 'kind = "Noise"', r":24: a table as a value must have one of the keys"),
        ('"things:data"', '"things.npz"', r":2: there is no data 'things.npz'"),
        ('model = "things:linear"', "", r": give either 'model'"),
        ('"things:linear"', '"digit"', r":3: there is no model 'digit'. Did you mean 'digits'\?"),
        ('"things:linear"', '{ factory = "things:linear", depth = 2 }', r":3: model has no sett"),
        ('output = "scores"', "", r": the key 'output' is missing"),
        ('"things:data"', '{ source = "things:data", limt = 3 }', r":2: data has no option 'limt'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path, old, new, message):
    assert GOOD.count(old) == 1
    file = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(SweepError, match=f"sweep.toml{message}"):
        Plan(je.Sweep.from_file(file))
    assert not (tmp_path / "scores").exists()


COMBINATIONS = {
    "subset larger than the features": (
        '[metrics.big]\nclass = "FaithfulnessCorrelation"\nsubset_size = [2, 99]\n',
        r":26: .*'big\(subset_size=99\)'.*99",
    ),
    "a mask is missing": ("[metrics.PointingGame]\n", r":26: .*'PointingGame'.*mask"),
    "the whole data set": ("[metrics.Sufficiency]\n", r":26: .*whole data set.*shard_size of 21"),
    "layers that there are not": (
        "[metrics.MPRT]\n[explainers.GradCAM]\n",
        r":\d+: .*GradCAM",
    ),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_what_does_not_go_together_is_refused_before_the_run(tmp_path, name):
    more, message = COMBINATIONS[name]
    file = written(tmp_path, GOOD + "\n" + more)
    with pytest.raises(SweepError, match=message):
        Plan(je.Sweep.from_file(file))
    assert not (tmp_path / "scores").exists()


def test_lists_are_grids_and_tuples_are_values():
    grid = je.Grid(je.SensitivityN, sizes=[(1, 2), (3,)], n_runs=[3, 5])
    names = list(grid.expand("n"))
    assert names == [
        "n(sizes=1 2, n_runs=3)",
        "n(sizes=1 2, n_runs=5)",
        "n(sizes=3, n_runs=3)",
        "n(sizes=3, n_runs=5)",
    ]
    assert list(je.Grid(je.SensitivityN, sizes=(1, 2)).expand("n")) == ["n"]
    with pytest.raises(SweepError, match="A list is a grid"):
        je.Grid(je.SensitivityN, sizes=[1, 2]).expand("n")


def test_python_objects(tmp_path):
    for wrong, message in (
        ({"metrics": {"x": je.explain.Saliency()}}, "'x' must be a jaxeval metric, got Saliency"),
        ({"explainers": {"x": 3}}, "'x' must be an explainer"),
        ({"metrics": {}}, "metrics must be a dict"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"seeds": ()}, "seeds must be"),
        ({"seeds": (True,)}, "seeds must be"),
    ):
        with pytest.raises(SweepError, match=message):
            things.sweep(tmp_path, **wrong)
    assert things.sweep(tmp_path, seeds=3).seeds == (3,)
    with pytest.raises(SweepError, match=r"model 'model' must be a jaxeval.Model or a function"):
        Plan(things.sweep(tmp_path, model=3))
    with pytest.raises(SweepError, match="data: data must be arrays"):
        Plan(things.sweep(tmp_path, data=3))
    stored = np.ones((things.N - 1, things.F), np.float32)
    with pytest.raises(SweepError, match="'s' has maps of 20 samples"):
        Plan(things.sweep(tmp_path, explainers={"s": stored}))


def test_the_example(tmp_path):
    from pathlib import Path

    pytest.importorskip("sklearn")
    pytest.importorskip("flax")
    plan = Plan(je.Sweep.from_file(Path(__file__).parents[2] / "docs" / "examples" / "digits.toml"))
    assert plan.n == 596
    assert len(plan.sweep.explainer_settings) == 5
    assert len(plan.sweep.metric_settings) == 8


def test_the_files_of_the_page_are_toml():
    import re
    import tomllib
    from pathlib import Path

    root = Path(__file__).parents[2]
    text = (root / "docs" / "sweeps.md").read_text() + (root / "README.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        tomllib.loads(block)
