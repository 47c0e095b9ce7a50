"""Faithfulness: the scores of Quantus."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import jaxeval as je
from jaxeval import ops
from tests.parity.compared import (
    SHAPE,
    F,
    N,
    Recorded,
    assert_close,
    maps,
    ours,
    quantus,
    theirs,
)

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet", "one_thread")]


@maps
@pytest.mark.parametrize(("step", "baseline"), [(28, "black"), (56, 0.4)])
def test_pixel_flipping(case, method, step, baseline):
    a = case.maps(method)
    curves = theirs(case, "PixelFlipping", a, features_in_step=step, perturb_baseline=baseline)
    metric = je.PixelFlipping(features_in_step=step, baseline=baseline)
    assert_close(ours(metric, case, a).curve, curves)


def test_pixel_flipping_area(case, monkeypatch):
    """Quantus's helper needs a function under its name before NumPy 2, and has steps of 1."""
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    a, step = case.maps("Gradient"), 28
    areas = theirs(case, "PixelFlipping", a, features_in_step=step, return_auc_per_sample=True)
    score = ours(je.PixelFlipping(features_in_step=step), case, a).score
    assert_close(score, np.asarray(areas) / (F // step - 1))


@maps
@pytest.mark.parametrize(("patch", "regions"), [(4, 100), (7, 10)])
def test_region_perturbation(case, method, patch, regions):
    a = case.maps(method)
    drops = theirs(case, "RegionPerturbation", a, patch_size=patch, regions_evaluation=regions)
    metric = je.RegionPerturbation(patch_size=patch, n_regions=regions)
    assert_close(ours(metric, case, a).curve, drops)


@pytest.mark.parametrize("order", ["lerf", "random"])
def test_region_perturbation_in_other_orders(case, order, monkeypatch):
    """The random order is Quantus's own draw."""
    a, permutation, drawn = case.maps("Gradient"), np.random.permutation, []

    def recorded(n: int) -> np.ndarray:
        drawn.append(permutation(n))
        return drawn[-1]

    monkeypatch.setattr(np.random, "permutation", recorded)
    drops = theirs(case, "RegionPerturbation", a, patch_size=7, order=order)
    given = np.stack(drawn) if order == "random" else None
    metric = je.RegionPerturbation(patch_size=7, order=order, draws=given)
    assert_close(ours(metric, case, a).curve, drops)


def filling(values: np.ndarray) -> Any:
    """A perturbation function of Quantus that fills with given values [N, S], step by step."""
    steps = iter(values.T)

    def fill(arr: np.ndarray, indices: np.ndarray, **kwargs: Any) -> np.ndarray:
        changed = arr.copy()
        np.put_along_axis(changed, indices, next(steps)[:, None], 1)
        return changed

    return fill


@pytest.mark.parametrize(
    ("name", "ours_of", "fields"),
    [
        ("PixelFlipping", je.PixelFlipping, {"features_in_step": 56}),
        ("RegionPerturbation", je.RegionPerturbation, {"patch_size": 7}),
    ],
)
def test_one_uniform_value_a_step(case, name, ours_of, fields):
    """Quantus keeps what went before, and fills with one value a sample and step, as we do."""
    a, curves, values = case.maps("Gradient"), [], []
    for i in range(N):
        asked = []

        def spy(params: Any, x: np.ndarray, asked: list[np.ndarray] = asked) -> np.ndarray:
            asked.append(np.array(x).reshape(-1, F))
            return np.asarray(case.model(x))

        x, own = case.x[i : i + 1], slice(i, i + 1)
        metric = ours_of(baseline="uniform_value", **fields)
        host = je.Model(spy, {}, host=True)
        given = {"output": "logit", "key": 5, "index": [i]}
        curves.append(je.score(metric, host, x, case.y[own], a[own], **given).curve[0])
        queries = np.concatenate(asked)
        gone = queries != x.reshape(1, F)
        order = np.argsort(gone.sum(1), kind="stable")
        queries, gone = queries[order], gone[order]  # the clean sample, and step after step
        new = gone[1:] & ~gone[:-1]
        assert (new.sum(1) == F // len(new)).all()
        values.append([q[at][0] for q, at in zip(queries[1:], new, strict=True)])
    fill = filling(np.array(values))
    assert_close(np.stack(curves), theirs(case, name, a, perturb_func=fill, **fields))


@maps
@pytest.mark.parametrize("patch", [4, 7])
def test_selectivity(case, method, patch):
    a = case.maps(method)
    curves = theirs(case, "Selectivity", a, patch_size=patch)
    assert_close(ours(je.Selectivity(patch_size=patch), case, a).curve, curves)


@pytest.mark.parametrize(
    "share", [*(pytest.param(v, marks=pytest.mark.slow) for v in (0.05, 0.5)), 0.95]
)
def test_imputation(case, share):
    """Quantus solves the sparse system of one image directly."""
    gone = case.maps("Gradient").reshape(N, -1).argsort(1)[:, : int(share * F)]
    for x, indices in zip(case.x, gone, strict=True):
        want = quantus.noisy_linear_imputation(x, indices, noise=0.0)
        mask = np.zeros(F, bool)
        mask[indices] = True
        got = ops.impute(x, mask.reshape(SHAPE[1:]), 0)
        np.testing.assert_allclose(got, want, atol=1e-4)


def test_road(case):
    """Quantus gives the accuracy of each percentage; without noise there is nothing to draw."""
    a, percentages = case.maps("Gradient"), [1, 5, 15, 40, 70, 99]
    # Labels that the network agrees with, or there would be no accuracy to lose.
    case = dataclasses.replace(case, y=np.asarray(case.model(case.x)).argmax(-1))
    fields = {"percentages": percentages, "perturb_func_kwargs": {"noise": 0.0}}
    accuracies = theirs(case, "ROAD", a, **fields)
    held = ours(je.ROAD(percentages=percentages, noise=0.0), case, a)
    assert list(accuracies) == percentages
    assert_close(held.curve.mean(0), list(accuracies.values()))


@maps
@pytest.mark.parametrize("size", [224, 60])
def test_faithfulness_correlation(case, method, size):
    a, subsets = case.maps(method), Recorded("batch_baseline_replacement_by_indices")
    fields = {"nr_runs": 40, "subset_size": size, "perturb_func": subsets}
    scores = theirs(case, "FaithfulnessCorrelation", a, **fields)
    metric = je.FaithfulnessCorrelation(draws=subsets.drawn("indices"))
    assert_close(ours(metric, case, a).score, scores)


@maps
@pytest.mark.parametrize("step", [7, 28])
def test_faithfulness_estimate(case, method, step):
    a = case.maps(method)
    scores = theirs(case, "FaithfulnessEstimate", a, features_in_step=step)
    assert_close(ours(je.FaithfulnessEstimate(features_in_step=step), case, a).score, scores)
