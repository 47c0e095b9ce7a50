"""Conversion of arrays between JAX, NumPy and torch, and modules in evaluation mode."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def to_torch(x: Any, device: Any = None) -> Any:
    """A new tensor with the values of x, on torch's `device`.

    Passed by dlpack if both are on one device, then copied: torch could otherwise write to the
    shared memory of a JAX array, which must not change.
    """
    import torch

    device = torch.device("cpu" if device is None else device)
    if isinstance(x, jax.Array) and not isinstance(x, Tracer):
        where = {d.platform for d in x.devices()}
        shared = where == {"cpu"} or (where == {"gpu"} and device.type == "cuda")
        if len(x.devices()) == 1 and shared:
            if x.dtype == bool:  # not every version of dlpack supports booleans
                return torch.from_dlpack(x.astype(jnp.uint8)).to(device, torch.bool, copy=True)
            return torch.from_dlpack(x).to(device, copy=True)
        x = np.asarray(x)
    return torch.from_numpy(np.array(x)).to(device)


def to_jax(t: Any) -> jax.Array:
    """A new array with the values of a tensor.

    Without jax_enable_x64, float64 becomes float32, and integers beyond 32 bits raise an error.
    """
    import torch

    t = t.detach()
    if t.layout != torch.strided:
        t = t.to_dense()
    if not jax.config.read("jax_enable_x64"):
        if t.dtype == torch.int64:
            bounds = torch.iinfo(torch.int32)
            if t.numel() and (int(t.max()) > bounds.max or int(t.min()) < bounds.min):
                raise ValueError(
                    f"the tensor holds integers beyond 32 bits ({int(t.min())} .. "
                    f"{int(t.max())}), which JAX would truncate: set jax_enable_x64, or use "
                    "smaller ids"
                )
            t = t.to(torch.int32)
        elif t.dtype == torch.float64:
            t = t.to(torch.float32)
        elif t.dtype == torch.complex128:
            t = t.to(torch.complex64)
    # A copy, as torch may write to its own memory later.
    t = t.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    if t.dtype == torch.bool:
        return jnp.asarray(t.cpu().numpy())
    if t.device.type not in ("cpu", "cuda") or (t.is_cuda and not _has_gpu()):
        t = t.cpu()
    return jax.dlpack.from_dlpack(t)


def _has_gpu() -> bool:
    return any(d.platform == "gpu" for d in jax.devices())


def in_its_type(t: Any, module: Any) -> Any:
    """A float tensor in the precision of the module's first float parameter or buffer."""
    if not t.is_floating_point():
        return t
    every = (*module.parameters(), *module.buffers())
    first = next((p for p in every if p.is_floating_point()), None)
    return t if first is None else t.to(first.dtype)


def device_of(module: Any) -> Any:
    """The device of a module's first tensor."""
    import torch

    first = next((t for t in (*module.parameters(), *module.buffers())), None)
    return torch.device("cpu") if first is None else first.device


@contextlib.contextmanager
def in_evaluation(module: Any) -> Iterator[Any]:
    """Set the module to evaluation mode; afterwards restore the mode of each submodule.

    Also restores ``requires_grad`` and ``grad`` of the parameters.
    """
    modes = [(part, part.training) for part in module.modules()]
    grads = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    try:
        # Submodules already in the mode are skipped: some do work in ``train()``.
        if any(mode for _, mode in modes):
            module.eval()
        yield module
    finally:
        for part, mode in modes:
            part.training = mode
        for p, wants, grad in grads:
            if p.requires_grad != wants:
                p.requires_grad_(wants)
            if p.grad is not grad:
                p.grad = grad
