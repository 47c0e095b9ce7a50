"""Attribution by relevance and gradients of attention matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..model import Model
from ..trace import Graph, Node, Rule, Values
from ..trace.attention import Attention
from ..types import pytree
from .attention import AttentionExplainer, joined
from .backpropagation import check_class_output, score_gradient
from .lrp import LRP, Relevance
from .lrp_rules import LrpRule, ZPlus

TINY = 1e-9


def divided(a: jax.Array, b: jax.Array) -> jax.Array:
    """a / (b + 1e-9), and 0 where b is 0: the division of the authors' code."""
    below = b + TINY
    return jnp.where(b == 0, 0, a / jnp.where(below == 0, TINY, below))


class TransformerRelevance(Relevance):
    """The relevance rules of Chefer et al. for transformers, for one sample."""

    def table(self) -> Mapping[str, Rule]:
        return {**super().table(), "scale": self.passed, "softmax": self.passed}

    def by_role(self, node: Node) -> LrpRule:
        return ZPlus(epsilon=TINY, bias=False)

    def shared(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        back = node.gradient(values, [divided(r[0], values[node.outs[0]])])
        return [values[v] * g for v, g in zip(node.ins, back, strict=True)]

    def product(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        return [part / 2 for part in self.shared(node, values, r)]

    def add(self, node: Node, values: Values, r: list[Any]) -> Sequence[Any]:
        """In proportion, then rescaled: each branch gets a share of the sum by its own |sum|."""
        parts = self.shared(node, values, r)
        sums = [part.sum() for part in parts]
        whole = jnp.stack([jnp.abs(s) for s in sums]).sum()
        return [
            part * divided(divided(abs(s), whole) * r[0].sum(), s)
            for part, s in zip(parts, sums, strict=True)
        ]


@pytree
class TransformerAttribution(AttentionExplainer):
    """The relevance of attention matrices times their gradients, accumulated over layers.

    ``R = Ā_L ⋯ Ā_2 Ā_1`` with ``Ā_l = I + mean_h max(R_lh · ∂f_y/∂A_lh, 0)`` for the heads h of
    layer l, and the relevance R_lh of the attention matrix A_lh by layer-wise relevance
    propagation; the row of `token` of R - I is the map. Non-negative. One gradient of the batch,
    and one backward pass for the relevance.

    The rules: linear layers share relevance in proportion to positive products ``x_i w_ij``,
    without biases; products of two activations in proportion, half to each factor; residual
    connections in proportion, rescaled so that each branch gets a share of the sum by the absolute
    value of its own; softmax, normalisation and activation functions pass it unchanged. It starts
    with 1 at the explained class.

    Chefer et al. 2021, "Transformer Interpretability Beyond Attention Visualization", CVPR; as in
    the authors' code. `output` is the score of the gradient alone. Relevance is divided by
    activations, so where they come near 0, the map has more rounding than they have.

    Args:
      token, upsample, n_special: as for `AttentionRollout`.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> def apply(p, x):  # every token attends to all alike
    ...     return jax.nn.softmax(0 * x @ x.mT) @ x[:, :, :1]
    >>> net = Model(lambda p, x: apply(p, x)[:, 0], channel_axis=-1)
    >>> x = jnp.array([[[1.0], [2.0], [-1.0], [0.0]]])
    >>> print(np.asarray(TransformerAttribution(upsample=None)(net, x, jnp.array([0]))))
    [[0.25 1.   0.25 0.  ]]
    """

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        check_class_output(self, model)
        return super().attribute(model, x, y, keys)

    def relevance(
        self, graph: Graph, found: Sequence[Attention], params: Any, x: jax.Array, y: jax.Array
    ) -> jax.Array:
        values, at = graph.forward(params, x), [a.value for a in found]
        z = values[graph.out]
        gradients = graph.backward_to(at, values, score_gradient(z, y, self.output), {})
        one = jax.nn.one_hot(y, z.shape[-1], dtype=z.dtype)
        table = TransformerRelevance(LRP(), graph).table()
        relevances = graph.backward_to(at, values, one, table)
        matrices = []
        for a, g, r in zip(found, gradients, relevances, strict=True):
            m = jax.nn.relu(a.heads(g * r)).mean(0)
            matrices.append(m + jnp.eye(len(m), dtype=m.dtype))
        total = joined(matrices)
        return total - jnp.eye(len(total), dtype=total.dtype)
