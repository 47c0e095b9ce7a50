"""Baselines from samples of other data, one value a step, and those that mean nothing on tables."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

import jaxeval as je
from jaxeval import perturb
from jaxeval.types import Sample

KEY, N, F = 5, 5, 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, F)).astype(np.float32)
A = RNG.normal(size=(N, F)).astype(np.float32)
ROWS = RNG.normal(3, 1, (9, F)).astype(np.float32)
W = RNG.normal(size=(F, 3)).astype(np.float32)
Y = np.array([0, 1, 2, 0, 1])
MODEL = je.Model(lambda w, x: jnp.tanh(x @ w), W, channel_axis=None)


class Spy:
    """A NumPy model that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.asked.append(np.array(x))
        return np.tanh(x.reshape(len(x), -1)[:, :F] @ W)


def asked(metric: je.Metric, x: Any = X, a: Any = A, **given: Any) -> np.ndarray:
    """All that the model was asked for one metric, but the clean samples."""
    spy = Spy()
    host = je.Model(lambda params, v: spy(v), {}, host=True, channel_axis=None)
    je.score(metric, host, x, Y, a, key=KEY, **given)
    rows = np.concatenate(spy.asked)
    clean = (rows[:, None] == x).reshape(len(rows), N, -1).all(-1).any(1)
    return rows[~clean]


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# -- background -----------------------------------------------------------------------------------


def test_the_mean_of_the_background_is_an_array_of_it(no_warnings):
    for make in (je.PixelFlipping, je.FaithfulnessCorrelation, je.Completeness, je.SensitivityN):
        given = {"subset_size": 2} if make is je.FaithfulnessCorrelation else {}
        named = make(baseline="background mean", **given)
        array = make(baseline=ROWS.mean(0, dtype=np.float64).astype(np.float32), **given)
        got = je.score(named, MODEL, X, Y, A, key=KEY, background=ROWS).score
        np.testing.assert_array_equal(got, je.score(array, MODEL, X, Y, A, key=KEY).score)


@pytest.mark.parametrize(
    "metric",
    [
        je.PixelFlipping(n_steps=None),
        je.Insertion(n_steps=None),
        je.FaithfulnessCorrelation(subset_size=2, n_runs=20),
        je.FaithfulnessEstimate(),
        je.NonSensitivity(n_samples=3),
        je.MonotonicityCorrelation(n_samples=3),
        je.SensitivityN(n_runs=5),
    ],
    ids=lambda m: type(m).__name__,
)
def test_what_is_removed_comes_from_one_row_as_a_whole(metric, no_warnings):
    """Removed entries are those of one sample of the background, and all of them are drawn."""
    queries = asked(dataclasses.replace(metric, baseline="background"), background=ROWS)
    seen = set()
    for q in queries:
        kept = (q == X).sum(1)
        x = X[kept.argmax()] if kept.max() else None
        gone = np.ones(F, bool) if x is None else q != x
        rows = [i for i, row in enumerate(ROWS) if (row[gone] == q[gone]).all()]
        assert len(rows) == 1
        seen |= set(rows)
    assert len(seen) > 2


def test_a_background_is_drawn_once_where_other_random_baselines_are():
    """Of a deletion once a sample, of random subsets anew for each."""
    for metric, once in ((je.PixelFlipping(n_steps=None), True),
                         (je.FaithfulnessEstimate(), False)):  # fmt: skip
        queries = asked(dataclasses.replace(metric, baseline="background"), background=ROWS)
        drawn: dict[int, set[int]] = {}
        for q in queries:
            kept = (q == X).sum(1)
            if kept.max():
                i = int(kept.argmax())
                gone = q != X[i]
                (row,) = (k for k, r in enumerate(ROWS) if (r[gone] == q[gone]).all())
                drawn.setdefault(i, set()).add(row)
        counts = [len(v) for v in drawn.values()]
        assert (max(counts) == 1) == once


