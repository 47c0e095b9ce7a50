"""Layer-wise relevance propagation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .. import check, ops
from ..model import Model
from ..trace import Graph, Node, Rule, Unsupported, Value, Values
from ..types import pytree, static
from .backpropagation import score_gradient
from .base import Explainer
from .lrp_rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    LrpRule,
    Pass,
    WeightedLayer,
    WSquare,
    ZBox,
    ZPlus,
    stable,
)

RULES: dict[str, type[LrpRule]] = {
    "epsilon": Epsilon,
    "gamma": Gamma,
    "alpha_beta": AlphaBeta,
    "z_plus": ZPlus,
    "flat": Flat,
    "w_square": WSquare,
    "z_box": ZBox,
    "pass": Pass,
}
COMPOSITES: dict[str, dict[str, str]] = {
    "epsilon_plus": {"convolution": "z_plus", "dense": "epsilon"},
    "epsilon_plus_flat": {"first": "flat", "convolution": "z_plus", "dense": "epsilon"},
    "epsilon_alpha2_beta1": {"convolution": "alpha_beta", "dense": "epsilon"},
    "epsilon_alpha2_beta1_flat": {
        "first": "flat",
        "convolution": "alpha_beta",
        "dense": "epsilon",
    },
    "epsilon_gamma_box": {"first": "z_box", "convolution": "gamma", "dense": "epsilon"},
}
"""The rules for the first layer, convolutions and matrix products (named as in zennit)."""
KEEPS_SIGNS = ("reshape", "transpose", "squeeze", "expand_dims", "slice", "rev", "name", "copy")
"""Operations whose outputs are entries of a single input."""
FAINT = 1e-30
"""A share of a softmax that is too small to divide by."""
ADDITIONS = ("proportional", "copy")
ATTENTION = ("values", "uniform")


@pytree
class LRP(Explainer):
    """Layer-wise relevance propagation: the score, distributed backwards layer by layer.

    Each layer's rule distributes the relevance of its outputs to its inputs, typically in
    proportion to their contributions: ``R_i = Σ_j x_i w_ij / (z_j + ε sign(z_j)) R_j``. The
    attribution is the relevance of x: signed, in the shape of x. It sums to the score, except for
    the relevance absorbed by biases, stabilisers and some rules.

    Bach et al. 2015, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise
    Relevance Propagation"; composites: Montavon et al. 2019, "Layer-Wise Relevance Propagation: An
    Overview". The default equals captum's `LRP`, except that ε is 1e-6 (as in zennit), not 1e-9.

    Layers are convolutions and matrix products with weights, each including its bias and a
    following batch normalisation. Activation functions pass relevance unchanged, and max pooling
    passes it to the largest entry. Sums, averages and residual connections (unless
    ``addition="copy"``) distribute it proportionally, with the ε of `rule`. Products of two
    activations, softmax and layer normalisation follow the rules for transformers: softmax
    ``R_i = x_i (R_i - s_i Σ_j R_j)``, products of two activations as `attention` says, and layer
    normalisation passes relevance unchanged to its input, except for its scale and shift, which are
    a layer. Operations without a rule raise an error that names them and their source line.

    Args:
      rule: for all layers: the name of a rule ("epsilon", "gamma", "alpha_beta", "z_plus", "flat",
        "w_square", "z_box", "pass"); a rule instance, such as ``Gamma(gamma=0.1)``; or the name of
        a composite ("epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1",
        "epsilon_alpha2_beta1_flat", "epsilon_gamma_box"), with separate rules for the first layer,
        convolutions and matrix products.
      first, convolution, dense: overrides for the first layer, convolutions and matrix products.
        All layers that read the input directly count as first layers.
      layers: {name: rule} for individual layers, named as in `jaxeval.explain.layers`. Takes
        precedence over all other rules.
      addition: "proportional" splits relevance between the branches of a sum in proportion to
        their values; "copy" passes all of it to each branch, as gradients (and captum and zennit)
        do.
      attention: for products of attention weights and values: "values" passes all relevance to the
        values (CP-LRP, Ali et al. 2022), "uniform" half to each factor (AttnLRP, Achtibat et al.
        2024).

    The initial relevance of the logits is the score at the explained class ("logit",
    "probability", "log_probability"), or ``z · ∂v/∂z`` for a function v of the logits.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> net = Model(lambda w, x: jax.nn.relu(x @ w), jnp.array([[1.0], [2.0]]), channel_axis=None)
    >>> a = LRP()(net, jnp.array([[3.0, 1.0]]), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[3. 2.]]
    >>> a = LRP(rule="flat")(net, jnp.array([[3.0, 1.0]]), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[2.5 2.5]]
    """

    rule: Any = "epsilon"
    first: Any = None
    convolution: Any = None
    dense: Any = None
    layers: Any = dataclasses.field(default_factory=dict)
    addition: str = static(default="proportional")
    attention: str = static(default="values")

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self, "addition", ADDITIONS)
        check.one_of(self, "attention", ATTENTION)
        if not isinstance(self.rule, LrpRule):
            check.one_of(self, "rule", (*RULES, *COMPOSITES))
        for name in ("first", "convolution", "dense"):
            if not isinstance(getattr(self, name), LrpRule):
                check.one_of(self, name, (*RULES, None))
        if not isinstance(self.layers, Mapping):
            raise TypeError(f"LRP(layers=...) must be {{name: rule}}, got {self.layers!r}")
        rules = {}
        for name, rule in self.layers.items():
            if isinstance(rule, str) and rule in RULES:
                rule = RULES[rule]()
            if not isinstance(rule, LrpRule):
                raise ValueError(
                    f"LRP(layers={{{name!r}: {rule!r}}}): wanted a rule or one of "
                    f"{', '.join(map(repr, RULES))}{check.did_you_mean(rule, RULES)}"
                )
            rules[name] = rule
        object.__setattr__(self, "layers", rules)

    @property
    def epsilon(self) -> Any:
        """The stabiliser for denominators of operations without weights."""
        return (self.rule if isinstance(self.rule, LrpRule) else Epsilon()).epsilon

    def rule_for(self, role: str, first: bool) -> LrpRule:
        """The rule for a layer of role "convolution" or "dense"."""
        composite = COMPOSITES.get(self.rule, {}) if isinstance(self.rule, str) else {}
        for name in ("first", role) if first else (role,):
            rule = getattr(self, name)
            rule = composite.get(name) if rule is None else rule
            if rule is not None:
                return RULES[rule]() if isinstance(rule, str) else rule
        return RULES[self.rule]() if isinstance(self.rule, str) else self.rule

    @property
    def named_layers(self) -> tuple[str, ...]:
        return (*self.layers, *super().named_layers)

    def graph(self, model: Model, x: Any) -> tuple[Graph, Value]:
        """The model's graph, and the value in it that is explained: the input."""
        graph = Graph(model, x, turned=all(rule.anywhere for rule in self._rules()))
        return graph, graph.inputs[0]

    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        graph, explained = self.graph(model, x)
        values = graph.forward(model.params, x)
        seed = self.seed(values[graph.out], y)
        return graph.backward(values, seed, Relevance(self, graph).table(), explained)

    def _rules(self) -> list[LrpRule]:
        """All rules that may be used."""
        roles = [
            self.rule_for(r, first) for r in ("convolution", "dense") for first in (False, True)
        ]
        return [*roles, *self.layers.values()]

    def seed(self, z: jax.Array, y: jax.Array) -> jax.Array:
        """The initial relevance [N, K] of the logits z [N, K]."""
        if callable(self.output):
            return z * score_gradient(z, y, self.output)
        score = jax.vmap(lambda z, y: ops.value(z, y, self.output))(z, y)
        return jax.nn.one_hot(y, z.shape[-1], dtype=z.dtype) * score[:, None].astype(z.dtype)


