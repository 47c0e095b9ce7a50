"""Matching the values of an exported graph to the outputs of torch modules."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
import torch

from .forward import Forward
from .logits import Logits

EXACT = 1e-4
"""The largest relative difference between equal values in float32."""
NEAREST = 4
"""Values agree, too, if they differ by at most this multiple of the smallest difference found."""


def find_layers(
    forward: Forward,
    params: Any,
    x: Any,
    picked: Logits,
    inputs: dict[str, Any],
    tolerance: float = EXACT,
) -> tuple[tuple[str, str], ...]:
    """(module name, value in the graph) for every call of a submodule, in the order of calls.

    Runs the module once with hooks and the graph once with all its values, and matches each
    module's output to the value that equals it up to rounding. Values of the module's own
    operations come first; of several that agree, the last is used. A module whose output is not
    in the graph is left out.
    """
    values = _all_values(forward, params, x)
    order = {k: i for i, k in enumerate(values)}
    scopes = {o: n.scopes for n in forward.graph.nodes for o in n.outputs}
    found, used = [], set()
    for name, seen in _calls(picked, inputs):
        label, times = name, 1
        while any(label == other for other, _ in found):
            times += 1
            label = f"{name}@{times}"
        same = _agreeing(values, seen, tolerance)
        if not same:
            continue
        inside = [k for k in same if f"module.{name}" in scopes.get(k, ())]
        # A module called twice may return equal values twice: calls are matched in order.
        fresh = [k for k in inside if (name, k) not in used] or inside
        value = max(fresh, key=order.__getitem__) if fresh else min(same, key=order.__getitem__)
        used.add((name, value))
        found.append((label, value))
    return tuple(found)


def _all_values(forward: Forward, params: Any, x: Any) -> dict[str, np.ndarray]:
    names = [o for n in forward.graph.nodes for o in n.outputs if o]
    everything = dataclasses.replace(forward, layers=tuple((k, k) for k in names))
    kept = jax.jit(everything)(params, x)[1]
    return {
        k: np.asarray(kept[k]) for k in names if jnp.issubdtype(kept[k].dtype, jnp.floating)
    } | {k: np.asarray(v) for k, v in forward.inputs(x).items()}


def _calls(picked: Logits, inputs: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
    """(name, output) for every call of a named module that returns one float array per sample."""
    seen: list[tuple[str, np.ndarray]] = []
    n = len(next(iter(inputs.values())))
    hooks = []

    def watch(name: str) -> Any:
        def hook(module: Any, given: Any, output: Any) -> None:
            first: Any = output[0] if isinstance(output, tuple) and output else output
            if _is_activation(first, n):
                seen.append((name, first.detach().cpu().double().numpy().copy()))

        return hook

    device = next((t.device for t in picked.parameters()), torch.device("cpu"))
    try:
        for name, part in picked.module.named_modules():
            if name:
                hooks.append(part.register_forward_hook(watch(name)))
        with torch.no_grad():
            picked(*(t.to(device) for t in inputs.values()))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _is_activation(v: Any, n: int) -> TypeGuard[torch.Tensor]:
    floating = isinstance(v, torch.Tensor) and v.dtype.is_floating_point
    return floating and v.ndim > 0 and len(v) == n


def _agreeing(values: dict[str, np.ndarray], seen: np.ndarray, tolerance: float) -> list[str]:
    """The values equal to torch's output up to rounding; in half precision, the nearest ones."""
    off = {k: _off(v, seen) for k, v in values.items() if v.shape == seen.shape}
    most = min(tolerance, max(EXACT, NEAREST * min(off.values(), default=0)))
    return [k for k, v in off.items() if v <= most]


def _off(v: np.ndarray, seen: np.ndarray) -> float:
    """The largest difference, relative to the largest entry."""
    if not seen.size:
        return 0.0
    error, scale = np.abs(v.astype(np.float64) - seen).max(), np.abs(seen).max()
    return float(error / scale) if scale else (0.0 if error == 0 else np.inf)
