"""Attribution by differences from a baseline, propagated back through the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import check, ops
from ..model import Model
from ..trace import Graph, Node, Rule, Value, Values
from ..types import pytree, static
from .backpropagation import gate
from .base import Explainer

NEAR = 1e-10
"""Differences below this count as 0: the multiplier is then the gradient."""
SMALL, STEEPEST = 1e-3, 10.0
"""Thresholds for averaging gradients: the relative size of a step, and the change of the gradient
per step."""
POINTS = 16
"""Quadrature nodes for the mean gradient of operations other than products and activations."""
POOLING = ("cross_max", "gradient")


def _line(n: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """Nodes and weights of the Gauss-Legendre rule on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return jnp.asarray((nodes + 1) / 2, dtype), jnp.asarray(weights / 2, dtype)


def quotient(limit: jax.Array, change: jax.Array, step: jax.Array) -> jax.Array:
    """``change / step``, or `limit` where the step is 0."""
    none = jnp.abs(step) < NEAR
    return jnp.where(none, limit, change / jnp.where(none, 1, step))


class Multipliers:
    """The rules for multipliers m, with ``Σ m_in · Δin = m_out · Δout`` for every node."""

    def __init__(self, baseline: Values, pooling: str):
        self.baseline, self.pooling = baseline, pooling

    def table(self) -> Mapping[str, Rule]:
        curved = ("softmax", "normalise", "quotient", "other", "product", "bilinear")
        table: dict[str, Rule] = dict.fromkeys(curved, self.secant)
        table |= {"relu": self.rescale, "activation": self.rescale}
        if self.pooling == "cross_max":
            table["largest"] = self.cross_max
        return table

    def rescale(self, node: Node, values: Values, cotangents: list[Any]) -> Sequence[Any]:
        """For element-wise functions: ``Δout / Δin``.

        For small steps, the quotient is lost in rounding errors; the mean of the gradients at both
        ends is used instead, unless there is a kink between them.
        """
        (v,), out, (c,) = node.ins, node.outs[0], cotangents
        x, x0 = values[v], self.baseline[v]
        step, change = x - x0, values[out] - self.baseline[out]
        if node.kind == "relu":
            return [c * quotient(gate(node, values, [jnp.ones_like(c)])[0], change, step)]
        (g,), (g0,) = (node.gradient(values, [jnp.ones_like(c)], [at]) for at in (x, x0))
        smooth = jnp.abs(step) < SMALL * jnp.maximum(1, jnp.abs(x))
        smooth &= jnp.abs(g - g0) <= STEEPEST * jnp.abs(step)
        return [c * jnp.where(smooth, (g + g0) / 2, quotient(g, change, step))]

    def cross_max(self, node: Node, values: Values, cotangents: list[Any]) -> Sequence[Any]:
        """For maxima: first up to the larger of the two outputs, then down from it.

        With ``m = max(out, out')``, the change ``out - out'`` is split into ``(m - out')`` for the
        entry that is largest in x and ``(out - m)`` for the entry that is largest in the baseline.
        """
        y, y0 = values[node.outs[0]], self.baseline[node.outs[0]]
        sign = -1 if "min" in node.last.name else 1
        most = sign * jnp.maximum(sign * y, sign * y0)
        up = node.gradient(values, [cotangents[0] * (most - y0)])
        down = node.gradient(self.baseline, [cotangents[0] * (y - most)])
        gradient = node.gradient(values, cotangents)
        steps = [values[v] - self.baseline[v] for v in node.ins]
        return [quotient(g, a + b, d) for g, a, b, d in zip(gradient, up, down, steps, strict=True)]

    def secant(self, node: Node, values: Values, cotangents: list[Any]) -> Sequence[Any]:
        """For all other operations: the mean gradient between the baseline and the input.

        Exact for products, where the mean is the gradient at the midpoint.
        """
        start = [self.baseline[v] for v in node.ins]
        steps = [values[v] - b for v, b in zip(node.ins, start, strict=True)]

        def gradient(t: Any) -> list[Any]:
            at = [b + t * d for b, d in zip(start, steps, strict=True)]
            return list(node.gradient(values, cotangents, at))

        if node.kind in ("product", "bilinear"):
            return gradient(0.5)

        def add(total: list[Any], point: Any) -> Any:
            t, weight = point
            return [s + weight * g for s, g in zip(total, gradient(t), strict=True)], None

        line = _line(POINTS, steps[0].dtype)
        return lax.scan(add, [jnp.zeros_like(d) for d in steps], line)[0]


