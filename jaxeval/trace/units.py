"""Grouping of operations into units: activation functions, softmax, normalisation, layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Var

from . import jaxprs
from .jaxprs import ELEMENTWISE
from .parts import (
    AFFINE,
    CORES,
    LARGEST,
    MOVES,
    OUTERMOST,
    REDUCING,
    SUMS,
    Node,
    Operation,
    Value,
    Values,
    compute,
)
from .program import Program

PROBES = (-3.0, -1.7, -0.6, -0.01, 0.0, 0.02, 0.7, 1.3, 2.9, 50.0)
"""Inputs on which a unit is evaluated to decide whether it is a ReLU."""


class Units:
    """Groups the operations of a program into nodes."""

    def __init__(self, program: Program):
        self.operations, self.known = program.operations, program.known
        self.made, self.users, self.out = program.made, program.users, program.out

    def gather(self) -> list[Node]:
        taken: dict[Operation, Node] = {}
        acting = [o for o in self.operations if o.active]
        for last in reversed(acting):
            if last in taken or last.name not in OUTERMOST or len(last.active) < 2:
                continue
            found = self._unit(last)
            if found is None or not found[1].inexact:
                continue
            kind, value, inside = found
            inside = sorted(set(inside), key=lambda o: o.at)
            node = Node(kind, inside, [value])
            if kind == "activation" and self._rectifies(node):
                node.kind = "relu"
            taken.update(dict.fromkeys(inside, node))
        nodes = []
        for operation in acting:
            if operation not in taken:
                node = self._classify(operation)
                if node.kind in ("linear", "scale", "sum"):
                    self._absorb(node, taken)
                taken.update(dict.fromkeys(node.operations, node))
            # A node takes the position of its last operation.
            if taken[operation].last is operation:
                nodes.append(taken[operation])
        held = {o for node in nodes for o in node.operations}
        assert all(o in held for o in acting)
        return nodes

    def _absorb(self, node: Node, taken: Mapping[Operation, Node]) -> None:
        """Add the constant scales and shifts that follow a node to the node."""
        while True:
            value = node.last.outs[0]
            users = self.users.get(value, [])
            after = users[0] if len(users) == 1 else None
            if after is None or after in taken or not self._is_affine(after, value):
                return
            if node.kind == "sum" and after.name not in ("mul", "div"):
                return
            node.after.append((after, value))
            node.operations.append(after)

    def _is_affine(self, operation: Operation, value: Value) -> bool:
        """Whether an operation scales or shifts a value by constants without changing its shape."""
        return (
            operation.name in AFFINE
            and operation.active == [value]
            and sum(v is value for v in operation.ins) == 1
            and operation.outs[0].inexact
            and not (operation.name == "div" and operation.ins[0] is not value)
            and operation.outs[0].shape == value.shape
        )

    def _rectifies(self, node: Node) -> bool:
        """Whether a unit is ``max(x, 0)``, however it is written."""
        last = node.last
        if len(node.operations) == 1 and last.name == "max":
            others = [self.known.get(v) for v in last.ins if v not in last.active]
            return all(v is not None and not np.any(np.asarray(v)) for v in others)
        if len(node.operations) == 1 and last.name == "elementwise" and _is_relu(last.eqn):
            return True
        own = {v for o in node.operations for v in o.outs} | set(node.ins)
        others = {v for o in node.operations for v in o.ins if v not in own}
        if any(v not in self.known for v in others):
            return False
        few = {v: _few(self.known[v]) for v in others}
        if any(v is None for v in few.values()):
            return False
        return _is_rectified(node, few)

    def _classify(self, operation: Operation) -> Node:
        name, floats = operation.name, operation.floats
        out = operation.outs[0]
        several = len(floats) > 1

        def node(kind: str) -> Node:
            return Node(kind, [operation], floats)

        if not out.inexact or name == "stop_gradient" or not floats:
            return node("stop")
        if name in CORES:
            twice = sum(v in floats for v in operation.ins) > 1
            return node("bilinear" if twice else "linear")
        if name == "elementwise" or name == "max":
            if several:
                return node("largest" if name == "max" else "other")
            made = node("activation")
            if self._rectifies(made):
                made.kind = "relu"
            elif name == "max" and self._is_lowest(operation):
                made.kind = "move"
            return made
        if not several and self._is_affine(operation, floats[0]):
            made = node("scale")
            made.after.append((operation, floats[0]))
            return made
        if name in ("add", "sub", "add_any"):
            return node("add" if several or operation.ins.count(floats[0]) > 1 else "other")
        if name == "mul":
            if several:
                return node("product")
            return node("activation" if operation.ins.count(floats[0]) > 1 else "sum")
        if name == "div":
            if several:
                return node("quotient")
            return node("sum" if operation.ins[0] is floats[0] else "activation")
        if name in SUMS:
            return node("sum")
        if name in LARGEST:
            return node("largest")
        if name in MOVES:
            return node("move")
        if name in ELEMENTWISE and not several and floats[0].shape == out.shape:
            return node("activation")
        return node("other")

    def _is_lowest(self, operation: Operation) -> bool:
        """Whether it is ``max(x, -inf)``, the identity."""
        others = [self.known.get(v) for v in operation.ins if v not in operation.active]
        return all(v is not None and np.all(np.isneginf(np.asarray(v, float))) for v in others)

    # -- units of several operations -------------------------------------------------------------

    def _region(
        self, last: Operation, allowed: Iterable[str], known: Iterable[Operation] = ()
    ) -> tuple[Value, list[Operation]] | None:
        """The single value that an operation depends on, and the operations between them.

        None if there is no single value, or if intermediate values are also used elsewhere.
        """
        front, inside = set(last.active), [last]
        while len(front) > 1:
            value = max(front, key=lambda v: self.made[v].at if v in self.made else -1)
            maker = self.made.get(value)
            if maker is None or maker.name not in allowed:
                return None
            front.remove(value)
            front.update(maker.active)
            inside.append(maker)
        within = {*inside, *known}
        for operation in inside[1:]:
            users = [u for v in operation.outs for u in self.users.get(v, ())]
            if any(u not in within for u in users):
                return None
        return front.pop(), inside

    def _unit(self, last: Operation) -> tuple[str, Value, list[Operation]] | None:
        """The activation function, softmax or normalisation that ends with this operation."""
        found = self._region(last, ELEMENTWISE | {"elementwise"})
        if found is not None:
            curved = {"select_n", "max", "min", "mul", "div", "pow"}
            if last.name in ("add", "sub") and not any(
                o.name in curved and len(o.active) > 1 for o in found[1]
            ):
                return None  # a sum of two activations, such as a residual connection
            return "activation", *found
        if last.name not in ("mul", "div", "sub"):
            return None
        found = self._region(last, ELEMENTWISE | REDUCING | {"elementwise"})
        if found is None:
            return None
        value, inside = found
        names = {o.name for o in inside}
        maker = self.made.get(value)
        if maker is not None and maker.name == "exp":
            value, inside = maker.active[0], [*inside, maker]
            return "softmax", *self._shifted(value, inside)
        if last.name == "sub":
            if not {"exp", "log"} <= names:
                return None  # x - mean(x) is linear
            return "softmax", *self._shifted(value, inside)
        return "normalise", value, inside

    def _shifted(self, value: Value, inside: list[Operation]) -> tuple[Value, list[Operation]]:
        """The value before the maximum was subtracted, if softmax does so; else `value`."""
        maker = self.made.get(value)
        if maker is not None and maker.name == "sub" and len(maker.active) > 1:
            alone = all(u in inside for u in self.users[value])
            found = self._region(maker, ELEMENTWISE | REDUCING, inside)
            if found is not None and alone:
                return found[0], [*inside, *found[1]]
            if alone and maker.ins[0] is not maker.ins[1] and self._is_stopped(maker.ins[1]):
                return maker.ins[0], [*inside, maker]
        return value, inside

    def _is_stopped(self, value: Value) -> bool:
        """Whether a value comes from `stop_gradient`, at most rearranged since."""
        maker = self.made.get(value)
        while maker is not None and maker.name in MOVES and len(maker.active) == 1:
            maker = self.made.get(maker.active[0])
        return maker is not None and maker.name == "stop_gradient"


def _is_relu(eqn: Any) -> bool:
    """Whether a nested program is exactly ``max(x, 0)``."""
    inner = []

    def note(eqn: Any, given: list[Any]) -> list[Any]:
        inner.append((eqn.primitive.name, given))
        return [None] * len(eqn.outvars)

    jaxpr = eqn.params["call_jaxpr"].jaxpr
    jaxprs.evaluate(jaxpr, jaxpr.constvars, jaxpr.invars, note, calls=tuple(jaxprs.CALLS))
    return (
        len(inner) == 1
        and inner[0][0] == "max"
        and any(np.shape(v) == () and not isinstance(v, Var) and v == 0 for v in inner[0][1])
    )


def _few(constant: Any) -> Any:
    """A constant broadcast to the number of probes; None if its entries differ."""
    constant = np.asarray(constant)
    if constant.ndim == 0:
        return constant
    if constant.size == 0 or np.any(constant != constant.flat[0]):
        return None
    return np.full(len(PROBES), constant.flat[0])


def _is_rectified(node: Node, values: Values) -> bool:
    """Whether a unit equals ``max(x, 0)`` at all probes; `values` holds its constants."""
    probes = np.asarray(PROBES)
    with jax.ensure_compile_time_eval():
        values = {**values, node.ins[0]: jnp.asarray(probes, node.ins[0].dtype)}
        for operation in node.operations:
            if operation.name == "elementwise":
                given = [values[v] for v in operation.ins]
                values.update(zip(operation.outs, _primitive(operation.eqn, given), strict=True))
            else:
                compute(operation, values)
        y = np.asarray(values[node.outs[0]], np.float64)
    return bool(np.allclose(y, np.maximum(probes, 0), atol=1e-6))


def _primitive(eqn: Any, given: list[Any]) -> list[Any]:
    """An equation evaluated by its primitives, which accept inputs of any shape."""
    if eqn.primitive.name != "custom_jvp_call":
        return jaxprs.bind(eqn, given)
    closed = eqn.params["call_jaxpr"]
    calls = tuple(jaxprs.CALLS)
    return jaxprs.evaluate(closed.jaxpr, closed.consts, given, _primitive, calls=calls)
