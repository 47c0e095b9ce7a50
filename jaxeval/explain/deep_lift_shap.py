"""Attribution by DeepLIFT, averaged over baselines."""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from .. import check
from ..model import Model
from ..types import pytree, static
from .background import background, check_background
from .deep_lift import POOLING, DeepLift
from .stepped import SteppedExplainer


@pytree
class DeepLiftShap(SteppedExplainer):
    """The mean of DeepLIFT's attributions over a set of baselines.

    ``a = 1/B Σ_b DeepLift_b(x)``, an approximation of Shapley values; signed, in the shape of x.
    Attributions sum to ``f_y(x) - 1/B Σ_b f_y(b)``.

    Lundberg & Lee 2017, "A Unified Approach to Interpreting Model Predictions". Equal to captum's
    `DeepLiftShap` with ``pooling="gradient"``; for models without max pooling, with either setting.

    Args:
      background: baselines [B, ...], each with the shape of one sample, such as training samples;
        None: one baseline of zeros; "background": the samples given as `background=` of
        `jaxeval.evaluate`; "background mean": their mean. Each sample is compared with all of
        them, one per step.
      pooling, multiply_by_inputs: as for `DeepLift`.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: jax.nn.relu(x.sum(1, keepdims=True)), channel_axis=None)
    >>> e = DeepLiftShap(background=jnp.array([[0.0, 0.0], [1.0, 1.0]]))
    >>> e(net, jnp.array([[2.0, 3.0]]), jnp.array([0]))
    Array([[1.5, 2.5]], dtype=float32)
    """

    on_tokens: ClassVar[str] = ""
    background: Any = None
    pooling: str = static(default="cross_max")
    multiply_by_inputs: bool = static(default=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_background(self)
        check.one_of(self, "pooling", POOLING)

    def steps(self, model: Model, x: jax.Array) -> int:
        return len(background(self, x))

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        one = DeepLift(
            output=self.output,
            baseline=background(self, x)[i],
            pooling=self.pooling,
            multiply_by_inputs=self.multiply_by_inputs,
        )
        return one.attribute(model, x, y, keys)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return total / self.steps(model, x)
