"""XGBoost's ensembles: sums of leaves or of weighted columns, decided as XGBoost does."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax.numpy as jnp
import numpy as np

from .parts import Link, NotConvertible, Part, dense
from .trees import Tree, below, ensemble

LINKS = {
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), "exp"),
    "reg:logistic": "sigmoid",
    **dict.fromkeys(
        (
            *("binary:logistic", "binary:logitraw", "multi:softprob", "multi:softmax"),
            *("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror"),
            *("rank:ndcg", "rank:pairwise", "rank:map"),
        ),
        "",
    ),
}
"""objective -> the function of the sum of trees that is returned; none for logits and values."""


def xgboost(booster: Any, whole: bool) -> tuple[list[Part], str]:
    """(parts, objective) of an XGBoost booster: its margins, or its values.

    `whole`: whether it predicts by all of its trees, as a booster of its own does; an estimator
    uses those up to the best iteration.
    """
    best = None if whole else booster.attr("best_iteration")
    model = booster if best is None else booster[: int(best) + 1]
    learner = json.loads(model.save_raw("json"))["learner"]
    objective, given = learner["objective"]["name"], learner["gradient_booster"]
    if given["name"] not in ("gbtree", "dart", "gblinear"):
        raise NotConvertible(f"its booster is {given['name']}")
    if objective not in LINKS:
        raise NotConvertible(f"its objective is {objective}")
    head = learner["learner_model_param"]
    k = max(int(head["num_class"]), int(head.get("num_target", 1)), 1)
    base = np.array(json.loads(head["base_score"]), np.float64).reshape(-1)
    link = LINKS[objective]
    if objective in ("binary:logistic", "reg:logistic"):
        base = np.log(base / (1 - base))
    elif link == "exp":
        base = np.log(base)
    base = np.broadcast_to(base, (k,))
    if given["name"] == "gblinear":
        weights = np.array(given["model"]["weights"], np.float64).reshape(-1, k)
        parts = [dense("linear", weights[:-1], weights[-1] + base)]
    else:
        parts = _of_boosted_trees(given, k, base)
    return parts + ([Part("link", Link(link), {})] if link else []), objective


def _of_boosted_trees(given: Any, k: int, base: Any) -> list[Part]:
    """The sum of the trees, of which dropout leaves each with a weight."""
    model = given.get("gbtree", given)["model"]
    kept = given.get("weight_drop") or model.get("weight_drop")
    trees = [_tree(tree) for tree in model["trees"]]
    weight = np.eye(k)[np.array(model["tree_info"], int)]
    if kept:
        weight = weight * np.array(kept, np.float64)[:, None]
    of = {int(i) for t in trees for i in t.feature[[m is not None for m in t.members or ()]]}
    parts = [ensemble(trees, weight, base)]
    if not of:
        return parts
    return [Part("negative", Negative(), {}, {"columns": np.array(sorted(of), np.int32)}), *parts]


@dataclasses.dataclass(frozen=True)
class Negative:
    """x with -1 for each negative value of a category, all of which are none."""

    def __call__(self, p: Any, x: Any) -> Any:
        own = x[:, p["columns"]]
        return jnp.asarray(x).at[:, p["columns"]].set(jnp.where(own < 0, -1, own))


@dataclasses.dataclass(frozen=True)
class Absent:
    """x with a missing value for each 0, as XGBoost reads sparse matrices."""

    def __call__(self, p: Any, x: Any) -> Any:
        return jnp.where(x == 0, jnp.nan, x)


def _tree(tree: Any) -> Tree:
    """A tree. Categories in a node's list go right in XGBoost: its sides are exchanged here."""
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise NotConvertible("its leaves are vectors")
    left, right = (np.array(tree[f"{side}_children"]) for side in ("left", "right"))
    split = np.array(tree["split_conditions"], np.float64).astype(np.float32)
    value = np.where(left < 0, split, 0)[:, None]
    at, missing = below(split, strict=True), np.array(tree["default_left"], bool)
    feature, members = np.array(tree["split_indices"]), None
    if any(tree["split_type"]):
        members = [None] * len(left)
        numbers = np.array(tree["categories"], int)
        spans = (tree[f"categories_{v}"] for v in ("nodes", "segments", "sizes"))
        for node, start, size in zip(*spans, strict=True):
            members[node] = numbers[start : start + size]
        chosen = np.array([m is not None for m in members])
        left, right = np.where(chosen, right, left), np.where(chosen, left, right)
        at, missing = np.where(chosen, -np.inf, at), missing ^ chosen
    return Tree(feature, at, left, right, value, missing, members)
