"""What a model's graph is made of: values, operations, and the nodes that rules are for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from . import jaxprs
from .jaxprs import words

REDUCING = words("reduce_sum reduce_max reduce_min broadcast_in_dim reshape squeeze expand_dims")
MOVES = words(
    "reshape transpose broadcast_in_dim squeeze expand_dims slice concatenate pad gather "
    "dynamic_slice rev copy copy_p convert_element_type name reduce_precision select_n "
    "optimization_barrier split dynamic_update_slice scatter"
)
SUMS = words("reduce_sum reduce_window_sum cumsum")
LARGEST = words("reduce_max reduce_window_max reduce_min reduce_window_min cummax")
AFFINE = words("add sub mul div neg convert_element_type add_any")
CORES = words("conv_general_dilated dot_general ragged_dot")
OUTERMOST = words("mul div max min select_n pow sub add")
"""Operations that may be the last of several that make up one unit."""

KINDS = (
    "linear",  # a convolution or a product with weights, with the constant scale and shift after it
    "scale",  # a constant scale and shift alone
    "sum",  # sums, averages, average pooling: linear without weights of its own
    "add",  # of two values that depend on the input
    "relu",
    "activation",  # any other function of single entries
    "largest",  # max pooling and the like
    "move",  # entries in other places: reshape, slice, gather, pad, concatenate
    "product",  # of two values that depend on the input, entry by entry
    "bilinear",  # the same as a matrix product or a convolution
    "quotient",
    "softmax",
    "normalise",  # divided by a statistic of itself: layer normalisation
    "stop",  # passes nothing back
    "other",
)


class Value:
    """Something that the model computes: known by itself, not by what it holds."""

    __slots__ = ("dtype", "shape")

    def __init__(self, like: Any):
        self.shape, self.dtype = tuple(like.shape), like.dtype

    @property
    def inexact(self) -> bool:
        return bool(jnp.issubdtype(self.dtype, jnp.inexact))


class Operation:
    """One operation: ``outs = call(*ins)``, with the name of its primitive and where it is from."""

    def __init__(
        self,
        name: str,
        call: Callable[..., Sequence[Any]],
        ins: Sequence[Value],
        outs: Sequence[Value],
        eqn: Any,
    ):
        self.name, self.call, self.ins, self.outs, self.eqn = name, call, ins, outs, eqn
        self.at = 0
        self.active: list[Value] = []
        """Those of its inputs that depend on the model's input, each once."""

    @property
    def floats(self) -> list[Value]:
        """The floating-point inputs that depend on the model's input."""
        return [v for v in self.active if v.inexact]

    @property
    def params(self) -> dict[str, Any]:
        return self.eqn.params if self.eqn.primitive.name == self.name else {}


Values = dict[Value, Any]
Rule = Callable[["Node", Values, list[Any]], Sequence[Any]]


class Node:
    """Operations that are one unit to a rule, with their inputs and outputs.

    Of a "linear" or "scale" node, `after` holds the operations that scale and shift, each with
    the value that it takes from the one before.
    """

    def __init__(self, kind: str, operations: list[Operation], ins: list[Value]):
        assert kind in KINDS
        self.kind, self.operations, self.ins = kind, operations, ins
        self.after: list[tuple[Operation, Value]] = []

    @property
    def first(self) -> Operation:
        return self.operations[0]

    @property
    def last(self) -> Operation:
        return self.operations[-1]

    @property
    def outs(self) -> Sequence[Value]:
        return self.last.outs

    def where(self) -> str:
        """Its primitive and where it came from, for messages."""
        return f"{self.last.name} ({jaxprs.where(self.last.eqn)})"

    def evaluate(self, values: Values, inputs: Sequence[Any]) -> list[Any]:
        """Its floating-point outputs for other inputs; all else as in `values`."""
        there = {**values, **dict(zip(self.ins, inputs, strict=True))}
        for operation in self.operations:
            compute(operation, there)
        return [there[v] for v in self.outs if v.inexact]

    def gradient(
        self, values: Values, cotangents: list[Any], at: Sequence[Any] | None = None
    ) -> Sequence[Any]:
        """The rule of the chain rule: cotangents of its inputs, at other inputs if given."""
        at = [values[v] for v in self.ins] if at is None else at
        _, back = jax.vjp(lambda *inputs: self.evaluate(values, inputs), *at)
        pairs = zip(cotangents, self.outs, strict=True)
        return back([c.astype(v.dtype) for c, v in pairs if v.inexact])


def compute(operation: Operation, values: Values) -> None:
    """Adds the operation's outputs to the values."""
    out = operation.call(*(values[v] for v in operation.ins))
    values.update(zip(operation.outs, out, strict=True))


class Unsupported(NotImplementedError):
    """A method has no rule for something in the model; the message says for what and where."""
