"""Rewriting models into a form that XLA compiles well for CPUs.

XLA's CPU backend is slow at some operations: convolutions with few channels (a network's first
layer, whose input gradient every gradient method needs), depthwise and 1 x 1 convolutions, and the
gradient of pooling. The same sums, written as matrix products and slices, take from nine tenths to
a hundredth of the time. A model is traced, and such operations are replaced; other convolutions
get their input channels-last, and their outputs stay channels-last as long as possible (`layout`).
Results differ by rounding. Models on other platforms are not changed.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..identity import shapes_of
from ..lifetime import WATCHER, Wrapper, loosened, remembered, traceable
from ..model import Model
from ..trace import jaxprs
from ..trace.written import wanted_as_written
from .convolution import OUTPUTS_WIDENED, Convolution
from .cores import on_one_core, spread
from .faults import fall_back
from .layout import Turned, kept, operation, plain, turned
from .programs import own, owning

MOST_TAPS = 150
"""Products per output of a convolution from which XLA's own is as fast."""
MOST_CHANNELS = 7
"""Input channels from which XLA's own is as fast."""
MOST_OUTPUTS = 16
"""Output channels from which XLA's own is as fast."""
FILLED = range(17, 48)
"""Output channels for which XLA is two to five times as fast with four input channels as with
three: a channel of zeros is added.
"""
MOST_UNFOLDED = 9
"""Maximum window size for which copying the windows (im2col) is fast."""
MOST_WIDER = 49
"""The same for windows that are wider than the image."""
MOST_WIDENED = 16
"""Input and output channels up to which computing several columns at once is faster in XLA."""
MOST_POOLED = 25
"""Maximum size of a pooling window that is unrolled into slices."""


def suited(model: Model, x: Any, platform: str) -> Model:
    """The model rewritten for this platform; unchanged if there is nothing to rewrite.

    A model that cannot be traced is returned unchanged: its error is raised when it is evaluated.

    Args:
      x: one sample, or its shape and dtype.
    """
    if (watcher := WATCHER.get()) is not None:
        platform = watcher.platform
    if platform != "cpu" or model.host or isinstance(model.apply, Rewritten):
        return model
    known, kind = _known(model), (x.shape, x.dtype)
    if kind not in known:
        try:
            faster = _faster(model, x)
        except _NotTraced:
            return model
        # Held weakly, as the model's own function may hold the model.
        known[kind] = loosened(faster, {})
    return known[kind] or model


class _NotTraced(Exception):
    """The model's own function failed."""


_KNOWN: dict[int, tuple[weakref.ref[Model], dict[Any, Model | None]]] = {}


def _known(model: Model) -> dict[Any, Model | None]:
    """The result of `_faster`, cached per object, as recomputing it would dominate short calls."""
    key = id(model)
    if key not in _KNOWN or _KNOWN[key][0]() is not model:
        _KNOWN[key] = weakref.ref(model, lambda _: _KNOWN.pop(key, None)), {}
    return _KNOWN[key][1]


def _faster(model: Model, x: Any) -> Model | None:
    """The model with slow operations replaced, if it has any."""
    apply = model.apply.fn if isinstance(model.apply, RewrittenOnCpus) else model.apply
    known, given = remembered(apply), ("gains", *shapes_of(model.like(x, rows=1)))
    if given not in known:
        known[given] = _gains(apply, *given[1:])
    if not known[given]:
        return None
    hidden = None if model.hidden is None else _rewritten(model.hidden)
    return dataclasses.replace(model, apply=_rewritten(apply), hidden=hidden)


def _gains(apply: Callable[..., Any], treedef: Any, leaves: Any) -> bool:
    given = jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(*v) for v in leaves])
    with owning():
        try:
            traced = jax.make_jaxpr(traceable(apply))(*given)
        except Exception as e:  # a user's function may raise anything
            raise _NotTraced from e
        try:
            return _any_rewritten(traced.jaxpr)
        except Exception as e:  # errors here must not fail the run: the model works without it
            fall_back(e)
            return False


@dataclasses.dataclass(frozen=True)
class Rewritten(Wrapper):
    """The function with slow operations replaced; equal functions share compiled programs."""

    fn: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        wanted = wanted_as_written(_rewrite)
        if wanted and not wanted.turned:
            return self.fn(*args)
        closed, shape = jax.make_jaxpr(traceable(self.fn), return_shape=True)(*args)
        leaves = jax.tree.leaves(args)
        call = _as_written if wanted else _operation
        try:
            out = jaxprs.evaluate(closed.jaxpr, closed.consts, leaves, call)
            return jax.tree.unflatten(jax.tree.structure(shape), map(plain, out))
        except Exception as e:  # as above; the model's own errors are raised by the model
            out = self.fn(*args)
            fall_back(e)
            return out


