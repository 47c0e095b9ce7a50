"""Matrix products, convolutions, pooling and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .table import ConversionError, Node, by_channel, integers, known, operator


@operator("MatMul")
def matmul(node: Node, x: Any, y: Any) -> Any:
    return jnp.matmul(x, y)


@operator("Gemm")
def gemm(node: Node, x: Any, y: Any, c: Any = None) -> Any:
    x = x.T if node.get("transA", 0) else x
    y = y.T if node.get("transB", 0) else y
    out = jnp.matmul(x, y)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    out = out if alpha == 1 else alpha * out
    return out if c is None else out + (c if beta == 1 else beta * c)


@operator("Einsum")
def einsum(node: Node, *values: Any) -> Any:
    return jnp.einsum(node.get("equation"), *values)


# Windows.


def _geometry(node: Node, size: Sequence[int], kernel: Sequence[int]) -> tuple[Any, Any, Any]:
    """(strides, dilations, [(low, high), ...]) of a window that moves over the axes in `size`."""
    n = len(size)
    strides, dilations = node.get("strides") or [1] * n, node.get("dilations") or [1] * n
    auto = node.get("auto_pad", "NOTSET")
    if auto == "VALID":
        return strides, dilations, [(0, 0)] * n
    if auto != "NOTSET":
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        pads = lax.padtype_to_pads(size, reach, strides, "SAME")
        return strides, dilations, [p if auto == "SAME_UPPER" else p[::-1] for p in pads]
    pads = node.get("pads") or [0] * 2 * n
    return strides, dilations, list(zip(pads[:n], pads[n:], strict=True))


def _layout(ndim: int) -> tuple[str, str, str]:
    space = "DHW"[-(ndim - 2) :] if ndim > 2 else ""
    return f"NC{space}", f"OI{space}", f"NC{space}"


@operator("Conv")
def conv(node: Node, x: Any, w: Any, b: Any = None) -> Any:
    strides, dilations, pads = _geometry(node, x.shape[2:], w.shape[2:])
    out = lax.conv_general_dilated(
        x,
        jnp.asarray(w),
        strides,
        pads,
        rhs_dilation=dilations,
        dimension_numbers=_layout(x.ndim),
        feature_group_count=node.get("group", 1),
    )
    return out if b is None else out + by_channel(b, x.ndim)


@operator("ConvTranspose")
def conv_transpose(node: Node, x: Any, w: Any, b: Any = None) -> Any:
    n, groups, kernel = x.ndim - 2, node.get("group", 1), w.shape[2:]
    strides, dilations = node.get("strides") or [1] * n, node.get("dilations") or [1] * n
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    extra = node.get("output_padding") or [0] * n
    given, auto = node.get("output_shape"), node.get("auto_pad", "NOTSET")
    if given is None and auto.startswith("SAME"):
        given = [d * s for d, s in zip(x.shape[2:], strides, strict=True)]
    if given is not None:
        full = [
            (d - 1) * s + e + r
            for d, s, e, r in zip(x.shape[2:], strides, extra, reach, strict=True)
        ]
        total = [f - g for f, g in zip(full, given[-n:], strict=True)]
        halves = [(t // 2, t - t // 2) for t in total]
        cuts = halves if auto == "SAME_UPPER" else [h[::-1] for h in halves]
    else:
        pads = node.get("pads") or [0] * 2 * n
        cuts = list(zip(pads[:n], pads[n:], strict=True))
    # The gradient of a convolution: the input dilated by the strides, the kernel flipped and its
    # [C, M / groups] axes exchanged within each group.
    w = jnp.asarray(w)
    w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).swapaxes(1, 2)
    w = jnp.flip(w.reshape(-1, *w.shape[2:]), tuple(range(2, n + 2)))
    out = lax.conv_general_dilated(
        x,
        w,
        [1] * n,
        [
            (r - 1 - low, r - 1 - high + e)
            for r, (low, high), e in zip(reach, cuts, extra, strict=True)
        ],
        lhs_dilation=strides,
        rhs_dilation=dilations,
        dimension_numbers=_layout(x.ndim),
        feature_group_count=groups,
    )
    return out if b is None else out + by_channel(b, x.ndim)


def _windows(node: Node, x: Any) -> tuple[Any, Any, list[Any], list[Any], list[int]]:
    """(kernel, strides, dilations, pads, extra padding at the end for ceil_mode) of a pooling."""
    kernel = node.get("kernel_shape")
    size = x.shape[2:]
    strides, dilations, pads = _geometry(node, size, kernel)
    more = [0] * len(size)
    if node.get("ceil_mode", 0):
        for i, (low, high) in enumerate(pads):
            reach = (kernel[i] - 1) * dilations[i] + 1
            length = size[i] + low + high
            steps = -(-(length - reach) // strides[i])
            if steps * strides[i] >= size[i] + low:  # a window must start inside
                steps -= 1
            more[i] = max(0, steps * strides[i] + reach - length)
    return kernel, strides, dilations, pads, more


def _window_reduce(
    x: Any, zero: Any, f: Any, kernel: Any, strides: Any, dilations: Any, pads: Any
) -> Any:
    return lax.reduce_window(
        x,
        zero,
        f,
        (1, 1, *kernel),
        (1, 1, *strides),
        ((0, 0), (0, 0), *pads),
        window_dilation=(1, 1, *dilations),
    )


@operator("MaxPool")
def max_pool(node: Node, x: Any) -> Any:
    if node.wants(1):
        raise ConversionError("the indices of a max pooling (return_indices=True) are unsupported")
    kernel, strides, dilations, pads, more = _windows(node, x)
    pads = [(low, high + e) for (low, high), e in zip(pads, more, strict=True)]
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    least = -np.inf if floating else jnp.iinfo(x.dtype).min
    # Of the array's own type, or JAX would not know it for a maximum, which has a gradient.
    zero = np.asarray(least, x.dtype)[()]
    return _window_reduce(x, zero, lax.max, kernel, strides, dilations, pads)


def _add_windows(x: Any, windows: Any, pads: Any) -> Any:
    kernel, strides, dilations = windows[:3]
    return _window_reduce(x, np.zeros((), x.dtype)[()], lax.add, kernel, strides, dilations, pads)


@operator("AveragePool")
def average_pool(node: Node, x: Any) -> Any:
    windows = kernel, _, _, pads, more = _windows(node, x)
    wide = [(low, high + e) for (low, high), e in zip(pads, more, strict=True)]
    total = _add_windows(x, windows, wide)
    if not any(low or high for low, high in wide):
        return total / np.asarray(np.prod(kernel), x.dtype)
    # How many entries each window holds: padding counts or not, what ceil_mode adds never does.
    ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
    if node.get("count_include_pad", 0):
        ones = np.pad(ones, [(0, 0), (0, 0), *pads], constant_values=1)
        wide = [(0, e) for e in more]
    return total / _add_windows(ones, windows, wide)


@operator("LpPool")
def lp_pool(node: Node, x: Any) -> Any:
    windows = _, _, _, pads, more = _windows(node, x)
    wide = [(low, high + e) for (low, high), e in zip(pads, more, strict=True)]
    p = node.get("p", 2)
    return _add_windows(jnp.abs(x) ** p, windows, wide) ** (1 / p)


def _spatial(x: Any) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@operator("GlobalAveragePool")
def global_average_pool(node: Node, x: Any) -> Any:
    return jnp.mean(x, _spatial(x), keepdims=True)


@operator("GlobalMaxPool")
def global_max_pool(node: Node, x: Any) -> Any:
    return jnp.max(x, _spatial(x), keepdims=True)


@operator("GlobalLpPool")
def global_lp_pool(node: Node, x: Any) -> Any:
    p = node.get("p", 2)
    return jnp.sum(jnp.abs(x) ** p, _spatial(x), keepdims=True) ** (1 / p)


# Resizing is linear in the input and goes axis by axis: each axis has its matrix [out, in].


@operator("Resize", "Upsample")
def resize(node: Node, x: Any, *given: Any) -> Any:
    # roi and scales; in opset 10 and in Upsample the scales come alone.
    roi, scales, sizes = (None, *given, None)[:3] if len(given) == 1 else (*given, None, None)[:3]
    axes = node.get("axes") or list(range(x.ndim))
    axes = [a % x.ndim for a in axes]
    old = [x.shape[a] for a in axes]
    if scales is not None and scales.size:
        ratios = [float(v) for v in known(scales, "scale").reshape(-1)]
        new = [int(np.floor(n * r)) for n, r in zip(old, ratios, strict=True)]
    elif node.get("scales") is not None:
        ratios = list(node.get("scales"))
        new = [int(np.floor(n * r)) for n, r in zip(old, ratios, strict=True)]
    else:
        new = integers(sizes, "size")
        ratios = [m / n for m, n in zip(new, old, strict=True)]
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            one = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = [one] * len(ratios)
            new = [int(np.floor(n * one + 0.5)) for n in old]
    corners = np.reshape([] if roi is None else known(roi, "region"), (2, -1)).T
    simple = node.op == "Upsample" or node.opset < 11
    for i, axis in enumerate(axes):
        region = corners[i] if len(corners) else (0.0, 1.0)
        crops = node.get("coordinate_transformation_mode") == "tf_crop_and_resize"
        if old[i] == new[i] and ratios[i] == 1 and not crops:
            continue
        at = _coordinates(node, simple, old[i], new[i], ratios[i], region)
        weights = _weights(node, simple, at, old[i], ratios[i])
        if crops:
            outside = (at < 0) | (at > old[i] - 1)
            weights = np.where(outside[:, None], 0, weights)
        x = jnp.moveaxis(jnp.tensordot(weights.astype(x.dtype), x, ((1,), (axis,))), 0, axis)
        if crops and outside.any():
            beyond = outside.reshape([-1 if j == axis else 1 for j in range(x.ndim)])
            x = jnp.where(beyond, node.get("extrapolation_value", 0.0), x)
    return x


def _coordinates(node: Node, simple: bool, old: int, new: int, ratio: float, roi: Any) -> Any:
    """The position in the old axis of each entry of the new one."""
    i = np.arange(new, dtype=np.float64)
    mode = "asymmetric" if simple else node.get("coordinate_transformation_mode", "half_pixel")
    match mode:
        case "half_pixel":
            return (i + 0.5) / ratio - 0.5
        case "half_pixel_symmetric":
            # The length that the ratio would give, kept in the middle of the one there is.
            middle = old / 2 * (1 - new / (ratio * old))
            return middle + (i + 0.5) / ratio - 0.5
        case "pytorch_half_pixel":
            return (i + 0.5) / ratio - 0.5 if new > 1 else np.zeros_like(i)
        case "align_corners":
            # The length that the ratio gives need not be whole.
            length = ratio * old
            return np.zeros_like(i) if length == 1 else i * (old - 1) / (length - 1)
        case "asymmetric":
            return i / ratio
        case "tf_crop_and_resize":
            start, end = float(roi[0]), float(roi[1])
            if new == 1:
                return np.full_like(i, 0.5 * (start + end) * (old - 1))
            return start * (old - 1) + i * (end - start) * (old - 1) / (new - 1)
    raise ConversionError(f"coordinate_transformation_mode {mode!r} is not supported")


def _weights(node: Node, simple: bool, at: Any, old: int, ratio: float) -> Any:
    """The matrix [new, old] that samples the old axis at `at`."""
    mode = node.get("mode", "nearest")
    cells = np.arange(old)
    if mode == "nearest":
        way = "floor" if simple else node.get("nearest_mode", "round_prefer_floor")
        rounded = {
            "round_prefer_floor": lambda v: np.ceil(v - 0.5),
            "round_prefer_ceil": lambda v: np.floor(v + 0.5),
            "floor": np.floor,
            "ceil": np.ceil,
        }[way](at)
        return (np.clip(rounded, 0, old - 1)[:, None] == cells).astype(np.float64)
    wide = min(1.0, ratio) if node.get("antialias", 0) else 1.0
    if mode == "cubic":
        a, reach = node.get("cubic_coeff_a", -0.75), 2

        def filter_(d: Any) -> Any:
            near = ((a + 2) * d - (a + 3)) * d**2 + 1
            far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
            return np.where(d <= 1, near, np.where(d < 2, far, 0))
    else:
        reach = 1

        def filter_(d: Any) -> Any:
            return np.maximum(1 - d, 0)

    # Entries beyond the border repeat the one on it, unless they are left out.
    margin = int(np.ceil(reach / wide)) + 1 + int(max(0, -at.min(), at.max() - old + 1))
    where = np.arange(-margin, old + margin)
    weights = filter_(np.abs(at[:, None] - where) * wide)
    inside = (where >= 0) & (where < old)
    if node.get("exclude_outside", 0):
        weights = weights * inside
    weights = weights / weights.sum(1, keepdims=True)
    onto = (np.clip(where, 0, old - 1)[:, None] == cells).astype(np.float64)
    return weights @ onto


@operator("GridSample")
def grid_sample(node: Node, x: Any, grid: Any) -> Any:
    """x [N, C, H, W] at grid [N, H', W', 2], whose last axis is (x, y) in -1 .. 1."""
    mode, padding = node.get("mode", "linear"), node.get("padding_mode", "zeros")
    if x.ndim != 4 or mode not in ("linear", "bilinear", "nearest") or padding == "reflection":
        raise ConversionError(
            "GridSample is supported for images, mode 'bilinear' or 'nearest', padding 'zeros' or "
            "'border'"
        )
    size = np.array(x.shape[:1:-1])
    if node.get("align_corners", 0):
        at = (grid + 1) * (size - 1) / 2
    else:
        at = ((grid + 1) * size - 1) / 2
    at = at.astype(x.dtype)

    def pick(v: Any, col: Any, row: Any) -> Any:
        inside = (col >= 0) & (col < size[0]) & (row >= 0) & (row < size[1])
        got = v[:, jnp.clip(row, 0, size[1] - 1), jnp.clip(col, 0, size[0] - 1)]
        return got if padding == "border" else jnp.where(inside, got, 0)

    def one(v: Any, at: Any) -> Any:
        if padding == "border":
            at = jnp.clip(at, 0, jnp.asarray(size - 1, at.dtype))
        if mode == "nearest":
            near = jnp.round(at).astype(int)
            return pick(v, near[..., 0], near[..., 1])
        low = jnp.floor(at)
        part = at - low
        low = low.astype(int)
        total: Any = 0
        for dx in (0, 1):
            for dy in (0, 1):
                share = [p if d else 1 - p for p, d in ((part[..., 0], dx), (part[..., 1], dy))]
                total += share[0] * share[1] * pick(v, low[..., 0] + dx, low[..., 1] + dy)
        return total

    return jax.vmap(one)(jnp.asarray(x), jnp.asarray(at))
