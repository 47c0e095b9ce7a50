"""The attention matrices of a traced model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .graph import Graph
from .jaxprs import words
from .parts import Node, Value

GUARDS = words("ne eq is_finite not and or select_n convert_element_type broadcast_in_dim")
"""Operations that replace undefined entries of a softmax."""


class Attention(NamedTuple):
    """The product of an attention matrix with values.

    Attributes:
      node: the product.
      value: the matrix, as the product reads it.
      order: its axes, with those of queries and keys last.
    """

    node: Node
    value: Value
    order: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of queries and keys."""
        queries, keys = (self.value.shape[i] for i in self.order[-2:])
        return queries, keys

    def heads(self, array: jax.Array) -> jax.Array:
        """An array like the matrix, of a batch of one sample, as [heads, queries, keys]."""
        return jnp.transpose(array, self.order).reshape(-1, *self.sizes)


def attentions(graph: Graph) -> list[Attention]:
    """All attention matrices, in the order of the forward pass.

    An attention matrix is the output of a softmax, at most rearranged or cleared of undefined
    entries, that is multiplied by something else that depends on the input.
    """
    maker = {v: node for node in graph.nodes for v in node.outs}
    found = []
    for node in graph.nodes:
        if node.kind != "bilinear" or node.first.name != "dot_general":
            continue
        (left, right), (left_batch, right_batch) = node.first.params["dimension_numbers"]
        sides = zip(node.first.ins, (left, right), (left_batch, right_batch), strict=True)
        for value, contracted, batch in sides:
            if len(contracted) == 1 and _is_softmax(value, maker):
                order = _order(value.shape, contracted[0], tuple(batch))
                found += [] if order is None else [Attention(node, value, order)]
    return found


def _is_softmax(value: Value, maker: Mapping[Value, Node]) -> bool:
    """Whether a value is the output of a softmax, at most rearranged or guarded."""
    while (node := maker.get(value)) is not None and node.kind != "softmax":
        guard = node.kind == "activation" and all(o.name in GUARDS for o in node.operations)
        if len(node.ins) != 1 or not (node.kind == "move" or guard):
            return False
        value = node.ins[0]
    return node is not None


def _order(shape: tuple[int, ...], keys: int, batch: tuple[Any, ...]) -> tuple[int, ...] | None:
    """The axes of a matrix: samples and heads, queries, keys; None without queries."""
    free = [i for i in range(len(shape)) if i != keys and i not in batch]
    square = [i for i in free if shape[i] == shape[keys]]
    if not free:
        return None
    queries = (square or free)[-1]
    return (*(i for i in range(len(shape)) if i not in (queries, keys)), queries, keys)
