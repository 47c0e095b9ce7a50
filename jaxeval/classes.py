"""The number of classes of a model, and checks of the classes to explain."""

from __future__ import annotations

import weakref
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.dtypes import canonicalize_dtype

from .model import Model
from .shown import count

_KNOWN: weakref.WeakKeyDictionary[Model, dict[Any, int | None]] = weakref.WeakKeyDictionary()


def classes_of(model: Model, x: Any) -> int | None:
    """The number of classes of a model for inputs like x [N, ...]; each model is traced once.

    None for host models, which are not called just for this check, and for models that cannot be
    traced: their error is raised when they are called.
    """
    if model.host:
        return None
    known, kind = _KNOWN.setdefault(model, {}), (x.shape[1:], x.dtype)
    if kind not in known:
        try:
            one = jax.ShapeDtypeStruct(x.shape[1:], canonicalize_dtype(x.dtype))
            known[kind] = model.n_classes(one)
        except Exception:
            known[kind] = None
    return known[kind]


def concrete(y: Any) -> np.ndarray | None:
    """The classes y as a NumPy array; None if they are traced or partly on other hosts."""
    if isinstance(y, Tracer) or (isinstance(y, jax.Array) and not y.is_fully_addressable):
        return None
    return np.asarray(y)


def check_classes(y: np.ndarray, k: int | None, owner: str = "") -> None:
    """Raise a ValueError unless every class is in 0..k-1; no check if k is None (unknown)."""
    if k is None or not y.size:
        return
    least, most = y.min(), y.max()
    if least < 0 or most >= k:
        raise ValueError(
            f"{owner}{': ' * bool(owner)}y holds the class {least if least < 0 else most}, but the "
            f"model has {count(k, 'output')} (0..{k - 1})"
        )