def test_scores_on_a_background_do_not_depend_on_batches_company_or_devices():
    metrics = {
        "flip": je.PixelFlipping(baseline="background"),
        "subsets": je.FaithfulnessCorrelation(baseline="background", subset_size=2, n_runs=7),
    }
    explainers = {
        "stored": A,
        "ig": je.explain.IntegratedGradients(baseline="background", n_steps=4),
        "shap": je.explain.KernelShap(baseline="background", n_samples=20),
        "expected": je.explain.ExpectedGradients(background="background", n_samples=4),
    }

    def run(**given: Any) -> je.Results:
        given = {"background": ROWS, "key": KEY, "progress": False, "metrics": metrics} | given
        return je.evaluate(MODEL, X, Y, **{"explainers": explainers, **given})

    whole = run()
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    other = run(batch_size=2, mesh=mesh)
    for cell, outcome in whole.outcomes.items():
        np.testing.assert_allclose(other[cell].score, outcome.score, rtol=2e-5, atol=1e-6)
    alone = run(metrics={"flip": metrics["flip"]}, explainers={"shap": explainers["shap"]})
    np.testing.assert_allclose(
        alone["shap", "flip"].score, whole["shap", "flip"].score, rtol=2e-5, atol=1e-6
    )
    f = je.as_function(metrics["flip"], MODEL, background=ROWS)
    got = f(X[3], Y[3], A[3], jax.random.key(KEY), 3).score
    np.testing.assert_allclose(got, whole["stored", "flip"].score[3], rtol=2e-5, atol=1e-6)


def test_explainers_on_a_background(no_warnings):
    """The fields `baseline` and `background`, also of an explainer that another one wraps."""
    mean = ROWS.mean(0, dtype=np.float64).astype(np.float32)
    e, how = je.explain, {"key": KEY}
    for named, explicit in (
        (e.IntegratedGradients(baseline="background mean"), e.IntegratedGradients(baseline=mean)),
        (e.DeepLiftShap(background="background"), e.DeepLiftShap(background=ROWS)),
        (e.DeepLiftShap(background="background mean"), e.DeepLiftShap(background=mean[None])),
        (e.ExpectedGradients(background="background"), e.ExpectedGradients(background=ROWS)),
        (e.Occlusion(baseline="background"), e.Occlusion(baseline=je.Background(ROWS))),
        (je.Host(e.Occlusion(baseline="background")), e.Occlusion(baseline=je.Background(ROWS))),
    ):
        got = je.attribute(named, MODEL, X, Y, background=ROWS, **how)
        np.testing.assert_allclose(
            got, je.attribute(explicit, MODEL, X, Y, **how), rtol=1e-5, atol=1e-6
        )
    one = je.attribute(e.DeepLift(baseline="background"), MODEL, X, Y, background=ROWS, **how)
    zeros = [np.asarray(e.DeepLift(baseline=r)(MODEL, X, Y)) for r in ROWS]
    per_sample = [any(np.allclose(one[i], z[i], atol=1e-5) for z in zeros) for i in range(N)]
    assert all(per_sample)


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """An explainer with settings for another library, as those of the bridges."""

    settings: dict[str, Any]

    def __call__(self, model: Any, x: Any, y: Any, keys: Any) -> Any:
        return np.asarray(x) - self.settings["baselines"]


def test_settings_for_other_libraries():
    """They take the mean; what they would have to draw is refused, before it is called."""
    mean = je.Host(Elsewhere({"baselines": "background mean"}))
    got = je.attribute(mean, MODEL, X, Y, background=ROWS)
    np.testing.assert_allclose(got, X - ROWS.mean(0), rtol=1e-4, atol=1e-5)
    drawn = je.Host(Elsewhere({"baselines": "background"}))
    with pytest.raises(ValueError, match="cannot be drawn there"):
        je.attribute(drawn, MODEL, X, Y, background=ROWS)
    with pytest.raises(ValueError, match="give background="):
        je.attribute(mean, MODEL, X, Y)


