"""Models in a form that XLA compiles well for CPUs.

XLA's CPU backend runs some operations far below what the machine can do: convolutions of few
channels (a network's first layer, whose input gradient every gradient method pays for), depthwise
ones and those of single pixels, and the gradient of pooling. The same sums, written as matrix
products and slices, take from nine tenths to a hundredth of the time. A model is traced, and such
operations are replaced; other convolutions are given their input channels-last, and what they give
stays so for as long as it can (`layout`). Results differ by rounding. Other platforms are left
alone.
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
from ..lifetime import Wrapper, loosened, remembered, traceable
from ..model import Model
from ..trace import jaxprs
from ..trace.written import wanted_as_written
from .convolution import OUTPUTS_WIDENED, Convolution
from .cores import on_one_core, spread
from .faults import fall_back
from .layout import Turned, kept, operation, plain, turned
from .programs import own, owning

MOST_TAPS = 150
"""Products in one output of a convolution from which XLA's own is as fast."""
MOST_CHANNELS = 7
"""Input channels, likewise."""
MOST_OUTPUTS = 16
"""Output channels, likewise."""
FILLED = range(17, 48)
"""Output channels with which XLA is two to five times as fast for four input channels as for three:
one of zeros is added.
"""
MOST_UNFOLDED = 9
"""Entries of the window up to which a copy of what each window sees is quick to make."""
MOST_WIDENED = 16
"""Input and output channels up to which XLA computes several columns at once faster than one."""
MOST_POOLED = 25
"""Entries of a pooling window up to which its slices are written out."""


def suited(model: Model, x: Any, platform: str) -> Model:
    """The model as this platform runs it best: itself, unless it holds what is rewritten.

    A model that cannot be traced comes back as it is: what is wrong with it shows where it is
    asked, if it is at all.

    Args:
      x: one sample, or its shape and dtype.
    """
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
    """What `_faster` gave for this very object: a short call has no time to look at it again."""
    key = id(model)
    if key not in _KNOWN or _KNOWN[key][0]() is not model:
        _KNOWN[key] = weakref.ref(model, lambda _: _KNOWN.pop(key, None)), {}
    return _KNOWN[key][1]


def _faster(model: Model, x: Any) -> Model | None:
    """The model with slow operations replaced, if it has any."""
    apply = model.apply.fn if isinstance(model.apply, RewrittenOnCpus) else model.apply
    spec = jax.ShapeDtypeStruct((1, *x.shape), jnp.dtype(x.dtype))
    known, given = remembered(apply), ("gains", *shapes_of((model.params, spec)))
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
        except Exception as e:  # whatever a user's function may raise
            raise _NotTraced from e
        try:
            return _any_rewritten(traced.jaxpr)
        except Exception as e:  # a fault is no reason to fail: the model runs without this, too
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
        except Exception as e:  # likewise; the model's own errors come from the model
            out = self.fn(*args)
            fall_back(e)
            return out


def _rewritten(fn: Callable[..., Any]) -> Rewritten:
    """The same object for the same function: what is compiled of it is found sooner."""
    known = remembered(fn)
    if "rewritten" not in known:
        known["rewritten"] = Rewritten(fn).weak
    return known["rewritten"]


@dataclasses.dataclass(frozen=True)
class RewrittenOnCpus(Wrapper):
    """The same where JAX's default platform is a CPU, else the function as it is."""

    fn: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        fn = Rewritten(self.fn) if jax.default_backend() == "cpu" else self.fn
        return fn(*args)


def _replacement(eqn: Any) -> Callable[..., Any] | None:
    """A function of the equation's inputs; they and what it gives may be turned."""
    rule = RULES.get(eqn.primitive.name)
    return None if rule is None else rule(eqn)


def _rewrite(eqn: Any) -> Callable[..., Any] | None:
    """The same for arrays alone."""
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
    """What replaces a `conv_general_dilated`, where something faster is known."""
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
    """The axes of input, kernel and output in the order in which channels are last."""
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
    if c > MOST_CHANNELS or o > MOST_OUTPUTS or taps * c > MOST_TAPS:
        return "widened" if own() and _narrow(eqn) else None
    return "unfolded" if taps <= MOST_UNFOLDED else "banded"


def _narrow(eqn: Any) -> bool:
    """Whether XLA's own convolution has too few outputs to be fast, and can be given more."""
    p, kernel, out = eqn.params, eqn.invars[1].aval, eqn.outvars[0].aval
    dims = p["dimension_numbers"]
    o, c, *window = (kernel.shape[i] for i in dims.rhs_spec)
    if len(window) != 2 or kernel.dtype != jnp.float32 or p["rhs_dilation"][1] != 1:
        return False
    fits = all(max(low, high) < k for (low, high), k in zip(p["padding"], window, strict=True))
    columns = out.shape[dims.out_spec[3]]
    return max(c, o) <= MOST_WIDENED and fits and columns >= OUTPUTS_WIDENED // o


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
    # A choice, not `maximum`: the gradient of equal entries goes to the first, as XLA's does.
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def max_pooling(eqn: Any) -> Callable[..., Any] | None:
    """What replaces a `reduce_window_max`: one axis after the other, by slices."""
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
"""What may replace a primitive: a function of its equation, which gives None where nothing does."""
