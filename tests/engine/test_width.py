"""The width of chunks and the automatic batch size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine import batch_size as batch
from jaxeval.engine.options import read_mesh
from jaxeval.engine.questions import Question, chunk_width
from jaxeval.perturb import Noise, RandomiseLayers


def question(n_steps, params=False):
    pert = RandomiseLayers() if params else Noise(n_samples=n_steps)
    return Question(pert, None, "e", n_steps)


@pytest.mark.parametrize(
    ("questions", "local", "batch_size", "width"),
    [
        ([], 7, 512, 7),  # clean samples only: no padding
        ([question(5, params=True)], 124, 512, 124),  # 124 at a time is all there ever is
        ([question(20)], 124, 512, 310),  # 2,480 slots in eight equal chunks, 124 clean ones
        ([question(3)], 5, 512, 15),  # fewer slots than the batch size
        ([question(1000)], 512, 512, 512),
    ],
)
def test_chunks_waste_little_on_padding(questions, local, batch_size, width):
    assert chunk_width(questions, local, batch_size) == width


@pytest.mark.parametrize("local", [1, 5, 100, 512])
@pytest.mark.parametrize("steps", [1, 3, 32, 784])
def test_chunks_hold_a_block_and_no_more_than_the_batch_size(local, steps):
    for questions in ([question(steps)], [question(steps), question(7, params=True)]):
        assert local <= chunk_width(questions, local, 512) <= 512


def wide(p, x):
    return jnp.tanh(x @ p) @ p.T[:, :3]


def test_the_automatic_batch_size_is_remembered_and_bounded():
    model = je.Model(wide, jnp.ones((16, 64)))
    x, mesh = np.ones((9, 16), np.float32), read_mesh(None)
    first = batch.automatic(model, x, 300, mesh, "highest")
    assert 1 <= first <= 300
    assert batch.automatic(model, x, 300, mesh, "highest") == first
    assert batch.automatic(model, x, 20, mesh, "highest") == 20


def test_the_automatic_batch_size_keeps_within_memory(monkeypatch):
    model = je.Model(lambda p, x: wide(p, x) + 0, jnp.ones((16, 64)))
    x, mesh = np.ones((9, 16), np.float32), read_mesh(None)
    monkeypatch.setattr(batch, "memory", lambda device: 10_000)
    assert batch.automatic(model, x, 300, mesh, "highest") < 20


def test_memory_of_a_trace_counts_inner_programs():
    def apply(p, x):
        return jax.lax.scan(lambda c, _: (jnp.tanh(c), None), x, None, 10)[0]

    x = np.ones((1, 8), np.float32)
    jaxpr = jax.make_jaxpr(apply)({}, x)
    assert batch._activation_bytes(jaxpr.jaxpr) == 10 * 8 * 4


def test_a_given_batch_size_bounds_what_the_model_sees():
    seen = []

    def model(x):
        seen.append(len(np.asarray(x)))  # not when JAX tries to trace it
        return np.asarray(x)[:, :3]

    x = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
    je.Deletion(n_steps=6)(model, x, a=x, batch_size=4)
    assert max(seen) <= 4
    assert sum(seen) == 10 * 7
