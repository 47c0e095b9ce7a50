"""Rehearsals see the programs of a run, as often as it calls them, and call none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

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
