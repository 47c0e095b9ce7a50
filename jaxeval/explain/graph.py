"""A model as a graph of layers, whose backward pass can be given other rules.

The traced model is flattened to single operations, and these are gathered into nodes: a
convolution or matrix product with its bias and the normalisation behind it (``z = s·core(x, W) +
b``), an activation function of however many operations, a softmax, and so on. `Graph.forward`
computes all values and can replace some; `Graph.backward` goes back node by node, with a table of
rules ``kind -> rule(node, values, cotangents)``. Where the table has none, a node's own gradient is
used. So a method needs no special layers in the model, and a new rule is a function in a table.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend.core import Var

from .. import check, jaxprs
from ..types import Model

LONGEST_SCAN = 128
"""Steps up to which a scan is written out."""
LARGEST_CONSTANT = 1_000_000
"""Entries up to which a value that depends on nothing is computed while the graph is built."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENTWISE = _words(
    "add sub mul div neg exp exp2 log log1p expm1 tanh logistic erf erfc erf_inv sqrt rsqrt cbrt "
    "integer_pow pow square abs sign max min select_n clamp gt ge lt le eq ne and or not xor "
    "convert_element_type copy copy_p stop_gradient sin cos tan atan2 asinh acosh atanh atan asin "
    "acos sinh cosh floor ceil round is_finite rem name reduce_precision optimization_barrier "
    "add_any"
)
REDUCING = _words("reduce_sum reduce_max reduce_min broadcast_in_dim reshape squeeze expand_dims")
MOVES = _words(
    "reshape transpose broadcast_in_dim squeeze expand_dims slice concatenate pad gather "
    "dynamic_slice rev copy copy_p convert_element_type name reduce_precision select_n "
    "optimization_barrier split dynamic_update_slice scatter"
)
SUMS = _words("reduce_sum reduce_window_sum cumsum")
LARGEST = _words("reduce_max reduce_window_max reduce_min reduce_window_min cummax")
AFFINE = _words("add sub mul div neg convert_element_type add_any")
CORES = _words("conv_general_dilated dot_general ragged_dot")
OUTERMOST = _words("mul div max min select_n pow sub add")
"""Operations that may be the last of several that make up one unit."""
PROBES = (-3.0, -1.7, -0.6, -0.01, 0.0, 0.02, 0.7, 1.3, 2.9, 50.0)
"""Where a unit is evaluated to tell whether it is a rectifier."""

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
        return back([c for c, v in zip(cotangents, self.outs, strict=True) if v.inexact])


def compute(operation: Operation, values: Values) -> None:
    """Adds the operation's outputs to the values."""
    out = operation.call(*(values[v] for v in operation.ins))
    values.update(zip(operation.outs, out, strict=True))


class Unsupported(NotImplementedError):
    """A method has no rule for something in the model; the message says for what and where."""


