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
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .. import jaxprs
from ..types import Model, shapes_of
from .cores import on_one_core, spread
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
OUTPUTS_WIDENED = 32
"""Outputs of that many columns, at most."""
MOST_POOLED = 25
"""Entries of a pooling window up to which its slices are written out."""
MOST_REPEATED = 15
"""Entries of a depthwise kernel whose sum XLA computes again, slowly, for the gradient of what
comes after it, unless it is kept from it.
"""
COLUMNS = 64
"""Columns of the matrix of a banded convolution: wide enough for the matrix product to be fast."""
ALIGNED = 8
"""What the entries of a window's column are filled up to. A matrix product adds its terms up in
lanes, so that sums of equal terms are equal to the last bit only where they lie alike; and equal
they must be, or rounding would choose whom the maximum of a flat region belongs to.
"""


def suited(model: Model, x: Any, platform: str) -> Model:
    """The model as this platform runs it best: itself, unless it holds what is rewritten.

    Args:
      x: one sample, or its shape and dtype.
    """
    if platform != "cpu" or model.host or isinstance(model.apply, Rewritten):
        return model
    apply = model.apply.fn if isinstance(model.apply, RewrittenOnCpus) else model.apply
    spec = jax.ShapeDtypeStruct((1, *x.shape), jnp.dtype(x.dtype))
    if not _gains(apply, *shapes_of((model.params, spec))):
        return model
    hidden = None if model.hidden is None else _rewritten(model.hidden)
    return dataclasses.replace(model, apply=_rewritten(apply), hidden=hidden)


@functools.lru_cache(maxsize=64)
def _gains(apply: Callable[..., Any], treedef: Any, leaves: Any) -> bool:
    given = jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(*v) for v in leaves])
    with owning():
        return _any_rewritten(jax.make_jaxpr(apply)(*given).jaxpr)


@dataclasses.dataclass(frozen=True)
class Rewritten:
    """The function with slow operations replaced; equal functions share compiled programs."""

    fn: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        wanted = jaxprs.wanted_as_written(_rewrite)
        if wanted and not wanted.turned:
            return self.fn(*args)
        closed, shape = jax.make_jaxpr(self.fn, return_shape=True)(*args)
        leaves = jax.tree.leaves(args)
        call = _as_written if wanted else _operation
        out = jaxprs.evaluate(closed.jaxpr, closed.consts, leaves, call)
        return jax.tree.unflatten(jax.tree.structure(shape), map(plain, out))


@functools.lru_cache(maxsize=64)
def _rewritten(fn: Callable[..., Any]) -> Rewritten:
    """The same object for the same function: what is compiled of it is found sooner."""
    return Rewritten(fn)


@dataclasses.dataclass(frozen=True)
class RewrittenOnCpus:
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
    return any(
        _any_rewritten(nested[0]) if (nested := jaxprs.called(eqn)) else _replacement(eqn)
        for eqn in jaxpr.eqns
    )


def _operation(eqn: Any, given: list[Any]) -> list[Any]:
    replaced = _replacement(eqn)
    return operation(eqn, given) if replaced is None else [replaced(*given)]


def _as_written(eqn: Any, given: list[Any]) -> list[Any]:
    """The same operation, channels-last."""
    if eqn.primitive.name != "conv_general_dilated" or eqn.params["batch_group_count"] != 1:
        return operation(eqn, given)
    return [_channels_last(eqn)(*given)]


