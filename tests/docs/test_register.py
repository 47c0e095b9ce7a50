"""A class of one's own is registered once, and then known by its name everywhere."""

import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import cli, registry
from jaxeval.perturb import PERTURBATIONS, RandomPerturbation
from jaxeval.sweep import SweepError

pytestmark = pytest.mark.usefixtures("names")

MODULE = """\
import jaxeval as je
from jaxeval.explain.lrp_rules import LrpRule


@je.register
@je.pytree
class HalfGradient(je.explain.Explainer):
    "Half the gradient. It is no method of anyone's."

    share: float = 0.5

    def attribute(self, model, x, y, keys):
        return self.share * self.input_gradient(model, x, y)


@je.register
@je.pytree
class Wobble(je.Noise):
    "Noise that is there once."

    def n_draws(self, sample):
        return 1


@je.register
@je.pytree
class Loudest(je.Metric):
    "The largest attribution."

    family = "complexity"
    direction = "higher"
    reference = "Somebody 2031, Loud maps"

    scale: float = 1.0

    def reduce(self, sample, reference, measured, valid):
        return je.Outcome(score=self.scale * sample.a.max())


@je.register
@je.pytree
class Halved(LrpRule):
    "Half the relevance. It is no rule of anyone's."

    def propagate(self, layer, relevance):
        return relevance / 2


def network():
    return je.Model(lambda params, x: x @ params, X.T[:, :3], channel_axis=None)


def data():
    return {"x": X, "y": [0, 1, 2, 0]}
"""
SWEEP = """\
import = ["{module}"]
data = "{module}:data"
model = "{module}:network"
output = "scores"
explainers = ["HalfGradient"]

[metrics.Loudest]
scale = [1.0, 2.0]

[metrics.sensitive]
class = "MaxSensitivity"
noise = {{ class = "Wobble", scale = 0.1 }}
"""
X = "\nimport numpy as np\nX = np.random.default_rng(0).normal(size=(4, 5)).astype('float32')\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that was never imported."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE + X)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_it_is_known_by_name(module):
    own = __import__(module)
    assert je.METRICS["Loudest"] is own.Loudest
    assert je.explain.EXPLAINERS["HalfGradient"] is own.HalfGradient
    assert je.explain.get("HalfGradient", share=0.25).share == 0.25
    assert PERTURBATIONS["Wobble"] is own.Wobble
    assert je.explain.LRP_RULES["Halved"] is own.Halved
    with pytest.raises(KeyError, match=r"no metric 'Loudes'\. Did you mean 'Loudest'"):
        je.METRICS["Loudes"]
    with pytest.raises(ValueError, match=r"no explainer.*Did you mean 'HalfGradient'\?"):
        je.explain.get("HalfGradeint")
    with pytest.raises(TypeError, match=r"no field 'shar'.*Did you mean 'share'\?"):
        je.explain.get("HalfGradient", shar=1)


def test_a_sweep_knows_it_once_it_imports_the_module(module, tmp_path):
    text = SWEEP.format(module=module)
    file = tmp_path / "sweep.toml"
    alone = text.replace("import =", "# import =").replace(f"{module}:data", "digits")
    file.write_text(alone)
    with pytest.raises(SweepError, match=r"sweep.toml:5: .*HalfGradient.*import = \["):
        je.Sweep.from_file(file)
    file.write_text(text)
    sweep = je.Sweep.from_file(file)
    assert list(sweep.metric_settings) == ["Loudest(scale=1)", "Loudest(scale=2)", "sensitive"]
    assert type(sweep.metric_settings["sensitive"].made.noise) is PERTURBATIONS["Wobble"]
    je.run(sweep, progress=False)
    scores = je.Store(tmp_path / "scores").results().to_dataframe().score
    assert len(scores) == 3 * 4
    assert np.isfinite(scores).all()
    file.write_text(text.replace("[metrics.Loudest]", "[metrics.Loudes]"))
    with pytest.raises(SweepError, match=r"toml:7: there is no metric.*Did you mean 'Loudest'"):
        je.Sweep.from_file(file)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('["nowhere_at_all"]', r":1: cannot import nowhere_at_all: No module named"),
        ("3", r":1: import must be a list of module names, got 3"),
        ("[3]", r":1: import must be a list of module names, got \[3\]"),
    ],
)
def test_a_module_that_a_sweep_cannot_import(given, message, tmp_path):
    file = tmp_path / "sweep.toml"
    text = SWEEP.format(module="things").replace('["things"]', given)
    file.write_text(text)
    with pytest.raises(SweepError, match=f"sweep.toml{message}"):
        je.Sweep.from_file(file)


@pytest.mark.parametrize(
    ("what", "lines"),
    [
        ("metrics", ["Loudest", "Somebody 2031"]),
        ("explainers", ["HalfGradient", "share=0.5", "Half the gradient"]),
        ("perturbations", ["Wobble", "Noise that is there once"]),
        ("rules", ["Halved", "Half the relevance"]),
    ],
)
def test_the_command_lists_it(module, what, lines, capsys):
    assert cli.main(["list", what]) == 0
    assert lines[0] not in capsys.readouterr().out
    assert cli.main(["list", what, "--import", module]) == 0
    text = capsys.readouterr().out
    for line in lines:
        assert line in text


