"""Attention matrices of converted models: the maps of the same network written in JAX."""

import numpy as np
import pytest
import torch
from jaxeval_torch import from_torch

import jaxeval as je
from jaxeval.trace import Graph
from jaxeval.trace.attention import attentions
from tests import transformers_by_hand as by_hand

Y = np.array([0, 2, 1])


@pytest.mark.parametrize(
    ("images", "how"),
    [
        (True, "sdpa"),
        (False, "module"),
        pytest.param(True, "product", marks=pytest.mark.slow),
        pytest.param(False, "sdpa", marks=pytest.mark.slow),
    ],
)
def test_attention_is_found_in_converted_models(images, how):
    x, axis = by_hand.inputs(images), 1 if images else -1
    net = by_hand.in_torch(by_hand.draw(images), how)
    model = from_torch(net, torch.from_numpy(x), channel_axis=axis)
    assert len(attentions(Graph(model, x[:1]))) == by_hand.LAYERS
    for name in ("AttentionRollout", "GenericAttention", "TransformerAttribution", "AttnLRP"):
        e = je.explain.get(name)
        expected = np.asarray(e(by_hand.model(images), x, Y))
        size = np.abs(expected).max()
        np.testing.assert_allclose(e(model, x, Y), expected, rtol=0, atol=1e-3 * size)
