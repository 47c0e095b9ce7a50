"""A model as a graph of nodes, with a forward pass and a rule-based backward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .. import check
from ..model import Model
from .half import is_half
from .names import name_layers
from .parts import Node, Rule, Value, Values
from .program import Program
from .units import Units


class Graph(Program):
    """A model's forward pass for inputs like x.

    Args:
      x: inputs [N, ...], or their shape and dtype. Parameters and x may be tracers.
      turned: whether values may have a different axis order than in the model, if that is faster.
      precise: whether half-precision operations are computed in float32, as rules divide by small
        numbers.
      rewritten: whether the operations may be computed by their faster forms; see `Program`.

    Attributes:
      nodes: the units that rules apply to, in the order of the forward pass.
      layers: {name: output} of all layers; `weighted` lists the names of layers with parameters or
        with names set in the model's code, `convolutions` those of convolutions.
    """

    def __init__(
        self,
        model: Model,
        x: Any,
        turned: bool = False,
        precise: bool = True,
        rewritten: bool = True,
    ):
        super().__init__(model, x, turned, precise, rewritten)
        self.nodes = Units(self).gather()
        self.layers, self.weighted, self.convolutions = name_layers(self, self.nodes)

    def layer(self, name: str) -> Value:
        """The output of a named layer."""
        if name not in self.layers:
            raise ValueError(check.no_layer(name, self.layers))
        return self.layers[name]

    def split(self, value: Value) -> None:
        """Make a value the output of a node, so that `backward` can stop there.

        A layer's output may lie within a node, such as that of a convolution before the batch
        normalisation that belongs to it.
        """
        self.users.setdefault(value, []).append(None)
        self.nodes = Units(self).gather()

    def given(self, params: Any) -> Values:
        """The values of the parameters."""
        given = zip(self.parameters, jax.tree.leaves(params), strict=True)
        return {v: _as(v, array) for v, array in given}

    def forward(
        self,
        params: Any,
        x: Any,
        replace: Mapping[Value, Any] | None = None,
        until: Value | None = None,
    ) -> Values:
        """All values for these parameters and inputs; those in `replace` are overridden.

        `until`: the last value to compute.
        """
        values = {**self.constants, **self.given(params)}
        values[self.inputs[0]] = _as(self.inputs[0], x)
        values.update(replace or {})
        for operation in self.operations:
            if until in values:
                break
            out = operation.call(*(values[v] for v in operation.ins))
            for v, given in zip(operation.outs, out, strict=True):
                if not replace or v not in replace:
                    values[v] = given
        return values

    def backward(
        self, values: Values, seed: Any, rules: Mapping[str, Rule], to: Value | None = None
    ) -> Any:
        """Propagate `seed` from the logits back to the input, or to the value `to`.

        `to` must be the output of a node; see `split`.

        Args:
          values: the result of `forward`.
          seed: cotangent or relevance of the logits [N, K].
          rules: {kind of node: rule}; nodes without a rule use their gradient.

        Returns:
          The cotangent or relevance of the input (or of `to`), in its shape.
        """
        return self.backward_to([self.inputs[0] if to is None else to], values, seed, rules)[0]

    def backward_to(
        self, to: Sequence[Value], values: Values, seed: Any, rules: Mapping[str, Rule]
    ) -> list[Any]:
        """What `backward` propagates to each of several values."""
        left = set(to) - {*self.inputs, self.out}
        assert left <= {v for node in self.nodes for v in node.outs}
        left |= set(to) & set(self.inputs)
        arrived: Values = {self.out: seed}
        for node in reversed(self.nodes):
            left.difference_update(node.outs)
            if not left:
                break
            if node.kind == "stop" or not any(v in arrived for v in node.outs):
                continue
            cotangents = [
                arrived[v] if v in arrived else jnp.zeros(v.shape, v.dtype) for v in node.outs
            ]
            back = rules.get(node.kind, Node.gradient)(node, values, cotangents)
            for v, r in zip(node.ins, back, strict=True):
                arrived[v] = arrived[v] + r if v in arrived else r
        return [arrived[v] if v in arrived else jnp.zeros(v.shape, v.dtype) for v in to]


def _as(value: Value, array: Any) -> Any:
    """A half-precision array in the dtype of the value; other arrays unchanged."""
    return array.astype(value.dtype) if is_half(jnp.result_type(array)) else array
