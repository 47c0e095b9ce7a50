"""Sweeps and meta-evaluations of texts: inputs and words travel with their samples."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import jaxeval as je
from jaxeval.data import open_source
from jaxeval.sweep.place import local_mesh
from tests.text.network import PAD, SEP, T, model, params, reference, texts

IDS, P = texts(7), params()
Y = np.array([reference(P, row[row != PAD]).argmax() for row in IDS])
TYPES = np.random.default_rng(6).integers(0, 2, IDS.shape)
WORDS = np.where(IDS > SEP, np.arange(T) // 2, -1)
MAPS = np.random.default_rng(2).normal(size=IDS.shape).astype(np.float32)
EXPLAINERS: dict[str, Any] = {"LOO": je.explain.FeatureAblation(), "a": MAPS}
METRICS: dict[str, Any] = {
    "comp": je.AOPCComprehensiveness(baseline="delete"),
    "subsets": je.FaithfulnessCorrelation(n_runs=6, subset_size=1),
}
ARRAYS = {"input_ids": IDS, "y": Y, "token_type_ids": TYPES, "word_ids": WORDS}
NET = model()


def direct(rows: slice, **given: Any) -> Any:
    return je.evaluate(
        NET, IDS[rows], Y[rows], explainers={**EXPLAINERS, "a": MAPS[rows]}, metrics=METRICS,
        index=np.arange(len(IDS))[rows], progress=False, batch_size=8, mesh=local_mesh(1),
        **given,
    )  # fmt: skip


def sweep_of(folder: Any, data: Any, **more: Any) -> Any:
    return je.Sweep(
        data=data, model=NET, explainers=EXPLAINERS, metrics=METRICS, output=folder, shard_size=3,
        batch_size=8, **more,
    )  # fmt: skip


def source(**more: Any) -> Any:
    return open_source(ARRAYS, inputs=("token_type_ids",), **more)


def test_a_sweep_is_one_evaluation(tmp_path):
    """Shards of 3, the last one ragged, are evaluations bit for bit, also begun again."""
    sweep = sweep_of(tmp_path, source())
    mesh = local_mesh(1)
    assert je.run(sweep, progress=False, mesh=mesh).complete
    store, given = je.Store(tmp_path), {"inputs": {"token_type_ids": TYPES}, "features": WORDS}
    found = store.results()
    for rows in (slice(0, 3), slice(3, 6), slice(6, 7)):
        own = {"inputs": {"token_type_ids": TYPES[rows]}, "features": WORDS[rows]}
        for cell, scores in direct(rows, **own).scores.items():
            np.testing.assert_array_equal(found.scores[cell][rows], scores, err_msg=str(cell))
    plain = direct(slice(0, 7))
    for cell, scores in direct(slice(0, 7), **given).scores.items():
        np.testing.assert_allclose(found.scores[cell], scores, rtol=1e-4, atol=1e-6)
    assert not np.allclose(found.scores["a", "comp"], plain.scores["a", "comp"])
    lost = sorted(store.done())[1]
    store.path(lost).unlink()
    again = je.run(sweep, progress=False, mesh=mesh)
    assert (again.computed, again.found) == (1, 2)
    for cell, scores in found.scores.items():
        np.testing.assert_array_equal(store.results().scores[cell], scores, err_msg=str(cell))
    other = sweep_of(tmp_path, open_source({**ARRAYS, "token_type_ids": 1 - TYPES},
                                           inputs=("token_type_ids",)))  # fmt: skip
    with pytest.raises(je.SweepError, match="token_type_ids"):
        je.run(other, progress=False, mesh=mesh)


def test_every_source_of_data_has_inputs_and_words(tmp_path):
    np.savez(tmp_path / "texts.npz", **ARRAYS)
    np.save(tmp_path / "beside.npy", IDS)
    for name, v in list(ARRAYS.items())[1:]:
        np.save(tmp_path / f"beside.{name}.npy", v)
    rows = [{k: v[i] for k, v in ARRAYS.items()} for i in range(len(IDS))]
    for given in (
        ARRAYS,
        tmp_path / "texts.npz",
        tmp_path / "beside.npy",
        rows,
        lambda: iter(rows),
    ):
        opened = open_source(given, inputs=("token_type_ids",))
        blocks = [batch for _, batch in opened.blocks(4, lambda _: True)]
        assert [len(b) for b in blocks] == [4, 3]
        last = blocks[1].rows(slice(1, 3))
        np.testing.assert_array_equal(last.x, IDS[5:7])
        np.testing.assert_array_equal(last.features, WORDS[5:7])
        np.testing.assert_array_equal(last.inputs["token_type_ids"], TYPES[5:7])
        assert list(last.parts()) == ["x", "y", "features", "inputs"]
    with pytest.raises(ValueError, match="no column 'types'"):
        open_source(ARRAYS, inputs=("types",))
    assert open_source({**ARRAYS, "own": WORDS}, features="own").load(0, 2).features is not None


def test_a_meta_evaluation_of_texts():
    """Noise on the model and on maps; level 0 are the clean scores; the noise itself by hand."""
    given: dict[str, Any] = {"inputs": {"token_type_ids": TYPES}, "features": WORDS}
    tests = [je.ModelNoise(minor=0.01, disruptive=4.0), je.MapNoise(levels=(0, 1))]
    metrics = {"comp": METRICS["comp"]}
    meta = je.meta_evaluate(
        NET, IDS, Y, explainers={"LOO": EXPLAINERS["LOO"]}, metrics=metrics, tests=tests,
        n_perturbations=1, groups=1, progress=False, batch_size=8, controls=False, **given,
    )  # fmt: skip
    clean = je.score(metrics["comp"], NET, IDS, Y, explainer=EXPLAINERS["LOO"], **given).score
    levels = np.asarray(meta.scores["comp", "MapNoise", "levels"])[0, :, 0]
    np.testing.assert_allclose(levels[0], clean, rtol=1e-5, atol=1e-6)
    maps = np.asarray(je.attribute(EXPLAINERS["LOO"], NET, IDS, Y, **given))
    first = (WORDS >= 0) & (np.diff(WORDS, axis=1, prepend=-2) != 0)
    test, key = je.MapNoise(), jax.random.fold_in(meta.setup.root, 2)
    order = test.permutations("LOO", (T,), key, np.arange(len(IDS)), 0, first)
    noisy = np.where(first, np.take_along_axis(maps, order, 1), 0)
    wanted = je.score(metrics["comp"], NET, IDS, Y, noisy, **given).score
    np.testing.assert_allclose(levels[1], wanted, rtol=1e-5, atol=1e-6)
    model_noise = np.asarray(meta.scores["comp", "ModelNoise", "disruptive"])
    assert np.isfinite(model_noise).all()
    assert not np.allclose(model_noise.ravel(), clean)


def test_noise_on_ids_is_refused():
    with pytest.raises(ValueError, match=r"tests=\[je.ModelNoise\(\), je.MapNoise\(\)\]"):
        je.meta_evaluate(
            NET, IDS, Y, explainers={"LOO": EXPLAINERS["LOO"]}, metrics=METRICS, progress=False
        )
