"""Robustness: the scores of Quantus, which explains with captum, and of captum."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import jaxeval as je
from tests import networks
from tests.parity.compared import (
    EXPLAINERS,
    SHAPE,
    N,
    Recorded,
    assert_close,
    assert_explains_alike,
    captum,
    explainers,
    maps,
    ours,
    quantus,
    theirs,
    torch,
)

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet", "one_thread")]


@explainers
@pytest.mark.parametrize(
    ("name", "metric", "noise"),
    [
        ("LocalLipschitzEstimate", je.LocalLipschitz, "batch_gaussian_noise"),
        ("MaxSensitivity", je.MaxSensitivity, "batch_uniform_noise"),
        ("AvgSensitivity", je.AvgSensitivity, "batch_uniform_noise"),
    ],
)
def test_sensitivity(case, method, name, metric, noise):
    noise = Recorded(noise)
    scores = theirs(case, name, method=method, perturb_func=noise, nr_samples=6)
    metric = metric(draws=noise.drawn("noise"), normalise="max")
    assert_explains_alike(metric, case, EXPLAINERS[method], scores)


def lifted(model, x, y, keys):
    """A map that stays off zero, by which relative stability divides."""
    return EXPLAINERS["Gradient"](model, x, y) + 0.6


@pytest.mark.parametrize(
    ("name", "metric"), [("RelativeInputStability", je.RIS), ("RelativeOutputStability", je.ROS)]
)
def test_relative_stability(case, name, metric):
    """Where no draw changes the prediction: Quantus has NaN for the sample if one does."""
    noise = Recorded("batch_uniform_noise")
    scores = theirs(
        case,
        name,
        explain=lambda **kwargs: quantus.explain(**kwargs) + 0.6,
        perturb_func=noise,
        perturb_func_kwargs={"lower_bound": 0.2, "upper_bound": None},
        nr_samples=6,
        return_nan_when_prediction_changes=True,
    )
    metric = metric(draws=noise.drawn("noise"))
    assert_explains_alike(metric, case, lifted, scores)


def test_relative_representation_stability(case):
    """Of a layer without zeros; where no draw changes the prediction.

    The smallest logit, by which the score divides, is 1/260 of the largest: as many times the
    rounding of the logits is in the score.
    """
    noise = Recorded("batch_uniform_noise")
    scores = theirs(
        case,
        "RelativeRepresentationStability",
        explain=lambda **kwargs: quantus.explain(**kwargs) + 0.6,
        perturb_func=noise,
        perturb_func_kwargs={"lower_bound": 0.2, "upper_bound": None},
        nr_samples=6,
        layer_names=["fc_3"],
        return_nan_when_prediction_changes=True,
    )
    model = dataclasses.replace(case.model, hidden=logits_as_layer)
    case = dataclasses.replace(case, model=model)
    metric = je.RRS(draws=noise.drawn("noise"), layers=("fc_3",))
    assert_explains_alike(metric, case, lifted, scores)


def logits_as_layer(params, x):
    logits, hidden = networks.lenet_hidden(params, x)
    return logits, {**hidden, "fc_3": logits}


@explainers
def test_continuity(case, method):
    """Quantus's shifts by every second pixel, from -26 to 28, are ours of 29 steps."""
    scores = theirs(case, "Continuity", method=method, abs=True)
    got = ours(je.Continuity(n_steps=29), case, explainer=EXPLAINERS[method]).score
    assert_close(got, scores)


def perturbations(scale: float, steps: int = 8) -> np.ndarray:
    return np.random.default_rng(11).normal(0, scale, (N, steps, *SHAPE)).astype(np.float32)


def flat(draws: np.ndarray) -> Any:
    """[N S, ...], in captum's order: all steps of one sample after the other."""
    return torch.from_numpy(draws.reshape(-1, *SHAPE))


@maps
@pytest.mark.parametrize("normalised", [False, True])
def test_captum_infidelity(case, method, normalised):
    a, draws = case.maps(method), perturbations(0.2)
    scores = captum.infidelity(
        case.net,
        lambda x: (flat(draws), x - flat(draws)),
        torch.from_numpy(case.x),
        torch.from_numpy(a),
        target=torch.from_numpy(case.y),
        n_perturb_samples=draws.shape[1],
        normalize=normalised,
    )
    metric = je.Infidelity(draws=draws, normalised=normalised)
    assert_explains_alike(metric, case, None, scores, a=a)


@explainers
def test_captum_sensitivity_max(case, method):
    draws = perturbations(0.1)

    def explain(inputs: Any) -> Any:
        x = (inputs[0] if isinstance(inputs, tuple) else inputs).detach().numpy()
        y = np.repeat(case.y, len(x) // N)
        return (torch.from_numpy(quantus.explain(case.net, x, y, method=method)),)

    scores = captum.sensitivity_max(
        explain,
        torch.from_numpy(case.x),
        perturb_func=lambda x: x + flat(draws),
        n_perturb_samples=draws.shape[1],
    )
    metric = je.MaxSensitivity(draws=draws)
    assert_explains_alike(metric, case, EXPLAINERS[method], scores)
