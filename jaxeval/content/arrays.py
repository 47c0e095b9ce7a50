"""Reading NumPy and JAX arrays, and torch tensors without importing torch."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_array(v: Any) -> bool:
    return isinstance(v, (np.ndarray, np.generic, jax.Array)) or is_tensor(v)


def is_tensor(v: Any) -> bool:
    """Whether v is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(v, getattr(torch, "Tensor", ()))


def host_array(v: Any) -> np.ndarray:
    """An array or tensor as a NumPy array with the same bytes, if needed of another dtype."""
    if is_tensor(v):
        v = v.detach().cpu()
        if str(v.layout) != "torch.strided":
            v = v.to_dense()
        v = v.resolve_conj().resolve_neg().contiguous().reshape(-1)
        return v.view(sys.modules["torch"].uint8).numpy()
    if jnp.issubdtype(v.dtype, jax.dtypes.prng_key):
        v = jax.random.key_data(v)
    return np.asarray(v)
