"""Attribution by gradients between the input and random samples."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .. import check
from ..model import Model
from ..ops import draw
from ..types import pytree, static
from .background import background, check_background
from .base import needs_keys
from .noisy import noisy_rows
from .stepped import SteppedExplainer, rows


@pytree
class ExpectedGradients(SteppedExplainer):
    """Integrated gradients, averaged over random baselines and interpolation points.

    ``a = 1/S Σ_s (x - b_s) · ∂f_y(b_s + α_s (x - b_s))/∂x`` with ``b_s`` drawn from `background`
    and ``α_s ~ U[0, 1]``; signed, in the shape of x. Attributions sum to ``f_y(x) - E f_y(b)`` in
    expectation.

    Erion et al. 2021, "Improving performance of deep learning models with axiomatic attribution
    priors and expected gradients".

    Args:
      background: samples [B, ...], each with the shape of one sample; None: one sample of zeros;
        "background": the samples given as `background=` of `jaxeval.evaluate`; "background mean":
        their mean.
      n_samples: S; each costs one gradient of the batch.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: x @ jnp.array([[1.0], [-2.0]]), channel_axis=None)
    >>> e = ExpectedGradients(background=jnp.ones((3, 2)), n_samples=4)
    >>> e(net, jnp.array([[2.0, 3.0]]), jnp.array([0]), jax.random.split(jax.random.key(0), 1))
    Array([[ 1., -4.]], dtype=float32)
    """

    on_tokens: ClassVar[str] = ""
    background: Any = None
    n_samples: int = static(default=50)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")
        check_background(self)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_samples

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        if keys is None:
            raise TypeError(needs_keys(self, "in its draws", len(x)))
        return background(self, x), self.spread(model, x)

    def spread(self, model: Model, x: jax.Array) -> Any:
        """The standard deviation of the noise on x; None for no noise."""
        return None

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        samples, spread = rows(state[0]), state[1]

        def one(key: jax.Array) -> Any:
            key = draw.fold_in(key, i)
            which, where, noise = (draw.fold_in(key, k) for k in range(3))
            b = samples[jax.random.randint(which, (), 0, len(samples))]
            return b, jax.random.uniform(where, (), jnp.float32).astype(x.dtype), noise

        b, alpha, noise = jax.vmap(one)(keys)
        given = rows(x) if spread is None else noisy_rows(x, spread, noise, i)
        way = given - b
        return way, b + alpha[:, None] * way

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        _, ready = state
        way, at = (v.reshape(x.shape) for v in ready)
        return way * self.input_gradient(model, at, y)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return total / self.n_samples
