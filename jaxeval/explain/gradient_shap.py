"""Attribution by gradients between noisy copies of the input and random samples."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .. import check
from ..model import Model
from ..types import pytree, static
from .expected_gradients import ExpectedGradients
from .noisy import share_of_range


@pytree
class GradientShap(ExpectedGradients):
    """Expected gradients of noisy copies of the input.

    ``a = 1/S Σ_s (x_s - b_s) · ∂f_y(b_s + α_s (x_s - b_s))/∂x`` with ``x_s = x + σ ε_s``,
    ``ε_s ~ N(0, 1)``, ``σ = noise_level · (max x - min x)`` per sample, ``b_s`` drawn from
    `background` and ``α_s ~ U[0, 1]``; signed, in the shape of x. An approximation of Shapley
    values for models that are nearly linear between b and x.

    Lundberg & Lee 2017, "A Unified Approach to Interpreting Model Predictions". Corresponds to
    captum's `GradientShap` with `stdevs`, whose default there is 0.

    Args:
      background: samples [B, ...], each with the shape of one sample; None: one sample of zeros;
        "background": the samples given as `background=` of `jaxeval.evaluate`; "background mean":
        their mean.
      n_samples: S; each costs one gradient of the batch.
      noise_level: standard deviation of the noise, as a fraction of the sample's range.
      stdevs: σ itself, in units of x, instead of `noise_level`.
      draws: {"background": numbers of rows of `background`, "alpha": α, "noise": ε}, of the shapes
        [S], [S] and [S, ...], or [N, S], [N, S] and [N, S, ...] with draws for each sample, used
        instead of random ones; S is then theirs, and no keys are needed.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: x @ jnp.array([[1.0], [-2.0]]), channel_axis=None)
    >>> e = GradientShap(background=jnp.ones((3, 2)), noise_level=0.0)
    >>> e(net, jnp.array([[2.0, 3.0]]), jnp.array([0]), jax.random.split(jax.random.key(0), 1))
    Array([[ 1., -4.]], dtype=float32)
    """

    n_samples: int = static(default=50)
    DRAWN: ClassVar[tuple[str, ...]] = ("background", "alpha", "noise")

    noise_level: Any = 0.1
    stdevs: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "noise_level", least=0)
        if self.stdevs is not None:
            check.real(self, "stdevs", least=0)

    def spread(self, model: Model, x: jax.Array) -> Any:
        if self.stdevs is not None:
            return jnp.full((len(x), *(1,) * (x.ndim - 1)), self.stdevs, x.dtype)
        return share_of_range(self.noise_level, model, x)
