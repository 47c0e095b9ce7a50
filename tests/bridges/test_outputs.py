"""What torch modules answer with: logits, probabilities, one binary logit, plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from jaxeval_torch import captum_explainer, from_torch, wrap_torch

import jaxeval as je

X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
Y = np.arange(6) % 2
FLIP = {"flip": je.PixelFlipping(n_steps=5, baseline=0.0), "sum": je.Completeness(baseline=0.0)}


class Flat(torch.nn.Module):
    """One number a sample, [N]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(5, 1)

    def forward(self, x: Any) -> Any:
        return 2 * torch.tanh(self.layer(x))[:, 0]


def softmax() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Softmax(-1)).eval()


WAYS = {
    "from_torch": lambda net, **given: from_torch(net, X, channel_axis=None, cache=False, **given),
    "wrap_torch": lambda net, **given: wrap_torch(net, channel_axis=None, **given),
}


def evaluate(model: Any, y: Any, explainers: Any) -> Any:
    return je.evaluate(model, X, y, explainers=explainers, metrics=FLIP, progress=False)


def curve(net: Any, score: Any) -> np.ndarray:
    """The scores as the largest entries go, by hand."""
    order, out = np.argsort(-X, 1, kind="stable"), np.zeros(X.shape)
    for s in range(5):
        v = X.copy()
        np.put_along_axis(v, order[:, : s + 1], 0, 1)
        with torch.no_grad():
            out[:, s] = score(net(torch.tensor(v)).double().numpy())
    return out


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["binary", "values"])
def test_one_number_a_sample(way, kind):
    net, y = Flat().eval(), Y if kind == "binary" else 0 * Y
    sign = np.where(Y == 1, 1, -1)
    score = {"binary": lambda z: 1 / (1 + np.exp(-sign * z)), "values": lambda z: z}[kind]
    got = evaluate(
        WAYS[way](net, outputs=kind),
        y,
        {
            "x": X,
            "captum": captum_explainer("IntegratedGradients", net, n_steps=50),
            "ours": je.explain.IntegratedGradients(n_steps=50),
        },
    )
    np.testing.assert_allclose(got["x", "flip"].curve, curve(net, score), rtol=1e-5, atol=1e-6)
    for e in ("captum", "ours"):
        assert got[e, "sum"].score.max() < 1e-3


@pytest.mark.parametrize("way", WAYS)
def test_modules_that_end_in_a_softmax(way):
    net = softmax()
    with pytest.raises(ValueError, match=r'Model\(outputs="probabilities"\)'):
        evaluate(WAYS[way](net), Y, {"x": X})
    got = evaluate(WAYS[way](net, outputs="probabilities"), Y, {"x": X})
    want = curve(net, lambda p: p[np.arange(6), Y])
    np.testing.assert_allclose(got["x", "flip"].curve, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("column", [False, True])
def test_one_logit_is_refused_under_a_softmax(way, column):
    net = Flat().eval()
    net = torch.nn.Sequential(net, torch.nn.Unflatten(0, (-1, 1))) if column else net
    with pytest.raises((ValueError, je.EvaluationError), match=r'outputs="binary"'):
        evaluate(WAYS[way](net), 0 * Y, {"x": X})


def test_an_onnx_file_takes_the_kind(tmp_path):
    import jaxeval_torch

    net, file = softmax(), tmp_path / "net.onnx"
    torch.onnx.export(net, (torch.tensor(X),), file, dynamo=True, dynamic_shapes=({0: "n"},))
    model = jaxeval_torch.from_onnx(file, channel_axis=None, outputs="probabilities")
    want = evaluate(WAYS["from_torch"](net, outputs="probabilities"), Y, {"x": X})
    got = evaluate(model, Y, {"x": X})
    np.testing.assert_allclose(
        got["x", "flip"].score, want["x", "flip"].score, rtol=1e-5, atol=1e-6
    )