REFUSED = {
    "metric": (lambda: je.score(je.SRG(baseline="background"), MODEL, X, Y, A), "SRG.*background="),
    "explainer": (
        lambda: je.attribute(je.explain.Occlusion(baseline="background mean"), MODEL, X, Y),
        "Occlusion.*background=",
    ),
    "explainer's background": (
        lambda: je.attribute(je.explain.GradientShap(background="background"), MODEL, X, Y),
        "GradientShap.*background=",
    ),
    "called by itself": (
        lambda: je.explain.Occlusion(baseline="background mean")(MODEL, X, Y),
        "give background=",
    ),
    "as a function": (lambda: je.as_function(je.SRG(baseline="background"), MODEL), "background="),
    "other samples": (
        lambda: je.score(je.SRG(baseline="background"), MODEL, X, Y, A, background=ROWS[:, 1:]),
        r"background must be at least one sample like those of x, \[B, 6\], got shape \[9, 5\]",
    ),
    "one sample": (
        lambda: je.score(je.SRG(baseline="background"), MODEL, X, Y, A, background=ROWS[0]),
        r"background must be .* got shape \[6\]",
    ),
    "no samples": (
        lambda: je.score(je.SRG(baseline="background"), MODEL, X, Y, A, background=ROWS[:0]),
        "background must be at least one",
    ),
    "NaN": (
        lambda: je.score(je.SRG(baseline="background"), MODEL, X, Y, A, background=ROWS * np.nan),
        "background holds NaN",
    ),
    "a background that does not fit": (
        lambda: je.score(je.SRG(baseline=je.Background(ROWS[:, 1:])), MODEL, X, Y, A),
        r"background of shape \(9, 5\) does not fit",
    ),
    "another name": (lambda: je.SRG(baseline="backgrund"), "Did you mean 'background'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    call, says = REFUSED[what]
    with pytest.raises(ValueError, match=says):
        call()


def test_a_background_that_nobody_uses_is_mentioned():
    with pytest.warns(UserWarning, match="background= is given, but no metric"):
        je.score(je.Sparseness(), MODEL, X, Y, A, background=ROWS)


# -- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", ["black", "white", "mean", "channel_mean", "uniform", "blur"])
def test_baselines_that_mix_units_warn_once(baseline):
    metrics = {"one": je.SRG(baseline=baseline), "two": je.Selectivity(patch_size=2)}
    metrics["two"] = dataclasses.replace(metrics["two"], baseline=baseline)
    explainers = {"o": je.explain.Occlusion(baseline=baseline)}
    x = X * np.logspace(0, 3, F, dtype=np.float32)
    with pytest.warns(UserWarning, match="mix the units") as seen:
        je.evaluate(MODEL, x, Y, explainers=explainers, metrics=metrics, progress=False)
    (found,) = (w for w in seen if "mix the units" in str(w.message))
    for part in (f"metric 'one' ({baseline!r})", "metric 'two'", "explainer 'o'", "background="):
        assert part in str(found.message)
    assert found.filename == __file__


def test_baselines_that_do_not_mix_units_do_not_warn(no_warnings):
    score = lambda b, **g: je.score(je.SRG(baseline=b), MODEL, X, Y, A, **g)  # noqa: E731
    score("zero")
    score(0.5)
    score(ROWS[0])
    score("background", background=ROWS)
    series = je.Model(lambda w, x: jnp.tanh(x[:, 0] @ w), W)
    je.score(je.SRG(), series, X[:, None], Y, A)
    je.score(je.Infidelity(), MODEL, X, Y, A)  # asks about noise, not about its baseline


# -- one value a step -----------------------------------------------------------------------------


def values_of(queries: np.ndarray, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(q != x, q) for q in queries]


def test_one_value_a_step_where_steps_are_alone():
    """All that one step removes has one value, in [0, 1], another one in the next step."""
    metric = je.FaithfulnessEstimate(features_in_step=2, baseline="uniform_value")
    seen = set()
    for q in asked(metric):
        x = X[(q == X).sum(1).argmax()]
        (value,) = set(q[q != x].tolist())
        assert 0 <= value <= 1
        seen.add(value)
    assert len(seen) == N * F // 2


SHAPE = (2, 4, 6)
IMAGE = RNG.normal(5, 1, SHAPE).astype(np.float32)


def sample_of(a: np.ndarray, **given: Any) -> Sample:
    return Sample(
        x=jnp.asarray(IMAGE), y=jnp.int32(0), key=jax.random.key(KEY), position=jnp.int32(0),
        a=jnp.asarray(a), features=a.shape, channel_axis=0, **given,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("question", "shape"),
    [
        (perturb.RankedDeletion(steps=5, baseline="uniform_value"), SHAPE),
        (perturb.RankedDeletion(steps=5, baseline="uniform_value"), SHAPE[1:]),
        (perturb.RankedDeletion(features_in_step=7, baseline="uniform_value"), SHAPE[1:]),
        (perturb.RankedDeletion(steps=5, order="random", baseline="uniform_value"), SHAPE),
        (perturb.RankedPatches(patch_size=3, n_regions=None, baseline="uniform_value"), SHAPE[1:]),
    ],
    ids=["entries", "pixels", "by number", "random", "patches"],
)
def test_one_value_a_step_where_what_goes_stays_away(question, shape):
    """What goes in a step has the value of that step, in later ones, too, as in Quantus."""
    sample = sample_of(np.random.default_rng(3).normal(size=shape).astype(np.float32))
    question = question.bind(MODEL, sample)
    plan = question.plan(sample, je.Answer())
    before, values = IMAGE, []
    for step in range(question.n_steps(sample)):
        after = np.asarray(question.apply(sample, plan, step).x)
        new = (after != IMAGE) & (before == IMAGE)
        old = before != IMAGE
        np.testing.assert_array_equal(after[old], before[old])
        assert len(set(after[new].tolist())) == 1
        values.append(float(after[new][0]))
        before = after
    assert (before != IMAGE).all()
    assert len(set(values)) == len(values)
    assert 0 <= min(values) <= max(values) <= 1


def test_one_value_a_step_of_a_padded_sample():
    valid = np.zeros((1, 4, 6), bool)
    valid[:, :3, 1:5] = True
    a = np.where(valid[0], np.random.default_rng(3).normal(size=(4, 6)), 0).astype(np.float32)
    sample = sample_of(a, valid=jnp.asarray(valid))
    question = perturb.RankedDeletion(steps=5, baseline="uniform_value").bind(MODEL, sample)
    plan = question.plan(sample, je.Answer())
    last = np.asarray(question.apply(sample, plan, 4).x)
    changed = np.broadcast_to(valid, SHAPE)
    assert len(np.unique(last[changed])) == 5


# -- orders of patches ----------------------------------------------------------------------------


def test_directions_of_orders_of_patches():
    orders = {"morf": "higher", "lerf": "lower", "random": "higher"}
    for order, direction in orders.items():
        assert je.RegionPerturbation(order=order).direction == direction
    with pytest.raises(ValueError, match="Did you mean 'morf'"):
        je.RegionPerturbation(order="morff")


def test_patches_in_random_order_are_blind_and_shared():
    x = np.broadcast_to(IMAGE, (3, *SHAPE)).copy()
    model = je.Model(lambda w, v: v.reshape(len(v), -1)[:, :6] @ w, W)
    maps = {e: np.random.default_rng(i).normal(size=(3, 4, 6)) for i, e in enumerate("ab")}
    metrics = {"r": je.RegionPerturbation(patch_size=3, order="random", baseline="zero")}
    r = je.evaluate(model, x, [0, 1, 2], explainers=maps, metrics=metrics, progress=False)
    np.testing.assert_array_equal(r["a", "r"].curve, r["b", "r"].curve)
    assert r.asked["output"] == 3 + 3 * 4  # four patches, the last three smaller
    assert len({tuple(np.round(c / c[-1], 4)) for c in r["a", "r"].curve}) > 1
    given = dataclasses.replace(metrics["r"], draws=np.array([3, 1, 0, 2]))
    assert je.score(given, model, x, [0, 1, 2], maps["a"]).curve.shape == (3, 4)
    for draws, says in (([0, 1, 2], "do not fit"), ([0, 1, 2, 2], "names something twice")):
        with pytest.raises(ValueError, match=says):
            je.score(
                dataclasses.replace(given, draws=np.array(draws)), model, x, [0, 1, 2], maps["a"]
            )
    with pytest.raises(ValueError, match='needs order="random"'):
        je.score(dataclasses.replace(given, order="morf"), model, x, [0, 1, 2], maps["a"])


def test_every_entry_goes():
    """Whatever the size of a patch: of a sum, all of it."""
    x = np.broadcast_to(IMAGE, (2, *SHAPE)).copy()
    total = je.Model(lambda p, v: jnp.stack([v.reshape(len(v), -1).sum(1)] * 2, 1), {})
    a = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    for size in (1, 2, 3, 4):
        given = {"patch_size": size, "baseline": 0.0, "output": "logit"}
        orders = ("morf", "lerf", "random")
        drops = {o: je.RegionPerturbation(order=o, n_regions=None, **given) for o in orders}
        metrics = {**drops, "left": je.Selectivity(**given)}
        r = je.evaluate(
            total, x, [0, 1], explainers={"a": a}, metrics=metrics, progress=False
        ).curves
        for order in orders:
            np.testing.assert_allclose(r["a", order][:, -1], IMAGE.sum(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(r["a", "left"][:, -1], 0, atol=1e-3)
    with pytest.raises(ValueError, match="patch_size=5 is larger than the input"):
        je.score(je.Selectivity(patch_size=5), total, x, [0, 1], a)
