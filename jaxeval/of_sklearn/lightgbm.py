"""LightGBM's ensembles of trees: sums of leaves, decided as LightGBM does."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from .parts import Link, NotConvertible, Part
from .trees import Tree, below, ensemble

ZERO = np.float32(1e-35)
"""Numbers of this size or less count as 0."""
MOST = 1e300
"""What infinity counts as."""
EXPONENTIAL = ("poisson", "gamma", "tweedie")
"""Objectives whose predictions are the exponential of the sum."""
PLAIN = (
    *("regression", "regression_l1", "huber", "fair", "quantile", "mape"),
    *("lambdarank", "rank_xendcg"),
)
"""Objectives whose predictions are the sum."""


@dataclasses.dataclass(frozen=True)
class Zeros:
    """x with 0 for what LightGBM takes for it."""

    def __call__(self, p: Any, x: Any) -> Any:
        return jnp.where(jnp.abs(x) <= ZERO, 0, x)


def lightgbm(booster: Any) -> tuple[list[Part], str]:
    """(parts, kind of the outputs) of a LightGBM booster: logits or values."""
    model = booster.dump_model()
    objective, *options = str(model.get("objective", "none")).split()
    if "sqrt" in options:
        raise NotConvertible("it predicts square roots")
    settings = dict(o.split(":", 1) for o in options if ":" in o)
    kinds = {"binary": "binary", "multiclass": "logits"}
    if objective not in (*kinds, *EXPONENTIAL, *PLAIN):
        raise NotConvertible(f"its objective is {objective}")
    trees = [_tree(t["tree_structure"]) for t in model["tree_info"]]
    if not trees:
        raise NotConvertible("it has no trees")
    k = int(model["num_tree_per_iteration"])
    weight = np.eye(k)[np.arange(len(trees)) % k] * float(settings.get("sigmoid", 1))
    if model.get("average_output"):
        weight = weight / (len(trees) // k)
    parts = [Part("zeros", Zeros(), {}), ensemble(trees, weight, np.zeros(k))]
    if objective in EXPONENTIAL:
        parts.append(Part("link", Link("exp"), {}))
    return parts, kinds.get(objective, "values")


def _tree(root: Any) -> Tree:
    """A tree from its nested nodes."""
    nodes, todo = [], [root]
    sides: list[list[int]] = []
    while todo:
        node = todo.pop(0)
        nodes.append(node)
        sides.append([-1, -1])
        if "split_feature" in node:
            first = len(nodes) + len(todo)
            sides[-1] = [first, first + 1]
            todo += [node["left_child"], node["right_child"]]
    read = [_node(n) for n in nodes]
    feature, threshold, value, missing = (np.array(v) for v in zip(*read, strict=True))
    left, right = np.array(sides).T
    members = [_categories(n) for n in nodes]
    return Tree(
        *(feature, below(threshold), left, right, value[:, None], missing),
        members=members if any(m is not None for m in members) else None,
    )


def _node(node: Any) -> tuple[int, float, float, bool]:
    """(feature, threshold, value, whether a missing value goes left)."""
    if "split_feature" not in node:
        if "leaf_coeff" in node:
            raise NotConvertible("its leaves are linear functions")
        return 0, np.inf, float(node["leaf_value"]), False
    feature, kind = int(node["split_feature"]), node["missing_type"]
    if node["decision_type"] == "==":
        return feature, -np.inf, 0.0, False
    threshold, default = float(node["threshold"]), bool(node["default_left"])
    threshold = np.inf if threshold >= MOST else threshold
    if kind == "None":  # a missing value counts as 0
        default = threshold >= 0
    elif kind == "Zero" and default != (threshold >= 0):
        raise NotConvertible("it takes 0 for a missing value")
    return feature, threshold, 0.0, default


def _categories(node: Any) -> np.ndarray | None:
    """The categories that go left, of a node that splits by categories."""
    if node.get("decision_type") != "==":
        return None
    return np.array(str(node["threshold"]).split("||"), int)
