"""Areas under curves to a tolerance: what is promised of the steps that are asked."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import perturb
from jaxeval.engine.rounds import Curve, curve_of
from jaxeval.engine.steps import steps_of
from jaxeval.metrics.bases import Area

N, F = 12, 64
RNG = np.random.default_rng(0)
X = (RNG.random((N, 8, 8)) * (RNG.random((N, 8, 8)) < 0.7)).astype(np.float32)
W = RNG.normal(size=(F, 12)).astype(np.float32)
V = RNG.normal(size=(12, 3)).astype(np.float32)
Y = np.arange(N) % 3
MAPS = {"u": RNG.normal(size=X.shape).astype(np.float32), "v": X}


def apply(params: Any, x: Any) -> Any:
    w, v = params
    return jnp.tanh(x.reshape(len(x), -1) @ w) @ v


MODEL = je.Model(apply, (jnp.asarray(W), jnp.asarray(V)), channel_axis=None)
METRICS = {
    "flipping": je.PixelFlipping(n_steps=None, baseline=0.0),
    "deletion": je.Deletion(n_steps=None, baseline=0.0),
    "insertion": je.Insertion(n_steps=None, baseline=0.0),
    "gain": je.SRG(n_steps=None, baseline=0.0),
    "selectivity": je.Selectivity(patch_size=1, baseline=0.0),
    "regions": je.RegionPerturbation(patch_size=1, n_regions=40, baseline=0.0),
    "superpixels": je.IROF(n_segments=20, baseline=0.0),
}
SEGMENTS = np.arange(F).reshape(1, 8, 8).repeat(N, 0) // 2


def evaluate(**given: Any) -> je.Results:
    given = {"explainers": MAPS, "metrics": METRICS, "batch_size": 64} | given
    model = given.pop("model", MODEL)
    x, y = given.pop("x", X), given.pop("y", Y)
    return je.evaluate(
        model, x, y, extras={"segments": SEGMENTS[: len(x)]}, progress=False, **given
    )


def test_scores_are_within_the_tolerance():
    """Most of them; the errors say so; and fewer steps are asked."""
    tolerance = 0.03
    got, want = evaluate(tolerance=tolerance), evaluate()
    assert got.asked["output"] < 0.75 * want.asked["output"]
    inside, far = [], []
    for cell, outcome in got.outcomes.items():
        off = np.abs(outcome.score - want.outcomes[cell].score)
        inside.append(off <= tolerance + 1e-6)
        far.append(off.max())
        assert (outcome.error <= tolerance + 1e-6).all(), cell
        assert outcome.curve is None or outcome.curve.shape == want.outcomes[cell].curve.shape
    assert np.mean(inside) >= 0.9
    assert max(far) < 3 * tolerance


def test_a_tolerance_that_asks_for_everything_changes_nothing():
    """Bit for bit."""
    got, want = evaluate(tolerance=1e-12), evaluate()
    assert got.asked["output"] == want.asked["output"]
    for cell, outcome in want.outcomes.items():
        np.testing.assert_array_equal(got.outcomes[cell].score, outcome.score, str(cell))
        if outcome.curve is not None:
            np.testing.assert_array_equal(got.outcomes[cell].curve, outcome.curve, str(cell))


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_decides_nothing(batch_size: int):
    metrics = {k: METRICS[k] for k in ("flipping", "gain")}
    given: dict[str, Any] = {"metrics": metrics, "tolerance": 0.03}
    got, want = evaluate(batch_size=batch_size, **given), evaluate(**given)
    assert got.asked == want.asked
    for cell, outcome in want.outcomes.items():
        np.testing.assert_allclose(got.outcomes[cell].score, outcome.score, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(got.outcomes[cell].error, outcome.error, rtol=1e-3, atol=1e-6)


def test_the_company_decides_nothing():
    """Explainers, other metrics of the same question, and one that asks every step."""
    fine = dataclasses.replace(METRICS["deletion"], tolerance=0.005)
    coarse = dataclasses.replace(METRICS["flipping"], tolerance=0.05)
    all_ = {"fine": fine, "coarse": coarse}
    exact = {**all_, "exact": METRICS["deletion"]}
    for name, metric in all_.items():
        alone = evaluate(metrics={name: metric}, explainers={"u": MAPS["u"]})
        for company in (evaluate(metrics=all_), evaluate(metrics=exact)):
            for part in ("score", "error"):
                a, b = (getattr(r["u", name], part) for r in (alone, company))
                np.testing.assert_array_equal(a, b, f"{name}: {part}")
            assert company.asked["output"] >= alone.asked["output"]


def test_the_order_of_samples_decides_nothing():
    given: dict[str, Any] = {"metrics": {"f": METRICS["flipping"]}, "tolerance": 0.03}
    back = {e: a[::-1] for e, a in MAPS.items()}
    index = np.arange(N)
    got = evaluate(x=X[::-1], y=Y[::-1], index=index[::-1], explainers=back, **given)
    want = evaluate(index=index, **given)
    np.testing.assert_allclose(
        got["u", "f"].score[::-1], want["u", "f"].score, rtol=1e-5, atol=1e-6
    )
    assert got.asked == want.asked


def test_what_a_host_model_is_asked():
    seen: list[bytes] = []

    def of_host(_: Any, x: Any) -> Any:
        seen.extend(row.tobytes() for row in x)
        return np.tanh(x.reshape(len(x), -1) @ W) @ V

    given: dict[str, Any] = {"metrics": {"f": METRICS["flipping"]}, "explainers": {"u": MAPS["u"]}}
    got = evaluate(model=je.Model(of_host, host=True, channel_axis=None), tolerance=0.03, **given)
    assert len(seen) == got.asked["output"] < 0.6 * evaluate(**given).asked["output"]
    assert len(set(seen)) == len(seen)
    # What one metric and sample at a time would ask: also the black end of each sample's curve.
    assert got.asked["naive"]["output"] == got.asked["output"] + N - 1


def test_padded_samples_and_undefined_ones():
    padding = np.zeros(X.shape, bool)
    padding[1, :, 5:] = padding[2, 3:] = True
    x, maps = X.copy(), {"u": MAPS["u"].copy()}
    maps["u"][4, 0, 0] = np.nan
    metrics = {k: METRICS[k] for k in ("flipping", "insertion", "gain")}
    given: dict[str, Any] = {"x": x, "padding": padding, "explainers": maps, "metrics": metrics}
    with pytest.warns(UserWarning, match="NaN"):
        got, want = evaluate(tolerance=0.03, **given), evaluate(**given)
    for cell, outcome in want.outcomes.items():
        off = np.abs(got.outcomes[cell].score - outcome.score)
        assert np.isnan(off[4])
        assert np.delete(off, 4).max() < 0.06
        np.testing.assert_array_equal(
            np.isnan(got.outcomes[cell].curve), np.isnan(outcome.curve), str(cell)
        )


def test_a_model_that_answers_nan_comes_to_an_end():
    def broken(params: Any, x: Any) -> Any:
        return jnp.where(x.sum((1, 2))[:, None] > 5, apply(params, x), jnp.nan)

    model = je.Model(broken, MODEL.params, channel_axis=None)
    with pytest.warns(UserWarning, match="answered NaN"):
        got = evaluate(model=model, metrics={"f": METRICS["flipping"]}, tolerance=0.03)
    assert np.isnan(got["u", "f"].score).any()


def test_other_metrics_are_not_affected():
    metrics = {"f": METRICS["flipping"], "e": je.FaithfulnessEstimate(), "r": je.ROAD()}
    got, want = evaluate(metrics=metrics, tolerance=0.05), evaluate(metrics=metrics)
    for name in "er":
        np.testing.assert_allclose(got["u", name].score, want["u", name].score, 1e-5, 1e-6)
        assert got["u", name].asked is None
    with pytest.raises(ValueError, match="'e': all its questions are asked"):
        evaluate(metrics={"e": metrics["e"]}, tolerance=0.05)


def test_a_metrics_own_tolerance_wins():
    fine = dataclasses.replace(METRICS["flipping"], tolerance=0.005)
    given: dict[str, Any] = {"explainers": {"u": MAPS["u"]}}
    got = evaluate(metrics={"f": fine}, tolerance=0.1, **given)
    assert got.asked == evaluate(metrics={"f": fine}, **given).asked
    assert got.asked["output"] > evaluate(metrics={"f": METRICS["flipping"]}, tolerance=0.1,
                                          **given).asked["output"]  # fmt: skip


@pytest.mark.parametrize("tolerance", [0, -1, float("nan"), "0.1", True])
def test_wrong_tolerances(tolerance: Any):
    with pytest.raises(ValueError, match="tolerance"):
        evaluate(tolerance=tolerance)
    with pytest.raises((TypeError, ValueError), match="tolerance"):
        je.PixelFlipping(tolerance=tolerance)


def test_as_function_refuses_it():
    with pytest.raises(TypeError, match="use evaluate or score"):
        je.as_function(je.PixelFlipping(tolerance=0.1), MODEL)


def test_the_bound_holds_for_monotone_curves():
    """Half of the change between two steps bounds what the area between them may be off by."""
    rng = np.random.default_rng(3)
    rows, n = 50, 101
    y = np.cumsum(rng.exponential(size=(rows, n)) ** 3, 1)
    y /= y[:, -1:]
    steps = steps_of(np.full(rows, n), None)
    curve: Curve = curve_of(steps, n, 0.01)
    wanted = curve.first()
    while wanted.any():
        curve.learn(wanted, y)
        off = np.abs(np.trapezoid(curve.filled(), axis=1) - np.trapezoid(y, axis=1)) / (n - 1)
        assert (off <= curve.unknown().sum(1) + 1e-12).all()
        wanted = curve.wanted()
    assert (curve.error() <= 0.01).all()
    assert np.mean(off <= 0.01) >= 0.95
    assert curve.evaluations.sum() < 0.6 * rows * n


def test_on_two_devices(two_devices: Any):
    given: dict[str, Any] = {"metrics": {"f": METRICS["flipping"]}, "tolerance": 0.03}
    got, want = evaluate(mesh=two_devices, **given), evaluate(**given)
    assert got.asked == want.asked
    np.testing.assert_allclose(got["u", "f"].score, want["u", "f"].score, 1e-5, 1e-6)


@je.pytree
class MeanDrop(Area):
    """The mean drop, which says nothing of its error."""

    family = "faithfulness"
    direction = "higher"
    asks = frozenset({"output"})

    def questions(self) -> Any:
        return perturb.RankedDeletion(steps=None, baseline=0.0)

    def measure(self, sample: Any, reference: Any, query: Any, answer: Any) -> Any:
        return self.drop(reference, answer, sample.y)

    def reduce(self, sample: Any, reference: Any, measured: Any, valid: Any) -> Any:
        return je.Outcome(score=measured.mean())


def test_an_area_of_ones_own():
    got, want = (evaluate(metrics={"m": MeanDrop()}, tolerance=t)["u", "m"] for t in (0.05, None))
    assert want.error is None
    assert (got.error <= 0.05).all()
    assert (np.abs(got.score - want.score) <= 0.05).mean() >= 0.8


def test_an_area_needs_a_tolerance():
    @je.pytree
    class Bare(je.Metric):
        family, direction, steps_are = "faithfulness", "higher", "curve"

        def reduce(self, sample: Any, reference: Any, measured: Any, valid: Any) -> Any:
            return je.Outcome(score=jnp.zeros(()))

    with pytest.raises(TypeError, match="make it a subclass of"):
        evaluate(metrics={"m": Bare()})
