"""Memory traffic of the engine's own programs beside that of a ResNet-50 at 224 pixels.

Nothing runs or is compiled: a rehearsal collects the programs of a run in its real shapes, and a
simple model of compilers (`jaxeval.trace.cost`) says what they move.
"""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine.rehearsal import Rehearsal, watching
from jaxeval.trace.cost import cost
from tests.accelerators.networks import CLASSES, SHAPE, resnet50

ROWS = 16
ITERATIONS = 14
"""Of ROAD's solver: for images with the spectrum of photographs, the mean over the percentages, of
which each takes as many as the slowest image of a chunk."""
MODEL, ONCE = {"forward", "explain"}, {"new_model"}
"""The programs that contain the model, and those that a block of any size calls as often."""
CASES = {
    "PixelFlipping": (je.PixelFlipping(), 0.15),
    "Insertion": (je.Insertion(), 0.15),
    "FaithfulnessCorrelation": (je.FaithfulnessCorrelation(), 0.15),
    "SensitivityN": (je.SensitivityN(), 0.15),
    "MuFidelity": (je.MuFidelity(), 0.15),
    "Infidelity": (je.Infidelity(), 0.15),
    "RegionPerturbation": (je.RegionPerturbation(), 0.15),
    "IROF": (je.IROF(), 0.15),
    "LocalLipschitz": (je.LocalLipschitz(n_samples=32), 0.15),
    "AverageStability": (je.AverageStability(n_samples=32), 0.15),
    "MPRT": (je.MPRT(), 0.15),
    "ROAD": (je.ROAD(), 1.0),
}


@functools.cache
def network():
    return resnet50()


@functools.cache
def programs(name):
    """The programs of a metric on a batch of samples."""
    metric, rehearsal = CASES[name][0], Rehearsal("cuda", counts=True)
    x = np.random.default_rng(0).uniform(size=(ROWS, *SHAPE)).astype(np.float32)
    y = np.arange(ROWS) % CLASSES
    squares = np.arange(224) // 22  # superpixels of 22 x 22
    segments = np.broadcast_to(11 * squares[:, None] + squares, (ROWS, 224, 224))
    given = {"extras": {"segments": segments}}
    with watching(rehearsal):
        je.evaluate(
            network(), x, y, explainers={"g": je.explain.Gradient()}, metrics={"m": metric},
            batch_size=ROWS, progress=False, **(given if isinstance(metric, je.IROF) else {}),
        )  # fmt: skip
    return rehearsal.programs


def traffic(name, platform):
    """{name of a program: bytes of all its calls}."""
    found: dict[str, float] = {}
    for p in programs(name):
        moved = cost(p.traced().jaxpr, platform, ITERATIONS).bytes * p.calls
        found[p.name] = found.get(p.name, 0.0) + moved
    return found


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_our_own_programs_move_little_beside_the_model(name, platform):
    found, most = traffic(name, platform), CASES[name][1]
    own = sum(v for k, v in found.items() if k not in MODEL | ONCE)
    assert own / sum(found[k] for k in MODEL if k in found) < most, found


def test_a_gather_of_images_is_seen():
    """What this test is for: the same rows, gathered with three channels last."""
    from jaxeval.engine.kernels import take

    x, i = jax.ShapeDtypeStruct((ROWS, *SHAPE), np.float32), jax.ShapeDtypeStruct((ROWS,), int)
    ours, naive = (cost(jax.make_jaxpr(f)(x, i), "tpu").bytes for f in (take, lambda v, i: v[i]))
    assert naive > 20 * ours
