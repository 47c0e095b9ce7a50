"""Base class of methods that modify the backward pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .. import ops
from ..model import Model
from ..trace import Graph, Node, Rule, Values
from ..types import pytree
from .base import Explainer


@pytree
class Backpropagation(Explainer):
    """The gradient, with modified rules for some operations of the model.

    Subclasses define `rules`, a table ``kind of node -> rule``; see `Graph` for the kinds.
    """

    @abstractmethod
    def rules(self) -> Mapping[str, Rule]:
        """The rules that replace the gradient's own."""

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        graph = Graph(model, x, turned=True)
        values = graph.forward(model.params, x)
        seed = score_gradient(values[graph.out], y, self.output)
        return graph.backward(values, seed, self.rules())


def score_gradient(z: jax.Array, y: jax.Array, output: Any) -> jax.Array:
    """The gradient [N, K] of each row's score with respect to its logits z [N, K]."""
    return jax.vmap(jax.grad(lambda z, y: ops.value(z, y, output).astype(z.dtype)))(z, y)


def gate(node: Node, values: Values, cotangents: list[Any]) -> list[Any]:
    """The gradient of a ReLU; 0 at 0, however the ReLU is written."""
    return [jnp.where(values[node.ins[0]] > 0, cotangents[0], 0)]


def check_class_output(owner: Explainer, model: Model) -> None:
    """Check that each class has an output of its own, at which its relevance can start."""
    if model.outputs == "binary":
        raise ValueError(
            f"{type(owner).__name__} starts at the output of the explained class, and class 0 of a "
            "binary model has none: give a model with the logits of both classes"
        )
