"""Relative attributing propagation: relevance that separates important from unimportant inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..model import Model
from ..trace import Graph, Node, Rule, Values
from ..types import pytree, static
from .backpropagation import check_class_output
from .base import Explainer
from .by_row import by_row
from .lrp import LRP, Relevance
from .weighted_layer import Change, WeightedLayer, negative, positive

SHIFTS = ("add", "add_any", "sub")
REFUSED = ("normalise", "product", "bilinear", "softmax", "quotient", "other")
"""Kinds of nodes that the method has no rule for."""


def divided(a: jax.Array, b: jax.Array) -> jax.Array:
    """a / b, and 0 where b is 0."""
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))


class RelativeRelevance(Relevance):
    """The rules of relative attributing propagation, for one sample."""

    def __init__(self, rap: RAP, graph: Graph):
        super().__init__(LRP(), graph)
        self.rap = rap
        linear = [node for node in graph.nodes if node.kind == "linear"]
        self.last = linear[-1] if linear else None

    @property
    def name(self) -> str:
        return type(self.rap).__name__

    def table(self) -> Mapping[str, Rule]:
        kinds = {**super().table(), **dict.fromkeys(REFUSED, self.refuse)}
        return {**kinds, "scale": self.scale}

    def shared(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        back = node.gradient(values, [divided(r[0], values[node.outs[0]])])
        return [values[v] * g for v, g in zip(node.ins, back, strict=True)]

    def layer(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        layer = WeightedLayer(node, values, self.graph.made)
        convolution = node.first.name == "conv_general_dilated"
        one_sign = self.is_nonnegative(node.ins[0])
        if node is self.last and not convolution:
            return [self.start(layer, r[0], one_sign)]
        back = self.normalised(layer, r[0])
        if convolution and self.rap.box and self.is_first(node) and self.n_channels(node) == 3:
            return [self.box(layer, back)]
        by_minus = convolution and not self.rap.consistent
        total = self.flows(layer, positive(layer.x), positive, negative, back, by_minus)
        if one_sign:
            return [total]
        below = negative(layer.x)
        if self.rap.consistent:
            return [total + self.flows(layer, below, negative, positive, back, by_minus)]
        return [total + self.flows(layer, -below, positive, negative, back, by_minus)]

    def scale(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        if self.is_first(node):  # scaling of the input
            return r[:1]
        return [self.normalised(WeightedLayer(node, values, self.graph.made), r[0])]

    def normalised(self, layer: WeightedLayer, r: jax.Array) -> jax.Array:
        """R before a batch normalisation, which stops it where its scaled input is 0."""
        after = layer.node.after
        names = [operation.name for operation, _ in after]
        if not layer.scaled or not any(name in SHIFTS for name in names):
            return r
        own = [name not in ("add", "add_any", "convert_element_type") for name in names]
        # What is added to a layer's sums before they are scaled is its bias.
        x = layer.values[after[own.index(True) if layer.core else 0][1]]
        return jnp.where((x != 0) & (layer.s != 0), r, 0)

    def n_channels(self, node: Node) -> int:
        axis = node.first.params["dimension_numbers"].lhs_spec[1]
        return node.first.ins[0].shape[axis]

    def start(self, layer: WeightedLayer, r: jax.Array, one_sign: bool) -> jax.Array:
        """The score, by the sizes of the contributions to it."""
        z, back = jax.vjp(lambda v: layer.product(v), layer.x)
        parts = layer.x * back(r.astype(z.dtype))[0]
        score = (layer.out * r).sum()
        if not one_sign and not self.rap.consistent:
            # The bias is split by the sums of either sign; only positive inputs take it. All parts
            # are multiplied by their sum, which may come near 0.
            total, bias = parts.sum(), (layer.b * r).sum()
            biased = total * parts
            for side in (positive(parts), negative(parts)):
                taking = jnp.where(layer.x > 0, side, 0)
                due, taken = bias * side.sum(), taking.sum()
                biased = biased + taking * divided(due, taken)
                score = score - jnp.where(taken == 0, divided(due, total), 0)
            parts = biased
        return jnp.abs(parts) * divided(score, jnp.abs(parts).sum())

    def box(self, layer: WeightedLayer, r: jax.Array) -> jax.Array:
        """The z-box rule, with the least and largest value of the image as bounds."""
        # x W - low W⁺ - high W⁻, without its cancellation.
        x = layer.x
        above, below = x - x.min(), x - x.max()
        plus, back = jax.vjp(lambda v: layer.core_of(v, positive), above)
        minus, back_minus = jax.vjp(lambda v: layer.core_of(v, negative), below)
        s = divided(r, plus + minus).astype(plus.dtype)
        return above * back(s)[0] + below * back_minus(s)[0]

    def flows(
        self,
        layer: WeightedLayer,
        x: jax.Array,
        up: Change,
        down: Change,
        r: jax.Array,
        by_minus: bool,
    ) -> jax.Array:
        """Relevance by the positive and the negative products, less their excess."""
        plus, back = jax.vjp(lambda v: layer.core_of(v, up), x)
        minus, back_minus = jax.vjp(lambda v: -layer.core_of(v, down), x)
        gains, losses = positive(r), negative(r)
        share = divided(minus, plus + minus)
        by_plus = divided(gains if by_minus else r, plus)
        by_rest = divided(share * r + (losses if by_minus else 0), minus)
        parts = x * (back(by_plus)[0] + back_minus(by_rest)[0])
        live = parts != 0
        excess = divided(parts.sum() - r.sum(), live.sum().astype(r.dtype))
        return jnp.where(live, parts - excess, 0)


@pytree
class RAP(Explainer):
    """Relative attributing propagation.

    Relevance starts at the output of the class and is split by the sizes of the contributions,
    ``R_i = |x_i w_i| / Σ_i |x_i w_i| f_y``. In each further layer, R flows back in proportion to
    the positive products z⁺ and, for its share z⁻ / (z⁺ + z⁻), also to the sizes of the negative
    products; what this adds to the sum of R is then subtracted evenly from all units that got any.
    So units of little influence become negative, and the sum stays. Signed, in the shape of x;
    sums to the score of the class, for inputs of one sign and without a z-box rule.

    Nam et al. 2020, "Relative Attributing Propagation: Interpreting the Comparative Contributions
    of Individual Units in Deep Neural Networks"; as in the authors' code. Inputs of both signs get
    the relevance twice, once through their positive part and once through the size of their
    negative part; the relevance of a negative score is nearly all negative. For networks of ReLUs,
    pooling, batch normalisation and residual connections (in proportion). Activation functions,
    also others than ReLUs, pass relevance on, and so does batch normalisation, except where its
    input is 0 (that of the model's own input passes all). After the last matrix product, they are
    not part of the score. Other operations raise an error. `output` has no effect, as propagation
    starts at the class itself.

    Args:
      box: whether a first convolution of images with three channels uses the z-box rule, with the
        least and largest value of the image as bounds.
      consistent: True ends three inconsistencies of the authors' code. Negative relevance flows
        back by z⁺ in matrix products, but by z⁻ in convolutions: by z⁺ in both. z⁺ and z⁻ of
        negative inputs are the products of their sizes: the positive and the negative products.
        The bias of the last layer goes to positive inputs alone: to all, in proportion.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> net = Model(lambda w, x: x @ w, jnp.array([[1.0], [-2.0], [3.0]]), channel_axis=None)
    >>> a = RAP()(net, jnp.array([[1.0, 1.0, 1.0]]), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[0.333 0.667 1.   ]]
    """

    box: bool = static(default=True)
    consistent: bool = static(default=False)

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        check_class_output(self, model)

        def one(model: Model, x: jax.Array, y: jax.Array) -> jax.Array:
            graph = Graph(model, x)
            values = graph.forward(model.params, x)
            seed = jax.nn.one_hot(y, graph.out.shape[-1], dtype=x.dtype)
            return graph.backward(values, seed, RelativeRelevance(self, graph).table())[0]

        return by_row(one, model, x, y)
