"""Operators on sequences of tensors, represented as Python lists of known length."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import Node, integers, module, operator


@operator("SequenceConstruct")
def construct(node: Node, *values: Any) -> list[Any]:
    return list(values)


@operator("SequenceEmpty")
def empty(node: Node) -> list[Any]:
    return []


@operator("SplitToSequence")
def split_to_sequence(node: Node, x: Any, split: Any = None) -> list[Any]:
    axis, m = node.get("axis", 0), module(x)
    n = x.shape[axis]
    if split is None:
        parts = m.split(x, n, axis=axis)
        return [p if node.get("keepdims", 1) else m.squeeze(p, axis) for p in parts]
    sizes = integers(split, "sizes")
    ends = range(sizes[0], n, sizes[0]) if split.ndim == 0 else np.cumsum(sizes)[:-1].tolist()
    return list(m.split(x, list(ends), axis=axis))


@operator("SequenceAt")
def at(node: Node, values: list[Any], position: Any) -> Any:
    return values[integers(position, "position")[0]]


@operator("SequenceLength")
def length(node: Node, values: list[Any]) -> Any:
    return np.asarray(len(values), np.int64)


@operator("SequenceInsert")
def insert(node: Node, values: list[Any], value: Any, position: Any = None) -> list[Any]:
    i = len(values) if position is None else integers(position, "position")[0]
    i += len(values) if i < 0 else 0
    return [*values[:i], value, *values[i:]]


@operator("SequenceErase")
def erase(node: Node, values: list[Any], position: Any = None) -> list[Any]:
    i = -1 if position is None else integers(position, "position")[0]
    i += len(values) if i < 0 else 0
    return values[:i] + values[i + 1 :]


@operator("ConcatFromSequence")
def concat_from_sequence(node: Node, values: list[Any]) -> Any:
    m = module(*values)
    join = m.stack if node.get("new_axis", 0) else m.concatenate
    return join(values, axis=node.get("axis"))
