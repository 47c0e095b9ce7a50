"""Names of a model's layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .params import layer_of
from .parts import Node, Operation, Value
from .program import Program

OUTPUT_OF = "output of "
"""A value named "output of NAME" is the output of the layer NAME, activation included."""
HIDDEN = "hidden "
"""A value named "hidden NAME" has this name beside those that layers have without it."""


class Layers(NamedTuple):
    """Layers in the order of the forward pass."""

    outputs: dict[str, Value]
    weighted: list[str]
    """Names of the layers with parameters or with names set in the model's code."""
    convolutions: list[str]


def name_layers(program: Program, nodes: Iterable[Node]) -> Layers:
    """Name the outputs of layers with parameters, of named values, and of the nodes after them.

    Operations with parameters of the same path form a layer; its output is the last value before
    other parameters or another kind of node are used. A node without parameters is named after the
    preceding layer and its kind: "conv_1/relu".
    """
    used: dict[Value, frozenset[str]] = {
        v: frozenset([layer_of(n, _collections(program.names))])
        for v, n in zip(program.parameters, program.names, strict=True)
    }
    weighted: list[str] = []
    convolutions: list[str] = []
    named: dict[str, Value] = {}
    outputs: set[str] = set()
    before: dict[Value, str] = {}
    shown: dict[str, Value] = {}

    def layers_in(operation: Operation) -> list[str]:
        ins = [v for v in operation.ins if v.inexact and v not in operation.active]
        return sorted(frozenset().union(*(used.get(v, frozenset()) for v in ins)))

    def note_output(name: str, value: Value) -> None:
        """The output of a layer, which its parameters may have named before its activation."""
        calls = [k for k in named if k == name or k.startswith(f"{name}@")]
        if calls and calls[-1] not in outputs:
            named[calls[-1]] = value
        else:
            note(name, value)
            calls = [next(reversed(named))]
        outputs.add(calls[-1])

    def note(name: str, value: Value) -> None:
        numbered, i = name, 1
        while numbered in named:
            numbered, i = f"{name}@{i + 1}", i + 1
        named[numbered] = value

    for operation in program.operations:
        if not operation.active:
            used.update(dict.fromkeys(operation.outs, frozenset(layers_in(operation))))
    for node in nodes:
        source = next((before[v] for v in node.ins if v in before), "")
        runs: list[tuple[str, Value]] = []
        for operation in node.operations:
            inside = layers_in(operation)
            if inside and (not runs or runs[-1][0] not in inside):
                runs.append((inside[0], operation.outs[0]))
            elif runs:
                runs[-1] = (runs[-1][0], operation.outs[0])
        given = node.last.params.get("name") if node.last.name == "name" else None
        if given is not None and str(given).startswith(OUTPUT_OF):
            note_output(str(given).removeprefix(OUTPUT_OF), node.outs[0])
            before.update(dict.fromkeys(node.outs, str(given).removeprefix(OUTPUT_OF)))
            continue
        if given is not None and str(given).startswith(HIDDEN):
            shown[str(given).removeprefix(HIDDEN)] = node.outs[0]
            before.update(dict.fromkeys(node.outs, source))
            continue
        if given is not None:
            runs = [(str(given), node.outs[0])]
        kind = {"largest": node.last.name, "sum": node.first.name}.get(node.kind, node.kind)
        kinds = ("relu", "activation", "largest", "sum", "softmax", "normalise", "add")
        for name, value in runs:
            note(name, value)
            weighted.append(next(reversed(named)))
            if node.first.name == "conv_general_dilated":
                convolutions.append(next(reversed(named)))
        if not runs and node.kind in kinds and node.outs[0] is not program.out:
            note(f"{source}/{kind}" if source else kind, node.outs[0])
        after = runs[-1][0] if runs else source
        before.update(dict.fromkeys(node.outs, after))
    return Layers(named | shown, weighted, convolutions)


def _collections(names: Sequence[str]) -> tuple[str, ...]:
    """The first parts of paths that do not name a layer, e.g. Flax's "params", "batch_stats"."""
    tops = {n.split("/")[0] for n in names}
    return tuple(tops) if "params" in tops else ()
