"""Control maps that do not depend on the model: metrics should score them as no explanation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .. import check
from ..model import Model
from ..types import pytree
from .base import Explainer, needs_keys


@pytree
class Random(Explainer):
    """Uniform noise: ``a ~ U[0, 1)``, non-negative, in the shape of x, from each sample's key.

    The same key gives the same map for any model, input or class.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> Random()(Model(lambda p, x: x), jnp.ones((2, 3)), jnp.array([0, 1]), keys).shape
    (2, 3)
    """

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        if keys is None:
            raise TypeError(needs_keys(self, "noise", len(x)))
        draw = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:], jnp.float32))
        return draw(keys).astype(x.dtype)


@pytree
class Constant(Explainer):
    """The same attribution everywhere: ``a = value``, in the shape of x.

    Args:
      value: the number.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> Constant(value=2.0)(Model(lambda p, x: x), jnp.zeros((1, 3)), jnp.array([0]))
    Array([[2., 2., 2.]], dtype=float32)
    """

    value: Any = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "value")

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(self.value, x.dtype), x.shape)


@pytree
class Sobel(Explainer):
    """The edges of the input, in the shape of x: a map that does not depend on the model.

    ``a = sqrt(Σ_k g_k²) >= 0`` over the axes k of a sample except the channels, where ``g_k``
    filters with [-1, 0, 1] along k and with [1, 2, 1] along the others, separately per channel.
    Edges are padded with the nearest entry (`scipy.ndimage.sobel` with ``mode="nearest"``). For a
    series there is one axis, and ``a_i = |x_{i+1} - x_{i-1}|``; for tabular data the same, along
    the columns in the given order.

    As a control: Adebayo et al. 2018, "Sanity Checks for Saliency Maps".

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> x = jnp.array([[0.0, 0.0, 1.0, 1.0]])
    >>> Sobel()(Model(lambda p, x: x, channel_axis=None), x, jnp.array([0]))
    Array([[0., 1., 1., 0.]], dtype=float32)
    """

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        channel = model.sample_channel_axis(x.ndim - 1)
        axes = [k for k in range(1, x.ndim) if k - 1 != channel]

        def neighbours(v: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
            wide = jnp.pad(v, [(int(k == axis),) * 2 for k in range(v.ndim)], mode="edge")
            n = v.shape[axis]
            return (
                jax.lax.slice_in_dim(wide, 0, n, axis=axis),
                jax.lax.slice_in_dim(wide, 2, n + 2, axis=axis),
            )

        def edges(along: int) -> jax.Array:
            before, after = neighbours(x, along)
            g = after - before
            for axis in axes:
                if axis != along:
                    before, after = neighbours(g, axis)
                    g = before + 2 * g + after
            return g

        return jnp.sqrt(sum(edges(k) ** 2 for k in axes))
