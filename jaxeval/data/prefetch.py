"""Prefetching of a bounded number of blocks in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar("T")
POLL = 0.2
"""Seconds after which a waiting thread checks whether it should stop."""


def prefetch(items: Iterator[T], ahead: int = 2) -> Iterator[T]:
    """The items, of which a thread computes up to `ahead` in advance.

    Errors raised by `items` are raised here, in order. The thread ends with this iterator.

    >>> list(prefetch(iter(range(5))))
    [0, 1, 2, 3, 4]
    """
    waiting: queue.Queue[tuple[bool, Any]] = queue.Queue(ahead)
    over = threading.Event()
    end = object()

    def put(item: tuple[bool, Any]) -> bool:
        while not over.is_set():
            try:
                waiting.put(item, timeout=POLL)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((True, end))
        except BaseException as e:
            put((False, e))

    thread = threading.Thread(target=work, name="jaxeval-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            good, item = waiting.get()
            if not good:
                raise item
            if item is end:
                return
            yield item
    finally:
        over.set()
