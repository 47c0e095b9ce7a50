"""Attribution by a deconvolution network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from ..trace import Node, Rule, Values
from ..types import pytree
from .backpropagation import Backpropagation


def rectified(node: Node, values: Values, cotangents: list[Any]) -> list[Any]:
    """The backward rule of a ReLU: only positive relevance passes."""
    return [jax.nn.relu(cotangents[0])]


@pytree
class Deconvolution(Backpropagation):
    """The gradient of the score, with ``R_in = max(R_out, 0)`` at every ReLU.

    Signed, in the shape of x. ReLUs are found as in `GuidedBackprop`. Equal to captum's
    `Deconvolution`.

    Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks".

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda w, x: jax.nn.relu(x) @ w, jnp.array([[1.0], [-2.0]]), channel_axis=None)
    >>> Deconvolution()(net, jnp.array([[-3.0, 3.0]]), jnp.array([0]))
    Array([[1., 0.]], dtype=float32)
    """

    def rules(self) -> Mapping[str, Rule]:
        return {"relu": rectified}
