"""Settings as plain data for people to read; `jaxeval.content` is what tells objects apart."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from .digests import array_digest


def describe(v: Any) -> Any:
    """A value as plain data: objects by class and fields, arrays by dtype, shape and digest.

    >>> describe({"w": np.zeros(2, np.float32), "f": len})["w"]["array"]
    'float32[2]'
    """
    if dataclasses.is_dataclass(v) and not isinstance(v, type):
        fields = {f.name: describe(getattr(v, f.name)) for f in dataclasses.fields(v)}
        return {"class": type(v).__name__, **fields}
    if isinstance(v, (str, bool, int, float)) or v is None:
        return v
    if isinstance(v, (tuple, list)):
        return [describe(item) for item in v]
    if isinstance(v, Mapping):
        return {str(k): describe(item) for k, item in v.items()}
    if isinstance(v, functools.partial):
        given = {"args": describe(v.args), **describe(v.keywords)}
        return {"partial": describe(v.func), **{k: part for k, part in given.items() if part != []}}
    if hasattr(v, "shape") and hasattr(v, "dtype") and not callable(v):
        array = np.asarray(v)
        if array.ndim == 0:
            return array.item()
        return {"array": f"{array.dtype}{list(array.shape)}", "digest": array_digest(array)}
    return getattr(v, "__qualname__", type(v).__name__)
