"""The initialisation of torch layers (``reset_parameters``), in JAX."""

from __future__ import annotations

import dataclasses
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
from torch import nn


@dataclasses.dataclass(frozen=True)
class Draw:
    """Uniform within `spread` of `mean`, or normal with standard deviation `spread`."""

    shape: tuple[int, ...]
    mean: float = 0.0
    spread: float = 0.0
    normal: bool = False
    zero_row: int | None = None
    """The index of a row that stays zero."""

    def __call__(self, key: Any) -> jax.Array:
        if not self.spread:
            return jnp.full(self.shape, self.mean)
        if self.normal:
            v = self.mean + self.spread * jax.random.normal(key, self.shape)
        else:
            v = jax.random.uniform(key, self.shape, minval=-self.spread, maxval=self.spread)
        return v if self.zero_row is None else v.at[self.zero_row].set(0)


@dataclasses.dataclass(frozen=True)
class Initial:
    """``(key, x) -> params``: what every layer's ``reset_parameters`` would draw, for `Model.init`.

    Parameters of layers without a ``reset_parameters``, or with an unknown one, are left out.
    """

    draws: tuple[tuple[str, Draw], ...]

    def __call__(self, key: Any, x: Any) -> dict[str, dict[str, jax.Array]]:
        # Keyed by name: a parameter's values do not depend on the other parameters.
        return {
            "params": {
                # fold_in takes 32 bits; changing the hash would change the drawn parameters.
                name: draw(jax.random.fold_in(key, zlib.crc32(name.encode())))
                for name, draw in self.draws
            }
        }


def initial(module: nn.Module) -> Initial:
    """The initialisation of all submodules, by the names of their parameters."""
    found: dict[str, Draw] = {}
    # From the inside out: a layer may override what a submodule has drawn.
    for prefix, part in reversed(list(module.named_modules(remove_duplicate=False))):
        rule = _rule(type(part))
        for name, p in part.named_parameters() if rule else ():
            draw = rule(part, name, tuple(p.shape))
            if draw is not None:
                found[f"{prefix}.{name}" if prefix else name] = draw
    return Initial(tuple(sorted(found.items())))


def _rule(kind: type) -> Any:
    """The rule for a class that inherits ``reset_parameters`` from one of torch's layers."""
    for owners, rule in RULES:
        for owner in owners:
            if issubclass(kind, owner) and _reset(kind) is _reset(owner):
                return rule
    return None


def _reset(kind: type) -> Any:
    return getattr(kind, "reset_parameters", getattr(kind, "_reset_parameters", None))


def _by_inputs(part: Any, name: str, shape: tuple[int, ...]) -> Draw:
    """Uniform within 1 / sqrt(fan-in), for weights and biases alike."""
    return Draw(shape, spread=1 / math.sqrt(max(1, math.prod(part.weight.shape[1:]))))


def _bilinear(part: Any, name: str, shape: tuple[int, ...]) -> Draw:
    return Draw(shape, spread=1 / math.sqrt(part.weight.shape[1]))


def _recurrent(part: Any, name: str, shape: tuple[int, ...]) -> Draw:
    return Draw(shape, spread=1 / math.sqrt(part.hidden_size))


def _norm(part: Any, name: str, shape: tuple[int, ...]) -> Draw:
    return Draw(shape, mean=1.0 if name == "weight" else 0.0)


def _embedding(part: Any, name: str, shape: tuple[int, ...]) -> Draw:
    return Draw(shape, spread=1.0, normal=True, zero_row=part.padding_idx)


def _slope(part: Any, name: str, shape: tuple[int, ...]) -> Draw:
    return Draw(shape, mean=part.init)


def _attention(part: Any, name: str, shape: tuple[int, ...]) -> Draw | None:
    if name in ("bias_k", "bias_v"):  # Glorot's normal draw of [1, 1, inputs]
        return Draw(shape, spread=1 / math.sqrt(shape[-1]), normal=True)
    if name == "out_proj.weight":  # the layer inside has drawn it
        return None
    return Draw(shape, spread=math.sqrt(6 / sum(shape)) if len(shape) == 2 else 0.0)


RULES: tuple[tuple[tuple[type, ...], Any], ...] = (
    ((nn.Linear, nn.modules.conv._ConvNd), _by_inputs),
    ((nn.Bilinear,), _bilinear),
    ((nn.RNNBase, nn.RNNCellBase), _recurrent),
    ((nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm), _norm),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
    ((nn.PReLU,), _slope),
    ((nn.MultiheadAttention,), _attention),
)
