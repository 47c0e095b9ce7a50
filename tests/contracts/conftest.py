"""Where tests of one run meet, and what the compiler says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import pytest


@pytest.fixture(params=["@together"])
def same_worker() -> None:
    """A place in the test's id for the group."""


@pytest.fixture
def compiled() -> Iterator[Counter[str]]:
    """How often each program was compiled since the test began, by the compiler's own account."""
    count: Counter[str] = Counter()

    def listen(event: str, seconds: float, **tags: Any) -> None:
        name = str(tags.get("fun_name"))
        if event.endswith("backend_compile_duration") and name != "jit(stage)":  # of a constant
            count[name] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield count
    jax.monitoring.unregister_event_duration_listener(listen)
