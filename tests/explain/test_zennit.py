"""Relevance by zennit's rules, on the same network with the same inputs."""

import numpy as np
import pytest

from jaxeval import explain

from .helpers import assert_close, make
from .test_backpropagation import array, residual
from .test_captum import ours

CLOSE = 5e-4
"""Of float32 against float64: sums of both signs cancel."""


@pytest.fixture(scope="module")
def zennit():
    return pytest.importorskip("zennit")


def relevance(net, x, y, composite, score=True):
    """zennit's map in float64; relevance starts as the score, or as 1."""
    import torch
    from zennit.attribution import Gradient

    net = net.double()
    x = array(x).double()
    chosen = torch.nn.functional.one_hot(array(y).long(), net(x).shape[-1]).double()
    with Gradient(model=net, composite=composite) as attributor:
        return attributor(x, (lambda z: z * chosen) if score else chosen)[1].detach().numpy()


def everywhere(rule, settings, canonizers=None):
    from zennit import composites, rules
    from zennit.types import Linear

    layers = [*composites.layer_map_base(), (Linear, getattr(rules, rule)(**settings))]
    return composites.LayerMapComposite(layers, canonizers=canonizers)


# Ours, and zennit's rule with its settings.
RULES = {
    "epsilon": (explain.Epsilon(), "Epsilon", {}),
    "epsilon 0.25": (explain.Epsilon(epsilon=0.25), "Epsilon", {"epsilon": 0.25}),
    "gamma": (explain.Gamma(gamma=0.4), "Gamma", {"gamma": 0.4}),
    "alpha_beta": (explain.AlphaBeta(), "AlphaBeta", {}),
    "z_plus": (explain.ZPlus(), "ZPlus", {}),
    "z_plus without bias": (explain.ZPlus(bias=False), "ZPlus", {"zero_params": ["bias"]}),
    "flat": (explain.Flat(), "Flat", {}),
    "w_square": (explain.WSquare(), "WSquare", {}),
    "z_box": (explain.ZBox(low=-2.0, high=2.0), "ZBox", {"low": -2.0, "high": 2.0}),
}
COMPOSITES = {
    "epsilon_plus": ("EpsilonPlus", {}),
    "epsilon_plus_flat": ("EpsilonPlusFlat", {}),
    "epsilon_alpha2_beta1": ("EpsilonAlpha2Beta1", {}),
    "epsilon_alpha2_beta1_flat": ("EpsilonAlpha2Beta1Flat", {}),
    "epsilon_gamma_box": ("EpsilonGammaBox", {"low": 0.0, "high": 1.0}),
}


@pytest.mark.parametrize("rule", RULES)
def test_rules(zennit, rule):
    """A rule for all layers of a network with convolutions, ReLU and max pooling."""
    case, (own, theirs, settings) = make("lenet"), RULES[rule]
    wanted = relevance(case.torch(), case.x, case.y, everywhere(theirs, settings))
    assert_close(ours(explain.LRP(rule=own), case), wanted, CLOSE)


@pytest.mark.parametrize("name", COMPOSITES)
def test_composites(zennit, name):
    from zennit import composites

    case, (theirs, settings) = make("lenet"), COMPOSITES[name]
    wanted = relevance(case.torch(), case.x, case.y, getattr(composites, theirs)(**settings))
    assert_close(ours(explain.LRP(rule=name), case), wanted, CLOSE)


@pytest.mark.parametrize("rule", ["epsilon", "z_plus", "gamma"])
def test_residual_network_with_batch_normalisation(zennit, rule):
    """zennit merges batch normalisation into convolutions, and a plain + copies relevance."""
    from zennit.canonizers import NamedMergeBatchNorm

    model, net, x, y = residual()
    own, theirs, settings = RULES[rule]
    merge = NamedMergeBatchNorm([(["conv_1"], "norm_1"), (["conv_2"], "norm_2")])
    wanted = relevance(net, x, y, everywhere(theirs, settings, [merge]))
    assert_close(explain.LRP(rule=own, addition="copy")(model, x, y), wanted, CLOSE)


@pytest.mark.parametrize("signed", [True, False])
def test_excitation_backprop(zennit, signed):
    from zennit.composites import ExcitationBackprop

    case = make("lenet")
    x = case.x if signed else np.abs(case.x)
    composite = ExcitationBackprop(zero_params=["bias"])
    wanted = relevance(case.torch(), x, case.y, composite, score=False)
    got = np.asarray(explain.ExcitationBackprop()(case.model, x, case.y))
    size = np.abs(wanted).max()  # small shares of many pixels
    assert_close(got / size, wanted / size, CLOSE)
