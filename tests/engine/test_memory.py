"""Batch sizes within a device's memory, and what happens when that runs out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine import TRACES, batch_size, kernels
from jaxeval.engine.batch_size import rounded_up
from jaxeval.engine.plan import block_rows

D, WIDE = 16, 4096
RNG = np.random.default_rng(0)
PARAMS = RNG.normal(size=(D, WIDE)).astype(np.float32)
X = RNG.normal(size=(40, D)).astype(np.float32)
METRICS = {"deletion": je.Deletion(n_steps=4, baseline=0.0), "most": je.MaxSensitivity(n_samples=3)}


def apply(p, x):
    return jnp.tanh(jnp.cumsum(jnp.tanh(x @ p), -1) / 64) @ p.T[:, :3]


def evaluate(model, **given):
    given = {"explainers": {"ig": je.explain.IntegratedGradients(n_steps=3)}} | given
    return je.evaluate(model, X, np.arange(40) % 3, metrics=METRICS, progress=False, **given)


def pretend(monkeypatch, bytes_limit):
    monkeypatch.setattr(batch_size, "limit", lambda device: bytes_limit)


@pytest.mark.parametrize("mebibytes", [2, 8])
def test_the_batch_size_is_what_fits_in_a_pretended_limit(monkeypatch, mebibytes):
    pretend(monkeypatch, mebibytes * 2**20)
    got = evaluate(je.Model(apply, PARAMS))
    rows = got.settings["batch_size"]
    params, row = PARAMS.nbytes, 4 * WIDE * 4  # a few arrays [WIDE] live at once
    fits = (0.8 * mebibytes * 2**20 - params) / row
    assert fits / 4 < rows < 4 * fits
    assert rows == 2 ** int(np.log2(rows))
    assert "too_large" not in got.settings


def test_twice_the_memory_never_gives_a_smaller_batch(monkeypatch):
    sizes = []
    for mebibytes in (1, 4, 16, 4096):
        pretend(monkeypatch, mebibytes * 2**20)
        sizes.append(evaluate(je.Model(apply, PARAMS)).settings["batch_size"])
    assert sizes == sorted(sizes)
    assert sizes[-1] == 40 * 4  # the whole job


def test_planning_compiles_what_the_run_then_calls(monkeypatch):
    pretend(monkeypatch, 2**30)
    before = TRACES["forward"]
    evaluate(je.Model(lambda p, x: apply(p, x), PARAMS))
    planned = TRACES["forward"] - before
    monkeypatch.undo()
    before = TRACES["forward"]
    evaluate(je.Model(lambda p, x: apply(p, x), PARAMS), batch_size=160)
    assert planned == TRACES["forward"] - before


def test_a_cpu_plans_nothing(monkeypatch):
    monkeypatch.setattr(batch_size, "largest", None)
    evaluate(je.Model(apply, PARAMS))


@pytest.mark.parametrize("fails", [1, 5])
def test_a_full_device_halves_the_batch_and_goes_on(monkeypatch, fails):
    want = evaluate(je.Model(apply, PARAMS))
    calls, forward = [], kernels.forward

    def full(mesh, fixed, model, x, inputs=None):
        calls.append(len(x))
        if len(x) > 20 and len(calls) >= fails:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")
        return forward(mesh, fixed, model, x, inputs)

    monkeypatch.setattr(kernels, "forward", full)
    with pytest.warns(UserWarning, match="out of device memory with a batch size of 40: contin"):
        got = evaluate(je.Model(apply, PARAMS), batch_size=40)
    assert got.settings["batch_size"] == 20
    assert got.settings["too_large"] == [40]
    for metric in METRICS:
        np.testing.assert_allclose(
            got["ig", metric].score, want["ig", metric].score, rtol=1e-5, atol=1e-6
        )


def test_one_sample_that_does_not_fit_is_an_error():
    def hungry(model, x, y, keys):
        raise MemoryError

    with (
        pytest.warns(UserWarning, match="continuing with 1,"),
        pytest.raises(ValueError, match="MemoryError"),
    ):
        evaluate(je.Model(apply, PARAMS), explainers={"h": je.Host(hungry)})


def test_blocks_have_no_more_slots_than_int32_can_number():
    assert block_rows(4000, 4000, 1_500_000, "cpu") == 1431
    assert block_rows(4000, 4000, 1, "cpu") == 4000


def test_rows_on_accelerators_are_multiples():
    assert [rounded_up(n, "cuda") for n in (1, 8, 61)] == [8, 8, 64]
    assert [rounded_up(n, "tpu") for n in (20, 128, 200)] == [24, 128, 256]
    assert rounded_up(61, "cpu") == 61
