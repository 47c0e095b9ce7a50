"""Rehearsals see the programs of a run, as often as it calls them, and call none."""

from __future__ import annotations

import mmap
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxeval as je
from jaxeval.engine.rehearsal import Rehearsal, watching

MODEL = je.Model(lambda p, x: jnp.tanh(x.reshape(len(x), -1) @ p), np.ones((16, 3), np.float32))
X = np.random.default_rng(0).normal(size=(8, 1, 4, 4)).astype(np.float32)


def attribute(devices=1):
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    explainer = je.explain.BlurIG(n_steps=3)
    return je.attribute(explainer, MODEL, X, np.zeros(8, int), mesh=mesh, batch_size=8)


@pytest.mark.parametrize("devices", [1, 2])
def test_an_explainer_of_many_steps_on_several_devices(devices):
    rehearsal = Rehearsal("cpu")
    with watching(rehearsal):
        a = attribute(devices)
    assert a.shape == X.shape
    assert not np.asarray(a).any()
    calls = {p.name: p.calls for p in rehearsal.programs}
    assert calls["_compiled_add"] == 3
    assert np.asarray(attribute(devices)).any()  # afterwards programs are called again


def test_arrays_of_one_shape_are_one():
    """A dry run for a device with more memory than this machine holds no buffer twice."""
    rehearsal = Rehearsal("cpu", counts=True)
    metrics = {"flipping": je.PixelFlipping(), "insertion": je.Insertion(), "stable": je.RIS()}
    explainers = {"g": je.explain.Gradient(), "s": je.explain.Saliency()}
    with watching(rehearsal):
        je.evaluate(
            MODEL, X, np.zeros(8, int), explainers=explainers, metrics=metrics, progress=False
        )
    leaves = jax.tree.leaves([result for _, result in rehearsal._known.values()])
    arrays = [v for v in leaves if v.ndim > 2]  # no numbers of steps
    known = {id(v): (v.shape, v.dtype, v.sharding) for v in arrays}
    assert len(arrays) > 2 * len(known)
    assert len(known) == len(set(known.values()))


@pytest.mark.parametrize("spec", [P("data"), P()], ids=["spread", "copied"])
def test_its_arrays_take_no_memory(spec):
    """So that a laptop can plan a sweep for a device with more memory than its own."""
    statm = pathlib.Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("reads the memory of this process where Linux says it")
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))

    def resident() -> int:
        return int(statm.read_text().split()[1]) * mmap.PAGESIZE

    before, shape = resident(), jax.ShapeDtypeStruct((512, 1024, 1024), jnp.float32)
    zeros = jax.block_until_ready(Rehearsal("cpu").zeros(shape, NamedSharding(mesh, spec)))
    assert zeros.nbytes == 2**31
    assert resident() - before < 2**28
    assert not zeros[::64, ::64, ::64].any()


def test_numbers_of_steps_are_those_of_a_run():
    """Plans are zeros, but what the engine reads of them."""
    explainers, metrics = {"g": je.explain.Gradient()}, {"m": je.AOPCComprehensiveness()}
    padding = np.zeros(X.shape, bool)
    padding[:4, :, 2:] = True

    def run():
        return je.evaluate(
            MODEL, X, np.zeros(8, int), explainers=explainers, metrics=metrics, progress=False,
            padding=padding,
        )  # fmt: skip

    with watching(Rehearsal("cpu", counts=True)):
        dry = run()
    assert dry.asked == run().asked
