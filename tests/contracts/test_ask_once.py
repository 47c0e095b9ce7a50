"""Each distinct question is asked once, for all metrics and explainers together."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from tests import draws
from tests.cases import EVERY, Spy, metric_of
from tests.contracts.runs import (
    assert_same,
    base,
    evaluate,
    numpy_explainer,
    score,
    together,
    tolerance,
)
from tests.world import N, entries, pixels, world


def test_the_same_noise_is_one_question():
    """Given the same noise, all that explain noisy inputs share one pass."""
    w = world()
    noise = draws.noise(w, je.MaxSensitivity(n_samples=4), np.random.default_rng(0))
    asked = evaluate(metrics=noisy(draws=noise)).asked
    assert asked["attribution"] == N + 4 * N
    assert asked["output"] == asked["hidden"] == N + 4 * N


def test_different_numbers_of_the_same_draws_are_one_question():
    """The largest is asked; every score is that of its own number."""
    metrics: dict[str, Any] = {
        "few": je.MaxSensitivity(n_samples=3),
        "many": je.AvgSensitivity(n_samples=5),
        "subsets": je.FaithfulnessCorrelation(n_runs=10, subset_size=2),
        "more": je.FaithfulnessCorrelation(n_runs=12, subset_size=2),
    }
    both = evaluate(metrics=metrics)
    assert both.asked["attribution"] == N + 5 * N
    assert both.asked["output"] == N + 12 * N
    for name, metric in metrics.items():
        alone = evaluate(metrics={name: metric})
        for cell, outcome in alone.outcomes.items():
            assert_same(both[cell], outcome, name)


NOISY = [
    "MaxSensitivity",
    "AvgSensitivity",
    "LocalLipschitz",
    "RIS",
    "ROS",
    "RRS",
    "AverageStability",
]


def noisy(**fields: Any) -> dict[str, Any]:
    """All metrics that explain noisy inputs."""
    return {r: dataclasses.replace(EVERY[r].metric, **fields) for r in NOISY}


@together
def test_a_noise_in_common():
    """`noise=` says what to share: seven metrics, and the calls of one; the scores of each."""
    for kind in ("uniform", "gaussian"):
        shared = je.Noise(kind=kind, scale=0.15, n_samples=4)
        calls = {"explainer": 0}

        def explainer(model: Any, x: Any, y: Any, keys: Any, calls: Any = calls) -> Any:
            calls["explainer"] += len(x)
            return numpy_explainer(model, x, y, keys)

        got = evaluate(explainers={"entries": je.Host(explainer)}, metrics=noisy(noise=shared))
        assert calls["explainer"] == got.asked["attribution"] == N + 4 * N
        assert got.asked["output"] == got.asked["hidden"] == N + 4 * N
        assert got.asked["naive"]["attribution"] == len(NOISY) * (N + 4 * N)
        for row in NOISY if kind == "uniform" else NOISY[:1]:
            alone = score(dataclasses.replace(EVERY[row].metric, noise=shared))
            assert_same(got["entries", row], alone, row, rtol=tolerance(row), atol=EVERY[row].atol)
    # It wins over the metric's own settings, and over its draws.
    own = {"MaxSensitivity": je.MaxSensitivity(radius=0.15, n_samples=4)}
    same = {"MaxSensitivity": je.MaxSensitivity(noise=je.Noise(scale=0.15, n_samples=4), radius=9)}
    got, want = (evaluate(metrics=m)["entries", "MaxSensitivity"] for m in (same, own))
    assert_same(got, want, exactly=True)


def asked(metrics: Any, explainers: Any = None, **given: Any) -> Any:
    explainers = explainers or {"entries": entries}
    return evaluate(metrics=metrics, explainers=explainers, **given).asked


def test_sensitivities_share_one_pass():
    """0.2 and float32(0.2) are one number."""
    got = asked(
        {
            "max": je.MaxSensitivity(n_samples=4),
            "avg": je.AvgSensitivity(n_samples=4, radius=np.float32(0.2)),
            "ris": je.RIS(n_samples=4, radius=jnp.float32(0.2)),
        }
    )
    assert got == {
        "output": N + 4 * N,  # RIS looks at predictions
        "attribution": N + 4 * N,
        "hidden": 0,
        "naive": {"output": N + 4 * N, "attribution": 3 * (N + 4 * N), "hidden": 0},
    }


def test_another_radius_is_another_question():
    radii = {"a": je.MaxSensitivity(n_samples=4), "b": je.MaxSensitivity(n_samples=4, radius=0.3)}
    assert asked(radii)["attribution"] == N + 2 * 4 * N


def test_flipping_and_deletion_share_their_steps():
    got = asked(
        {
            "flipping": je.PixelFlipping(n_steps=6),
            "deletion": je.Deletion(n_steps=6),
            "logit": je.Deletion(n_steps=6, output="logit"),
            "raw": je.Deletion(n_steps=6, normalise=None),  # another map, so another question
        },
    )
    assert got["output"] == N + 2 * 6 * N
    assert got["naive"]["output"] == 4 * (N + 6 * N)
    assert got["attribution"] == N
    assert got["naive"]["attribution"] == 4 * N


def test_both_orders_of_flipping_are_shared():
    got = asked(
        {
            "gain": je.SRG(n_steps=6),
            "morf": je.PixelFlipping(n_steps=6),
            "lerf": je.PixelFlipping(n_steps=6, order="lerf"),
            "deletion": je.Deletion(n_steps=6),
        }
    )
    assert got["output"] == N + 2 * 6 * N
    assert got["naive"]["output"] == (N + 2 * 6 * N) + 3 * (N + 6 * N)


def test_information_curves_share_the_steps_of_insertion():
    got = asked({"i": je.Insertion(n_steps=6), "s": je.SIC(n_steps=6), "a": je.AIC(n_steps=6)})
    assert got["output"] == N + 6 * N


def test_only_real_superpixels_are_asked():
    """Padding to the most that there may be costs nothing."""
    segments = np.zeros((N, 8, 8), int)
    for i in range(N):
        segments[i, :, 4:] = 1
        segments[i, 0, : i % 3] = 3  # an id between is not used, samples differ in how many are
    got = asked({"irof": je.IROF(n_segments=10)}, extras={"segments": segments})
    assert got["output"] == N + sum(len(np.unique(v)) for v in segments)


def test_patches_are_shared():
    """Selectivity takes all patches, and so does RegionPerturbation where there are few."""
    got = asked({"s": je.Selectivity(patch_size=4), "r": je.RegionPerturbation(patch_size=4)})
    assert got["output"] == N + 4 * N


def test_one_masked_input_serves_three():
    got = asked({"d": je.AverageDrop(), "i": je.IncreaseInConfidence(), "a": je.ADCC()})
    assert got["output"] == N + N
    assert got["attribution"] == N + N


def test_random_cells_are_asked_once_for_all_explainers():
    """The grid is of the input, whatever a feature is."""
    explainers = {"entries": entries, "pixels": pixels}
    assert asked({"mu": metric_of("MuFidelity")}, explainers)["output"] == N + 8 * N


def test_random_subsets_are_asked_once_for_all_explainers():
    w = world()
    three = {"a": w.maps["smooth"], "b": w.maps["ties"], "c": entries}
    metric = {"correlation": metric_of("FaithfulnessCorrelation")}
    got, one = asked(metric, three), asked(metric, {"a": three["a"]})
    assert got["output"] == one["output"] == N + 8 * N
    assert got["naive"]["output"] == 3 * one["naive"]["output"] == 3 * (N + 8 * N)
    assert got["attribution"] == got["naive"]["attribution"] == N
    # Pixels are other features: other questions.
    assert asked(metric, {**three, "d": pixels})["output"] == N + 2 * 8 * N


def test_layers_are_randomised_for_each_explainer():
    got = asked({"mprt": je.MPRT(n_seeds=2)}, {"a": entries, "b": pixels})
    assert got["attribution"] == got["naive"]["attribution"] == 2 * (N + 2 * 2 * N)
    assert got["output"] == got["naive"]["output"] == 0


def test_a_ranked_question_is_asked_for_each_explainer():
    w = world()
    two = {"a": w.maps["smooth"], "b": w.maps["ties"]}
    assert asked({"flipping": je.PixelFlipping(n_steps=6)}, two)["output"] == N + 2 * 6 * N


def test_a_metric_without_questions_asks_nothing():
    got = asked({"s": je.Sparseness(), "c": je.Complexity()}, {"a": world().maps["smooth"]})
    zero = {"output": 0, "attribution": 0, "hidden": 0}
    assert got == {**zero, "naive": zero}


def test_padding_is_not_counted():
    """The model is really called as often as `asked` says, also with ragged batches."""
    w = world()
    for size in (1, 3, 5, 100):
        spy = Spy(w)
        got = evaluate(
            model=spy.model,
            explainers={"a": w.maps["smooth"]},
            metrics={"f": je.PixelFlipping(n_steps=6), "s": je.Sparseness()},
            batch_size=size,
        ).asked
        assert sum(map(len, spy.x)) == got["output"] == N + 6 * N
        assert max(map(len, spy.x)) <= size


@pytest.mark.rows
@together
def test_all_together_asks_no_more_than_each_alone():
    got = base().asked
    for what in ("output", "attribution", "hidden"):
        assert got[what] <= got["naive"][what]
