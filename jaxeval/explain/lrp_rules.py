"""The rules of layer-wise relevance propagation for layers with weights.

A rule is a frozen pytree with ``propagate(layer, relevance) -> relevance of the layer's input``.
All rules distribute relevance in proportion to the terms of sums ``z = Σ_i x_i w_i + b``, with
modified inputs, weights and biases, for instance their positive parts.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from .. import check
from ..registry import Registry
from ..trace import CORES, Node, Operation, Value, Values
from ..types import pytree, static

Change = Callable[[Any], Any]


def positive(v: Any) -> Any:
    return jnp.maximum(v, 0)


def negative(v: Any) -> Any:
    return jnp.minimum(v, 0)


def same(v: Any) -> Any:
    return v


def stable(z: jax.Array, epsilon: Any) -> jax.Array:
    """z + epsilon sign(z), with sign(0) = 1."""
    return z + jnp.where(z >= 0, 1, -1).astype(z.dtype) * jnp.asarray(epsilon, z.dtype)


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
            return self._core(x, change)
        if weights == "unchanged":
            # The same expression as in the forward pass, so that XLA computes it once.
            return self.s * self._core(x, same) if self.scaled else self._core(x, same)
        if self.merged is not None:
            w = self.merged
            changed = change(w) if gain is None else w + gain * change(w)
            return self._core(x, lambda _: changed)
        if gain is not None:
            return self.product(x) + gain * self.product(x, weights)
        if weights == "squared":
            return self.s**2 * self._core(x, change)
        # Where s < 0, the positive part of s W comes from the negative part of W.
        kept, turned = (positive, negative) if weights == "positive" else (negative, positive)
        return positive(self.s) * self._core(x, kept) + negative(self.s) * self._core(x, turned)

    def _core(self, x: jax.Array, change: Change) -> jax.Array:
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


@pytree
class LrpRule(ABC):
    """How a layer distributes its relevance R to its inputs.

    Args:
      epsilon: stabiliser added to denominators.
      bias: False omits the layer's bias from the sums, so that it absorbs no relevance.
    """

    anywhere: ClassVar[bool] = False
    """Whether the rule is independent of the order of axes: they may then be channels-last, which
    is faster on CPUs. Not inherited: each class must set it."""

    epsilon: Any = 1e-6
    bias: bool = static(default=True)

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls.anywhere = cls.__dict__.get("anywhere", False)

    def __post_init__(self) -> None:
        check.real(self, "epsilon", least=0)

    @abstractmethod
    def propagate(self, layer: WeightedLayer, relevance: jax.Array) -> jax.Array:
        """The relevance of the layer's input, in the shape of the input."""

    def biased(self, b: Any, change: Change = same) -> Any:
        """The layer's bias, modified by `change`; 0 if ``bias=False``."""
        return change(b) if self.bias else jnp.zeros_like(b)


LRP_RULES = Registry("LRP rule", LrpRule)
"""Every LRP rule by the name of its class; `jaxeval.register` adds one."""


@pytree
class Epsilon(LrpRule):
    """``R_i = Σ_j x_i w_ij / (z_j + ε sign(z_j)) R_j`` (Bach et al. 2015); LRP-0 for a small ε."""

    anywhere: ClassVar[bool] = True

    def propagate(self, layer: WeightedLayer, relevance: jax.Array) -> jax.Array:
        # Reuse the sums of the forward pass: the relevance is proportional to them, and sums near 0
        # that are computed again would differ by rounding, so that their ratio would be wrong.
        out = [layer.out] if self.bias else None
        term = Term(layer.x, layer.product, self.biased(layer.b))
        return share(layer, [[term]], lambda z: [relevance / stable(z[0], self.epsilon)], out)


@pytree
class AlphaBeta(LrpRule):
    """``R_i = Σ_j (α p_ij / Σ p_j - β n_ij / Σ n_j) R_j``, with p and n the positive and negative
    parts of ``x_i w_ij`` (Bach et al. 2015). α - β = 1 keeps the sum."""

    anywhere: ClassVar[bool] = True

    alpha: Any = 2.0
    beta: Any = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "alpha", least=0)
        check.real(self, "beta", least=0)

    def propagate(self, layer: WeightedLayer, relevance: jax.Array) -> jax.Array:
        def part(z: list[jax.Array]) -> list[jax.Array]:
            gain = self.alpha * relevance / stable(z[0], self.epsilon)
            return [gain, -self.beta * relevance / stable(z[1], self.epsilon)]

        biases = (self.biased(layer.b, change) for change in (positive, negative))
        return share(layer, signed(layer, *biases), part)


