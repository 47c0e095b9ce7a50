"""A traced model as a flat list of operations."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from ..model import Model, in_columns
from . import jaxprs
from .half import Narrow, holds_half, wide, widened
from .jaxprs import ELEMENTWISE
from .params import paths
from .parts import REDUCING, Operation, Unsupported, Value, Values, compute
from .written import as_written

LONGEST_SCAN = 128
"""Maximum number of steps of a scan that is unrolled."""
LARGEST_CONSTANT = 1_000_000
"""Maximum size of constant values that are computed while the graph is built."""


class Program:
    """The operations of a model for inputs like x, in order.

    Nested programs are inlined, short scans unrolled, and conditions replaced by a selection
    between all branches.

    Args:
      x: inputs [N, ...], or their shape and dtype. Parameters and x may be tracers.
      turned: whether values may have a different axis order than in the model, if that is faster.
      precise: whether half-precision operations are computed in float32.
      rewritten: whether the operations may be computed by their faster forms (`jaxeval.cpu`); not
        for a graph whose evaluation is traced and rewritten itself.

    Attributes:
      operations: the operations; `Operation.active` lists the inputs that depend on x.
      made: {value: the operation that produced it}.
      users: {value: the operations that use it}; for the logits `out`, also None.
      known: the values that depend neither on parameters nor on x.
    """

    def __init__(
        self,
        model: Model,
        x: Any,
        turned: bool = False,
        precise: bool = True,
        rewritten: bool = True,
    ):
        if model.host:
            raise TypeError(
                "this method traces the model's operations, and a host callable shows nothing; use "
                "an explainer that needs only outputs (Occlusion)"
            )
        given = jax.tree.map(_spec, (model.params, x))
        if isinstance(apply := model.apply, Narrow):
            own = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, apply.dtype), given[1])
            model, given = dataclasses.replace(model, apply=apply.fn), (given[0], own)

        # A new function, because JAX caches traces by function: replacements are only recorded
        # during tracing, and other callers must not get this trace. The rows' inputs are constants.
        def outputs(params: Any, x: Any) -> Any:
            own = dataclasses.replace(model, params=params)
            return in_columns(model.apply(*own.given(x, clean=True)))

        with as_written(turned) as written:
            closed = jax.make_jaxpr(outputs)(*given)
        if precise and holds_half(closed):
            closed = widened(closed)
            given = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, wide(v.dtype)), given)
        self._replacements = written.replacements if rewritten else []
        self.names = paths(model.params)
        specs = jax.tree.leaves(given)
        inputs = [Value(v) for v in specs]
        self.parameters, self.inputs = inputs[: len(self.names)], inputs[len(self.names) :]
        if len(self.inputs) != 1:
            raise TypeError("a model must be a function of its parameters and one array x")
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
            raise TypeError(f"a model must return one array, its logits; got {len(outs)}")
        self.out: Value = outs[0]
        self._find_active()

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
        if name == "without_gradients":
            raise Unsupported(eqn.params["why"])
        if name == "cond":
            return self._branches(eqn, ins)
        if name == "scan" and eqn.params["length"] <= LONGEST_SCAN:
            return self._unrolled(eqn, ins)
        if name == "custom_jvp_call":
            inner = _names(eqn.params["call_jaxpr"].jaxpr)
            if inner <= ELEMENTWISE:
                name = "elementwise"  # kept as one operation with its custom derivative
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
        """All branches of a condition, and a selection between their outputs."""
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
        # The number of carried values is stored differently by different versions of JAX. Scanned
        # values have one axis less inside a step.
        inner, outer = p["jaxpr"].jaxpr, eqn.outvars
        carried = sum(v.aval.ndim == w.aval.ndim for v, w in zip(inner.outvars, outer, strict=True))
        k = sum(len(v.shape) == w.aval.ndim for v, w in zip(ins, inner.invars, strict=True))
        n = k - carried
        consts, carry, sequences = ins[:n], ins[n:k], ins[k:]
        length = p["length"]
        given: list[Any] = [None] * length
        for i in reversed(range(length)) if p["reverse"] else range(length):

            def at(v: Any, i: int = i) -> list[Any]:
                return [lax.index_in_dim(v, i, 0, False)]

            now = [self._add("slice", at, [v], eqn)[0] for v in sequences]
            out = self._inside(p["jaxpr"], [*consts, *carry, *now])
            carry, given[i] = out[:carried], out[carried:]

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


def _spec(v: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(v), jnp.result_type(v))


def _again(eqn: Any, *given: Any) -> list[Any]:
    return jaxprs.bind(eqn, given)


def _alone(call: Callable[..., Any], *given: Any) -> list[Any]:
    return [call(*given)]


def _names(jaxpr: Any) -> set[str]:
    """The names of all primitives in a program."""
    return {eqn.primitive.name for eqn in jaxprs.equations(jaxpr, tuple(jaxprs.CALLS))}


def _is_known(operation: Operation, known: Mapping[Value, Any]) -> bool:
    if any(v not in known or isinstance(known[v], Tracer) for v in operation.ins):
        return False
    return sum(math.prod(v.shape) for v in operation.outs) < LARGEST_CONSTANT
