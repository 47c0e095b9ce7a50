"""Attention, units and layers of models of token ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jaxeval as je
from tests.text.network import PAD, E, apply, left, model, params, reference, texts

IDS, P = texts(), params()
Y = np.array([reference(P, row[row != PAD]).argmax() for row in IDS])


def attention(ids: Any) -> tuple[np.ndarray, np.ndarray]:
    """(the attention matrix A [t, t] of a text without padding, and A · ∂f/∂A of each class)."""
    p = {k: np.float64(next(iter(v.values()))) for k, v in P.items()}
    x = p["words"][ids] + p["places"][: len(ids)]
    z = (x @ p["query"]) @ x.T / E**0.5
    a = np.exp(z - z.max(1, keepdims=True))
    a /= a.sum(1, keepdims=True)
    v = x @ p["value"]
    slopes = (1 - np.tanh(a @ v) ** 2)[:, None] * v / len(ids)  # [t, s, E]
    return a, a[..., None] * (slopes @ p["out"])


def expected(name: str, i: int, token: int | None) -> np.ndarray:
    a, relevance = attention(IDS[i][IDS[i] != PAD])
    r = (a + np.eye(len(a))) / 2
    if name == "GenericAttention":
        r = np.maximum(relevance[..., Y[i]], 0)
    return r.mean(0) if token is None else r[token]


@pytest.mark.parametrize("token", [0, -1, None])
@pytest.mark.parametrize("name", ["AttentionRollout", "GenericAttention"])
def test_attention_of_texts(name, token):
    """Padding does not count, whatever its side."""
    e = je.explain.get(name, token=token)
    for ids, of in ((IDS, lambda i, n: slice(0, n)), (left(IDS), lambda i, n: slice(-n, None))):
        a = np.asarray(je.attribute(e, model(), ids, Y))
        assert a.shape == IDS.shape
        for i, row in enumerate(IDS):
            n = int((row != PAD).sum())
            np.testing.assert_allclose(
                a[i, of(i, n)], expected(name, i, token), rtol=1e-4, atol=1e-6
            )
            assert np.count_nonzero(a[i]) <= n


def test_a_token_that_a_text_does_not_have_is_undefined():
    a = np.asarray(je.attribute(je.explain.AttentionRollout(token=4), model(), IDS, Y))
    short = (IDS != PAD).sum(1) <= 4
    assert short.any()
    assert not short.all()
    np.testing.assert_array_equal(np.isnan(a).all(1), short)


def test_transformer_attribution_of_texts():
    a = np.asarray(je.attribute(je.explain.TransformerAttribution(), model(), IDS, Y))
    for i in (0, 2):
        n = int((IDS[i] != PAD).sum())
        cut = je.attribute("TransformerAttribution", model(), IDS[i : i + 1, :n], Y[i : i + 1])
        np.testing.assert_allclose(a[i, :n], np.asarray(cut)[0], rtol=2e-4, atol=2e-5)
        assert not a[i, n:].any()


@pytest.mark.parametrize("how", ["named", "functions"])
@pytest.mark.parametrize(
    "name",
    [
        "Gradient",
        "FeatureAblation",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("IntegratedGradients", "DeepLift")),
    ],
)
def test_units_of_the_last_layer_are_classes(name, how):
    """Models whose embedding is a layer, and those that are given as two functions."""
    net = model()
    if how == "functions":
        table = lambda p, ids: p["words"]["table"][ids]  # noqa: E731

        def rest(p, e, ids, inputs):
            known = {**p, "words": {"table": e.reshape(-1, E)}}
            return apply(known, np.arange(ids.size).reshape(ids.shape), inputs)

        tokens = je.Tokens(embed=table, apply=rest, mask=net.tokens.mask, special=(1, 2))
        net = model(tokens=tokens)
    more = {"baseline": "mask"} if name in ("IntegratedGradients", "DeepLift") else {}
    want = je.attribute(je.explain.get(name, **more), net, IDS, np.full(len(IDS), 1))
    for e in (
        je.explain.get(f"Neuron{name}", layer="out", unit=1, **more),
        je.explain.Neuron(explainer=je.explain.get(name, **more), layer="out", unit=1),
    ):
        got = je.attribute(e, net, IDS, Y)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
        assert np.abs(got).max() > 1e-3


def test_conductance_of_units_sums_to_integrated_gradients():
    at = {"baseline": "mask", "n_steps": 8}
    parts = [
        je.attribute(je.explain.NeuronConductance(layer="out", unit=k, **at), model(), IDS, Y)
        for k in range(3)
    ]
    whole = je.attribute(je.explain.IntegratedGradients(**at), model(), IDS, Y)
    np.testing.assert_allclose(np.sum(parts, 0), whole, rtol=1e-4, atol=1e-5)


def test_ablation_of_layers_of_texts():
    """Units of the last layer are the scores; an embedding is removed with all of its entries."""
    z = np.asarray(model()(IDS))
    own = np.arange(3) == Y[:, None]
    a = je.attribute(je.explain.LayerFeatureAblation(layer="out", baseline=0.25), model(), IDS, Y)
    np.testing.assert_allclose(a, np.where(own, z - 0.25, 0), rtol=1e-4, atol=1e-5)
    e = je.explain.LayerFeatureAblation(layer="words", patch=(1, E))
    a = np.asarray(je.attribute(e, model(), IDS, Y))
    assert a.shape == IDS.shape
    for i in (0, 3):
        ids = IDS[i][IDS[i] != PAD]
        for t in range(len(ids)):
            x = np.where(np.arange(len(ids))[:, None] == t, 0, P["words"]["table"][ids])
            drop = z[i, Y[i]] - reference(P, ids, x=x)[Y[i]]
            np.testing.assert_allclose(a[i, t], E * drop, rtol=1e-3, atol=1e-4)
