"""Attribution by a layer's activations, weighted by the scores of the input masked by them."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from .. import check, ops
from ..model import Model
from ..trace import Graph
from ..types import pytree, static
from .cam import SignedCam, resized
from .layer import layer_shape
from .stepped import SteppedExplainer, rows

WEIGHTS = ("softmax", "score")
FLAT = 16
"""A channel is constant if it varies by less than this many units in its last place."""


@pytree
class StepwiseCam(SignedCam, SteppedExplainer):
    """Base of class activation maps that ask for one score per channel of the layer."""

    def steps(self, model: Model, x: jax.Array) -> int:
        shape = (len(x), *layer_shape(self, model, x))
        return shape[self.axis(model, shape)]

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> jax.Array:
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        return jnp.zeros((len(x), state[0].shape[self.axis(model, state[0].shape)]), dtype)

    def weighted(self, model: Model, x: jax.Array, a: jax.Array, weights: jax.Array) -> jax.Array:
        """The map for the weights [N, K] of the channels."""
        axis = self.axis(model, a.shape)
        shape = [len(x) if i == 0 else -1 if i == axis else 1 for i in range(a.ndim)]
        cam = (weights.reshape(shape).astype(a.dtype) * a).sum(axis, keepdims=True)
        return self.finished(model, x, cam, axis)


@pytree
class ScoreCAM(StepwiseCam):
    """A layer's activations, weighted by the scores of the input masked by each of them.

    ``a_p = ReLU(Σ_k w_k A_kp)`` with ``w = softmax_k(s)``, ``s_k = f_y(x · H_k + b · (1 - H_k))``
    and the mask H_k, which is channel k of a layer's output A, resized to the input and scaled to
    [0, 1] (0 for a constant channel); resized to the input. The map has one channel. Needs only
    forward passes, one per channel. The softmax makes the weights depend on the scale of f_y: with
    logits, one channel may have nearly all the weight.

    Wang et al. 2020, "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural
    Networks", where b = 0. grad-cam's `ScoreCAM` is the same with ``align_corners=True,
    normalise="minmax"``.

    Args:
      layer, upsample, layer_channel_axis, rectify, normalise: as for `HiResCAM`.
      baseline: b, what a masked pixel becomes: "zero", "black", "white", "mean", "channel_mean",
        "uniform", "uniform_value", "gaussian", "blur", "background mean", "background" (see
        `jaxeval.ops.baseline`), a number, or an array that broadcasts to one sample.
      weights: "softmax" over the channels, or "score": the scores s themselves, as in the authors'
        code (with ``output="probability"``).
      align_corners: whether masks are resized with their corners in place, instead of with the
        centres of pixels half a pixel inside; weights change by tens of percents.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> def apply(p, x):
    ...     return jax.lax.conv(x, p["conv"], (1, 1), "SAME").sum((2, 3))
    >>> net = Model(apply, {"conv": jnp.ones((1, 1, 1, 1))})
    >>> a = ScoreCAM()(net, jnp.arange(4.0).reshape(1, 1, 2, 2), jnp.array([0]))
    >>> print(np.asarray(a))  # the only channel has the weight 1
    [[[[0. 1.]
       [2. 3.]]]]
    """

    baseline: Any = "zero"
    weights: str = static(default="softmax")
    align_corners: bool = static(default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.baseline(self, "baseline", ops.BASELINES)
        check.one_of(self, "weights", WEIGHTS)

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        a = self.activation(Graph(model, x), model, x)
        return a, self.baselines(model, x, self.baseline, keys)

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        """The inputs masked by channel i."""
        a, b = state
        axis = self.axis(model, a.shape)
        one = lax.dynamic_index_in_dim(a, i, axis)
        how = "corners" if self.align_corners else "bilinear"
        mask = resized(self, model, x, one, axis, how)
        space = tuple(range(1, mask.ndim))
        low = mask.min(space, keepdims=True)
        width = mask.max(space, keepdims=True) - low
        rounding = FLAT * jnp.finfo(mask.dtype).eps * jnp.abs(mask).max(space, keepdims=True)
        varies = width > rounding  # resizing rounds
        mask = jnp.where(varies, (mask - low) / jnp.where(varies, width, 1), 0)
        mask = mask.astype(x.dtype)
        return rows(x * mask + b * (1 - mask))

    def add(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        _, inputs = state
        score = self.scores(model, inputs.reshape(x.shape), y)
        return total.at[:, i].set(score.astype(total.dtype))

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        weights = jax.nn.softmax(total, 1) if self.weights == "softmax" else total
        return self.weighted(model, x, state[0], weights)


@pytree
class AblationCAM(StepwiseCam):
    """A layer's activations, weighted by the drops of the score without each of them.

    ``a_p = ReLU(Σ_k w_k A_kp)`` with ``w_k = (f_y - f_y without k) / f_y``, where "without k" sets
    channel k of a layer's output A to a baseline, 0; resized to the input. The map has one channel.
    Needs only forward passes, one per channel, from the layer on.

    Desai & Ramaswamy 2020, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via
    Gradient-free Localization". grad-cam's `AblationCAM` is the same with ``normalise="minmax"``
    where the least entry of A is 0, as after a ReLU. Elsewhere, it sets channel k of the K to
    ``min A - 1e7 (1 + k mod 32)``, which is the same with
    ``baseline=lambda a: a.min() - 1e7 * (1 + jnp.arange(K) % 32)[:, None, None]``, for channels
    first. Before an affine layer, such a number outweighs all others.

    Args:
      layer, upsample, layer_channel_axis, rectify, normalise: as for `HiResCAM`.
      baseline: of the layer's output, as for `LayerFeatureAblation`.
      relative: False omits the division by f_y: for a negative score (such as a logit) the division
        reverses the map, and the rounding of a score that is small beside its terms becomes that of
        the map, as a factor. NaN for a score of 0, unless no channel changes it.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> def apply(p, x):
    ...     return jax.lax.conv(x, p["conv"], (1, 1), "SAME").sum((2, 3))
    >>> net = Model(apply, {"conv": jnp.ones((1, 1, 1, 1))})
    >>> a = AblationCAM()(net, jnp.arange(4.0).reshape(1, 1, 2, 2), jnp.array([0]))
    >>> print(np.asarray(a))  # all of the score is lost without the only channel
    [[[[0. 1.]
       [2. 3.]]]]
    """

    baseline_of_layer: ClassVar[bool] = True

    baseline: Any = "zero"
    relative: bool = static(default=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.baseline(self, "baseline", ops.BASELINES)

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        graph = Graph(model, x)
        values = graph.forward(model.params, x)
        a = values[self.value(graph)]
        rest = dataclasses.replace(model, channel_axis=self.axis(model, a.shape))
        return a, values[graph.out], self.baselines(rest, a, self.baseline, keys)

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        a, z, b = state
        axis, graph = self.axis(model, a.shape), Graph(model, x)
        n = a.shape[axis]
        shape = [-1 if k == axis else 1 for k in range(a.ndim)]
        without = jnp.where((jnp.arange(n) == i).reshape(shape), b, a)
        z2 = graph.forward(model.params, x, {self.value(graph): without})[graph.out]
        drop = jax.vmap(lambda u, v, c: ops.difference(u, v, c, self.output))(z, z2, y)
        return drop[:, None] * (jnp.arange(n) == i)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        a, z, _ = state
        if self.relative:
            score = self._values(z, y)[:, None].astype(total.dtype)
            share = jnp.where(score == 0, jnp.nan, total / jnp.where(score == 0, 1, score))
            total = jnp.where(total == 0, 0, share)
        return self.weighted(model, x, a, total)
