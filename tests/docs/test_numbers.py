"""docs/numbers.md says what each column and field of results means."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je

PAGE = (Path(__file__).parents[2] / "docs/numbers.md").read_text(encoding="utf-8")
EXPLAINERS = {"S": je.explain.Saliency(), "G": je.explain.Gradient(), "R": je.explain.Random()}


def named(section: str) -> set[str]:
    """The names in the first column of a section's tables."""
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, section
    cells = re.findall(r"^\| ([^|]+) \|", found[1], re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.fixture(scope="module")
def model():
    w = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    return je.Model(lambda w, x: jnp.tanh(x) @ w, w, channel_axis=None)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(1).normal(size=(8, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def results(model, x):
    metrics = {f"of {b}": je.PixelFlipping(n_steps=3, baseline=b) for b in (0.0, 1.0)}
    return je.evaluate(model, x, explainers=EXPLAINERS, metrics=metrics, progress=False)


def test_of_a_score(results):
    fields = {f.name for f in dataclasses.fields(je.Outcome)} - {"record"}
    assert named("A score") == fields | {"n_undefined"}


def test_of_results(results, tmp_path):
    own = set(results.metrics)
    assert set(results.to_dataframe()) <= named("to_dataframe, saved files")
    import pandas as pd

    assert set(pd.read_parquet(results.save(tmp_path / "s.parquet"))) <= named(
        "to_dataframe, saved files"
    )
    assert set(results.summary()) - {"explainer", "metric"} == named("summary")
    assert set(results.ranking()) - own <= named("ranking")
    assert set(results.asked) == named("asked")
    assert set(results.wilcoxon()) - {"metric"} == named("wilcoxon")
    public = {n for n in dir(results.friedman("of 0.0")) if n[0] != "_"}
    assert public - {"left_out_text", "metric"} <= named("friedman")
    assert set(results.agreement()) == named("agreement, correlations")
    assert set(results.compare(results)) - {"explainer", "metric"} == named("compare")


def test_of_settings(results):
    known = named("rank_stability, sensitivity") | {"metric"}
    assert {c for c in results.rank_stability() if isinstance(c, str)} <= known
    for per in ("parameter", "value"):
        assert set(results.sensitivity(per)) <= known


def test_of_meta_evaluation(model, x):
    two = {name: EXPLAINERS[name] for name in "SG"}
    meta = je.meta_evaluate(
        model, x, explainers=two, metrics={"m": je.Sparseness()}, n_perturbations=2, groups=2,
        tests=[je.MapNoise(levels=(0, 0.5))], progress=False,
    )  # fmt: skip
    known = named("meta_evaluate") | {"metric", "family", "direction"}
    assert set(meta.table()) <= known
    assert set(meta.ranking("recovery")) <= known
    assert set(meta.retest()) <= known
