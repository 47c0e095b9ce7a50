"""The node tests that ONNX ships: one model of one operation each, with inputs and answers."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections import Counter
from importlib import import_module
from typing import Any

import jax
import numpy as np
from jaxeval_torch.graph import OnnxGraph
from jaxeval_torch.graph.interpreter import CONTROL
from jaxeval_torch.graph.table import OPERATORS

# Beyond what a classifier's forward pass is made of.
SKIP = {
    "optional types": ("optional", "_opt"),
    "randomness, training": ("training", "_random", "bernoulli"),
    "types that JAX or NumPy lack": ("FLOAT8", "FLOAT4", "FLOAT2", "INT4", "INT2", "STRING"),
}


@dataclasses.dataclass(frozen=True)
class NodeTest:
    name: str
    model: Any
    inputs: list[Any]
    outputs: list[Any]
    operators: frozenset[str]


def _array(v: Any) -> Any:
    import onnx

    if isinstance(v, list):
        return list(map(_array, v))
    return onnx.numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else np.asarray(v)


def _operators(graph: Any) -> set[str]:
    found = set()
    for node in graph.node:
        found.add(
            node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
        )
        for a in node.attribute:
            if a.HasField("g"):
                found |= _operators(a.g)
    return found


@dataclasses.dataclass
class NodeTests:
    """The tests whose operators are all known, and how many of the others there are, by reason."""

    tried: list[NodeTest] = dataclasses.field(default_factory=list)
    left: Counter[str] = dataclasses.field(default_factory=Counter)
    unknown: Counter[str] = dataclasses.field(default_factory=Counter)
    """Tests of operators that are not in the table, by operator."""


@functools.cache
def node_tests(operator: str | None = None) -> NodeTests:
    """All of them, or those whose only operator is this one."""
    from onnx.backend.test.loader import load_model_tests

    found, package = NodeTests(), "onnx.backend.test.case.node"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # They are made when their module is imported: all take ten seconds.
        if operator is not None:
            import_module(f"{package}.{operator.lower()}")
            cases = list(import_module(package)._NodeTestCases)
        else:
            cases = load_model_tests(kind="node")
    for case in cases:
        model = case.model
        operators = _operators(model.graph)
        if operator is not None and operators != {operator}:
            continue
        infos = [*model.graph.input, *model.graph.output]
        why = None
        if unknown := operators - {*OPERATORS, *CONTROL}:
            why = "unsupported operators"
            found.unknown.update(unknown)
        else:
            for reason, words in SKIP.items():
                if any(w in case.name for w in words):
                    why = reason
            if any(_odd_type(i) for i in infos):
                why = "types that JAX or NumPy lack"
        if why is None:
            inputs, outputs = (list(map(_array, v)) for v in case.data_sets[0])
            found.tried.append(NodeTest(case.name, model, inputs, outputs, frozenset(operators)))
        else:
            found.left[why] += 1
    return found


def _odd_type(info: Any) -> bool:
    import onnx

    name = onnx.TensorProto.DataType.Name(info.type.tensor_type.elem_type)
    return any(
        w in name for w in ("FLOAT8", "FLOAT4", "INT4", "INT2", "UINT2", "STRING", "COMPLEX")
    )


# Inputs that decide a shape, by operator: they are known before any data is.
SHAPES = {"Resize": ("roi", "scales"), "Upsample": ("scales",), "OneHot": ("depth",)}


def run(test: NodeTest, jit: bool = True) -> list[Any]:
    """Our outputs, with the floating-point inputs as traced arguments of a compiled program."""
    with jax.enable_x64(True):
        graph = OnnxGraph(test.model)
        given = dict(zip(graph.inputs, test.inputs, strict=True))
        known = {name for op in test.operators for name in SHAPES.get(op, ())}
        traced = {
            k: v
            for k, v in given.items()
            if jit
            and isinstance(v, np.ndarray)
            and jax.numpy.issubdtype(v.dtype, jax.numpy.floating)
            and not (k in known or "range" in test.name)
        }
        rest = {k: v for k, v in given.items() if k not in traced}
        out = (jax.jit if jit else lambda f: f)(lambda p: graph.run({**p, **rest}))(traced)
        return [jax.tree.map(np.asarray, out[k]) for k in graph.outputs]


def assert_right(test: NodeTest, outputs: list[Any]) -> None:
    """To ONNX's own tolerance, or to four roundings of shorter types."""
    ours_and_right = jax.tree.leaves(outputs), jax.tree.leaves(test.outputs)
    assert jax.tree.structure(outputs) == jax.tree.structure(test.outputs)
    for ours, right in zip(*ours_and_right, strict=True):
        assert ours.shape == right.shape
        assert ours.dtype == right.dtype
        if ours.dtype.kind in "fV":
            loose = max(1e-3, 4 * float(jax.numpy.finfo(ours.dtype).eps))
            ours, right = ours.astype(np.float64), right.astype(np.float64)
            np.testing.assert_allclose(ours, right, rtol=loose, atol=loose * 1e-2)
        else:
            np.testing.assert_array_equal(ours, right)
