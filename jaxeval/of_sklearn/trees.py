"""Ensembles of decision trees as gathers: exact decisions in float32, and no gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .encoders import encoder
from .gradients import without_gradients
from .parts import Columns, Link, NotConvertible, Part, f32
from .steps import beside

NO_GRADIENTS = "an ensemble of trees is piecewise constant, so its gradients are 0 or undefined"


MOST_MEMBERS = 2**28
"""The largest size of the table of categories of an ensemble."""


class Tree(NamedTuple):
    """One tree: at an inner node, x[feature] <= threshold goes left. Leaves have left = -1.

    `value` is [nodes, V]; `missing`, whether a missing value (NaN) goes left, [nodes]. `members`:
    for each node, the whole numbers that go left where x[feature] is a category, or None.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    missing: Any = False
    members: Any = None


@dataclasses.dataclass(frozen=True)
class Trees:
    """The sum of trees' leaves, ``sum_t leaf_t(x) @ weight_t + base``.

    Attributes:
      depth: the most decisions on a way from root to leaf.
      shared: whether each tree has one value, for the output that `weight` [T, K] says; else every
        tree has a value [V] for all K = V outputs.
    """

    depth: int
    shared: bool

    def __call__(self, p: Any, x: Any) -> Any:
        x = without_gradients(x, NO_GRADIENTS)
        trees = jnp.arange(p["feature"].shape[0])[None]

        def descend(_: Any, node: Any) -> Any:
            at = jnp.take_along_axis(x, p["feature"][trees, node], axis=1)
            left = at <= p["threshold"][trees, node]
            if "members" in p:
                known = (at > -1) & (at < p["members"].shape[2])
                number = jnp.where(known, at, 0).astype(jnp.int32)
                left |= known & p["members"][trees, node, number]
            left = jnp.where(jnp.isnan(at), p["missing"][trees, node], left)
            return jnp.where(left, p["left"][trees, node], p["right"][trees, node])

        start = jnp.zeros((x.shape[0], p["feature"].shape[0]), jnp.int32)
        leaf = p["value"][trees, jax.lax.fori_loop(0, self.depth, descend, start)]
        if self.shared:
            return jnp.matmul(leaf[..., 0], p["weight"], precision="highest") + p["base"]
        return leaf.sum(1) * p["weight"] + p["base"]


def ensemble(trees: Sequence[Tree], weight: Any, base: Any) -> Part:
    """The part for trees; see `Trees`."""
    most = max(len(t.left) for t in trees)
    depth = max(map(_depth, trees))
    # Padding nodes are leaves that no way leads to.
    shape = (len(trees), most)
    feature, left, right = (np.zeros(shape, np.int32) for _ in range(3))
    threshold = np.full(shape, np.inf, np.float32)
    missing = np.zeros(shape, bool)
    value = np.zeros((*shape, trees[0].value.shape[1]), np.float32)
    for i, tree in enumerate(trees):
        own, leaf = np.arange(len(tree.left)), tree.left < 0
        feature[i, own] = np.where(leaf, 0, tree.feature)
        threshold[i, own] = np.where(leaf, np.inf, tree.threshold)
        left[i, own] = np.where(leaf, own, tree.left)
        right[i, own] = np.where(leaf, own, tree.right)
        value[i, own] = tree.value
        missing[i, own] = tree.missing
    weight = f32(weight)
    members = _members(trees, most)
    state = {"feature": feature, "threshold": threshold, "left": left, "right": right}
    state |= {"missing": missing, "value": value, "weight": weight, "base": f32(base)}
    state |= {} if members is None else {"members": members}
    return Part("trees", Trees(depth, weight.ndim == 2), {}, state)


def _members(trees: Sequence[Tree], most: int) -> np.ndarray | None:
    """The categories that go left, bool [trees, nodes, categories]; None without any."""
    found = [
        (i, node, numbers)
        for i, tree in enumerate(trees)
        for node, numbers in enumerate(tree.members or ())
        if numbers is not None
    ]
    if not found:
        return None
    n = 1 + max(int(numbers.max(initial=0)) for _, _, numbers in found)
    if len(trees) * most * n > MOST_MEMBERS:
        raise NotConvertible("it splits by too many categories")
    members = np.zeros((len(trees), most, n), bool)
    for i, node, numbers in found:
        members[i, node, numbers] = True
    return members


def _depth(tree: Tree) -> int:
    """The most decisions on a way through the tree."""
    level, depth = np.array([0]), 0
    while len(level := level[tree.left[level] >= 0]):
        level, depth = np.concatenate([tree.left[level], tree.right[level]]), depth + 1
    return depth


