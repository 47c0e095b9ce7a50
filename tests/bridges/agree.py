"""How far a converted module's logits and input gradients are from torch's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxeval_torch import from_torch
from jaxeval_torch.logits import pick

import jaxeval as je
from tests.close import MARGIN, reaction


def relative(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest entry of b."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


def converted(net: Any, x: Any, **options: Any) -> tuple[je.Model, float]:
    """(the model, the seconds of processor time that its conversion took)."""
    start = time.process_time()
    return from_torch(net, x, **options), time.process_time() - start


def answers(net: Any, x: Any) -> np.ndarray:
    with torch.no_grad():
        return _logits(net, x).numpy()


def logits_off(model: je.Model, net: Any, x: Any, sizes: Iterable[int]) -> tuple[float, float]:
    """(the worst of some batch sizes, compiled, and of `vmap` over single samples, what is allowed)

    Allowed is 1e-5, as much as a hundred roundings, or what the logits' reaction to one explains.
    """
    right, x = answers(net, x), _numpy(x)
    apply = jax.jit(model.apply)
    one = lambda v: model.apply(model.params, jax.tree.map(lambda w: w[None], v))[0]  # noqa: E731
    with jax.default_matmul_precision("highest"):  # as on conversion, so one program less
        parts = [(n, _map(lambda v, n=n: v[:n], x)) for n in sizes]
        off = [relative(apply(model.params, part), right[:n]) for n, part in parts]
        off.append(relative(jax.jit(jax.vmap(one))(x), right))
        moves = reaction(lambda m: apply(m.params, parts[0][1]), model).max()
    return max(off), max(1e-5, MARGIN * float(moves / np.abs(right).max()))


def gradients_off(
    net: Any, x: Any, wrt: str | None = None, parameters: bool = False, **options: Any
) -> float:
    """In float64, of a weighted sum of the logits with respect to x, or the part `wrt` of it;
    with `parameters`, theirs are checked, too."""
    net, given = net.double(), _map(lambda v: v.double() if v.is_floating_point() else v, x)
    weights = torch.linspace(-1, 1, answers(net, given).shape[1], dtype=torch.float64)
    t = (given if wrt is None else given[wrt]).clone().requires_grad_()
    net.zero_grad()
    (_logits(net, t if wrt is None else {**given, wrt: t}) @ weights).sum().backward()
    with jax.enable_x64(True):
        model = from_torch(net, given, **options)
        w, arrays = jnp.asarray(weights.numpy()), _numpy(given)

        def score(params: Any, v: Any) -> Any:
            full = v if wrt is None else {**arrays, wrt: v}
            return (model.apply(params, full) @ w).sum()

        gradient = jax.jit(jax.grad(score, (0, 1) if parameters else 1))
        found = gradient(model.params, arrays if wrt is None else arrays[wrt])
    if not parameters:
        return relative(found, t.grad.numpy())
    of_params, found = found
    trained = {k: p for k, p in net.named_parameters() if k in of_params["params"]}
    largest = max(p.grad.abs().max().item() for p in trained.values())
    for key, p in trained.items():  # some gradients are sums that cancel
        off = np.abs(np.asarray(of_params["params"][key]) - p.grad.numpy()).max()
        assert off <= 1e-6 * largest, key
    return relative(found, t.grad.numpy())


def _logits(net: Any, x: Any) -> Any:
    return pick(net(**x) if isinstance(x, Mapping) else net(x), None)


def _map(f: Callable[[Any], Any], x: Any) -> Any:
    return {k: f(v) for k, v in x.items()} if isinstance(x, Mapping) else f(x)


def _numpy(x: Any) -> Any:
    return _map(lambda v: v.detach().numpy(), x)
