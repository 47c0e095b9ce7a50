"""A graph of ONNX operations, run with JAX."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxeval.digests import digest, hasher

from .normalisation import conv_batch_norm
from .table import OPERATORS, ConversionError, Node, integers, is_known, is_ours

CONTROL = ("If", "Loop")
SCOPES = "pkg.torch.onnx.name_scopes"


class OnnxGraph:
    """An ONNX graph: ``run({name: array}) -> {name: array}``, for `jax.jit`, `vmap` and `grad`.

    Graphs are compared by their text, so models with the same architecture share compiled programs,
    and by the user-defined operators registered when the graph was built (`own`). Values not passed
    to `run` come from `constants`.
    """

    def __init__(self, proto: Any, parameters: Iterable[str] = ()):
        """Args:
        proto: an `onnx.ModelProto`, its functions inlined.
        parameters: the initialisers that are passed to `run`; the others are constants.
        """
        self._read(proto.graph, _opset(proto), set(parameters))
        missing = sorted(self.operators() - set(OPERATORS) - set(CONTROL))
        if missing:
            raise ConversionError(
                f"the model uses unsupported operators: {', '.join(missing)}. "
                "jaxeval_torch.wrap_torch runs such a model in torch, and "
                "@jaxeval_torch.operator(...) registers a function of yours for an operator"
            )
        running = hasher()
        running.update(proto.SerializeToString(deterministic=True))
        self.digest = running.hexdigest()

    def _read(self, graph: Any, opset: int, parameters: set[str]) -> None:
        import onnx

        self.opset = opset
        stored = {t.name for t in graph.initializer}
        self.constants = {
            t.name: onnx.numpy_helper.to_array(t)
            for t in graph.initializer
            if t.name not in parameters
        }
        self.inputs = tuple(i.name for i in graph.input if i.name not in stored)
        self.outputs = tuple(o.name for o in graph.output)
        self.nodes = tuple(_node(n, opset) for n in graph.node)
        functions = {op: OPERATORS.get(op) for op in sorted(self.operators())}
        self.own = {op: f for op, f in functions.items() if f is not None and not is_ours(f)}
        self._made = {*self.inputs, *stored, *(o for n in self.nodes for o in n.outputs)}
        self._pairs = self._foldable()
        self._last = self._last_readers()
        self.digest = ""

    @classmethod
    def _inner(cls, graph: Any, opset: int) -> OnnxGraph:
        """The graph of a branch or a loop body, which may also read values of the outer graph."""
        self = cls.__new__(cls)
        self._read(graph, opset, set())
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OnnxGraph) and (self.digest, self.own) == (other.digest, other.own)

    def __hash__(self) -> int:
        return hash(self.digest)

    def with_constants(self, values: Mapping[str, np.ndarray]) -> OnnxGraph:
        """The graph with further constants, whose values take part in comparisons of graphs."""
        if not values:
            return self
        new = copy.copy(self)
        new.constants = {**self.constants, **values}
        new.digest = digest({"graph": np.array(self.digest), **values})
        return new

    def operators(self) -> set[str]:
        """The operators used in this graph and in inner graphs."""
        found = {node.op for node in self.nodes}
        return found.union(*(g.operators() for n in self.nodes for g in _graphs(n)))

    def reads(self) -> set[str]:
        """The names that the graph reads from the outer graph."""
        return {*(k for n in self.nodes for k in _reads(n)), *self.outputs} - self._made

    def _foldable(self) -> dict[int, int]:
        """{batch normalisation: the convolution whose only reader it is}, by position."""
        users: dict[str, int] = {}
        for node in self.nodes:
            for name in _reads(node):
                users[name] = users.get(name, 0) + 1
        made = {node.outputs[0]: i for i, node in enumerate(self.nodes) if node.op == "Conv"}
        found = {}
        for i, node in enumerate(self.nodes):
            source = node.inputs[0] if node.op == "BatchNormalization" else None
            if source in made and users[source] == 1 and source not in self.outputs:
                found[i] = made[source]
        return found

    def run(
        self,
        given: Mapping[str, Any],
        wanted: Iterable[str] = (),
        *,
        fold: bool = False,
    ) -> dict[str, Any]:
        """The outputs, and other values that are `wanted`, by name.

        Args:
          given: inputs and parameters. NumPy arrays are compile-time constants.
          fold: whether to fold batch normalisations into the convolutions before them.
        """
        keep = {*self.outputs, *wanted}
        pairs = {b: c for b, c in self._pairs.items() if self.nodes[c].outputs[0] not in keep}
        pairs = pairs if fold else {}
        folded = set(pairs.values())
        env = {**self.constants, **given, "": None}
        for i, node in enumerate(self.nodes):
            if i in folded:
                continue
            with _blame(node):
                if i in pairs:
                    conv = self.nodes[pairs[i]]
                    inputs = [env[k] for k in (*conv.inputs, *node.inputs[1:])]
                    results: Any = conv_batch_norm(conv, node, *inputs)
                elif node.op in CONTROL:
                    results = (_branch if node.op == "If" else _loop)(node, env)
                else:
                    f = self.own.get(node.op) or OPERATORS[node.op]
                    results = _compute(f, node, [env[k] for k in node.inputs])
            results = results if isinstance(results, tuple) else (results,)
            # The function of an operator may return further optional outputs at the end.
            env.update((k, v) for k, v in zip(node.outputs, results, strict=False) if k)
            # Free values after their last use: outside `jit` a large network would fill the memory.
            for k in (*(self.nodes[pairs[i]].inputs if i in pairs else ()), *_reads(node)):
                if k and self._last[k] == i and k not in keep:
                    env.pop(k, None)
        return {k: env[k] for k in keep}

    def _last_readers(self) -> dict[str, int]:
        """{name: the last node that reads it}."""
        last = {k: i for i, n in enumerate(self.nodes) for k in _reads(n)}
        for norm, conv in self._pairs.items():  # may be folded
            last.update((k, max(last[k], norm)) for k in self.nodes[conv].inputs)
        return last


class _blame:
    """Adds the operation to errors raised inside."""

    def __init__(self, node: Node):
        self.node = node

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            return
        where = f" of {self.node.scopes[-1]!r}" if self.node.scopes else ""
        what = f"{self.node.op}{where} (output {', '.join(self.node.outputs)!r})"
        if isinstance(error, ConversionError) and not str(error).startswith("operation "):
            raise ConversionError(f"operation {what}: {error}") from error
        error.add_note(f"in the operation {what}")


def _compute(f: Callable[..., Any], node: Node, inputs: list[Any]) -> Any:
    if not inputs or not is_known(*inputs):
        return f(node, *inputs)
    # NumPy values stay NumPy values.
    with jax.ensure_compile_time_eval():
        return jax.tree.map(np.asarray, f(node, *inputs))


def _branch(node: Node, env: Mapping[str, Any]) -> tuple[Any, ...]:
    chosen, condition = node.attributes, env[node.inputs[0]]
    branches = chosen["then_branch"], chosen["else_branch"]

    def take(graph: OnnxGraph) -> tuple[Any, ...]:
        out = graph.run({k: v for k, v in env.items() if k})
        return tuple(out[k] for k in graph.outputs)

    if is_known(condition):
        return take(branches[0] if np.asarray(condition).all() else branches[1])
    then, other = (lambda g=g: tuple(jnp.asarray(v) for v in take(g)) for g in branches)
    return jax.lax.cond(jnp.asarray(condition).reshape(()), then, other)


def _loop(node: Node, env: Mapping[str, Any]) -> tuple[Any, ...]:
    """Unroll a loop with a known number of iterations."""
    body: OnnxGraph = node.attributes["body"]
    names = (*node.inputs, "", "")
    times, going = env[names[0]], env[names[1]]
    carried = [env[k] for k in node.inputs[2:]]
    rounds = None if times is None else integers(times, "number of rounds")[0]
    stacked: list[list[Any]] = [[] for _ in body.outputs[1 + len(carried) :]]
    i = 0
    while rounds is None or i < rounds:
        if not is_known(going):
            raise ConversionError("the loop's number of iterations depends on the data")
        if going is not None and not np.asarray(going).all():
            break
        going = np.asarray(True) if going is None else going
        state = zip(body.inputs, (np.asarray(i, np.int64), going, *carried), strict=True)
        out = body.run({k: v for k, v in env.items() if k} | dict(state))
        going, *rest = (out[k] for k in body.outputs)
        carried = rest[: len(carried)]
        for rows, v in zip(stacked, rest[len(carried) :], strict=True):
            rows.append(v)
        i += 1
    if stacked and not i:
        raise ConversionError("a loop without iterations, whose outputs have no shape")
    return (*carried, *(np.stack(v) if is_known(*v) else jnp.stack(v) for v in stacked))


def _graphs(node: Node) -> list[OnnxGraph]:
    return [v for v in node.attributes.values() if isinstance(v, OnnxGraph)]


def _reads(node: Node) -> tuple[str, ...]:
    inner = {name for g in _graphs(node) for name in g.reads()}
    return (*dict.fromkeys(node.inputs), *sorted(inner - set(node.inputs)))


def _opset(proto: Any) -> int:
    return next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 20)


def _node(proto: Any, opset: int) -> Node:
    import onnx

    def value(attribute: Any) -> Any:
        v = onnx.helper.get_attribute_value(attribute)
        return OnnxGraph._inner(v, opset) if isinstance(v, onnx.GraphProto) else v

    standard = proto.domain in ("", "ai.onnx")
    scopes = {p.key: p.value for p in proto.metadata_props}.get(SCOPES)
    return Node(
        op=proto.op_type if standard else f"{proto.domain}::{proto.op_type}",
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={a.name: value(a) for a in proto.attribute},
        name=proto.name,
        scopes=tuple(s for s in ast.literal_eval(scopes)[:-1] if s) if scopes else (),
        opset=opset,
    )
