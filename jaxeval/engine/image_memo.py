"""A cache of host-side computations per image (e.g. superpixels)."""

from __future__ import annotations

import collections
import functools
import inspect
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ..cpu import available_cores
from ..digests import array_digest
from ..lifetime import weakly

Make = Callable[[np.ndarray, "int | None"], np.ndarray]

REMEMBERED = 2**28
"""Maximum bytes of cached results per process; the oldest are dropped first."""

_known: collections.OrderedDict[Any, np.ndarray] = collections.OrderedDict()
_running: dict[Any, Future[np.ndarray]] = {}  # each has a thread that computes it now
_size = 0
_lock = threading.Lock()


def once_per_image(make: Make, x: np.ndarray, channel_axis: int | None) -> np.ndarray:
    """``make(x, channel_axis)``, computed once per image and (hashable) function, in any thread."""
    # A function may close over a model, which the cache must not keep alive.
    maker = weakly(make) if inspect.isroutine(make) else make
    key = (maker, array_digest(x), x.shape, str(x.dtype), channel_axis)
    with _lock:
        if key in _known:
            _known.move_to_end(key)
            return _known[key]
        running = _running.get(key)
        if running is None:
            mine: Future[np.ndarray] = Future()
            _running[key] = mine
    if running is not None:
        return running.result()
    try:
        result = np.asarray(make(x, channel_axis))
    except BaseException as e:
        with _lock:
            del _running[key]
        mine.set_exception(e)
        raise
    with _lock:
        del _running[key]
        _remember(key, result)
    mine.set_result(result)
    return result


def _remember(key: Any, result: np.ndarray) -> None:
    global _size
    _known[key] = result
    _size += result.nbytes
    while _size > REMEMBERED and len(_known) > 1:
        _size -= _known.popitem(last=False)[1].nbytes


def begin(make: Make, rows: Iterable[np.ndarray], channel_axis: int | None) -> list[Future[Any]]:
    """`once_per_image` for each row, in threads; for functions with ``in_threads = True`` only."""
    return [_pool().submit(once_per_image, make, row, channel_axis) for row in rows]


def all_images(make: Make, rows: Iterable[np.ndarray], channel_axis: int | None) -> np.ndarray:
    """`once_per_image` for all rows, stacked."""
    if getattr(make, "in_threads", False):
        return np.stack([f.result() for f in begin(make, rows, channel_axis)])
    return np.stack([once_per_image(make, row, channel_axis) for row in rows])


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(available_cores(), "jaxeval-images")