# -- convolutions --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A two-dimensional convolution of x [n, h, w, c] with a kernel [kh, kw, c / groups, o]."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    precision: Any

    def padded(self, x: Any) -> Any:
        low, high = zip((0, 0), *self.padding, (0, 0), strict=True)
        zero = jnp.zeros((), x.dtype)
        return lax.pad(x, zero, [(a, b, 0) for a, b in zip(low, high, strict=True)])

    def size(self, x: Any, window: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the output, of a padded x."""
        h, w = (
            (n - (k - 1) * d - 1) // s + 1
            for n, k, d, s in zip(x.shape[1:3], window, self.dilation, self.strides, strict=True)
        )
        return h, w

    def taps(self, x: Any, window: tuple[int, int]) -> list[Any]:
        """What each entry of the kernel is multiplied with [n, rows, columns, c]."""
        x = self.padded(x)
        (sh, sw), (dh, dw) = self.strides, self.dilation
        high, wide = (
            s * (n - 1) + 1 for s, n in zip(self.strides, self.size(x, window), strict=True)
        )
        corners = itertools.product(range(0, window[0] * dh, dh), range(0, window[1] * dw, dw))
        return [x[:, i : i + high : sh, j : j + wide : sw] for i, j in corners]

    def banded(self, x: Any, kernel: Any) -> Any:
        """As a product with a banded matrix, which holds the kernel once for each of `t` columns.

        A row of the other matrix is what one block of t output columns sees of the input.
        """
        x = self.padded(x)
        kernel = lax.pad(
            kernel,
            jnp.zeros((), kernel.dtype),
            [(0, 0, 0), (0, 0, self.dilation[1] - 1), (0, 0, 0), (0, 0, 0)],
        )
        kh, kw, c, o = kernel.shape
        rows, columns = dataclasses.replace(self, dilation=(self.dilation[0], 1)).size(x, (kh, kw))
        (sh, sw), dh = self.strides, self.dilation[0]
        blocks = -(-columns // max(1, COLUMNS // o))
        t = max(-(-columns // blocks), -(-(kw - sw) // sw))
        blocks, span = -(-columns // t), (t - 1) * sw + kw
        missing = max(0, (blocks + 1) * t * sw - x.shape[2])
        x = jnp.pad(x, ((0, 0), (0, 0), (0, missing), (0, 0)))
        # One column of the window after the other: [n, rows, width, kh c, and zeros].
        rest = -(kh * c) % ALIGNED
        columns_of = [x[:, i : i + (rows - 1) * sh + 1 : sh] for i in range(0, kh * dh, dh)]
        nothing = jnp.zeros((*columns_of[0].shape[:3], rest), x.dtype)
        x = jnp.concatenate([*columns_of, nothing], -1)
        # A block sees its own columns and, where kernels are wider than strides, some of the next.
        own, following = (
            x[:, :, i : i + blocks * t * sw].reshape(len(x), rows, blocks, t * sw, -1)
            for i in (0, t * sw)
        )
        seen = jnp.concatenate([own, following], 3)[:, :, :, :span]
        kernel = kernel.transpose(1, 0, 2, 3).reshape(kw, kh * c, o)
        kernel = jnp.pad(kernel, ((0, 0), (0, rest), (0, 0)))
        shifts = range(0, t * sw, sw)
        band = [jnp.pad(kernel, ((j, span - kw - j), (0, 0), (0, 0))) for j in shifts]
        matrix = jnp.stack(band, 2).reshape(-1, t * o)
        out = jnp.matmul(seen.reshape(*seen.shape[:3], -1), matrix, precision=self.precision)
        return out.reshape(len(x), rows, blocks * t, o)[:, :, :columns]

    def unfolded(self, x: Any, kernel: Any) -> Any:
        """As a product with what each window sees, one after the other."""
        seen = jnp.concatenate(self.taps(x, kernel.shape[:2]), -1)
        return jnp.matmul(seen, kernel.reshape(-1, kernel.shape[-1]), precision=self.precision)

    def widened(self, x: Any, kernel: Any) -> Any:
        """As a convolution with more outputs: those of some columns beside each other."""
        wide = jax.custom_jvp(self._wide)
        sums = self._turned_wide if math.prod(self.strides) == 1 else self._plain

        def derivative(primals: Any, tangents: Any) -> Any:
            return self._wide(*primals), _derivative(sums, primals, tangents)[1]

        wide.defjvp(derivative, symbolic_zeros=True)
        return wide(x, kernel)

    def _wide(self, x: Any, kernel: Any) -> Any:
        _, kw, _, o = kernel.shape
        (sh, sw), ((top, bottom), (left, right)) = self.strides, self.padding
        t = OUTPUTS_WIDENED // o
        columns = (x.shape[2] + left + right - kw) // sw + 1
        missing = -columns % t
        shifts = range(0, t * sw, sw)
        last = (t - 1) * sw
        kernel = jnp.concatenate(
            [jnp.pad(kernel, ((0, 0), (j, last - j), (0, 0), (0, 0))) for j in shifts], -1
        )
        padding = (top, bottom), (left, right + missing * sw)
        wide = dataclasses.replace(self, strides=(sh, t * sw), padding=padding)
        out = wide._plain(x, kernel)
        return out.reshape(*out.shape[:2], -1, o)[:, :, :columns]

    def _turned_wide(self, x: Any, kernel: Any) -> Any:
        """The same sums, written so that their transpose, the gradient, is widened."""
        padding = tuple(
            ((k - 1) * d - low, (k - 1) * d - high)
            for k, d, (low, high) in zip(kernel.shape[:2], self.dilation, self.padding, strict=True)
        )
        back = dataclasses.replace(self, padding=padding)
        kernel = kernel[::-1, ::-1].swapaxes(2, 3)
        rows, columns = self.size(self.padded(x), kernel.shape[:2])
        out = jax.ShapeDtypeStruct((len(x), rows, columns, kernel.shape[2]), x.dtype)
        (result,) = jax.linear_transpose(lambda v: back._wide(v, kernel), out)(x)
        return result

    def _plain(self, x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(
            x,
            kernel,
            self.strides,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=self.precision,
        )

    def depthwise(self, x: Any, kernel: Any) -> Any:
        """As a sum over the entries of the kernel: each channel is its own group."""
        if math.prod(kernel.shape[:2]) > MOST_REPEATED or len(x) == 1:
            return self._sum(x, kernel)
        # A loop over the samples costs a little, but nothing can be fused with what is in it.
        sum_ = jax.custom_jvp(self._sum)
        sum_.defjvp(functools.partial(_derivative, self._sum_by_sample), symbolic_zeros=True)
        return sum_(x, kernel)

    def _sum(self, x: Any, kernel: Any) -> Any:
        kh, kw, _, o = kernel.shape
        c = x.shape[-1]
        kernel = kernel.reshape(kh * kw, c, o // c)
        taps = self.taps(x, (kh, kw))
        parts = (v[..., None] * k for v, k in zip(taps, kernel, strict=True))
        out = functools.reduce(jnp.add, parts)
        return out.reshape(*out.shape[:3], o)

    def _sum_by_sample(self, x: Any, kernel: Any) -> Any:
        return lax.map(lambda one: self._sum(one[None], kernel)[0], x)

    def patches(self, x: Any, kernel: Any) -> Any:
        """As one matrix product, where no two windows overlap."""
        x = self.padded(x)
        kh, kw, c, o = kernel.shape
        rows, columns = self.size(x, (kh, kw))
        if kh == kw == 1:
            sh, sw = self.strides
            x = x[:, : (rows - 1) * sh + 1 : sh, : (columns - 1) * sw + 1 : sw]
        else:
            x = x[:, : rows * kh, : columns * kw].reshape(-1, rows, kh, columns, kw, c)
            x = x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, rows, columns, kh * kw * c)
        return jnp.matmul(x, kernel.reshape(-1, o), precision=self.precision)


def _derivative(fn: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """That of fn, with respect to what has a tangent."""
    zero = [isinstance(t, jax.custom_derivatives.SymbolicZero) for t in tangents]

    def of_some(*some: Any) -> Any:
        rest = iter(some)
        return fn(*(v if z else next(rest) for v, z in zip(primals, zero, strict=True)))

    given, directions = (
        tuple(v for v, z in zip(some, zero, strict=True) if not z) for some in (primals, tangents)
    )
    return jax.jvp(of_some, given, directions)


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
