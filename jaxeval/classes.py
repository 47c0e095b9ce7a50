"""Which classes a model has, and whether those to explain are among them."""

from __future__ import annotations

import weakref
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.dtypes import canonicalize_dtype

from .model import Model

_KNOWN: weakref.WeakKeyDictionary[Model, dict[Any, int | None]] = weakref.WeakKeyDictionary()


def classes_of(model: Model, x: Any) -> int | None:
    """The number of classes of a model for inputs like x [N, ...]; each model is traced once.

    None for host models, which are not asked before they must be, and for a model that cannot be
    traced: what is wrong with it shows where it is asked.
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