@pytree
class AttnLRP(LRP):
    """Layer-wise relevance propagation for transformers.

    `LRP` with ``attention="uniform"``: products of two activations, such as of attention weights
    and values, give half of the relevance to each factor, and softmax is taken to first order. The
    attribution sums to the score, except for the relevance absorbed by biases, stabilisers and the
    constant term of softmax. Relevance is divided by activations, so where they come near 0, the
    map has more rounding than they have. Signed, in the shape of x (of embeddings, for models of
    text).

    Achtibat et al. 2024, "AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for
    Transformers". Softmax here gives relevance to the logits by their values; those of masked
    tokens should be a large finite number below the others, or -inf by a `jnp.where`.

    Args:
      attention: as for `LRP`: "uniform" is this method's own rule.
      rule, first, convolution, dense, layers, addition: as for `LRP`; the paper uses "epsilon" for
        language models, and `Gamma` for the layers of vision transformers.

    >>> import jax.numpy as jnp, numpy as np
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: x[:, :1] * x[:, 1:], channel_axis=None)
    >>> a = AttnLRP()(net, jnp.array([[2.0, 3.0]]), jnp.array([0]))
    >>> print(np.asarray(a).round(3))
    [[3. 3.]]
    """

    attention: str = static(default="uniform")


class Relevance:
    """The table of backward rules for one model."""

    def __init__(self, lrp: LRP, graph: Graph):
        self.lrp, self.graph = lrp, graph
        self.maker = {v: node for node in graph.nodes for v in node.outs}
        self.chosen = {graph.layer(name): rule for name, rule in lrp.layers.items()}

    def table(self) -> Mapping[str, Rule]:
        return {
            "linear": self.layer,
            "scale": self.layer,
            "relu": self.passed,
            "activation": self.passed,
            "normalise": self.normalise,
            "add": self.add,
            "sum": self.shared,
            "product": self.product,
            "bilinear": self.product,
            "softmax": self.softmax,
            "quotient": self.quotient,
            "other": self.refuse,
        }

    def layer(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        made = {v for o in node.operations for v in o.outs}
        rule = next((rule for v, rule in self.chosen.items() if v in made), None)
        if rule is None:
            rule = self.by_role(node)
        nonnegative = self.is_nonnegative(node.ins[0])
        return [rule.propagate(WeightedLayer(node, values, self.graph.made, nonnegative), r[0])]

    def is_nonnegative(self, value: Value) -> bool:
        """Whether it comes from a ReLU or softmax, at most rearranged or max-pooled since."""
        while (node := self.maker.get(value)) is not None:
            if node.kind in ("relu", "softmax"):
                return True
            if node.kind != "largest" and node.last.name not in KEEPS_SIGNS:
                return False
            value = node.ins[0]
        return False

    def by_role(self, node: Node) -> LrpRule:
        if node.kind == "scale":
            shifts = any(o.name in ("add", "add_any", "sub") for o, _ in node.after)
            return Epsilon(epsilon=self.lrp.epsilon) if shifts else Pass()
        role = "convolution" if node.first.name == "conv_general_dilated" else "dense"
        return self.lrp.rule_for(role, self.is_first(node))

    def is_first(self, node: Node) -> bool:
        """Whether a layer reads the input, at most rearranged or scaled."""
        value = node.ins[0]
        while value in self.maker and self.maker[value].kind in ("move", "scale"):
            value = self.maker[value].ins[0]
        return value not in self.maker

    def passed(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        return r[:1]

    def normalise(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        """The identity rule, as for division by a constant (Achtibat et al. 2024)."""
        for o in node.operations:
            if o.name.startswith("reduce_") and 0 in o.params.get("axes", ()):
                raise Unsupported(
                    f"{self.name} has no rule for statistics over the batch: "
                    f"{node.where()}; run the model in inference mode"
                )
        return [r[0].reshape(values[node.ins[0]].shape)]

    def shared(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        """In proportion to the terms of a sum."""
        part = r[0] / stable(values[node.outs[0]], self.lrp.epsilon)
        back = node.gradient(values, [part])
        return [values[v] * g for v, g in zip(node.ins, back, strict=True)]

    def add(self, node: Node, values: Values, r: list[Any]) -> Sequence[Any]:
        if self.lrp.addition == "copy":
            return node.gradient(values, r)
        return self.shared(node, values, r)

    def product(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        """All relevance to the factor that is not a gate, or half to each factor."""
        parts = self.shared(node, values, r)
        gates = [self.is_gate(v) for v in node.ins]
        if self.lrp.attention == "values" and any(gates) and not all(gates):
            return [jnp.zeros_like(p) if g else p for p, g in zip(parts, gates, strict=True)]
        return [p / 2 for p in parts]

    def is_gate(self, value: Any) -> bool:
        """Whether a value comes from a softmax or a sigmoid."""
        while value in self.maker and self.maker[value].kind == "move":
            value = self.maker[value].ins[0]
        node = self.maker.get(value)
        return node is not None and (node.kind == "softmax" or node.last.name == "logistic")

    def softmax(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        """``x · (∂y/∂x)ᵀ (R / y)``, the Taylor expansion at x."""
        x, y = values[node.ins[0]], values[node.outs[0]]
        # A stabiliser is needed for the logarithm of softmax, and for what underflowed.
        part = r[0] / jnp.where(y > FAINT, y, stable(y, self.lrp.epsilon))
        return [x * node.gradient(values, [part])[0]]

    def quotient(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        """All relevance to the numerator."""
        shapes = [values[v].shape for v in node.ins]
        return [r[0].reshape(shapes[0]), *(jnp.zeros(s, r[0].dtype) for s in shapes[1:])]

    @property
    def name(self) -> str:
        return type(self.lrp).__name__

    def refuse(self, node: Node, values: Values, r: list[Any]) -> list[Any]:
        raise Unsupported(f"{self.name} has no rule for {node.where()}")
