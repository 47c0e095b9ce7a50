"""The parts of a model's graph: values, operations, and the nodes that rules apply to."""

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
"""Operations that can be the last of a unit of several."""

KINDS = (
    "linear",  # a convolution or product with weights, and a constant scale and shift after it
    "scale",  # only a constant scale and shift
    "sum",  # sums, averages, average pooling: linear without weights
    "add",  # the sum of two values that depend on the input
    "relu",
    "activation",  # any other element-wise function
    "largest",  # maxima and minima, such as max pooling
    "move",  # rearranged entries: reshape, slice, gather, pad, concatenate
    "product",  # the element-wise product of two values that depend on the input
    "bilinear",  # a matrix product or convolution of two values that depend on the input
    "quotient",
    "softmax",
    "normalise",  # division by a statistic of the value itself: layer normalisation
    "stop",  # passes nothing back
    "other",
)


class Value:
    """A placeholder for an array that the model computes, identified by object identity."""

    __slots__ = ("dtype", "shape")

    def __init__(self, like: Any):
        self.shape, self.dtype = tuple(like.shape), like.dtype

    @property
    def inexact(self) -> bool:
        return bool(jnp.issubdtype(self.dtype, jnp.inexact))


class Operation:
    """One operation, ``outs = call(*ins)``, with its primitive's name and its equation."""

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
        """The inputs that depend on the model's input, without repeats."""

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
    """Operations that rules treat as one unit, with their inputs and outputs.

    For "linear" and "scale" nodes, `after` lists the operations that scale and shift, each with its
    input from the preceding operation.
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
        """Its primitive and source line, for error messages."""
        return f"{self.last.name} ({jaxprs.where(self.last.eqn)})"

    def evaluate(self, values: Values, inputs: Sequence[Any]) -> list[Any]:
        """Its floating-point outputs for other inputs, with all other values from `values`."""
        values = {**values, **dict(zip(self.ins, inputs, strict=True))}
        for operation in self.operations:
            compute(operation, values)
        return [values[v] for v in self.outs if v.inexact]

    def gradient(
        self, values: Values, cotangents: list[Any], at: Sequence[Any] | None = None
    ) -> Sequence[Any]:
        """The default rule: the cotangents of its inputs by the chain rule, at inputs `at`."""
        at = [values[v] for v in self.ins] if at is None else at
        _, back = jax.vjp(lambda *inputs: self.evaluate(values, inputs), *at)
        pairs = zip(cotangents, self.outs, strict=True)
        return back([c.astype(v.dtype) for c, v in pairs if v.inexact])


def compute(operation: Operation, values: Values) -> None:
    """Compute the operation's outputs and add them to `values`."""
    out = operation.call(*(values[v] for v in operation.ins))
    values.update(zip(operation.outs, out, strict=True))


class Unsupported(NotImplementedError):
    """A method has no rule for an operation of the model; the message names it and its line."""
