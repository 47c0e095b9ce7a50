"""Hashable keys of pytrees: by value, to find equal questions; by shape, to share programs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .digests import array_digest
from .types import on_host


def identity(tree: Any) -> Any:
    """A hashable key of a pytree's value: structure, and shape, dtype and digest of each leaf.

    Equal for trees with equal `canonical` forms. Computed on the host, which is cheaper than on the
    device.
    """
    leaves, treedef = jax.tree.flatten(tree)

    def digest(leaf: Any) -> tuple[Any, ...]:
        value = on_host(leaf)
        return value.shape, str(value.dtype), array_digest(value)

    return treedef, tuple(map(digest, leaves))


def shapes_of(tree: Any) -> Any:
    """A hashable key of a pytree's structure and its leaves' shapes and dtypes."""
    leaves, treedef = jax.tree.flatten(tree)
    types = [v.dtype if hasattr(v, "dtype") else jnp.result_type(v) for v in leaves]
    return treedef, tuple(zip(map(jnp.shape, leaves), types, strict=True))
