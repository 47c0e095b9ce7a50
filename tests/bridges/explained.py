"""What tests of explainers in torch share."""

from __future__ import annotations

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")


def keys(n=4):
    return jax.random.split(jax.random.key(0), n)


def both(case):
    _, net, x, y = case
    return net, torch.from_numpy(x.copy()), torch.from_numpy(y).long()


def close(a, b, rtol=1e-5):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())