def below(threshold: Any, strict: bool = False) -> np.ndarray:
    """The largest float32 t with: x <= t exactly where x <= threshold (or <), for float32 x."""
    wide = np.asarray(threshold, np.float64)
    t = wide.astype(np.float32)
    over = (t >= wide) if strict else (t > wide)
    return np.where(over, np.nextafter(t, np.float32(-np.inf)), t)


# -- scikit-learn --------------------------------------------------------------------------------


def _of_tree(tree: Any, value: Any) -> Tree:
    """Of a fitted ``estimator.tree_`` with these values [nodes, V]."""
    missing = np.asarray(getattr(tree, "missing_go_to_left", 0), bool)
    sides = tree.children_left, tree.children_right
    return Tree(tree.feature, below(tree.threshold), *sides, value, missing)


def forest(estimator: Any) -> list[Part]:
    """The mean over the trees of a decision tree or forest: probabilities, or values."""
    members = getattr(estimator, "estimators_", [estimator])
    trees = []
    for member in members:
        value = np.asarray(member.tree_.value, np.float64)  # [nodes, outputs, classes]
        if hasattr(estimator, "classes_"):
            if value.shape[1] != 1:
                raise NotConvertible("it has several classifications as outputs")
            value = value[:, 0] / value[:, 0].sum(-1, keepdims=True)
        else:
            value = value[..., 0]
        trees.append(_of_tree(member.tree_, value))
    k = trees[0].value.shape[1]
    return [ensemble(trees, np.full(k, 1 / len(trees)), np.zeros(k))]


def gradient_boosting(estimator: Any) -> list[Part]:
    """scikit-learn's GradientBoosting: raw predictions."""
    init = estimator.init_
    if not (isinstance(init, str) and init == "zero") and "Dummy" not in type(init).__name__:
        raise NotConvertible(f"it starts from the predictions of a {type(init).__name__}")
    base = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32))[0]
    rounds = np.atleast_2d(estimator.estimators_)
    trees = [_of_tree(m.tree_, m.tree_.value[:, 0]) for stage in rounds for m in stage]
    k = rounds.shape[1]
    weight = np.tile(np.eye(k), (len(rounds), 1)) * estimator.learning_rate
    return [ensemble(trees, weight, base), *_link(getattr(estimator, "_loss", None))]


def hist_gradient_boosting(estimator: Any) -> list[Part]:
    """scikit-learn's HistGradientBoosting: raw predictions."""
    before, order = _encoded(estimator)
    trees = []
    for stage in estimator._predictors:
        for predictor in stage:
            n = predictor.nodes
            leaf, by_category = n["is_leaf"].astype(bool), n["is_categorical"].astype(bool)
            left, right = (np.where(leaf, -1, n[side].astype(int)) for side in ("left", "right"))
            at = np.where(by_category, -np.inf, below(n["num_threshold"]))
            feature, missing = order[n["feature_idx"]], n["missing_go_to_left"].astype(bool)
            members = None
            if by_category.any():
                bytes_ = predictor.raw_left_cat_bitsets.astype("<u4").view(np.uint8)
                bits = np.unpackbits(bytes_, axis=1, bitorder="little")
                which = zip(n["bitset_idx"], by_category, strict=True)
                members = [np.flatnonzero(bits[i]) if c else None for i, c in which]
            trees.append(Tree(feature, at, left, right, n["value"][:, None], missing, members))
    k = len(estimator._predictors[0])
    weight = np.tile(np.eye(k), (len(estimator._predictors), 1))
    base = np.ravel(estimator._baseline_prediction)
    link = _link(getattr(estimator, "_loss", None))
    return [*before, ensemble(trees, weight, base), *link]


def _encoded(estimator: Any) -> tuple[list[Part], np.ndarray]:
    """Parts that number the categories of columns, and the column of x of each column of trees.

    A value that is no category becomes NaN, as trees send it where they send a missing one.
    """
    columns = np.arange(estimator.n_features_in_)
    if getattr(estimator, "_preprocessor", None) is None:
        return [], columns
    chosen = np.asarray(estimator.is_categorical_, bool)
    step = estimator._preprocessor.named_transformers_["encoder"]
    if any(np.asarray(c).dtype.kind not in "biuf" for c in step.categories_):
        raise NotConvertible("it splits by categories that are no numbers")
    order = np.concatenate([columns[chosen], columns[~chosen]])
    chains = [(columns[chosen], [encoder("categories", step)]), (columns[~chosen], [])]
    back = np.argsort(order).astype(np.int32)
    parts = [beside("categories", chains), Part("columns", Columns(), {}, {"columns": back})]
    return parts, order


def _link(loss: Any) -> list[Part]:
    """The inverse link of a regression's loss; classifiers give logits."""
    name = type(getattr(loss, "link", None)).__name__
    return [Part("link", Link("exp"), {})] if name == "LogLink" else []