def signed(layer: WeightedLayer, up: Any, down: Any, gain: Any = None) -> list[list[Term]]:
    """The sums of positive and of negative products ``x_i w_ij``, for inputs of both signs."""
    x = layer.x

    def product(weights: str) -> Callable[[jax.Array], jax.Array]:
        return lambda v: layer.product(v, weights, gain)

    if layer.nonnegative:
        return [[Term(x, product("positive"), up)], [Term(x, product("negative"), down)]]
    return [
        [Term(positive(x), product("positive"), up), Term(negative(x), product("negative"))],
        [Term(positive(x), product("negative"), down), Term(negative(x), product("positive"))],
    ]


@pytree
class ZPlus(LrpRule):
    """``R_i = Σ_j p_ij / Σ p_j R_j`` with p the positive parts of ``x_i w_ij``: α = 1, β = 0
    (Montavon et al. 2017)."""

    anywhere: ClassVar[bool] = True

    def propagate(self, layer: WeightedLayer, relevance: jax.Array) -> jax.Array:
        sums = signed(layer, self.biased(layer.b, positive), 0)[:1]
        return share(layer, sums, lambda z: [relevance / stable(z[0], self.epsilon)])


@pytree
class Gamma(LrpRule):
    """``R_i = Σ_j x_i (w_ij + γ w_ij⁺) / Σ_i x_i (w_ij + γ w_ij⁺) R_j`` (Montavon et al. 2019).

    `general` extends it to inputs of both signs, favouring products with the sign of z. Otherwise,
    the formula is used for inputs of any sign, with an unmodified bias, as in captum.
    """

    anywhere: ClassVar[bool] = True

    gamma: Any = 0.25
    general: bool = static(default=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "gamma", least=0)

    def propagate(self, layer: WeightedLayer, relevance: jax.Array) -> jax.Array:
        x, b = layer.x, layer.b
        if not self.general:
            term = Term(x, lambda v: layer.product(v, "positive", self.gamma), self.biased(b))
            return share(layer, [[term]], lambda z: [relevance / stable(z[0], self.epsilon)])

        up, down = (
            self.biased(b, lambda b, p=p: b + self.gamma * p(b)) for p in (positive, negative)
        )
        z_own = layer.out if self.bias else layer.product(x)

        def part(z: list[jax.Array]) -> list[jax.Array]:
            gain = jnp.where(z_own > 0, relevance, 0) / stable(z[0], self.epsilon)
            return [gain, jnp.where(z_own < 0, relevance, 0) / stable(z[1], self.epsilon)]

        return share(layer, signed(layer, up, down, self.gamma), part)


@pytree
class ZBox(LrpRule):
    """``R_i = Σ_j (x_i w_ij - l w_ij⁺ - h w_ij⁻) / Σ_i (...) R_j`` for a first layer whose inputs
    lie in [l, h] (Montavon et al. 2017)."""

    low: Any = 0.0
    high: Any = 1.0

    def propagate(self, layer: WeightedLayer, relevance: jax.Array) -> jax.Array:
        low, high = (
            jnp.broadcast_to(jnp.asarray(v, layer.x.dtype), layer.x.shape)
            for v in (self.low, self.high)
        )
        sums = [
            [Term(layer.x, layer.product, self.biased(layer.b))],
            [Term(low, lambda v: layer.product(v, "positive"), self.biased(layer.b, positive))],
            [Term(high, lambda v: layer.product(v, "negative"), self.biased(layer.b, negative))],
        ]

        def part(z: list[jax.Array]) -> list[jax.Array]:
            c = relevance / stable(z[0] - z[1] - z[2], self.epsilon)
            return [c, -c, -c]

        return share(layer, sums, part)


@pytree
class Flat(LrpRule):
    """``R_i = Σ_j R_j / (number of inputs of j)`` (Lapuschkin et al. 2017)."""

    anywhere: ClassVar[bool] = True

    def propagate(self, layer: WeightedLayer, relevance: jax.Array) -> jax.Array:
        term = Term(jnp.ones_like(layer.x), lambda v: layer.product(v, "ones"))
        return share(layer, [[term]], lambda z: [relevance / stable(z[0], self.epsilon)])


@pytree
class WSquare(LrpRule):
    """``R_i = Σ_j w_ij² / Σ_i w_ij² R_j`` (Montavon et al. 2017)."""

    anywhere: ClassVar[bool] = True

    def propagate(self, layer: WeightedLayer, relevance: jax.Array) -> jax.Array:
        term = Term(
            jnp.ones_like(layer.x),
            lambda v: layer.product(v, "squared"),
            self.biased(layer.b, jnp.square),
        )
        return share(layer, [[term]], lambda z: [relevance / stable(z[0], self.epsilon)])


@pytree
class Pass(LrpRule):
    """The relevance unchanged, for a layer whose output has the shape of its input."""

    anywhere: ClassVar[bool] = True

    def propagate(self, layer: WeightedLayer, relevance: jax.Array) -> jax.Array:
        return relevance.reshape(layer.x.shape)
