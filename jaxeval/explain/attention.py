"""Attribution by the attention matrices of transformers."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .. import check
from ..model import Model
from ..tokens import ATTENTION, IDS
from ..trace import Graph
from ..trace.attention import Attention, attentions
from ..types import pytree, static
from .backpropagation import score_gradient
from .base import Explainer
from .by_row import by_row
from .cam import UPSAMPLE, resized

MOST_SPECIAL = 16
"""The largest number of leading tokens that may be no patches."""


@pytree
class AttentionExplainer(Explainer):
    """Base of methods that follow tokens through the attention matrices of a model.

    The matrices are found in the traced model: outputs of a softmax that are multiplied by values.
    All must be self-attention over the same tokens.

    Args:
      token: the token whose relevances are returned: 0 for the class token of ViT and BERT, -1 for
        the last one; None: the mean over all tokens, for models without a class token. Padding of
        texts is not counted, whatever its side.
      upsample: how a map of an image's patches is resized to the image: "bilinear", "nearest", or
        None for the grid of patches. The map has one channel. Of a sequence [N, T, D], the map is
        [N, T, 1]; with None, all maps that are no grid are [N, T].
      n_special: the number of leading tokens that are no patches (class token, registers); None: as
        few as leave a grid.
    """

    token: int | None = static(default=0)
    upsample: str | None = static(default="bilinear")
    n_special: int | None = static(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "upsample", UPSAMPLE)
        check.integer(self, "n_special", least=0, optional=True)
        if self.token is not None:
            check.integer(self, "token", least=-(10**9))

    @abstractmethod
    def relevance(
        self, graph: Graph, found: Sequence[Attention], params: Any, x: jax.Array, y: jax.Array
    ) -> jax.Array:
        """The relevance [T, T] of every token (column) for every token (row) of one sample.

        x is [1, ...] and y [1].
        """

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        # A batch axis may be merged with that of the heads.
        def one(model: Model, x: jax.Array, y: jax.Array) -> jax.Array:
            graph = Graph(model, x)
            r = self.relevance(graph, self.found(graph), model.params, x, y)
            return self.row(r, _there(model, len(r)))

        return self.shown(model, x, by_row(one, model, x, y))

    def row(self, r: jax.Array, there: jax.Array | None) -> jax.Array:
        """The row of `token` of the relevances [T, T], or the mean of all.

        `there`: which tokens of a text are no padding, [T]; None: all.
        """
        n = len(r)
        if self.token is not None and not -n <= self.token < n:
            raise ValueError(f"{type(self).__name__}(token={self.token}): the model has {n} tokens")
        if there is None:
            return r.mean(0) if self.token is None else r[self.token]
        if self.token is None:
            return jnp.where(there[:, None], r, 0).sum(0) / there.sum()
        at = self.token + (there.sum() if self.token < 0 else 0)
        number = jnp.cumsum(there) - 1
        row = jnp.where((there & (number == at))[:, None], r, 0).sum(0)
        return jnp.where((at >= 0) & (at < there.sum()), row, jnp.nan)

    def found(self, graph: Graph) -> list[Attention]:
        """The model's attention matrices.

        Raises:
          ValueError: there are none, or they are not over the same tokens.
        """
        name, found = type(self).__name__, attentions(graph)
        if not found:
            raise ValueError(
                f"{name} needs a model with attention: in this one, no output of a softmax is "
                "multiplied by values that depend on the input; use another explainer, such as "
                "IntegratedGradients or LRP"
            )
        sizes = [a.sizes for a in found]
        if len({*sizes, sizes[0][::-1]}) > 1:
            shown = ", ".join(f"{q} x {k}" for q, k in sizes)
            raise ValueError(
                f"{name} needs self-attention over the same tokens in every layer, and the "
                f"attention matrices of this model are {shown}"
            )
        return found

    def shown(self, model: Model, x: jax.Array, r: jax.Array) -> jax.Array:
        """The relevances [N, T] of tokens as a map of the input."""
        n, shape = r.shape[1], x.shape[1:]
        channel = model.sample_channel_axis(len(shape))
        if channel is None and len(shape) == 2 and shape[0] == n:
            channel = 1  # a sequence of embeddings
        space = [] if channel is None else [m for i, m in enumerate(shape) if i != channel]
        grid = self.grid(n, space)
        if grid is None or channel is None:
            if self.upsample is None:
                return r
            raise ValueError(
                f"{type(self).__name__}: {n} tokens cannot be placed in inputs of the shape "
                f"{shape}; upsample=None returns their relevances [N, {n}]"
            )
        if self.upsample is None and len(space) == 1:
            return r
        special = n - math.prod(grid)
        cam = jnp.expand_dims(r[:, special:].reshape(len(x), *grid), channel + 1)
        if self.upsample is None:
            return cam
        return resized(self, model, x, cam, channel + 1, self.upsample, channel)

    def grid(self, n: int, space: Sequence[int]) -> tuple[int, ...] | None:
        """The grid of n tokens over an image or sequence, without special ones; None: none fits."""
        given = self.n_special
        for special in range(min(n, MOST_SPECIAL)) if given is None else (given,):
            left = n - special
            if len(space) == 1 and left and space[0] % left == 0:
                return (left,)
            if len(space) == 2:
                height = round((left * space[0] / space[1]) ** 0.5)
                width = left // max(height, 1)
                if height and height * width == left and height * space[1] == width * space[0]:
                    return height, width
        return None


def _there(model: Model, n: int) -> jax.Array | None:
    """Which of n tokens of a text are no padding; None: all."""
    inputs = model.inputs or {}
    if IDS not in inputs or ATTENTION not in inputs or inputs[ATTENTION].shape != (1, n):
        return None
    return inputs[ATTENTION][0] != 0


def joined(matrices: Sequence[jax.Array]) -> jax.Array:
    """The product of matrices [T, T], with later ones on the left."""
    total = matrices[0]
    for m in matrices[1:]:
        total = m @ total
    return total


@pytree
class AttentionRollout(AttentionExplainer):
    """Attention rollout: the product of all attention matrices, with residual connections.

    ``R = Ā_L ⋯ Ā_2 Ā_1`` with ``Ā_l = (mean_h A_lh + I) / 2`` for the heads h of layer l; the row
    of `token` is the map. Non-negative; each row of R sums to 1. It does not depend on the class y
    or on `output`.

    Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers". Under a causal mask, early
    tokens see only themselves.

    Args:
      token: the token whose relevances are returned: 0 for the class token of ViT and BERT, -1 for
        the last one; None: the mean over all tokens, for models without a class token. Padding of
        texts is not counted, whatever its side.
      upsample: how a map of an image's patches is resized to the image: "bilinear", "nearest", or
        None for the grid of patches. The map has one channel. Of a sequence [N, T, D], the map is
        [N, T, 1]; with None, all maps that are no grid are [N, T].
      n_special: the number of leading tokens that are no patches (class token, registers); None: as
        few as leave a grid.
      heads: "mean", "max" or "min" over the heads.
      normalise: False leaves the rows of ``mean_h A + I`` as they are (they sum to 2), as one of
        the implementations in Chefer et al.'s code.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> def apply(p, x):  # every token attends to all alike
    ...     return jax.nn.softmax(0 * x @ x.mT) @ x[:, :, :1]
    >>> net = Model(lambda p, x: apply(p, x)[:, 0], channel_axis=-1)
    >>> AttentionRollout(upsample=None)(net, jnp.ones((1, 4, 2)), jnp.array([0]))
    Array([[0.625, 0.125, 0.125, 0.125]], dtype=float32)
    """

    heads: str = static(default="mean")
    normalise: bool = static(default=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "heads", ("mean", "max", "min"))

    def relevance(
        self, graph: Graph, found: Sequence[Attention], params: Any, x: jax.Array, y: jax.Array
    ) -> jax.Array:
        values = graph.forward(params, x)
        matrices = []
        for a in found:
            m = getattr(jnp, self.heads)(a.heads(values[a.value]), 0)
            m = m + jnp.eye(len(m), dtype=m.dtype)
            matrices.append(m / m.sum(1, keepdims=True) if self.normalise else m)
        return joined(matrices)


@pytree
class GenericAttention(AttentionExplainer):
    """Attention matrices weighted by their gradients, accumulated over layers.

    ``R ← R + Ā_l R`` for the layers in order, from ``R = I``, with
    ``Ā_l = mean_h max(A_lh · ∂f_y/∂A_lh, 0)`` for the heads h of layer l; the row of `token` of
    R - I is the map. Non-negative. One gradient of the batch.

    Chefer et al. 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and
    Encoder-Decoder Transformers", ICCV: the rules for self-attention.

    Args:
      token, upsample, n_special: as for `AttentionRollout`.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> def apply(p, x):  # every token attends to all alike
    ...     return jax.nn.softmax(0 * x @ x.mT) @ x[:, :, :1]
    >>> net = Model(lambda p, x: apply(p, x)[:, 0], channel_axis=-1)
    >>> x = jnp.array([[[1.0], [2.0], [-4.0], [0.0]]])
    >>> print(np.asarray(GenericAttention(upsample=None)(net, x, jnp.array([0]))))
    [[0.25 0.5  0.   0.  ]]
    """

    def relevance(
        self, graph: Graph, found: Sequence[Attention], params: Any, x: jax.Array, y: jax.Array
    ) -> jax.Array:
        values = graph.forward(params, x)
        seed = score_gradient(values[graph.out], y, self.output)
        gradients = graph.backward_to([a.value for a in found], values, seed, {})
        matrices = []
        for a, g in zip(found, gradients, strict=True):
            m = jax.nn.relu(a.heads(values[a.value] * g)).mean(0)
            matrices.append(m + jnp.eye(len(m), dtype=m.dtype))
        r = joined(matrices)
        return r - jnp.eye(len(r), dtype=r.dtype)
