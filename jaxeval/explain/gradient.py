"""Attribution by the gradient at the input."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..model import Model
from ..types import pytree
from .base import Explainer


@pytree
class Gradient(Explainer):
    """The gradient of the score: ``a = ∂f_y(x)/∂x``, signed, in the shape of x.

    Simonyan et al. 2014, "Deep Inside Convolutional Networks".

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> linear = Model(lambda w, x: x @ w, jnp.array([[1.0, 0.0], [-2.0, 3.0]]), channel_axis=None)
    >>> Gradient()(linear, jnp.ones((2, 2)), jnp.array([0, 1]))
    Array([[ 1., -2.],
           [ 0.,  3.]], dtype=float32)
    """

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        return self.input_gradient(model, x, y)


@pytree
class Saliency(Explainer):
    """The absolute gradient: ``a = |∂f_y(x)/∂x| >= 0``, in the shape of x.

    ``reduce_channels="max"`` gives the pixel map of the paper. Equal to captum's `Saliency`.

    Simonyan et al. 2014, "Deep Inside Convolutional Networks".

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> linear = Model(lambda w, x: x @ w, jnp.array([[1.0, 0.0], [-2.0, 3.0]]), channel_axis=None)
    >>> Saliency()(linear, jnp.ones((2, 2)), jnp.array([0, 1]))
    Array([[1., 2.],
           [0., 3.]], dtype=float32)
    """

    over_embedding: ClassVar[str] = "l2"

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        return jnp.abs(self.input_gradient(model, x, y))


@pytree
class InputXGradient(Explainer):
    """The input times the gradient: ``a = x · ∂f_y(x)/∂x``, signed, in the shape of x.

    Equal to captum's `InputXGradient`.

    Shrikumar et al. 2016, "Not Just a Black Box".

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> linear = Model(lambda w, x: x @ w, jnp.array([[1.0, 0.0], [-2.0, 3.0]]), channel_axis=None)
    >>> InputXGradient()(linear, jnp.array([[2.0, 5.0]]), jnp.array([0]))
    Array([[  2., -10.]], dtype=float32)
    """

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        return x * self.input_gradient(model, x, y)
