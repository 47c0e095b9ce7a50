"""Attribution by the mean gradient along the straight line from a baseline to the input."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import check, ops
from ..model import Model
from ..types import pytree, static
from .stepped import SteppedExplainer

METHODS = (
    "gausslegendre",
    "riemann_trapezoid",
    "riemann_left",
    "riemann_right",
    "riemann_middle",
)
"""The rules of captum."""
RULES = (*METHODS, "endpoints")


def quadrature(method: str, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in [0, 1] and weights, each [n_steps], of a quadrature rule on [0, 1]."""
    s = n_steps
    if method == "gausslegendre":
        nodes, weights = np.polynomial.legendre.leggauss(s)
        return (1 + nodes) / 2, weights / 2
    first, last = {
        "riemann_trapezoid": (0.0, 1.0),
        "riemann_left": (0.0, 1 - 1 / s),
        "riemann_right": (1 / s, 1.0),
        "riemann_middle": (0.5 / s, 1 - 0.5 / s),
        "endpoints": (0.0, 1.0),
    }[method]
    weights = np.full(s, 1 / s)
    if method == "riemann_trapezoid":
        weights[[0, -1]] /= 2
    return np.linspace(first, last, s), weights


@pytree
class IntegratedGradients(SteppedExplainer):
    """The integral of the gradient along the straight line from the baseline b to x.

    ``a = (x - b) · ∫_0^1 ∂f_y(b + α (x - b))/∂x dα``, signed, in the shape of x. Attributions sum
    to ``f_y(x) - f_y(b)``, up to quadrature error.

    Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks". Equal to captum's
    `IntegratedGradients`, including its defaults.

    Args:
      n_steps: number of quadrature nodes; each costs one gradient of the batch.
      method: quadrature rule: "gausslegendre", "riemann_left", "riemann_right", "riemann_middle"
        or "riemann_trapezoid". As in captum, the weights of the trapezoidal rule are 1/n (1/(2n)
        at both ends), so they sum to 1 - 1/n and attributions are too small by that factor.
        "endpoints", as in saliency: nodes from 0 to 1, both included, each with the weight 1/n.
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample.
      multiply_by_inputs: False omits the factor ``x - b``.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> product = Model(lambda p, x: jnp.prod(x, axis=1, keepdims=True), channel_axis=None)
    >>> IntegratedGradients(n_steps=4)(product, jnp.array([[2.0, 3.0]]), jnp.array([0]))
    Array([[3., 3.]], dtype=float32)
    """

    n_steps: int = static(default=50)
    method: str = static(default="gausslegendre")
    baseline: Any = "zero"
    multiply_by_inputs: bool = static(default=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "method", RULES)
        # The trapezoidal rule needs a node at both ends.
        check.integer(self, "n_steps", 2 if self.method == "riemann_trapezoid" else 1)
        check.baseline(self, "baseline", ops.BASELINES)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_steps

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        return self.baselines(model, x, self.baseline, keys)

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        alphas, weights = (jnp.asarray(v, x.dtype) for v in quadrature(self.method, self.n_steps))
        return weights[i] * self.input_gradient(model, state + alphas[i] * (x - state), y)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return (x - state) * total if self.multiply_by_inputs else total
