"""Which value of an exported graph is the output of which torch module."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeGuard

import jax
import numpy as np
import torch

from .logits import Logits

if TYPE_CHECKING:
    from .convert import Forward


def find_layers(
    forward: Forward, params: Any, x: Any, picked: Logits, inputs: dict[str, Any]
) -> tuple[tuple[str, str], ...]:
    """(module name, value in the graph) of every call of a module inside, in the order of calls.

    The module is run once with hooks, the graph once with all its values; a layer is the value
    that torch saw, to rounding. Looked for among the module's own operations first: of those
    that agree, the last. A module whose output is not in the graph is left out.
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
        same = [k for k, v in values.items() if _agree(v, seen)]
        if not same:
            continue
        inside = [k for k in same if f"module.{name}" in scopes.get(k, ())]
        # A module called twice may give the same values twice: the calls come in order.
        fresh = [k for k in inside if (name, k) not in used] or inside
        value = max(fresh, key=order.__getitem__) if fresh else min(same, key=order.__getitem__)
        used.add((name, value))
        found.append((label, value))
    return tuple(found)


def _all_values(forward: Forward, params: Any, x: Any) -> dict[str, np.ndarray]:
    names = [o for n in forward.graph.nodes for o in n.outputs if o]
    everything = dataclasses.replace(forward, layers=tuple((k, k) for k in names))
    kept = jax.jit(everything)(params, x)[1]
    return {k: np.asarray(kept[k]) for k in names if np.issubdtype(kept[k].dtype, np.floating)} | {
        k: np.asarray(v) for k, v in forward.inputs(x).items()
    }


def _calls(picked: Logits, inputs: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
    """(name, output) of every call of a named module that gives one float array per sample."""
    seen: list[tuple[str, np.ndarray]] = []
    n = len(next(iter(inputs.values())))
    hooks = []

    def watch(name: str) -> Any:
        def hook(module: Any, given: Any, output: Any) -> None:
            first: Any = output[0] if isinstance(output, tuple) and output else output
            if _is_activation(first, n):
                seen.append((name, first.detach().cpu().numpy().copy()))

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


def _agree(v: np.ndarray, seen: np.ndarray) -> bool:
    if v.shape != seen.shape:
        return False
    scale = np.abs(seen).max() if seen.size else 0
    return bool(np.abs(v - seen).max(initial=0) <= 1e-4 * scale)
