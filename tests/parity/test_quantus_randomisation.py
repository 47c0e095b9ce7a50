"""Randomisation: the scores of Quantus."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import jaxeval as je
from tests import networks
from tests.close import EPS
from tests.parity.compared import (
    EXPLAINERS,
    assert_close,
    assert_explains_alike,
    ours,
    quantus,
    theirs,
)

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet", "one_thread")]


@pytest.fixture(scope="module")
def randomised(case) -> dict[str, dict[str, np.ndarray]]:
    """The weights that Quantus draws: {layer: {"weight", "bias"}}, with a leading seed axis."""
    wrapped = quantus.PyTorchModel(case.net)
    weights = {}
    for name, net in wrapped.get_random_layer_generator("independent", seed=5):
        layer = net.get_submodule(name)
        weights[name] = {
            k: getattr(layer, k).detach().numpy().copy()[None] for k in ("weight", "bias")
        }
    return weights


@pytest.mark.parametrize("method", ["Gradient", "InputXGradient"])
@pytest.mark.parametrize("order", ["top_down", "bottom_up", "independent"])
def test_mprt_per_layer(case, randomised, method, order):
    a = case.maps(method)
    by_layer = theirs(case, "MPRT", a, method=method, layer_order=order, seed=5)
    names = list(randomised) if order == "bottom_up" else list(randomised)[::-1]
    scores = np.stack([by_layer[name] for name in names], 1)
    metric = je.MPRT(order=order, draws=randomised)
    # Entries of a map that are equal but for rounding swap ranks between torch and JAX.
    assert_explains_alike(metric, case, EXPLAINERS[method], scores, "curve", 1e-4)
    assert_explains_alike(metric, case, EXPLAINERS[method], scores.mean(1), "score", 1e-4)


def test_mprt_mean(case, randomised):
    """Quantus counts the unrandomised model, whose similarity is 1, as a layer of the mean."""
    a, layers = case.maps("Gradient"), len(randomised)
    scores = theirs(case, "MPRT", a, return_average_correlation=True, seed=5)
    score = ours(je.MPRT(draws=randomised), case, explainer=EXPLAINERS["Gradient"]).score
    assert_close((layers * score + 1) / (layers + 1), scores, 1e-4)


def test_mprt_last(case, randomised):
    scores = theirs(case, "MPRT", case.maps("Gradient"), return_last_correlation=True, seed=5)
    metric = je.MPRT(draws=randomised, score="last")
    assert_close(ours(metric, case, explainer=EXPLAINERS["Gradient"]).score, scores, 1e-4)


def in_jax(case, explainer):
    """Our maps of the network that Quantus asks about: bins do not forgive rounding."""

    def explain(model, inputs, targets, **_):
        layers = {name: model.get_submodule(name) for name in networks.LENET}
        params = {
            name: {k: getattr(layer, k).detach().numpy() for k in ("weight", "bias")}
            for name, layer in layers.items()
        }
        model = dataclasses.replace(case.model, params=params)
        return np.array(je.attribute(explainer, model, np.asarray(inputs), targets))

    return explain


@pytest.mark.parametrize("method", ["Gradient", "InputXGradient"])
@pytest.mark.parametrize("n_bins", [30, 100])
def test_efficient_mprt(case, randomised, method, n_bins):
    explainer = EXPLAINERS[method]
    for absolute in (True, False):
        scores = theirs(
            case,
            "EfficientMPRT",
            explain=in_jax(case, explainer),
            complexity_func_kwargs={"n_bins": n_bins},
            softmax=True,  # it also takes the entropy of the outputs, and stops at negative ones
            seed=5,
            abs=absolute,
            normalise=False,
        )
        metric = je.EfficientMPRT(
            n_bins=n_bins, draws=randomised, absolute=absolute, normalise=None
        )
        # Ratios of entropies, less 1: the ratio, near 1, is what is rounded.
        assert_close(ours(metric, case, explainer=explainer).score, scores, reaction=EPS)


@pytest.mark.parametrize("method", ["Gradient", "InputXGradient"])
def test_input_invariance(case, method):
    """It is a yes or a no there, and the first layer's bias is what compensates."""
    scores = theirs(
        case,
        "InputInvariance",
        case.maps(method),
        method=method,
        input_shift=0.5,
        normalise=False,
    )
    metric = je.InputInvariance(shift=0.5, satisfied=True, normalise=None)
    got = ours(metric, case, explainer=EXPLAINERS[method]).score
    np.testing.assert_array_equal(got, np.ravel(scores))
    np.testing.assert_array_equal(got, method == "Gradient")
