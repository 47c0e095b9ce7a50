"""What explainers in torch explain."""

from __future__ import annotations

import numpy as np
import pytest

from tests import networks


@pytest.fixture(scope="module")
def case():
    """A small CNN in JAX and in torch, and what it is asked about."""
    pytest.importorskip("torch")
    model, params = networks.smooth_cnn(seed=3)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 3, 18, 18)).astype(np.float32)
    return model, networks.smooth_cnn_torch(params), x, np.array([0, 1, 2, 3], np.int32)


@pytest.fixture(scope="module")
def tabular():
    """A linear module, what it is asked about, and a background."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 5)).astype(np.float32)
    background = rng.normal(size=(20, 5)).astype(np.float32)
    return torch.nn.Sequential(torch.nn.Linear(5, 4)).eval(), x, np.array([2, 0, 1]), background
