"""A layer with weights as the rules of layer-wise relevance propagation see it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..trace import CORES, Node, Operation, Value, Values

Change = Callable[[Any], Any]


def positive(v: Any) -> Any:
    return jnp.maximum(v, 0)


def negative(v: Any) -> Any:
    return jnp.minimum(v, 0)


def same(v: Any) -> Any:
    return v


def stable(z: jax.Array, epsilon: Any) -> jax.Array:
    """z + epsilon sign(z), with sign(0) = 1. In half precision, a small epsilon is not 0."""
    least = jnp.where(epsilon > 0, jnp.finfo(z.dtype).smallest_subnormal, 0)
    epsilon = jnp.maximum(jnp.asarray(epsilon, z.dtype), least.astype(z.dtype))
    return z + jnp.where(z >= 0, epsilon, -epsilon)


CHANGES: dict[str, Change] = {
    "unchanged": same,
    "positive": positive,
    "negative": negative,
    "squared": jnp.square,
    "ones": jnp.ones_like,
}
"""Modifications of weights."""


class WeightedLayer:
    """A layer with weights at given values: ``z = s · core(x, W) + b``.

    s and b combine the bias with constant scales and shifts that follow the layer, such as batch
    normalisation; the effective weights are s · W.

    Args:
      made: the operation that produced each value.
      nonnegative: whether x >= 0 for every input of the model.
    """

    def __init__(
        self,
        node: Node,
        values: Values,
        made: Mapping[Value, Operation],
        nonnegative: bool = False,
    ):
        self.node, self.values, self.nonnegative = node, values, nonnegative
        self.core = node.first if node.first.name in CORES else None
        self.x = values[node.ins[0]]
        s: Any = 1.0
        b: Any = jnp.zeros((), self.x.dtype)
        scales: list[Value] = []
        for operation, before in node.after:
            first = operation.ins[0] is before
            others = [v for v in operation.ins if v is not before]
            if operation.name in ("mul", "div"):
                scales += others
            other = values[others[0]] if others else None
            if operation.name in ("add", "add_any"):
                b = b + other
            elif operation.name == "sub":
                s, b = (s, b - other) if first else (-s, other - b)
            elif operation.name == "mul":
                s, b = s * other, b * other
            elif operation.name == "div":
                s, b = s / other, b / other
            elif operation.name == "neg":
                s, b = -s, -b
        self.scaled = not isinstance(s, float)
        self.s, self.b = jnp.asarray(s, self.x.dtype), b
        self.merged = self._merged(scales, made)

    @property
    def out(self) -> jax.Array:
        return self.values[self.node.outs[0]]

    def _merged(self, scales: list[Value], made: Mapping[Value, Operation]) -> Any:
        """The weights s · W; None if s is not constant within each output channel."""
        if self.core is None:
            return None
        x = self.node.ins[0]
        weights = [v for v in self.core.ins if v is not x and v.inexact]
        w = self.values[weights[0]]
        if not self.scaled:
            return w
        axes = _channel_axes(self.core, self.core.ins.index(weights[0]))
        if axes is None or not all(_per_channel(v, axes[0], made) for v in scales):
            return None
        full = jnp.broadcast_to(self.s, self.out.shape)
        s = full[tuple(slice(None) if i == axes[0] else 0 for i in range(full.ndim))]
        return w * jnp.expand_dims(s, [i for i in range(w.ndim) if i != axes[1]])

    def product(self, x: jax.Array, weights: str = "unchanged", gain: Any = None) -> jax.Array:
        """``Σ_i x_i w'_i`` with weights w': "unchanged", "positive", "negative", "ones" or
        "squared". With a gain, the weights are ``w + gain w'``."""
        change = CHANGES[weights]
        if self.core is None:
            s = self.s if gain is None else self.s + gain * change(self.s)
            return jnp.broadcast_to((change(s) if gain is None else s) * x, self.out.shape)
        if weights == "ones":
            return self.core_of(x, change)
        if weights == "unchanged":
            # The same expression as in the forward pass, so that XLA computes it once.
            return self.s * self.core_of(x, same) if self.scaled else self.core_of(x, same)
        if self.merged is not None:
            w = self.merged
            changed = change(w) if gain is None else w + gain * change(w)
            return self.core_of(x, lambda _: changed)
        if gain is not None:
            return self.product(x) + gain * self.product(x, weights)
        if weights == "squared":
            return self.s**2 * self.core_of(x, change)
        # Where s < 0, the positive part of s W comes from the negative part of W.
        kept, turned = (positive, negative) if weights == "positive" else (negative, positive)
        return positive(self.s) * self.core_of(x, kept) + negative(self.s) * self.core_of(x, turned)

    def core_of(self, x: jax.Array, change: Change) -> jax.Array:
        """The convolution or matrix product alone, with changed weights."""
        assert self.core is not None

        def given(v: Value) -> Any:
            if v is self.node.ins[0]:
                return x
            return change(self.values[v]) if v.inexact else self.values[v]

        return self.core.call(*map(given, self.core.ins))[0]


def _channel_axes(core: Operation, weights: int) -> tuple[int, int] | None:
    """The axes of the core's output and of its weights that hold the output channels."""
    if core.name == "conv_general_dilated" and weights == 1:
        dims = core.params["dimension_numbers"]
        return dims.out_spec[1], dims.rhs_spec[0]
    if core.name == "dot_general":
        contracted, batch = core.params["dimension_numbers"]
        free = set(range(len(core.ins[weights].shape))) - set(contracted[weights])
        if not batch[0] and len(free) == 1:
            return (len(core.outs[0].shape) - 1 if weights == 1 else 0), free.pop()
    return None


def _per_channel(value: Value, axis: int, made: Mapping[Value, Operation]) -> bool:
    """Whether the operations that produced a value show that it varies along one axis only."""
    if not value.shape:
        return True
    maker = made.get(value)
    while maker is not None and maker.name == "transpose":
        axis, maker = maker.params["permutation"][axis], made.get(maker.ins[0])
    if maker is None or maker.name != "broadcast_in_dim":
        return False
    axes = zip(maker.ins[0].shape, maker.params["broadcast_dimensions"], strict=True)
    return all(n == 1 or to == axis for n, to in axes)


class Term(NamedTuple):
    """One term of a sum: inputs, their product with (modified) weights, and a bias."""

    x: jax.Array
    product: Callable[[jax.Array], jax.Array]
    bias: Any = 0.0


def share(
    layer: WeightedLayer,
    sums: list[list[Term]],
    part: Callable[[list[jax.Array]], list[jax.Array]],
    known: list[jax.Array] | None = None,
) -> jax.Array:
    """``Σ_k c_k Σ_t x_t · (∂z_t/∂x_t)ᵀ`` over sums z_k of terms, with ``c = part(z)``.

    `known`: the sums, if they are already known.
    """
    z, backs = [], []
    for terms in sums:
        products, back = zip(*(jax.vjp(t.product, t.x) for t in terms), strict=True)
        biased = (v + jnp.asarray(t.bias, v.dtype) for v, t in zip(products, terms, strict=True))
        z.append(functools.reduce(jnp.add, biased))
        backs.append(back)
    total = jnp.zeros_like(layer.x)
    for terms, back, c, v in zip(sums, backs, part(known or z), z, strict=True):
        c = jnp.broadcast_to(c, v.shape).astype(v.dtype)
        for t, b in zip(terms, back, strict=True):
            total = total + t.x * b(c)[0]
    return total