def _rewritten(fn: Callable[..., Any]) -> Rewritten:
    """The same object for the same function, so that its compiled programs are found faster."""
    known = remembered(fn)
    if "rewritten" not in known:
        known["rewritten"] = Rewritten(fn).weak
    return known["rewritten"]


@dataclasses.dataclass(frozen=True)
class RewrittenOnCpus(Wrapper):
    """The same if JAX's default platform is a CPU, else the unchanged function."""

    fn: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        fn = Rewritten(self.fn) if jax.default_backend() == "cpu" else self.fn
        return fn(*args)


def _replacement(eqn: Any) -> Callable[..., Any] | None:
    """A function of the equation's inputs; inputs and outputs may be `Turned`."""
    rule = RULES.get(eqn.primitive.name)
    return None if rule is None else rule(eqn)


def _rewrite(eqn: Any) -> Callable[..., Any] | None:
    """The same for plain arrays."""
    replaced = _replacement(eqn)
    return None if replaced is None else lambda *given: plain(replaced(*given))


def _any_rewritten(jaxpr: Any) -> bool:
    return any(_replacement(eqn) is not None for eqn in jaxprs.equations(jaxpr, ("jit", "pjit")))


def _operation(eqn: Any, given: list[Any]) -> list[Any]:
    replaced = _replacement(eqn)
    return operation(eqn, given) if replaced is None else [replaced(*given)]


def _as_written(eqn: Any, given: list[Any]) -> list[Any]:
    """The same operation, channels-last."""
    if eqn.primitive.name != "conv_general_dilated" or eqn.params["batch_group_count"] != 1:
        return operation(eqn, given)
    return [_channels_last(eqn)(*given)]


# -- convolutions --------------------------------------------------------------------------------


def convolution(eqn: Any) -> Callable[..., Any] | None:
    """The replacement of a `conv_general_dilated`, or None if nothing faster is known."""
    p, dims = eqn.params, eqn.params["dimension_numbers"]
    if p["batch_group_count"] != 1 or any(v == 0 for v in eqn.outvars[0].aval.shape):
        return None
    way = _way(eqn)
    if way is not None:
        return _as_products(eqn, way)
    o, c = (eqn.invars[1].aval.shape[i] for i in dims.rhs_spec[:2])
    filled = c == 3 and o in FILLED and p["feature_group_count"] == 1
    alone = on_one_core(eqn) and not own()
    x_axes, _, out_axes = _axes(dims)
    if list(x_axes) == sorted(x_axes) and x_axes == out_axes and not (filled or alone):
        return None
    return _channels_last(eqn, filled, alone)


def _axes(dims: Any) -> tuple[tuple[int, ...], ...]:
    """The axes of input, kernel and output in channels-last order."""
    return (
        (dims.lhs_spec[0], *dims.lhs_spec[2:], dims.lhs_spec[1]),
        (*dims.rhs_spec[2:], dims.rhs_spec[1], dims.rhs_spec[0]),
        (dims.out_spec[0], *dims.out_spec[2:], dims.out_spec[1]),
    )


def _channels_last(eqn: Any, filled: bool = False, alone: bool = False) -> Callable[..., Any]:
    """XLA's own convolution; `filled` with a channel of zeros, or of those that run `alone`."""
    x_axes, kernel_axes, out_axes = _axes(eqn.params["dimension_numbers"])
    n = len(x_axes)
    last, kernel_last = (0, n - 1, *range(1, n - 1)), (n - 1, n - 2, *range(n - 2))
    spec = lax.ConvDimensionNumbers(last, kernel_last, last)
    again = eqn.replace(params={**eqn.params, "dimension_numbers": spec})

    def replaced(x: Any, kernel: Any) -> Any:
        x, kernel = turned(x, x_axes), turned(kernel, kernel_axes)
        if filled:
            x = jnp.pad(x, [(0, 0)] * (n - 1) + [(0, 1)])
            kernel = jnp.pad(kernel, [(0, 0)] * (n - 2) + [(0, 1), (0, 0)])
        out = spread(again, x, kernel) if alone else jaxprs.bind(again, [x, kernel])[0]
        return kept(out, out_axes)

    return replaced


def _way(eqn: Any) -> str | None:
    """Which method of `Convolution` is faster than XLA's own convolution channels-last."""
    p, kernel = eqn.params, eqn.invars[1].aval
    o, c, *window = (kernel.shape[i] for i in p["dimension_numbers"].rhs_spec)
    if len(window) not in (1, 2) or math.prod(p["lhs_dilation"]) != 1:
        return None
    if any(low < 0 or high < 0 for low, high in p["padding"]):
        return None
    taps = math.prod(window)
    if p["feature_group_count"] > 1:
        return "depthwise" if c == 1 and taps <= MOST_TAPS else None
    apart = tuple(window) == tuple(p["window_strides"]) and math.prod(p["rhs_dilation"]) == 1
    if taps == 1 or apart:
        return "patches"
    if taps <= MOST_WIDER and _is_wider(eqn, window):
        return "unfolded"
    if c > MOST_CHANNELS or o > MOST_OUTPUTS or taps * c > MOST_TAPS:
        return "widened" if own() and _narrow(eqn) else None
    return "unfolded" if taps <= MOST_UNFOLDED else "banded"


