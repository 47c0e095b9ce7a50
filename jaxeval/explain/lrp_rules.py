"""The rules of layer-wise relevance propagation for layers with weights.

A rule is a frozen pytree with ``propagate(layer, relevance) -> relevance of the layer's input``.
All of them share one form: relevance is handed back in proportion to the terms of sums
``z = Σ_i x_i w_i + b``, whose inputs, weights and biases are modified, for instance to their
positive parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import check
from ..types import pytree, static
from .graph import CORES, Node, Values

Change = Callable[[Any], Any]


def positive(v: Any) -> Any:
    return jnp.maximum(v, 0)


def negative(v: Any) -> Any:
    return jnp.minimum(v, 0)


def same(v: Any) -> Any:
    return v


def stable(z: jax.Array, epsilon: Any) -> jax.Array:
    """z, moved away from 0 by epsilon; 0 itself to the positive side."""
    return z + jnp.where(z >= 0, 1, -1).astype(z.dtype) * jnp.asarray(epsilon, z.dtype)


class Layer:
    """A layer with weights at given values: ``z = s · core(x, W) + b``.

    s and b hold the bias and whatever constant scale and shift comes behind the layer, such as
    batch normalisation: the weights are those of the merged layer, s · W.
    """

    def __init__(self, node: Node, values: Values):
        self.node, self.values = node, values
        self.core = node.first if node.first.name in CORES else None
        self.x = values[node.ins[0]]
        s: Any = 1.0
        b: Any = jnp.zeros((), self.x.dtype)
        for operation, before in node.after:
            first = operation.ins[0] is before
            others = [values[v] for v in operation.ins if v is not before]
            if operation.name in ("add", "add_any"):
                b = b + others[0]
            elif operation.name == "sub":
                s, b = (s, b - others[0]) if first else (-s, others[0] - b)
            elif operation.name == "mul":
                s, b = s * others[0], b * others[0]
            elif operation.name == "div":
                s, b = s / others[0], b / others[0]
            elif operation.name == "neg":
                s, b = -s, -b
        self.scaled = not isinstance(s, float)
        self.s, self.b = jnp.asarray(s, self.x.dtype), b

    @property
    def out(self) -> jax.Array:
        return self.values[self.node.outs[0]]

    def product(self, x: jax.Array, weights: str = "own") -> jax.Array:
        """``Σ_i x_i w'_i`` with the weights changed: "own", "positive", "negative", "ones",
        "squared"."""
        if self.core is None:
            change = {"positive": positive, "negative": negative, "squared": jnp.square}
            s = jnp.ones_like(self.s) if weights == "ones" else change.get(weights, same)(self.s)
            return jnp.broadcast_to(s * x, self.out.shape)
        if weights == "ones":
            return self._core(x, jnp.ones_like)
        if weights == "squared":
            return self.s**2 * self._core(x, jnp.square)
        if weights == "own":
            return self.s * self._core(x, same) if self.scaled else self._core(x, same)
        # The positive part of s W is made of both parts of W where s has both signs.
        kept, turned = (positive, negative) if weights == "positive" else (negative, positive)
        if not self.scaled:
            return self._core(x, kept)
        return positive(self.s) * self._core(x, kept) + negative(self.s) * self._core(x, turned)

    def _core(self, x: jax.Array, change: Change) -> jax.Array:
        assert self.core is not None
        given = [x if v is self.node.ins[0] else change(self.values[v]) for v in self.core.ins]
        return self.core.call(*given)[0]


class Term(NamedTuple):
    """One sum z: its inputs, how they are multiplied with weights, and its bias."""

    x: jax.Array
    product: Callable[[jax.Array], jax.Array]
    bias: Any = 0.0


def share(
    layer: Layer, terms: list[Term], part: Callable[[list[jax.Array]], list[jax.Array]]
) -> jax.Array:
    """``Σ_k x_k · (∂z_k/∂x_k)ᵀ c_k`` over the terms, with ``c = part(z)`` one for each."""
    sums, backs = zip(*(jax.vjp(t.product, t.x) for t in terms), strict=True)
    z = [v + jnp.asarray(t.bias, v.dtype) for v, t in zip(sums, terms, strict=True)]
    total = jnp.zeros_like(layer.x)
    for t, back, c, v in zip(terms, backs, part(z), z, strict=True):
        total = total + t.x * back(jnp.broadcast_to(c, v.shape).astype(v.dtype))[0]
    return total


@pytree
class LrpRule(ABC):
    """How one layer hands its relevance R back to its inputs.

    Args:
      epsilon: what keeps sums away from 0 where they divide.
      bias: False leaves the layer's bias out of the sums, so that it absorbs no relevance.
    """

    epsilon: Any = 1e-6
    bias: bool = static(default=True)

    def __post_init__(self) -> None:
        check.real(self, "epsilon", least=0)

    @abstractmethod
    def propagate(self, layer: Layer, relevance: jax.Array) -> jax.Array:
        """The relevance of the layer's input, in its shape."""

    def own(self, b: Any, change: Change = same) -> Any:
        """The layer's bias, changed; 0 where it is left out."""
        return change(b) if self.bias else jnp.zeros_like(b)


@pytree
class Epsilon(LrpRule):
    """``R_i = Σ_j x_i w_ij / (z_j + ε sign(z_j)) R_j`` (Bach et al. 2015); LRP-0 for a small ε."""

    def propagate(self, layer: Layer, relevance: jax.Array) -> jax.Array:
        term = Term(layer.x, layer.product, self.own(layer.b))
        return share(layer, [term], lambda z: [relevance / stable(z[0], self.epsilon)])


