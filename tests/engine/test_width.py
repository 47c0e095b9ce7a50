"""The width of chunks and the automatic batch size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine import batch_size
from jaxeval.engine.questions import Question, chunk_width, narrow_width
from jaxeval.model import jaxpr_of
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


def automatic(model, shape, most=10**6):
    one = jax.ShapeDtypeStruct(shape, jnp.float32)
    return batch_size.automatic(model, one, most, jax.devices()[0])


def test_the_automatic_batch_size_is_that_of_the_job_if_that_is_small():
    model = je.Model(wide, jnp.ones((16, 64)))
    assert automatic(model, (16,), 20) == 20
    assert automatic(model, (16,)) == batch_size.MOST


def test_the_automatic_batch_size_follows_the_largest_value_of_a_row(monkeypatch):
    monkeypatch.setattr(batch_size, "available_cores", lambda: 2)

    def apply(p, x):  # [N, 8, 8, 1] -> [N, 8, 8, 64]: 16 KiB a row; p alone is 4 MiB
        return jnp.tanh(x * (p + 1)[0]).mean((1, 2)) @ p[:64, :3]

    model = je.Model(apply, jnp.ones((2**14, 64)))
    assert automatic(model, (8, 8, 1)) == 2 * batch_size.CORE_BYTES // 2**14
    assert automatic(model, (96, 96, 1)) == batch_size.FEWEST


def test_the_automatic_batch_size_keeps_within_memory(monkeypatch):
    model = je.Model(lambda p, x: wide(p, x) + 0, jnp.ones((16, 64)))
    monkeypatch.setattr(batch_size, "memory", lambda device: 10_000)
    assert automatic(model, (16,), 300) < 20


def test_bytes_of_a_trace_count_inner_programs_as_often_as_they_run():
    def apply(p, x):
        return jax.lax.scan(lambda c, _: (jnp.tanh(c), None), x @ p, None, 10)[0]

    model = je.Model(apply, jnp.ones((8, 8)))
    largest, kept = batch_size.row_bytes(jaxpr_of(model, jax.ShapeDtypeStruct((8,), jnp.float32)))
    row = 8 * 4
    assert largest == 10 * row
    assert 11 * row <= kept < 13 * row


def test_rounds_of_areas_to_a_tolerance_are_few_slots():
    """Asked alone they make chunks narrow; beside others, where it saves more than it compiles."""
    areas = dataclasses.replace(question(784), in_rounds=True)
    assert chunk_width([areas], 64, 512) < 128
    both = [question(784), areas]
    width = chunk_width(both, 64, 512)
    assert width > 256
    assert narrow_width(both, 64, 512, width, blocks=1) == width
    assert narrow_width(both, 64, 512, width, blocks=200) < 200
    assert narrow_width([areas], 64, 512, 64, blocks=200) == 64
    assert narrow_width([question(784)], 64, 512, width, blocks=200) == width


def test_a_given_batch_size_bounds_what_the_model_sees():
    seen = []

    def model(x):
        seen.append(len(np.asarray(x)))  # not when JAX tries to trace it
        return np.asarray(x)[:, :3]

    x = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
    je.Deletion(n_steps=6, baseline=-9.0)(model, x, a=x, batch_size=4)
    assert max(seen) <= 4
    # All features are removed from 10 samples in 3 blocks: one query a block.
    assert sum(seen) == 10 * 7 - 10 + 3
