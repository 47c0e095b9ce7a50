"""Keys of values: equal settings are one question, equal shapes one program."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .digests import array_digest
from .types import on_host


def identity(tree: Any) -> Any:
    """A hashable host-side key of a pytree's value: structure, shapes, dtypes and digests.

    Equal for trees whose `canonical` forms are; made without the device, which costs more.
    """
    leaves, treedef = jax.tree.flatten(tree)

    def digest(leaf: Any) -> tuple[Any, ...]:
        value = on_host(leaf)
        return value.shape, str(value.dtype), array_digest(value)

    return treedef, tuple(map(digest, leaves))


def shapes_of(tree: Any) -> Any:
    """A hashable description of a pytree: its structure, and its leaves' shapes and types."""
    leaves, treedef = jax.tree.flatten(tree)
    types = [v.dtype if hasattr(v, "dtype") else jnp.result_type(v) for v in leaves]
    return treedef, tuple(zip(map(jnp.shape, leaves), types, strict=True))