@pytree
class AlphaBeta(LrpRule):
    """``R_i = Σ_j (α p_ij / Σ p_j - β n_ij / Σ n_j) R_j``, with p and n the positive and negative
    parts of ``x_i w_ij`` (Bach et al. 2015). α - β = 1 keeps the sum."""

    alpha: Any = 2.0
    beta: Any = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "alpha", least=0)
        check.real(self, "beta", least=0)

    def propagate(self, layer: Layer, relevance: jax.Array) -> jax.Array:
        terms = _signed(layer, self.own(layer.b, positive), self.own(layer.b, negative))

        def part(z: list[jax.Array]) -> list[jax.Array]:
            gain = self.alpha * relevance / stable(z[0] + z[1], self.epsilon)
            loss = -self.beta * relevance / stable(z[2] + z[3], self.epsilon)
            return [gain, gain, loss, loss]

        return share(layer, terms, part)


def _signed(layer: Layer, up: Any, down: Any) -> list[Term]:
    """The positive products in two terms (of both signs of x), then the negative ones."""
    x = layer.x

    def product(weights: str) -> Callable[[jax.Array], jax.Array]:
        return lambda v: layer.product(v, weights)

    return [
        Term(positive(x), product("positive"), up),
        Term(negative(x), product("negative")),
        Term(positive(x), product("negative"), down),
        Term(negative(x), product("positive")),
    ]


@pytree
class ZPlus(LrpRule):
    """``R_i = Σ_j p_ij / Σ p_j R_j`` with p the positive parts of ``x_i w_ij``: α = 1, β = 0
    (Montavon et al. 2017)."""

    def propagate(self, layer: Layer, relevance: jax.Array) -> jax.Array:
        terms = _signed(layer, self.own(layer.b, positive), 0)[:2]
        return share(layer, terms, lambda z: [relevance / stable(z[0] + z[1], self.epsilon)] * 2)


@pytree
class Gamma(LrpRule):
    """``R_i = Σ_j x_i (w_ij + γ w_ij⁺) / Σ_i x_i (w_ij + γ w_ij⁺) R_j`` (Montavon et al. 2019).

    `general` extends it to inputs of both signs: products of the sign of z are the ones that are
    favoured. Without, it is the formula as it stands, whatever the inputs' signs, with a bias that
    is not changed, as in captum.
    """

    gamma: Any = 0.25
    general: bool = static(default=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "gamma", least=0)

    def propagate(self, layer: Layer, relevance: jax.Array) -> jax.Array:
        x, b = layer.x, layer.b

        def favoured(weights: str) -> Callable[[jax.Array], jax.Array]:
            return lambda v: layer.product(v) + self.gamma * layer.product(v, weights)

        if not self.general:
            term = Term(x, favoured("positive"), self.own(b))
            return share(layer, [term], lambda z: [relevance / stable(z[0], self.epsilon)])

        up, down = (self.own(b, lambda b, p=p: b + self.gamma * p(b)) for p in (positive, negative))
        terms = [
            Term(positive(x), favoured("positive"), up),
            Term(negative(x), favoured("negative")),
            Term(positive(x), favoured("negative"), down),
            Term(negative(x), favoured("positive")),
        ]
        z_own = layer.product(x) + jnp.asarray(self.own(b), x.dtype)

        def part(z: list[jax.Array]) -> list[jax.Array]:
            gain = jnp.where(z_own > 0, relevance, 0) / stable(z[0] + z[1], self.epsilon)
            loss = jnp.where(z_own < 0, relevance, 0) / stable(z[2] + z[3], self.epsilon)
            return [gain, gain, loss, loss]

        return share(layer, terms, part)


@pytree
class ZBox(LrpRule):
    """``R_i = Σ_j (x_i w_ij - l w_ij⁺ - h w_ij⁻) / Σ_i (...) R_j`` for a first layer whose inputs
    lie in [l, h] (Montavon et al. 2017)."""

    low: Any = 0.0
    high: Any = 1.0

    def propagate(self, layer: Layer, relevance: jax.Array) -> jax.Array:
        low, high = (
            jnp.broadcast_to(jnp.asarray(v, layer.x.dtype), layer.x.shape)
            for v in (self.low, self.high)
        )
        terms = [
            Term(layer.x, layer.product, self.own(layer.b)),
            Term(low, lambda v: layer.product(v, "positive"), self.own(layer.b, positive)),
            Term(high, lambda v: layer.product(v, "negative"), self.own(layer.b, negative)),
        ]

        def part(z: list[jax.Array]) -> list[jax.Array]:
            c = relevance / stable(z[0] - z[1] - z[2], self.epsilon)
            return [c, -c, -c]

        return share(layer, terms, part)


@pytree
class Flat(LrpRule):
    """``R_i = Σ_j R_j / (number of inputs of j)`` (Lapuschkin et al. 2017)."""

    def propagate(self, layer: Layer, relevance: jax.Array) -> jax.Array:
        term = Term(jnp.ones_like(layer.x), lambda v: layer.product(v, "ones"))
        return share(layer, [term], lambda z: [relevance / stable(z[0], self.epsilon)])


@pytree
class WSquare(LrpRule):
    """``R_i = Σ_j w_ij² / Σ_i w_ij² R_j`` (Montavon et al. 2017)."""

    def propagate(self, layer: Layer, relevance: jax.Array) -> jax.Array:
        term = Term(
            jnp.ones_like(layer.x),
            lambda v: layer.product(v, "squared"),
            self.own(layer.b, jnp.square),
        )
        return share(layer, [term], lambda z: [relevance / stable(z[0], self.epsilon)])


@pytree
class Pass(LrpRule):
    """The relevance as it is, for a layer whose output has the shape of its input."""

    def propagate(self, layer: Layer, relevance: jax.Array) -> jax.Array:
        return relevance.reshape(layer.x.shape)
