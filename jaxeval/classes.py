"""Which classes a model has, and whether those to explain are among them."""

from __future__ import annotations

import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.dtypes import canonicalize_dtype

from .types import Model

ROWS = 2
"""Rows with which a model is traced for the shape of its logits, as the engine does."""

_KNOWN: weakref.WeakKeyDictionary[Model, dict[Any, int | None]] = weakref.WeakKeyDictionary()


def n_classes(model: Model, shape: tuple[int, ...]) -> int | None:
    """The number of classes K of a model that answers in this shape, [N, K] for logits.

    None where the shape says nothing about classes.
    """
    if getattr(model, "outputs", "logits") == "binary":
        return 2
    return shape[1] if len(shape) == 2 else None


def classes_of(model: Model, x: Any) -> int | None:
    """The number of classes of a model for inputs like x [N, ...]; each model is traced once.

    None for host models, which are not asked before they must be, and for a model that cannot be
    traced: what is wrong with it shows where it is asked.
    """
    if model.host:
        return None
    known, kind = _KNOWN.setdefault(model, {}), (x.shape[1:], x.dtype)
    if kind not in known:
        given = jax.tree.map(_spec, model.params)
        rows = jax.ShapeDtypeStruct((ROWS, *x.shape[1:]), canonicalize_dtype(x.dtype))
        try:
            known[kind] = n_classes(model, jax.eval_shape(model.apply, given, rows).shape)
        except Exception:
            known[kind] = None
    return known[kind]


def _spec(v: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(v), jnp.result_type(v))


def concrete(y: Any) -> np.ndarray | None:
    """The classes y as an array of the host's; None where they are traced or on other hosts."""
    if isinstance(y, Tracer) or (isinstance(y, jax.Array) and not y.is_fully_addressable):
        return None
    return np.asarray(y)


def check_classes(y: np.ndarray, k: int | None, owner: str = "") -> None:
    """Every class is one of the model's k; None for k: not known."""
    if k is None or not y.size:
        return
    least, most = y.min(), y.max()
    if least < 0 or most >= k:
        raise ValueError(
            f"{owner}{': ' * bool(owner)}y holds the class {least if least < 0 else most}, but the "
            f"model has {k} outputs (0..{k - 1})"
        )