def test_a_metric_is_listed_with_its_family(module, capsys):
    cli.main(["list", "metrics", "--import", module])
    words = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert words.count("complexity") == 1
    assert words.index("complexity") < words.index("Loudest") < words.index("randomisation")


def test_a_module_that_the_command_cannot_import(capsys):
    assert cli.main(["list", "metrics", "--import", "nowhere_at_all"]) == 1
    assert "No module named 'nowhere_at_all'" in capsys.readouterr().err


def test_a_metric_whose_directions_and_questions_follow_its_settings_is_listed(capsys):
    @je.register
    @je.pytree
    class Turning(je.Metric):
        family = "complexity"
        direction = property(lambda self: "higher" if self.absolute else "lower")
        asks = property(lambda self: frozenset({"output"}))

        def reduce(self, sample, reference, measured, valid):
            return je.Outcome(score=sample.a.max())

    assert cli.main(["list", "metrics"]) == 0
    assert "Turning" in capsys.readouterr().out


# -- what is refused -----------------------------------------------------------------------------


def metric(name="Mine", **parts):
    def reduce(self, sample, reference, measured, valid):
        return je.Outcome(score=sample.a.max())

    given = {"family": "complexity", "direction": "lower", "reduce": reduce, **parts}
    return type(name, (je.Metric,), {k: v for k, v in given.items() if v is not None})


@pytest.mark.parametrize("name", ["Sparseness", "Saliency", "Noise", "Gamma"])
def test_a_name_that_is_taken(name):
    """By a class of any kind, as the file of a sweep names them all alike."""
    taken = registry.everything()[name]
    with pytest.raises(ValueError, match=rf"the name {name} is taken, by {taken.__module__}\."):
        je.register(je.pytree(metric(name)))
    assert registry.everything()[name] is taken


def test_two_classes_of_ones_own_with_one_name():
    def one():
        class Mine(metric()):
            pass

        return je.register(je.pytree(Mine))

    def other():
        class Mine(metric()):
            pass

        return je.register(je.pytree(Mine))

    first = one()
    with pytest.raises(ValueError, match=r"is taken, by .*one\.<locals>\.Mine: give .*other"):
        other()
    assert je.METRICS["Mine"] is first
    again = one()  # as when a cell of a notebook is run again
    assert je.METRICS["Mine"] is again is not first
    assert je.register(again) is again


def test_alone_it_lacks():
    with pytest.raises(TypeError, match=r"Mine lacks the decorator @jaxeval\.pytree"):
        je.register(metric())
    for name in ("family", "direction", "reduce"):
        with pytest.raises(TypeError, match=f"the class Mine lacks {name}"):
            je.register(je.pytree(metric(**{name: None})))
    assert "Mine" not in je.METRICS


def test_what_the_others_lack():
    explainer = type("Mine", (je.explain.Explainer,), {})
    with pytest.raises(TypeError, match=r"Mine lacks attribute\(model, x, y, keys\)"):
        je.register(je.pytree(explainer))
    whole = {"attribute": lambda self, model, x, y, keys: x}
    with pytest.raises(TypeError, match=r"Mine lacks the decorator @jaxeval\.pytree"):
        je.register(type("Mine", (je.explain.Explainer,), whole))
    with pytest.raises(TypeError, match=r"Mine lacks n_steps\(sample\)"):
        je.register(je.pytree(type("Mine", (je.Perturbation,), {})))
    with pytest.raises(TypeError, match=r"Mine lacks draw_shape\(sample\)"):
        je.register(je.pytree(type("Mine", (RandomPerturbation,), {})))


@pytest.mark.parametrize("given", [int, je.Outcome, je.explain.Saliency(), len, jnp.ones(3)])
def test_what_is_no_class_of_ours(given):
    with pytest.raises(TypeError, match=r"register takes a (subclass of one of|class, got)"):
        je.register(given)


def test_the_tables_are_read_only():
    with pytest.raises(TypeError):
        je.METRICS["Mine"] = metric()
    assert repr(je.explain.LRP_RULES).startswith("<8 LRP rules: Epsilon, Gamma")
    assert len(je.METRICS) == len(list(je.METRICS)) == len(dict(je.METRICS))
    assert dict(je.METRICS) == je.METRICS


FIRST = """
import jaxeval as je

def mine(name):
    def reduce(self, sample, reference, measured, valid):
        return je.Outcome(score=sample.a.max())
    parts = {"family": "complexity", "direction": "lower", "reduce": reduce}
    return je.pytree(type(name, (je.Metric,), parts))

for name in ("Sparseness", "Saliency", "Gamma"):
    try:
        je.register(mine(name))
    except ValueError as e:
        print(e)
je.register(mine("Mine"))
assert list(je.METRICS)[-1] == "Mine" and len(je.METRICS) > 50
"""


def test_names_of_jaxeval_are_taken_before_anything_of_it_was_used():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"the name (\w+) is taken, by jaxeval", done.stdout) == [
        "Sparseness", "Saliency", "Gamma",
    ]  # fmt: skip
