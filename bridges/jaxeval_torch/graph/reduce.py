"""Operators over axes: sums, extrema, sorting, softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .table import OPERATORS, Node, axes_of, integers, module, operator


def _reduce(f: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(node: Node, x: Any, axes: Any = None) -> Any:
        along = axes_of(node, axes)
        if not along:
            if node.get("noop_with_empty_axes", 0):
                # No axis is summed over, but every entry still goes through the function.
                return f(module(x), x, axis=(), keepdims=True)
            along = None
        return f(module(x), x, axis=along, keepdims=bool(node.get("keepdims", 1)))

    return reduce


def _l2(m: Any, x: Any, **over: Any) -> Any:
    return m.sqrt(m.sum(x * x, **over)).astype(x.dtype)


def _log_sum_exp(m: Any, x: Any, **over: Any) -> Any:
    return jax.nn.logsumexp(x, axis=over["axis"], keepdims=over["keepdims"])


def _of_nothing(x: Any, end: int) -> dict[str, Any]:
    """The maximum (minimum) of no entries is the smallest (largest) value of the dtype."""
    if x.size:
        return {}
    if x.dtype == bool:
        return {"initial": bool(end)}
    if jnp.issubdtype(x.dtype, jnp.integer):
        return {"initial": (jnp.iinfo(x.dtype).min, jnp.iinfo(x.dtype).max)[end]}
    return {"initial": (-np.inf, np.inf)[end]}


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": lambda m, x, **over: m.sum(x, **over, dtype=x.dtype),
    "ReduceMean": lambda m, x, **over: m.mean(x, **over),
    "ReduceMax": lambda m, x, **over: m.max(x, **over, **_of_nothing(x, 0)),
    "ReduceMin": lambda m, x, **over: m.min(x, **over, **_of_nothing(x, 1)),
    "ReduceProd": lambda m, x, **over: m.prod(x, **over, dtype=x.dtype),
    "ReduceL1": lambda m, x, **over: m.sum(m.abs(x), **over, dtype=x.dtype),
    "ReduceL2": _l2,
    "ReduceSumSquare": lambda m, x, **over: m.sum(x * x, **over, dtype=x.dtype),
    "ReduceLogSum": lambda m, x, **over: m.log(m.sum(x, **over)),
    "ReduceLogSumExp": _log_sum_exp,
}
OPERATORS.update({name: _reduce(f) for name, f in REDUCTIONS.items()})


def _position(function: str) -> Callable[..., Any]:
    def find(node: Node, x: Any) -> Any:
        axis, m = node.get("axis", 0), module(x)
        if node.get("select_last_index", 0):
            at = x.shape[axis] - 1 - getattr(m, function)(m.flip(x, axis), axis=axis)
        else:
            at = getattr(m, function)(x, axis=axis)
        return m.expand_dims(at, axis) if node.get("keepdims", 1) else at

    return find


OPERATORS.update(ArgMax=_position("argmax"), ArgMin=_position("argmin"))


@operator("CumSum")
def cum_sum(node: Node, x: Any, axis: Any) -> Any:
    along, m = integers(axis, "axis")[0], module(x)
    x = m.flip(x, along) if node.get("reverse", 0) else x
    total = m.cumsum(x, axis=along, dtype=x.dtype)
    total = total - x if node.get("exclusive", 0) else total
    return m.flip(total, along) if node.get("reverse", 0) else total


@operator("TopK")
def top_k(node: Node, x: Any, k: Any = None) -> Any:
    axis = node.get("axis", -1)
    n = integers(k, "number of entries")[0] if k is not None else node.get("k")
    # A stable sort keeps equal entries in order.
    largest = node.get("largest", 1)
    order = jnp.argsort(x, axis=axis, stable=True, descending=bool(largest))
    order = jax.lax.slice_in_dim(order, 0, n, axis=axis % x.ndim)
    return jnp.take_along_axis(jnp.asarray(x), order, axis=axis), order


def _last_axes(f: Callable[..., Any]) -> Callable[..., Any]:
    """Before opset 13, the axes from `axis` on are flattened."""

    def g(node: Node, x: Any) -> Any:
        if node.opset >= 13:
            return f(x, axis=node.get("axis", -1))
        axis = node.get("axis", 1) % x.ndim
        flat = x.reshape(int(np.prod(x.shape[:axis])), -1)
        return f(flat, axis=-1).reshape(x.shape)

    return g


def _hardmax(x: Any, axis: int) -> Any:
    return jax.nn.one_hot(jnp.argmax(x, axis), x.shape[axis], axis=axis, dtype=x.dtype)


OPERATORS.update(
    Softmax=_last_axes(jax.nn.softmax),
    LogSoftmax=_last_axes(jax.nn.log_softmax),
    Hardmax=_last_axes(_hardmax),
)
