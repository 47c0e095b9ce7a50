"""Operators that create, reshape, gather and scatter."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .table import (
    ConversionError,
    Node,
    axes_of,
    dtype_of,
    integers,
    is_known,
    known,
    module,
    operator,
)


@operator("Constant")
def constant(node: Node) -> Any:
    import onnx

    for name in ("value_int", "value_ints"):
        if node.get(name) is not None:
            return np.asarray(node.get(name), np.int64)
    for name in ("value_float", "value_floats"):
        if node.get(name) is not None:
            return np.asarray(node.get(name), np.float32)
    if node.get("value") is None:
        raise ConversionError("only tensors and numbers are supported as constants")
    return onnx.numpy_helper.to_array(node.get("value"))


@operator("ConstantOfShape")
def constant_of_shape(node: Node, shape: Any) -> Any:
    import onnx

    given = node.get("value")
    value = np.zeros(1, np.float32) if given is None else onnx.numpy_helper.to_array(given)
    return np.full(integers(shape, "shape"), value.reshape(-1)[0], value.dtype)


@operator("Shape")
def shape_of(node: Node, x: Any) -> Any:
    return np.asarray(x.shape, np.int64)[node.get("start", 0) : node.get("end")]


@operator("Size")
def size_of(node: Node, x: Any) -> Any:
    return np.asarray(x.size, np.int64)


@operator("Range")
def arange(node: Node, start: Any, limit: Any, delta: Any) -> Any:
    start = known(start, "start")
    ends = (v.reshape(()).item() for v in (start, known(limit, "end"), known(delta, "step")))
    return np.arange(*ends, dtype=start.dtype)


@operator("EyeLike")
def eye_like(node: Node, x: Any) -> Any:
    dtype = x.dtype if node.get("dtype") is None else dtype_of(node, "dtype")
    return np.eye(*x.shape, k=node.get("k", 0), dtype=dtype)


@operator("OneHot")
def one_hot(node: Node, indices: Any, depth: Any, values: Any) -> Any:
    n, axis = integers(depth, "depth")[0], node.get("axis", -1)
    m = module(indices, values)
    at = m.expand_dims(indices, axis)
    at = m.where(at < 0, at + n, at)
    steps = np.arange(n).reshape([-1 if i == axis % at.ndim else 1 for i in range(at.ndim)])
    return m.where(at == steps, values[1], values[0])


@operator("Reshape")
def reshape(node: Node, x: Any, shape: Any = None) -> Any:
    wanted = integers(shape, "shape") if shape is not None else list(node.get("shape"))
    if not node.get("allowzero", 0):
        wanted = [x.shape[i] if d == 0 else d for i, d in enumerate(wanted)]
    return x.reshape(wanted)


@operator("Flatten")
def flatten(node: Node, x: Any) -> Any:
    axis = node.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


@operator("Transpose")
def transpose(node: Node, x: Any) -> Any:
    return module(x).transpose(x, node.get("perm"))


@operator("Unsqueeze")
def unsqueeze(node: Node, x: Any, axes: Any = None) -> Any:
    return module(x).expand_dims(x, axes_of(node, axes))


@operator("Squeeze")
def squeeze(node: Node, x: Any, axes: Any = None) -> Any:
    return module(x).squeeze(x, axes_of(node, axes))


@operator("Concat")
def concat(node: Node, *values: Any) -> Any:
    return module(*values).concatenate(values, axis=node.get("axis"))


@operator("Split")
def split(node: Node, x: Any, sizes: Any = None) -> Any:
    axis = node.get("axis", 0)
    if sizes is None and node.get("split") is None:
        n = node.get("num_outputs") or len(node.outputs)
        part = -(-x.shape[axis] // n)
        wanted = [part] * (n - 1) + [x.shape[axis] - part * (n - 1)]
    else:
        wanted = integers(sizes, "sizes") if sizes is not None else node.get("split")
    return tuple(module(x).split(x, np.cumsum(wanted)[:-1], axis=axis))


@operator("Slice")
def slice_(
    node: Node, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None
) -> Any:
    first = integers(starts, "start") if starts is not None else node.get("starts")
    last = integers(ends, "end") if ends is not None else node.get("ends")
    along = axes_of(node, axes) or range(len(first))
    by = integers(steps, "step") if steps is not None else [1] * len(first)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(first, last, along, by, strict=True):
        n = x.shape[axis]
        if step < 0:
            # Python reads an end of -1 as the last entry; here it may mean before the first.
            start, end = min(start + n if start < 0 else start, n - 1), end + n if end < 0 else end
            index[axis] = slice(start, None if end < 0 else end, step)
        else:
            index[axis] = slice(start, end, step)
    return x[tuple(index)]


@operator("Expand")
def expand(node: Node, x: Any, shape: Any) -> Any:
    wanted = np.broadcast_shapes(x.shape, tuple(integers(shape, "shape")))
    return module(x).broadcast_to(x, wanted)


@operator("Tile")
def tile(node: Node, x: Any, repeats: Any) -> Any:
    return module(x).tile(x, integers(repeats, "repeats"))


@operator("Pad")
def pad(node: Node, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    amounts = integers(pads, "padding") if pads is not None else node.get("pads")
    along = axes_of(node, axes) or range(x.ndim)
    n = len(amounts) // 2
    widths = [(0, 0)] * x.ndim
    for axis, low, high in zip(along, amounts[:n], amounts[n:], strict=True):
        widths[axis] = (low, high)
    mode = node.get("mode", "constant")
    # A negative amount removes entries.
    cut = tuple(
        slice(max(-low, 0), n - max(-high, 0))
        for (low, high), n in zip(widths, x.shape, strict=True)
    )
    x, widths = x[cut], [(max(low, 0), max(high, 0)) for low, high in widths]
    m = module(x, value)
    if mode == "constant":
        fill = node.get("value", 0) if value is None else value.reshape(())
        return m.pad(x, widths, constant_values=m.asarray(fill, x.dtype))
    return m.pad(x, widths, mode=mode)


@operator("Trilu")
def trilu(node: Node, x: Any, k: Any = None) -> Any:
    m = module(x)
    offset = 0 if k is None else integers(k, "diagonal")[0]
    return m.triu(x, offset) if node.get("upper", 1) else m.tril(x, offset)


@operator("DepthToSpace")
def depth_to_space(node: Node, x: Any) -> Any:
    n, c, h, w = x.shape
    b = node.get("blocksize")
    if node.get("mode", "DCR") == "DCR":
        x = x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // b**2, h * b, w * b)


@operator("SpaceToDepth")
def space_to_depth(node: Node, x: Any) -> Any:
    n, c, h, w = x.shape
    b = node.get("blocksize")
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    x = x.reshape(n, c, h // b, b, w // b, b).transpose(order)
    return x.reshape(n, c * b**2, h // b, w // b)


@operator("ReverseSequence")
def reverse_sequence(node: Node, x: Any, lengths: Any) -> Any:
    batch, time = node.get("batch_axis", 1), node.get("time_axis", 0)
    steps = np.arange(x.shape[time]).reshape([-1 if i == time else 1 for i in range(x.ndim)])
    ends = jnp.asarray(lengths).reshape([-1 if i == batch else 1 for i in range(x.ndim)])
    at = jnp.where(steps < ends, ends - 1 - steps, steps)
    return jnp.take_along_axis(jnp.asarray(x), at, axis=time)


# Indices. ONNX counts negative ones from the end.


def _from_end(indices: Any, n: int) -> Any:
    return module(indices).where(indices < 0, indices + n, indices)


@operator("Gather")
def gather(node: Node, x: Any, indices: Any) -> Any:
    axis = node.get("axis", 0)
    at = _from_end(indices, x.shape[axis])
    if is_known(x, at):
        return np.take(x, at, axis=axis)
    if is_known(at) and at.ndim == 0:
        return jax.lax.index_in_dim(x, int(at), axis, keepdims=False)
    return jnp.take(jnp.asarray(x), at, axis=axis, mode="clip")


@operator("GatherElements")
def gather_elements(node: Node, x: Any, indices: Any) -> Any:
    axis = node.get("axis", 0) % x.ndim
    at = _from_end(indices, x.shape[axis])
    cut = tuple(slice(None if i == axis else n) for i, n in enumerate(at.shape))
    return module(x, at).take_along_axis(module(x, at).asarray(x)[cut], at, axis=axis)


def _at(shape: tuple[int, ...], indices: Any) -> tuple[Any, ...]:
    """The index tuple of indices [..., k] into the first k axes."""
    return tuple(_from_end(indices[..., i], shape[i]) for i in range(indices.shape[-1]))


@operator("GatherND")
def gather_nd(node: Node, x: Any, indices: Any) -> Any:
    batched = node.get("batch_dims", 0)
    if not batched:
        return module(x, indices).asarray(x)[_at(x.shape, indices)]

    def pick(v: Any, at: Any) -> Any:
        return v[_at(v.shape, at)]

    for _ in range(batched):
        pick = jax.vmap(pick)
    return pick(jnp.asarray(x), jnp.asarray(indices))


def _scatter(x: Any, at: tuple[Any, ...], updates: Any, reduction: str) -> Any:
    put = {"none": "set", "add": "add", "mul": "multiply", "max": "max", "min": "min"}
    return getattr(jnp.asarray(x).at[at], put[reduction])(updates)


@operator("ScatterND")
def scatter_nd(node: Node, x: Any, indices: Any, updates: Any) -> Any:
    return _scatter(x, _at(x.shape, indices), updates, node.get("reduction", "none"))


@operator("ScatterElements", "Scatter")
def scatter_elements(node: Node, x: Any, indices: Any, updates: Any) -> Any:
    axis = node.get("axis", 0) % x.ndim
    at = list(np.indices(indices.shape, sparse=True))
    at[axis] = _from_end(indices, x.shape[axis])
    return _scatter(x, tuple(at), updates, node.get("reduction", "none"))


@operator("NonZero")
def non_zero(node: Node, x: Any) -> Any:
    return np.stack(np.nonzero(known(x, "input"))).astype(np.int64)


@operator("Compress")
def compress(node: Node, x: Any, condition: Any) -> Any:
    axis = node.get("axis")
    x = x.reshape(-1) if axis is None else x
    return module(x).take(x, np.flatnonzero(known(condition, "condition")), axis=axis or 0)
