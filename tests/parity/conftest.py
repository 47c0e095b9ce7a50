"""The network that is compared, and how Quantus is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests import networks


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No check of every perturbed sample for whether it changed, which takes most of the time."""
    name = "quantus.helpers.warn.warn_perturbation_caused_no_change"
    monkeypatch.setattr(name, lambda **_: None)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Batches of a few samples: threads that wait for each other cost more than they bring."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def case() -> Any:
    from tests.parity.compared import SHAPE, Case, N

    model, params = networks.lenet(seed=3)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (N, *SHAPE)).astype(np.float32)
    mask = np.zeros((N, *SHAPE), bool)
    for i, (top, left) in enumerate(rng.integers(0, 12, (N, 2))):
        mask[i, 0, top : top + 10 + i, left : left + 14] = True
    return Case(model, networks.lenet_torch(params), x, rng.integers(0, 10, N), mask)
