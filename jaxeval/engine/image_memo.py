"""A cache of host-side computations per image (e.g. superpixels)."""

from __future__ import annotations

import collections
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..digests import array_digest
from ..lifetime import weakly

REMEMBERED = 2**28
"""Maximum bytes of cached results per process; the oldest are dropped first."""

_known: collections.OrderedDict[Any, np.ndarray] = collections.OrderedDict()
_size = 0


def once_per_image(
    make: Callable[[np.ndarray, int | None], np.ndarray], x: np.ndarray, channel_axis: int | None
) -> np.ndarray:
    """``make(x, channel_axis)``, computed once per image and (hashable) function."""
    global _size
    # A function may close over a model, which the cache must not keep alive.
    maker = weakly(make) if inspect.isroutine(make) else make
    key = (maker, array_digest(x), x.shape, str(x.dtype), channel_axis)
    if key in _known:
        _known.move_to_end(key)
        return _known[key]
    result = np.asarray(make(x, channel_axis))
    _known[key] = result
    _size += result.nbytes
    while _size > REMEMBERED and len(_known) > 1:
        _size -= _known.popitem(last=False)[1].nbytes
    return result