def score_multipliers(z: jax.Array, z0: jax.Array, y: jax.Array, output: Any) -> jax.Array:
    """Multipliers [N, K] of the logits: the mean gradient of the score between z0 and z."""

    def gradient(z: jax.Array, y: jax.Array) -> jax.Array:
        return jax.grad(lambda z: ops.value(z, y, output).astype(z.dtype))(z)

    if output in ("logit", "value"):
        return jax.vmap(gradient)(z, y)
    nodes, weights = _line(2 * POINTS, z.dtype)
    every = jax.vmap(lambda t: jax.vmap(gradient)(z0 + t * (z - z0), y))(nodes)
    return jnp.tensordot(weights, every, 1)


@pytree
class DeepLift(Explainer):
    """Differences from a baseline b, by DeepLIFT's rescale rule.

    ``a = (x - b) · m``, signed, in the shape of x, where the multipliers m follow the chain rule
    with ``m = Δout / Δin`` in place of the gradient of element-wise functions. Attributions sum to
    ``f_y(x) - f_y(b)``. Products, softmax and normalisation use their mean gradient between
    baseline and input, which preserves the sum.

    Shrikumar et al. 2017, "Learning Important Features Through Propagating Activation
    Differences". Equal to captum's `DeepLift` with ``pooling="gradient"``; for models without max
    pooling, with either setting.

    Args:
      baseline: "zero", "black", "white", "mean", "channel_mean", "uniform", "uniform_value",
        "gaussian", "blur", "background mean", "background" (see `jaxeval.ops.baseline`), a number,
        or an array that broadcasts to one sample.
      pooling: the rule for maxima: "cross_max" preserves the sum, as in SHAP's DeepExplainer;
        "gradient" uses the gradient at x, as in the paper's code and, effectively, in captum for
        max pooling after a ReLU.
      multiply_by_inputs: False omits the factor ``x - b`` and returns the multipliers.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: jax.nn.relu(x.sum(1, keepdims=True) - 1), channel_axis=None)
    >>> DeepLift()(net, jnp.array([[1.0, 3.0]]), jnp.array([0]))
    Array([[0.75, 2.25]], dtype=float32)
    """

    baseline: Any = "zero"
    pooling: str = static(default="cross_max")
    multiply_by_inputs: bool = static(default=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.baseline(self, "baseline", ops.BASELINES)
        check.one_of(self, "pooling", POOLING)

    def graph(self, model: Model, x: Any) -> tuple[Graph, Value]:
        """The model's graph, and the value in it that is explained: the input."""
        graph = Graph(model, x, turned=True)
        return graph, graph.inputs[0]

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        b = self.baselines(model, x, self.baseline, keys)
        graph, explained = self.graph(model, x)
        values = graph.forward(model.params, x)
        named = isinstance(self.baseline, str)
        shared = self.baseline == "zero" if named else not ops.is_random(self.baseline)
        shared = shared and model.inputs is None  # which differ between rows
        baseline = self.once(graph, model, b) if shared else None
        if baseline is None:
            baseline = graph.forward(model.params, b)
        seed = score_multipliers(values[graph.out], baseline[graph.out], y, self.output)
        table = Multipliers(baseline, self.pooling).table()
        m = graph.backward(values, seed, table, explained)
        return (values[explained] - baseline[explained]) * m if self.multiply_by_inputs else m

    def once(self, graph: Graph, model: Model, b: jax.Array) -> Values | None:
        """All values for a baseline that all samples share, computed for a single row.

        None if the batch axis cannot be distinguished from other axes.
        """
        one, _ = self.graph(model, b[:1])
        values = one.forward(model.params, b[:1])
        pairs = [(graph.inputs, one.inputs)]
        if [o.name for o in graph.operations] != [o.name for o in one.operations]:
            return None
        pairs += [(o.outs, p.outs) for o, p in zip(graph.operations, one.operations, strict=True)]
        known: Values = {}
        for v, w in ((v, w) for vs, ws in pairs for v, w in zip(vs, ws, strict=True)):
            if len(v.shape) != len(w.shape) or any(
                n not in (m, 1) for n, m in zip(w.shape, v.shape, strict=True)
            ):
                return None
            known[v] = jnp.broadcast_to(values[w], v.shape)
        return {**graph.constants, **graph.given(model.params), **known}
