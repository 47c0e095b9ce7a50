"""The paths of a model's parameters, and the layers that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax


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