class Graph:
    """A model's forward pass for inputs like x.

    Args:
      x: inputs [N, ...], or their shape and dtype. Parameters and x may be tracers.
    """

    def __init__(self, model: Model, x: Any):
        if model.host:
            raise TypeError(
                "this method looks into the model, and a host callable shows nothing; use an "
                "explainer that asks for outputs only (Occlusion)"
            )
        given = jax.tree.map(_spec, (model.params, x))
        with jaxprs.as_written() as self._replacements:
            closed = jax.make_jaxpr(model.apply)(*given)
        self.names = jaxprs.paths(model.params)
        specs = jax.tree.leaves(given)
        inputs = [Value(v) for v in specs]
        self.parameters, self.inputs = inputs[: len(self.names)], inputs[len(self.names) :]
        if len(self.inputs) != 1:
            raise TypeError("a model is a function of its parameters and of one array x")
        self.operations: list[Operation] = []
        self.constants: Values = {}
        outs = jaxprs.evaluate(
            closed.jaxpr,
            closed.consts,
            inputs,
            self._operation,
            self._constant,
            tuple(jaxprs.CALLS),
        )
        if len(outs) != 1:
            raise TypeError("a model gives one array, its logits")
        self.out: Value = outs[0]
        self._find_active()
        self.nodes = self._gather()
        self.layers = self._name_layers()

    # -- operations ------------------------------------------------------------------------------

    def _constant(self, array: Any) -> Value:
        value = Value(_spec(array))
        self.constants[value] = array
        return value

    def _add(self, name: str, call: Callable[..., Any], ins: Sequence[Value], eqn: Any) -> Any:
        specs = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in ins]
        outs = [Value(v) for v in jax.eval_shape(call, *specs)]
        self.operations.append(Operation(name, call, ins, outs, eqn))
        return outs

    def _operation(self, eqn: Any, ins: list[Value]) -> list[Value]:
        name = eqn.primitive.name
        if name == "cond":
            return self._branches(eqn, ins)
        if name == "scan" and eqn.params["length"] <= LONGEST_SCAN:
            return self._unrolled(eqn, ins)
        if name == "custom_jvp_call":
            inner = _names(eqn.params["call_jaxpr"].jaxpr)
            if inner <= ELEMENTWISE:
                name = "elementwise"  # kept whole, for its own derivative
            elif inner <= ELEMENTWISE | REDUCING:
                return self._inside(eqn.params["call_jaxpr"], ins)
        outs = [Value(v.aval) for v in eqn.outvars]
        call = next((r for r in (f(eqn) for f in self._replacements) if r is not None), None)
        again, *given = (_again, eqn) if call is None else (_alone, call)
        call = functools.partial(again, *given)
        self.operations.append(Operation(name, call, ins, outs, eqn))
        return outs

    def _inside(self, closed: Any, ins: list[Value]) -> list[Value]:
        return jaxprs.evaluate(
            closed.jaxpr,
            closed.consts,
            ins,
            self._operation,
            self._constant,
            tuple(jaxprs.CALLS),
        )

    def _branches(self, eqn: Any, ins: list[Value]) -> list[Value]:
        """All branches of a condition, and a choice between what they give."""
        index, *rest = ins
        n = len(eqn.params["branches"])
        every = [self._inside(branch, rest) for branch in eqn.params["branches"]]

        def choose(i: Any, *cases: Any) -> list[Any]:
            i = jnp.clip(i.astype(jnp.int32), 0, n - 1)
            return [lax.select_n(jnp.full(cases[0].shape, i), *cases)]

        outs = []
        for cases in zip(*every, strict=True):
            if cases[0].dtype == jax.dtypes.float0:
                raise Unsupported(f"a condition over {cases[0].dtype} ({jaxprs.where(eqn)})")
            outs += self._add("select_n", choose, [index, *cases], eqn)
        return outs

    def _unrolled(self, eqn: Any, ins: list[Value]) -> list[Value]:
        p = eqn.params
        n, k = p["num_consts"], p["num_consts"] + p["num_carry"]
        consts, carry, sequences = ins[:n], ins[n:k], ins[k:]
        length = p["length"]
        given: list[Any] = [None] * length
        for i in reversed(range(length)) if p["reverse"] else range(length):

            def at(v: Any, i: int = i) -> list[Any]:
                return [lax.index_in_dim(v, i, 0, False)]

            now = [self._add("slice", at, [v], eqn)[0] for v in sequences]
            out = self._inside(p["jaxpr"], [*consts, *carry, *now])
            carry, given[i] = out[: p["num_carry"]], out[p["num_carry"] :]

        def stack(*parts: Any) -> list[Any]:
            return [jnp.stack(parts)]

        stacked = [self._add("concatenate", stack, parts, eqn)[0] for parts in zip(*given)]  # noqa: B905
        return [*carry, *stacked]

    # -- what depends on the input ---------------------------------------------------------------

    def _find_active(self) -> None:
        active, known = set(self.inputs), dict(self.constants)
        self.made: dict[Value, Operation] = {}
        self.users: dict[Value, list[Operation | None]] = {self.out: [None]}
        with jax.ensure_compile_time_eval():
            for i, operation in enumerate(self.operations):
                operation.at = i
                operation.active = [v for v in dict.fromkeys(operation.ins) if v in active]
                for v in operation.ins:
                    self.users.setdefault(v, []).append(operation)
                self.made.update(dict.fromkeys(operation.outs, operation))
                if operation.active:
                    if operation.name == "while":
                        raise Unsupported(
                            "a while loop over something that depends on the input has no fixed "
                            f"number of steps to go back through ({jaxprs.where(operation.eqn)}): "
                            "use lax.scan, or lax.fori_loop with fixed bounds"
                        )
                    active.update(operation.outs)
                elif _is_known(operation, known):
                    compute(operation, known)
        self.known = known

    def floats(self, operation: Operation) -> list[Value]:
        """The floating-point inputs that depend on the model's input."""
        return [v for v in operation.active if v.inexact]

    def _region(
        self, last: Operation, allowed: Iterable[str], known: Iterable[Operation] = ()
    ) -> tuple[Value, list[Operation]] | None:
        """The one value on which an operation depends, and the operations between them.

        None where there is none, or where what lies between is used elsewhere, too.
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
        """The activation function, softmax or normalisation that an operation completes."""
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
        """Softmax subtracts the largest entry first: the value before, if it does."""
        maker = self.made.get(value)
        if maker is not None and maker.name == "sub" and len(maker.active) > 1:
            found = self._region(maker, ELEMENTWISE | REDUCING, inside)
            if found is not None and all(u in inside for u in self.users[value]):
                return found[0], [*inside, *found[1]]
        return value, inside

    # -- nodes -----------------------------------------------------------------------------------

    def _gather(self) -> list[Node]:
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
            # A node stands where its last operation does.
            if taken[operation].last is operation:
                nodes.append(taken[operation])
        held = {o for node in nodes for o in node.operations}
        assert all(o in held for o in acting)
        return nodes

    def _absorb(self, node: Node, taken: Mapping[Operation, Node]) -> None:
        """The constant scale and shift behind a node become part of it."""
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
        """Whether an operation scales or shifts a value by constants, and keeps its shape."""
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
        name, floats = operation.name, self.floats(operation)
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
        """``max(x, -inf)``, which changes nothing."""
        others = [self.known.get(v) for v in operation.ins if v not in operation.active]
        return all(v is not None and np.all(np.isneginf(np.asarray(v, float))) for v in others)

    # -- layers ----------------------------------------------------------------------------------

    def _name_layers(self) -> dict[str, Value]:
        """Values by name: outputs of what has parameters, of named values, and of what follows.

        Operations with parameters of one path are a layer; its output is the last value before
        other parameters or another kind of node come in. Without parameters, a node is named
        after the layer before it and its kind: "conv_1/relu".
        """
        used: dict[Value, frozenset[str]] = {
            v: frozenset([jaxprs.layer_of(n, _collections(self.names))])
            for v, n in zip(self.parameters, self.names, strict=True)
        }
        self.weighted: list[str] = []
        """The layers with parameters or with a name of their own."""
        self.convolutions: list[str] = []
        named: dict[str, Value] = {}
        before: dict[Value, str] = {}

        def layers_in(operation: Operation) -> list[str]:
            ins = [v for v in operation.ins if v.inexact and v not in operation.active]
            return sorted(frozenset().union(*(used.get(v, frozenset()) for v in ins)))

        def note(name: str, value: Value) -> None:
            numbered, i = name, 1
            while numbered in named:
                numbered, i = f"{name}@{i + 1}", i + 1
            named[numbered] = value

        for operation in self.operations:
            if not operation.active:
                used.update(dict.fromkeys(operation.outs, frozenset(layers_in(operation))))
        for node in self.nodes:
            source = next((before[v] for v in node.ins if v in before), "")
            runs: list[tuple[str, Value]] = []
            for operation in node.operations:
                inside = layers_in(operation)
                if inside and (not runs or runs[-1][0] not in inside):
                    runs.append((inside[0], operation.outs[0]))
                elif runs:
                    runs[-1] = (runs[-1][0], operation.outs[0])
            given = node.last.params.get("name") if node.last.name == "name" else None
            if given is not None:
                runs = [(str(given), node.outs[0])]
            kind = {"largest": node.last.name, "sum": node.first.name}.get(node.kind, node.kind)
            shown = ("relu", "activation", "largest", "sum", "softmax", "normalise", "add")
            for name, value in runs:
                note(name, value)
                self.weighted.append(next(reversed(named)))
                if node.first.name == "conv_general_dilated":
                    self.convolutions.append(next(reversed(named)))
            if not runs and node.kind in shown and node.outs[0] is not self.out:
                note(f"{source}/{kind}" if source else kind, node.outs[0])
            after = runs[-1][0] if runs else source
            before.update(dict.fromkeys(node.outs, after))
        return named

    def layer(self, name: str) -> Value:
        """The output of a named layer."""
        if name not in self.layers:
            raise ValueError(
                f"the model has no layer {name!r}, only {', '.join(self.layers)}"
                f"{check.did_you_mean(name, self.layers)}"
            )
        return self.layers[name]

    # -- running ---------------------------------------------------------------------------------

    def forward(self, params: Any, x: Any, replace: Mapping[Value, Any] | None = None) -> Values:
        """All values for these parameters and inputs, with some replaced as they come up."""
        values = dict(self.constants)
        values.update(zip(self.parameters, jax.tree.leaves(params), strict=True))
        values[self.inputs[0]] = x
        values.update(replace or {})
        for operation in self.operations:
            out = operation.call(*(values[v] for v in operation.ins))
            for v, given in zip(operation.outs, out, strict=True):
                if not replace or v not in replace:
                    values[v] = given
        return values

    def backward(
        self, values: Values, seed: Any, rules: Mapping[str, Rule], to: Value | None = None
    ) -> Any:
        """What arrives at the input, or at the value `to`, when `seed` starts at the logits.

        Args:
          values: of `forward`.
          seed: in the shape of the logits [N, K].
          rules: kind of node -> rule; a kind without a rule passes its gradient.
        """
        to = self.inputs[0] if to is None else to
        arrived: Values = {self.out: seed}
        for node in reversed(self.nodes):
            if to in node.outs:
                break
            if node.kind == "stop" or not any(v in arrived for v in node.outs):
                continue
            cotangents = [
                arrived[v] if v in arrived else jnp.zeros(v.shape, v.dtype) for v in node.outs
            ]
            back = rules.get(node.kind, Node.gradient)(node, values, cotangents)
            for v, r in zip(node.ins, back, strict=True):
                arrived[v] = arrived[v] + r if v in arrived else r
        return arrived[to] if to in arrived else jnp.zeros(to.shape, to.dtype)


def _spec(v: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(v), jnp.result_type(v))


def _again(eqn: Any, *given: Any) -> list[Any]:
    return jaxprs.bind(eqn, given)


def _alone(call: Callable[..., Any], *given: Any) -> list[Any]:
    return [call(*given)]


def _names(jaxpr: Any) -> set[str]:
    """The names of all primitives in a program."""
    found = set()
    for eqn in jaxpr.eqns:
        nested = jaxprs.called(eqn, tuple(jaxprs.CALLS))
        found |= _names(nested[0]) if nested is not None else {eqn.primitive.name}
    return found


def _is_relu(eqn: Any) -> bool:
    """Whether a nested program is nothing but ``max(x, 0)``."""
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
    """A constant for as many entries as there are probes; None if it is not one number."""
    constant = np.asarray(constant)
    if constant.ndim == 0:
        return constant
    if constant.size == 0 or np.any(constant != constant.flat[0]):
        return None
    return np.full(len(PROBES), constant.flat[0])


def _is_rectified(node: Node, values: Values) -> bool:
    """Whether a unit is ``max(x, 0)`` where it is probed, with constants for as many entries."""
    probes = np.asarray(PROBES)
    with jax.ensure_compile_time_eval():
        there = {**values, node.ins[0]: jnp.asarray(probes, node.ins[0].dtype)}
        for operation in node.operations:
            if operation.name == "elementwise":
                given = [there[v] for v in operation.ins]
                there.update(zip(operation.outs, _primitive(operation.eqn, given), strict=True))
            else:
                compute(operation, there)
        y = np.asarray(there[node.outs[0]], np.float64)
    return bool(np.allclose(y, np.maximum(probes, 0), atol=1e-6))


def _primitive(eqn: Any, given: list[Any]) -> list[Any]:
    """An equation by single operations, which do not mind the shape of their inputs."""
    if eqn.primitive.name != "custom_jvp_call":
        return jaxprs.bind(eqn, given)
    closed = eqn.params["call_jaxpr"]
    calls = tuple(jaxprs.CALLS)
    return jaxprs.evaluate(closed.jaxpr, closed.consts, given, _primitive, calls=calls)


def _is_known(operation: Operation, known: Mapping[Value, Any]) -> bool:
    if any(v not in known or isinstance(known[v], Tracer) for v in operation.ins):
        return False
    return sum(math.prod(v.shape) for v in operation.outs) < LARGEST_CONSTANT


def _collections(names: Sequence[str]) -> tuple[str, ...]:
    """The first parts of paths that name no layer: Flax keeps weights apart from statistics."""
    tops = {n.split("/")[0] for n in names}
    return tuple(tops) if "params" in tops else ()
