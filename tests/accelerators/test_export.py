"""All programs of all metrics and explainers can be lowered for GPUs and TPUs.

Lowered, not compiled: `make test-accelerators` does that.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine.rehearsal import Rehearsal, watching
from tests.accelerators.cases import METRICS, evaluate, explained_by, explainers

CALLBACK = re.compile(r"callback", re.IGNORECASE)


def rehearsed(platform, metrics, given):
    rehearsal = Rehearsal(platform, counts=True)
    with watching(rehearsal):
        evaluate(metrics, given, batch_size=16)
    return rehearsal.programs


def check(programs, platform):
    """No call of the host, and no float64."""
    for program in programs:
        text = program.traced().lower(lowering_platforms=(platform,)).as_text()
        assert not CALLBACK.search(text), program.name
        assert "f64" not in text, program.name


@pytest.fixture(scope="module")
def of_metrics():
    return rehearsed("cuda", METRICS, {"g": je.explain.Gradient()})


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_every_metric(of_metrics, platform):
    names = Counter(p.name for p in of_metrics)
    assert names["forward"] == 2  # with hidden layers, and without
    check(of_metrics, platform)


def test_every_explainer():
    known = explainers()
    assert set(known) == set(je.explain.EXPLAINERS)
    rehearsal = Rehearsal("cuda")
    with watching(rehearsal):
        for name, e in known.items():
            model, x = explained_by(name)
            je.attribute(e, model, x, np.arange(len(x)) % 4, batch_size=16)
    programs = rehearsal.programs
    assert len(programs) >= len(known)
    for platform in ("cuda", "tpu"):
        check(programs, platform)
