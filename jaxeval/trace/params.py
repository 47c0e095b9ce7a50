"""The paths of a model's parameters, the layers that they belong to, and which are trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..model import Model


def paths(params: Any) -> list[str]:
    """The path of each leaf, such as "params/Dense_0/kernel", in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def layer_of(path: str, collections: Sequence[str] = ("params",)) -> str:
    """The name of the layer that a parameter belongs to: all but the last part of its path.

    >>> layer_of("params/Dense_0/kernel")
    'Dense_0'
    """
    parts = path.split("/")
    if parts[0] in collections and len(parts) > 1:
        parts = parts[1:]
    if parts[-1] == "value" and len(parts) > 1:  # an NNX variable wraps its array
        parts = parts[:-1]
    if len(parts) == 1 and "." in parts[0]:  # a flat torch name, such as "layer1.0.weight"
        return parts[0].rpartition(".")[0]
    return "/".join(parts[:-1] or parts)


def _trained(model: Model) -> list[int]:
    """The indices of the trained parameters among the leaves."""
    leaves, names = jax.tree.leaves(model.params), paths(model.params)
    apart = isinstance(model.params, dict) and "params" in model.params

    def trained(path: str, v: Any) -> bool:
        return jnp.issubdtype(jnp.result_type(v), jnp.floating) and (
            not apart or path.split("/")[0] == "params"
        )

    # Sorted by path, because the order of leaves differs between traced and concrete dicts.
    return [i for _, i in sorted((p, i) for i, p in enumerate(names) if trained(p, leaves[i]))]


def trained(model: Model) -> list[jax.Array]:
    """The trained parameters, sorted by their paths (see `Model.params`)."""
    leaves = jax.tree.leaves(model.params)
    return [jnp.asarray(leaves[i]) for i in _trained(model)]


def with_trained(model: Model, values: Sequence[Any]) -> Model:
    """The model with these trained parameters, in the order of `trained`; of any shape that fits.

    >>> model = Model(lambda p, x: x @ p["w"], {"w": jnp.zeros((1, 2)), "step": 3})
    >>> with_trained(model, [jnp.ones(2)]).params["w"].tolist()
    [[1.0, 1.0]]
    """
    leaves, tree = jax.tree.flatten(model.params)
    for i, value in zip(_trained(model), values, strict=True):
        leaves[i] = jnp.reshape(value, jnp.shape(leaves[i]))
    return dataclasses.replace(model, params=jax.tree.unflatten(tree, leaves))
