"""Models and explainers of torch go when the caller has dropped them."""

import gc
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from jaxeval_torch import from_torch, wrap_torch  # noqa: E402
from jaxeval_torch.explainers import torch_explainer  # noqa: E402

import jaxeval as je  # noqa: E402

X = np.random.default_rng(0).random((4, 6)).astype(np.float32)
METRICS = {"flip": je.PixelFlipping(n_steps=3), "max": je.MaxSensitivity(n_samples=2)}


def net():
    return torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.Tanh()).eval()


def evaluate(model, **explainers):
    je.evaluate(
        model, X, np.arange(4) % 3, metrics=METRICS, progress=False,
        explainers={"g": je.explain.Gradient(), "o": je.explain.Occlusion(window=2), **explainers},
    )  # fmt: skip


def test_wrapped_modules():
    gone = []
    for _ in range(2):
        module = net()
        model = wrap_torch(module)
        explainer = torch_explainer(lambda module, inputs, targets: inputs, module)
        gone += [weakref.ref(v) for v in (module, model, model.apply, explainer)]
        evaluate(model, mine=explainer)
        del module, model, explainer
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)


def test_converted_modules(graphs):
    pytest.importorskip("onnxscript")
    gone = []
    for _ in range(2):
        module = net()
        model = from_torch(module, torch.ones(2, 6), cache=graphs)
        weights = model.params["params"]["0.weight"]
        gone += [weakref.ref(v) for v in (module, model, model.apply, model.apply.fn, weights)]
        evaluate(model)
        del module, model, weights
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)
