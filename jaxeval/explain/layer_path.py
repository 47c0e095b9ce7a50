"""Base class of methods that explain a layer along the path from a baseline."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .. import check, ops
from ..model import Model
from ..types import pytree, static
from .integrated_gradients import RULES, quadrature
from .layer import LayerExplainer, layer_zeros
from .stepped import SteppedExplainer


@pytree
class LayerPath(LayerExplainer, SteppedExplainer):
    """A sum over the nodes of a quadrature between the baseline and the input.

    Args:
      n_steps: number of quadrature nodes; each costs one gradient of the batch.
      method: quadrature rule; see `IntegratedGradients`.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample.
    """

    n_steps: int = static(default=50)
    method: str = static(default="gausslegendre")
    baseline: Any = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "method", RULES)
        check.integer(self, "n_steps", 2 if self.method == "riemann_trapezoid" else 1)
        check.baseline(self, "baseline", ops.BASELINES)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_steps

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        return self.baselines(model, x, self.baseline, keys)

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> jax.Array:
        return layer_zeros(self, model, x)

    def nodes(self, dtype: Any, n: int | None = None) -> tuple[jax.Array, jax.Array]:
        """The nodes and weights of the quadrature with n (default: `n_steps`) nodes."""
        nodes, weights = quadrature(self.method, self.n_steps if n is None else n)
        return jnp.asarray(nodes, dtype), jnp.asarray(weights, dtype)
