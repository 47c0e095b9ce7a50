"""The rules of layer-wise relevance propagation for layers with weights.

A rule is a frozen pytree with ``propagate(layer, relevance) -> relevance of the layer's input``.
All rules distribute relevance in proportion to the terms of sums ``z = Σ_i x_i w_i + b``, with
modified inputs, weights and biases, for instance their positive parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .. import check
from ..registry import Registry
from ..types import pytree, static
from .weighted_layer import Change, Term, WeightedLayer, negative, positive, same, share, stable


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
