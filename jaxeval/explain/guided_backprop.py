"""Attribution by the gradient, clipped to positive values at every ReLU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from ..trace import Node, Rule, Values
from ..types import pytree
from .backpropagation import Backpropagation, gate


def guided(node: Node, values: Values, cotangents: list[Any]) -> list[Any]:
    """The backward rule of a ReLU: positive relevance passes where the input is positive."""
    return gate(node, values, [jax.nn.relu(cotangents[0])])


@pytree
class GuidedBackprop(Backpropagation):
    """The gradient of the score, with ``R_in = max(R_out, 0) · [x > 0]`` at every ReLU.

    Signed, in the shape of x. ReLUs are found in the traced model, however they are written
    (`jax.nn.relu`, `jnp.maximum`, `jnp.where`, `jnp.clip`); without ReLUs, it is the plain
    gradient. Equal to captum's `GuidedBackprop`.

    Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net".

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda w, x: jax.nn.relu(x) @ w, jnp.array([[1.0], [-2.0]]), channel_axis=None)
    >>> GuidedBackprop()(net, jnp.array([[3.0, 3.0], [-3.0, 3.0]]), jnp.array([0, 0]))
    Array([[1., 0.],
           [0., 0.]], dtype=float32)
    """

    def rules(self) -> Mapping[str, Rule]:
        return {"relu": guided}
