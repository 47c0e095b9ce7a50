"""What sweeps know of torch: weights, settings, hooks and private attributes; not what was used."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from jaxeval_torch import wrap_torch  # noqa: E402
from jaxeval_torch.explainers import (  # noqa: E402
    captum_explainer,
    torch_explainer,
    zennit_explainer,
)

import jaxeval as je  # noqa: E402
from jaxeval.content import content  # noqa: E402
from jaxeval.content.values import text  # noqa: E402
from jaxeval.sweep.fingerprint import changes  # noqa: E402
from tests.bridges.nets import hooked, patched  # noqa: E402


class Net(torch.nn.Module):
    def __init__(self, scale=1.0, **config):
        super().__init__()
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(6, 3)
        self._config = config
        with torch.no_grad():
            self.fc.weight.mul_(scale)

    def forward(self, x):
        return self.fc(x)


class Composite:
    """As zennit's are used: an object with rules, that is registered to a module."""

    def __init__(self, epsilon):
        self.rules = {"Linear": [epsilon]}

    def register(self, module):
        raise NotImplementedError


def captum(**settings):
    pytest.importorskip("captum")
    return captum_explainer("IntegratedGradients", Net(), **settings)


def of_object(**settings):
    attr = pytest.importorskip("captum.attr")
    return captum_explainer(attr.IntegratedGradients(Net(), **settings))


PAIRS = {
    "weights": (lambda v: wrap_torch(Net(v)), "module._modules.fc._parameters.weight.digest"),
    "a private dict": (lambda v: wrap_torch(Net(max=v)), "module._config.max: 1 -> 2"),
    "a replaced forward": (
        lambda v: wrap_torch(patched(Net(), v)), "forward.method.closure.factor: 1 -> 2",
    ),
    "a hook": (lambda v: wrap_torch(hooked(Net(), v)), "_forward_hooks.0.closure.factor: 1 -> 2"),
    "the output": (lambda v: wrap_torch(Net(), output=v), "apply.output: 1 -> 2"),
    "captum's settings": (lambda v: captum(n_steps=v), "settings.n_steps: 1 -> 2"),
    "captum's baselines": (
        lambda v: captum(baselines=v * torch.ones(1, 6)), "settings.baselines.digest",
    ),
    "captum's target": (lambda v: captum(target=lambda y: y - v), "target.closure.v: 1 -> 2"),
    "an object of captum's": (
        lambda v: of_object(multiply_by_inputs=v == 1), "instance._multiply_by_inputs: true",
    ),
    "a function of tensors": (
        lambda v: torch_explainer(lambda module, x, y: x * v, Net()), "fn.fn.closure.v: 1 -> 2",
    ),
    "the module of an explainer": (
        lambda v: torch_explainer(print, Net(v)), "fn.module._modules.fc._parameters.weight",
    ),
    "rules": (lambda v: zennit_explainer(Composite(v), Net()), "rules.Linear.list"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PAIRS)
def test_what_decides_is_seen_and_named(kind):
    make, path = PAIRS[kind]
    assert text(content(make(1))) == text(content(make(1)))
    lines = "\n".join(changes(content(make(1)), content(make(2))))
    assert path in lines


@pytest.mark.parametrize("method", ["Saliency", "DeepLift", "GuidedBackprop", "LRP"])
def test_a_used_explainer_is_as_a_new_one(method):
    pytest.importorskip("captum")
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    explainer, model = captum_explainer(method, net), wrap_torch(net)
    before = text(content((explainer, model)))
    je.evaluate(
        model, np.ones((3, 6), np.float32), explainers={"e": explainer, "g": je.explain.Gradient()},
        metrics={"s": je.Sparseness()}, progress=False,
    )  # fmt: skip
    assert text(content((explainer, model))) == before