def _is_wider(eqn: Any, window: list[int]) -> bool:
    """Whether the window is wider than the image before padding, or than the output.

    XLA then runs its plainest loop, at a fiftieth of the speed: forwards in the first case, in the
    gradient in the second. The last stage of a ResNet on small images is one.
    """
    p, dims = eqn.params, eqn.params["dimension_numbers"]
    spans = [(k - 1) * d + 1 for k, d in zip(window, p["rhs_dilation"], strict=True)]
    x, out = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    sides = [min(x[i], out[o]) for i, o in zip(dims.lhs_spec[2:], dims.out_spec[2:], strict=True)]
    return any(span > side for span, side in zip(spans, sides, strict=True))


def _narrow(eqn: Any) -> bool:
    """Whether XLA's own convolution has too few outputs to be fast, and can be given more."""
    p, kernel, out = eqn.params, eqn.invars[1].aval, eqn.outvars[0].aval
    dims = p["dimension_numbers"]
    o, c, *window = (kernel.shape[i] for i in dims.rhs_spec)
    if len(window) != 2 or kernel.dtype != jnp.float32 or p["rhs_dilation"][1] != 1:
        return False
    fits = all(max(low, high) < k for (low, high), k in zip(p["padding"], window, strict=True))
    columns = out.shape[dims.out_spec[3]]
    if max(c, o) > MOST_WIDENED or not fits or columns < OUTPUTS_WIDENED // o:
        return False
    # XLA would exchange image and window if the window had more entries, and find no fast way.
    kh, kw = window
    x, strides = eqn.invars[0].aval.shape, p["window_strides"]
    sides = math.prod(x[i] for i in dims.lhs_spec[2:])
    back = math.prod(out.shape[i] for i in dims.out_spec[2:])
    forwards = kh * (kw + (OUTPUTS_WIDENED // o - 1) * strides[1]) <= sides
    backwards = kh * (kw + OUTPUTS_WIDENED // c - 1) <= back
    return forwards and (backwards or math.prod(strides) != 1)


def _as_products(eqn: Any, way: str) -> Callable[..., Any]:
    p = eqn.params
    x_axes, kernel_axes, out_axes = _axes(p["dimension_numbers"])
    extra = 4 - len(x_axes)  # a one-dimensional convolution is one of height 1
    conv = Convolution(
        strides=(1,) * extra + tuple(p["window_strides"]),
        padding=((0, 0),) * extra + tuple(p["padding"]),
        dilation=(1,) * extra + tuple(p["rhs_dilation"]),
        groups=p["feature_group_count"],
        precision=p["precision"] if not isinstance(p["precision"], tuple) else p["precision"][0],
    )
    dtype = eqn.outvars[0].aval.dtype

    def replaced(x: Any, kernel: Any) -> Any:
        x, kernel = turned(x, x_axes), turned(kernel, kernel_axes)
        if extra:
            x, kernel = x[:, None], kernel[None]
        out = getattr(conv, way)(x, kernel)
        return kept((out[:, 0] if extra else out).astype(dtype), out_axes)

    return replaced


# -- pooling -------------------------------------------------------------------------------------


def first_of_the_largest(a: Any, b: Any) -> Any:
    # `where` instead of `maximum`: among equal entries the first gets the gradient, as in XLA.
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def max_pooling(eqn: Any) -> Callable[..., Any] | None:
    """The replacement of a `reduce_window_max`: one axis after the other, by slices."""
    p = eqn.params
    window, strides = p["window_dimensions"], p["window_strides"]
    dilated = math.prod(p["base_dilation"]) * math.prod(p["window_dilation"]) != 1
    dtype = eqn.invars[0].aval.dtype
    if dilated or math.prod(window) > MOST_POOLED or not jnp.issubdtype(dtype, jnp.floating):
        return None

    def replaced(x: Any) -> Any:
        least = jnp.array(-jnp.inf, dtype)
        axes = x.axes if isinstance(x, Turned) else range(len(window))
        x = turned(x, axes)
        x = lax.pad(x, least, [(*p["padding"][i], 0) for i in axes])
        for i in reversed(range(len(window))):
            size, stride, axis = window[i], strides[i], axes.index(i)
            if size == stride == 1:
                continue
            length = (x.shape[axis] - size) // stride + 1
            last = (length - 1) * stride + 1
            slices = [lax.slice_in_dim(x, j, j + last, stride, axis) for j in range(size)]
            x = functools.reduce(first_of_the_largest, slices)
        return kept(x, axes)

    return replaced


RULES = {"conv_general_dilated": convolution, "reduce_window_max": max_pooling}
"""{primitive: function of its equation that returns a replacement or None}."""
