"""Explainers of models that answer on the host: what is compiled around them, and how much is asked
at once."""

import jax
import numpy as np
import pytest

import jaxeval as je
from jaxeval import explain
from jaxeval.model import Model

from .helpers import keys

COMPILED = [0]


def _listen(event, *_, **__):
    COMPILED[0] += event == "/jax/core/compile/backend_compile_duration"


jax.monitoring.register_event_duration_secs_listener(_listen)  # pyright: ignore

W = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
X = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
Y = np.arange(6, dtype=np.int32) % 3
FEATURES = np.array([0, 0, 1, 1, 2, 3])
ASKED = []


def answer(params, x):
    ASKED.append(len(x))
    return np.tanh(np.asarray(x)) @ W


MODEL = Model(answer, host="numpy", channel_axis=None)

EXPLAINERS = {
    "Occlusion": lambda n: explain.Occlusion(window=1),
    "FeatureAblation": lambda n: explain.FeatureAblation(patch=2, baseline="uniform"),
    "FeaturePermutation": lambda n: explain.FeaturePermutation(n_samples=n, background=X[:3]),
    "ShapleyValueSampling": lambda n: explain.ShapleyValueSampling(n_samples=n),
    "KernelShap": lambda n: explain.KernelShap(n_samples=n, features=FEATURES),
    "KernelShap of segments": lambda n: explain.KernelShap(
        n_samples=n, features=lambda x: (x > 0).astype(int), n_features=2
    ),
    "Lime": lambda n: explain.Lime(n_samples=n, features=FEATURES),
    "RISE": lambda n: explain.RISE(n_samples=n, cells=2),
    "Smoothed": lambda n: explain.Smoothed(explainer=explain.Occlusion(window=3), n_samples=n),
    "Sobel": lambda n: explain.Sobel(),
}


def compiled(e):
    """How many programs a call compiles."""
    before = COMPILED[0]
    np.asarray(e(MODEL, X, Y, keys(6)))
    return COMPILED[0] - before


@pytest.mark.parametrize("name", EXPLAINERS)
def test_nothing_is_compiled_after_the_first_call(name):
    make = EXPLAINERS[name]
    few, many = make(3), make(9)
    first, more = compiled(few), compiled(many)
    assert more <= max(first, 12), "once a step"
    assert compiled(few) == compiled(many) == 0


@pytest.mark.parametrize("name", EXPLAINERS)
def test_no_more_rows_are_asked_at_once_than_the_batch_size(name):
    e = EXPLAINERS[name](3)
    ASKED.clear()
    je.attribute(e, MODEL, X, Y, batch_size=4)
    metric = je.MaxSensitivity(n_samples=3)
    je.score(metric, MODEL, X, Y, explainer=e, batch_size=4)
    assert not ASKED or max(ASKED) <= 4


def test_gradients_of_a_host_model_compile_nothing_after_the_first_call():
    torch = pytest.importorskip("torch")
    from jaxeval_torch import wrap_torch

    model = wrap_torch(torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.Tanh()).eval())
    e = explain.GuidedIG(n_steps=4)
    np.asarray(e(model, X, Y))
    before = COMPILED[0]
    np.asarray(e(model, X, Y))
    assert COMPILED[0] == before
