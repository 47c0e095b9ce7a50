"""Attribution by the marginal probability of a top-down winner-take-all process."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..model import Model
from ..trace import Graph
from ..types import pytree, static
from .backpropagation import check_class_output
from .base import Explainer
from .lrp import LRP, Relevance
from .lrp_rules import ZPlus


@pytree
class ExcitationBackprop(Explainer):
    """Excitation backprop: the marginal winning probability of each input.

    ``P(i) = Σ_j x_i w_ij⁺ / Σ_i x_i w_ij⁺ P(j)``, starting from 1 at the explained class: the z⁺
    rule of LRP without biases, and with its stabiliser of 1e-6. In the shape of x; non-negative;
    sums to 1 as long as every unit has an excitatory input. For inputs of both signs, products
    ``x_i w_ij > 0`` are excitatory.

    Zhang et al. 2018, "Top-Down Neural Attention by Excitation Backprop". Equal to zennit's
    `ExcitationBackprop` with ``zero_params=["bias"]``. `output` has no effect, as propagation
    starts at the class itself. Binary models are refused: they have no output for class 0.

    Args:
      addition: how a sum of two branches is divided between them, as for `LRP`.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> net = Model(lambda w, x: x @ w, jnp.array([[1.0], [-2.0], [3.0]]), channel_axis=None)
    >>> a = ExcitationBackprop()(net, jnp.array([[1.0, 1.0, 1.0]]), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[0.25 0.   0.75]]
    """

    addition: str = static(default="proportional")

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        check_class_output(self, model)
        graph = Graph(model, x, turned=True)
        values = graph.forward(model.params, x)
        seed = jax.nn.one_hot(y, graph.out.shape[-1], dtype=x.dtype)
        lrp = LRP(rule=ZPlus(bias=False), addition=self.addition)
        return graph.backward(values, jnp.asarray(seed), Relevance(lrp, graph).table())
