"""`meta_evaluate` against plain calls of `evaluate`, `attribute`, `score` with the same draws."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxeval as je
from jaxeval.engine import kernels
from jaxeval.meta import asking
from tests.meta.world import (
    EXPLAINERS,
    FEATURES,
    GIVEN,
    METRICS,
    MODEL,
    PARAMS,
    N,
    P,
    X,
    draws_of_inputs,
    draws_of_maps,
    draws_of_model,
)

Y = np.asarray(MODEL(X)).argmax(1)
LEVELS = (0.0, 0.5, 1.0)
SIGMA = {"minor": 0.001, "disruptive": 2.0}
RADIUS = {"minor": 0.01, "disruptive": 4.0}


def fresh(p):
    """The ids of the samples under perturbation p."""
    return np.arange(N) + N * (1 + p)


@pytest.fixture(scope="module")
def meta():
    tests = {
        "model": je.ModelNoise(**SIGMA, draws={k: draws_of_model(i) for i, k in enumerate(SIGMA)}),
        "kept": je.InputNoise(**RADIUS, draws=draws_of_inputs()),
        "own": je.InputNoise(**RADIUS, maps="own", draws=draws_of_inputs()),
        "maps": je.MapNoise(levels=LEVELS, draws=draws_of_maps()),
    }
    return je.meta_evaluate(MODEL, X, tests=tests, n_perturbations=P, groups=2, **GIVEN)


def same(got, want):
    """Equal up to the rounding of other batches: scores are of size 1."""
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def plain(model, x, index, metrics=METRICS):
    results = je.evaluate(
        model, x, Y, explainers=EXPLAINERS, metrics=metrics, index=index, progress=False
    )
    return {m: np.stack([results[e, m].score for e in EXPLAINERS]) for m in metrics}


def noisy_model(kind, p):
    z = draws_of_model(list(SIGMA).index(kind))
    params = jax.tree.map(lambda v, n: v * (1 + SIGMA[kind] * n[p]), PARAMS, z)
    return dataclasses.replace(MODEL, params=params)


def noisy_inputs(kind, p):
    return np.maximum(X + RADIUS[kind] * draws_of_inputs()[p], X.min(1, keepdims=True))


def test_clean_scores_are_those_of_evaluate(meta):
    for m, want in plain(MODEL, X, np.arange(N)).items():
        same(meta.clean[m], want)
    assert meta.explainers == tuple(EXPLAINERS)
    assert meta.metrics == (*METRICS, "Random", "Constant")
    np.testing.assert_array_equal(meta.y, Y)


@pytest.mark.parametrize("kind", ["minor", "disruptive"])
def test_model_noise_explains_and_scores_the_noisy_model(meta, kind):
    for p in (0, P - 1):
        model = noisy_model(kind, p)
        for m, want in plain(model, X, fresh(p)).items():
            same(meta.scores[m, "model", kind][p], want)
        classes = np.asarray(model(X)).argmax(1)
        np.testing.assert_array_equal(meta.kept["model", kind][p], classes == Y)
        np.testing.assert_array_equal(meta.changed["model", kind][p], classes != Y)


@pytest.mark.parametrize("kind", ["minor", "disruptive"])
def test_input_noise_with_maps_of_its_own(meta, kind):
    x = noisy_inputs(kind, 1)
    for m, want in plain(MODEL, x, fresh(1)).items():
        same(meta.scores[m, "own", kind][1], want)
    np.testing.assert_array_equal(meta.kept["own", kind][1], np.asarray(MODEL(x)).argmax(1) == Y)


@pytest.mark.parametrize("kind", ["minor", "disruptive"])
def test_input_noise_with_the_maps_of_the_clean_samples(meta, kind):
    """Metrics that explain anew do so around the noisy input."""
    x = noisy_inputs(kind, 2)
    for m, metric in METRICS.items():
        for e, explainer in enumerate(EXPLAINERS.values()):
            a = je.attribute(explainer, MODEL, X, Y)
            given = {"explainer": explainer} if "attribution" in metric.asks else {}
            found = je.score(metric, MODEL, x, Y, a, index=fresh(2), **given)
            same(meta.scores[m, "kept", kind][2, e], found.score)


def test_map_noise_blends_maps_with_their_permuted_entries(meta):
    """The metrics draw as for the clean samples: model and inputs stay."""
    scored = {m: v for m, v in METRICS.items() if m != "sensitivity"}
    for e, explainer in enumerate(EXPLAINERS.values()):
        a = np.asarray(je.attribute(explainer, MODEL, X, Y))
        a = a / np.sqrt((a**2).mean(1, keepdims=True))
        for p in (0, 3):
            moved = np.take_along_axis(a, draws_of_maps()[p], 1)
            maps = {str(t): ((1 - t) * a + t * moved).astype(np.float32) for t in LEVELS}
            results = je.evaluate(MODEL, X, Y, explainers=maps, metrics=scored, progress=False)
            for m in scored:
                want = np.stack([results[t, m].score for t in maps])
                same(meta.scores[m, "maps", "levels"][p, :, e], want)
    assert ("sensitivity", "maps", "levels") not in meta.scores


def test_the_table_is_made_of_the_statistics(meta):
    table = meta.table().set_index(["metric", "test"])
    assert len(table) == 6 * 4
    clean, minor = meta.clean["flipping"], meta.scores["flipping", "model", "minor"]
    hard = meta.scores["flipping", "model", "disruptive"]
    kept, changed = meta.kept["model", "minor"], meta.changed["model", "disruptive"]
    want = je.meta.meta_consistency(
        je.meta.iac(clean, minor, kept),
        je.meta.iac(clean, hard, changed),
        je.meta.iec_minor(clean, minor, kept),
        je.meta.iec_disruptive(clean, hard, changed, "lower"),
        groups=2,
    )
    row = table.loc["flipping", "model"]
    for name, value in want.items():
        np.testing.assert_allclose(row[name], value, atol=1e-12)
    np.testing.assert_allclose(row["tau"], je.meta.tau(clean, minor, kept).mean(), atol=1e-12)
    want = je.meta.react(clean, hard, changed, "lower").mean()
    np.testing.assert_allclose(row["react"], want, atol=1e-12)
    assert row["n_minor"] == kept.sum(1).mean()
    assert row["n_disruptive"] == changed.sum(1).mean()
    want = je.meta.recovery(LEVELS, meta.scores["flipping", "maps", "levels"], "lower").mean()
    np.testing.assert_allclose(table.loc["flipping", "maps"]["recovery"], want, atol=1e-12)
    alpha = je.meta.krippendorff_alpha(je.meta.midranks(clean))
    assert set(table.loc["flipping"]["alpha"]) == {alpha}
    means = table.loc["flipping"]["MC"].mean()
    np.testing.assert_allclose(meta.means().loc["flipping", "MC"], means, atol=1e-12)


def test_what_a_test_cannot_move_is_nan_with_a_reason(meta):
    table = meta.table().set_index(["metric", "test"])
    for cell, why in {
        ("sparseness", "kept"): "scores the map alone",
        ("sensitivity", "maps"): "maps made anew",
    }.items():
        assert why in table.loc[cell]["reason"]
        assert table.loc[cell][["MC", "IAC_NR", "tau", "react", "recovery"]].isna().all()
    assert table.loc["sparseness", "own"]["reason"] == ""
    assert np.isfinite(table.loc["sparseness", "own"]["MC"])


def test_controls_stand_at_chance(meta):
    table = meta.table().set_index(["metric", "test"])
    assert (table.loc["Constant"]["MC"].dropna() == 0.5).all()
    assert (table.loc["Constant"][["tau", "react"]].dropna() == 0).all().all()
    assert not table.loc["Constant", "maps"]["recovery"]
    random = [v for (m, t, _), v in meta.scores.items() if m == "Random"]
    assert len({v.tobytes() for v in random}) == len(random)  # independent of each other
    assert 0 <= min(map(np.min, random)) < 0.1 < 0.9 < max(map(np.max, random)) < 1


def test_each_question_is_asked_once(meta):
    per_sample = 1 + 3 * 4 + 8  # clean, flipping for each explainer, correlation for all
    noise = 2 * P * N
    again = 3 * (1 + 2)  # each explainer once, and around each input of MaxSensitivity
    assert meta.asked["tests"]["clean"] == {
        "output": N * per_sample, "attribution": N * again, "hidden": 0,
    }  # fmt: skip
    assert meta.asked["tests"]["model"] == {
        "output": noise * per_sample, "attribution": noise * again, "hidden": 0,
    }  # fmt: skip
    assert meta.asked["tests"]["kept"]["attribution"] == noise * 3 * 2  # maps are kept
    maps = 3 * (1 + 2 * P)  # the map without noise is one for all perturbations
    assert meta.asked["tests"]["maps"] == {
        "output": N * (1 + 4 * maps + 8), "attribution": 0, "hidden": 0,
    }  # fmt: skip
    # One metric and explainer at a time: the clean output, the steps; a map for each metric.
    alone = {"output": 3 * ((1 + 4) + (1 + 8)), "attribution": 3 * (4 + 2), "hidden": 0}
    assert meta.asked["metaquantus"] == {k: 6 * (1 + P) * N * v for k, v in alone.items()}
    assert meta.asked["output"] == sum(v["output"] for v in meta.asked["tests"].values())


def test_perturbations_compile_nothing_after_the_first():
    tests = [je.ModelNoise(minor=0.01, disruptive=1.0), je.InputNoise()]
    job = {"tests": tests, "n_perturbations": 2, "groups": 1, **GIVEN}
    metrics = {"flipping": METRICS["flipping"], "sensitivity": METRICS["sensitivity"]}
    traced, compiled = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **more: compiled.append(name) if "backend_compile" in name else None
    )
    of, original = [], asking.evaluate_job

    def counted(job, *more):
        before = kernels.TRACES.total(), len(compiled)
        found = original(job, *more)
        traced.append(kernels.TRACES.total() - before[0])
        of.append(len(compiled) - before[1])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "evaluate_job", counted)
        je.meta_evaluate(MODEL, X, **{**job, "metrics": metrics})
    _clean, _first, *others = of
    assert len(others) == 2 * 2 * 2 - 1
    assert others[:3] == [0, 0, 0]  # of models; the first input may compile, as its maps are given
    assert others[4:] == [0, 0, 0]
    assert sum(traced[2:5]) == sum(traced[6:]) == 0


def test_draws_of_its_own_belong_to_the_samples_and_the_key(two_devices):
    job = {
        "tests": [je.ModelNoise(), je.InputNoise(), je.MapNoise(levels=(0, 1))],
        "n_perturbations": 2, "groups": 1, "progress": False,
        "explainers": {"x grad": EXPLAINERS["x grad"]},
        "metrics": {k: METRICS[k] for k in ("flipping", "correlation")},
    }  # fmt: skip
    first = je.meta_evaluate(MODEL, X, key=7, **job)
    at = np.random.default_rng(1).permutation(N)
    again = je.meta_evaluate(MODEL, X[at], index=at, key=7, batch_size=4, mesh=two_devices, **job)
    other = je.meta_evaluate(MODEL, X, key=8, **job)
    for k, v in first.scores.items():
        np.testing.assert_allclose(again.scores[k], v[..., at], rtol=1e-4, atol=1e-5)
        if k[0] not in ("Constant", "Random"):
            assert not np.array_equal(other.scores[k], v), k
    for k, v in first.predicted.items():
        np.testing.assert_array_equal(again.predicted[k], v[..., at])


def test_common_seeds_and_what_they_hide():
    job = {
        "tests": [je.InputNoise(minor=0.0, disruptive=4.0)], "n_perturbations": 2, "groups": 1,
        **GIVEN, "metrics": {k: METRICS[k] for k in ("flipping", "correlation")},
    }  # fmt: skip
    both = je.meta_evaluate(MODEL, X, seeds="both", **job)
    common = je.meta_evaluate(MODEL, X, seeds="common", **job)
    for m in ("flipping", "correlation", "Random"):
        np.testing.assert_array_equal(
            both.scores[m, "InputNoise", "common"], common.scores[m, "InputNoise", "minor"]
        )
    table = both.table().set_index("metric")
    assert table.loc["flipping", "noise"] == 0  # it draws nothing
    assert table.loc["correlation", "noise"] > 0.05
    np.testing.assert_allclose(
        table.loc["Random", "noise"], 1 - table.loc["Random", "tau"], atol=1e-12
    )
    assert common.table().set_index("metric").loc["Random", "tau"] == 1
    assert common.table()["noise"].isna().all()


def test_saved_results_are_the_same(meta, tmp_path):
    again = je.MetaResults.load(meta.save(tmp_path / "new" / "meta.parquet"))
    pd.testing.assert_frame_equal(again.table(), meta.table())
    for name in ("clean", "scores", "predicted"):
        for k, v in getattr(meta, name).items():
            np.testing.assert_array_equal(getattr(again, name)[k], v)
            assert getattr(again, name)[k].dtype == v.dtype
    assert (again.asked, again.settings, again.reasons) == (meta.asked, meta.settings, meta.reasons)
    assert repr(again) == repr(meta)
    frame = pd.read_parquet(tmp_path / "new" / "meta.parquet")
    own = frame[(frame["metric"] == "flipping") & (frame["kind"] == "levels")]
    assert sorted(set(own["level"])) == list(LEVELS)
    with pytest.raises(ValueError, match="retest asks the model again"):
        again.retest()
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"not written by MetaResults\.save"):
        je.MetaResults.load(tmp_path / "other.parquet")


def test_rankings_are_of_measures_and_leave_out_what_has_none(meta):
    ranking = meta.ranking("recovery", n_bootstrap=50)
    assert ranking.index[0] in ("flipping", "correlation")
    row = ranking.loc["sensitivity"]
    assert np.isnan(row["value"])
    assert row["not_better_than"] == ""
    constant = meta.ranking("MC", n_bootstrap=20).loc["Constant"]
    assert (constant[["value", "ci_low", "ci_high"]] == 0.5).all()
    assert constant["control"]
    pd.testing.assert_frame_equal(
        meta.ranking("tau", n_bootstrap=20), meta.ranking("tau", n_bootstrap=20)
    )
    with pytest.raises(ValueError, match="Did you mean 'recovery'"):
        meta.ranking("recovry")


def test_a_model_of_plain_values_counts_all_samples():
    model = je.Model(lambda w, x: x @ w, jnp.ones((FEATURES, 1)), outputs="values")
    with pytest.warns(UserWarning, match="predicts no class"):
        meta = je.meta_evaluate(
            model, X, np.zeros(N, int), tests=[je.InputNoise(disruptive=1.0)], n_perturbations=2,
            groups=1, controls=False, explainers={"x grad": EXPLAINERS["x grad"]},
            metrics={"flipping": METRICS["flipping"]}, progress=False,
        )  # fmt: skip
    assert meta.kept == {}
    assert meta.table().loc[0, ["n_minor", "n_disruptive"]].tolist() == [N, N]


def test_maps_brought_to_pixels_are_tested_as_pixels():
    """Kept and noisy maps have the shape in which they are scored, and are made anew in it."""
    model = je.Model(lambda w, x: x.reshape(len(x), -1) @ w, jnp.asarray(X[:, :3].repeat(2, 0)))
    x = np.random.default_rng(5).normal(size=(4, 2, 3, 3)).astype(np.float32)
    metrics = {k: METRICS[k] for k in ("flipping", "sensitivity")}
    meta = je.meta_evaluate(
        model, x, explainers={"x grad": EXPLAINERS["x grad"]}, metrics=metrics,
        tests=[je.InputNoise(disruptive=3.0), je.MapNoise(levels=(0, 1))], n_perturbations=1,
        groups=1, reduce_channels="sum", progress=False,
    )  # fmt: skip
    assert meta.setup.maps["x grad"].shape == (4, 3, 3)
    noisy = meta.setup.tests["InputNoise"].inputs(
        x, None, jax.random.fold_in(meta.setup.root, 1), np.arange(4), "minor", 0
    )
    a = np.asarray(je.attribute(EXPLAINERS["x grad"], model, x, meta.y)).sum(1)
    found = je.score(metrics["flipping"], model, noisy, meta.y, a, index=np.arange(4) + 4)
    same(meta.scores["flipping", "InputNoise", "minor"][0, 0], found.score)
    assert np.isfinite(meta.scores["sensitivity", "InputNoise", "minor"]).all()
    mixed = {"x grad": EXPLAINERS["x grad"], "pixels": np.abs(x).sum(1)}
    with pytest.warns(UserWarning, match="maps have different features: 'x grad' of 2 x 3 x 3"):
        je.meta_evaluate(
            model, x, explainers=mixed, metrics={"sparse": je.Sparseness()}, n_perturbations=1,
            groups=1, tests=[je.MapNoise(levels=(0, 1))], progress=False,
        )  # fmt: skip
