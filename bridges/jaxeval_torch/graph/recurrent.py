"""LSTM, GRU and plain recurrent layers: a scan over time for each direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .table import ConversionError, Node, operator

Step = Callable[[tuple[Any, ...], Any], tuple[Any, ...]]


def _activations(node: Node, direction: int, default: tuple[str, ...]) -> list[Callable[..., Any]]:
    known = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}
    given = node.get("activations")
    names = [n.decode() if isinstance(n, bytes) else n for n in given or ()] or list(default) * 2
    part = names[direction * len(default) : (direction + 1) * len(default)]
    unknown = [n for n in part if n.lower() not in known]
    if unknown or node.get("clip") is not None:
        raise ConversionError(f"a recurrent layer with clip= or the activations {unknown}")
    return [known[n.lower()] for n in part]


def _lstm(node: Node, k: int, r: Any, rb: Any, p: Any, size: int) -> Step:
    f, g, h = _activations(node, k, ("Sigmoid", "Tanh", "Tanh"))
    pi, po, pf = (0, 0, 0) if p is None else jnp.split(p, 3)

    def step(state: tuple[Any, ...], x: Any) -> tuple[Any, ...]:
        hidden, cell = state
        i, o, forget, new = jnp.split(x + hidden @ r.T + rb, 4, -1)
        if node.get("input_forget", 0):
            i = f(i + pi * cell)
            keep = 1 - i
        else:
            i, keep = f(i + pi * cell), f(forget + pf * cell)
        cell = keep * cell + i * g(new)
        return f(o + po * cell) * h(cell), cell

    return step


def _gru(node: Node, k: int, r: Any, rb: Any, p: Any, size: int) -> Step:
    f, g = _activations(node, k, ("Sigmoid", "Tanh"))
    after = node.get("linear_before_reset", 0)
    rb = jnp.broadcast_to(rb, (3 * size,))

    def step(state: tuple[Any, ...], x: Any) -> tuple[Any, ...]:
        (hidden,) = state
        gates = f(x[:, : 2 * size] + hidden @ r[: 2 * size].T + rb[: 2 * size])
        z, reset = gates[:, :size], gates[:, size:]
        if after:
            past = reset * (hidden @ r[2 * size :].T + rb[2 * size :])
        else:
            past = (reset * hidden) @ r[2 * size :].T + rb[2 * size :]
        return ((1 - z) * g(x[:, 2 * size :] + past) + z * hidden,)

    return step


def _rnn(node: Node, k: int, r: Any, rb: Any, p: Any, size: int) -> Step:
    (f,) = _activations(node, k, ("Tanh",))
    return lambda state, x: (f(x + state[0] @ r.T + rb),)


CELLS = {"LSTM": (_lstm, 2), "GRU": (_gru, 1), "RNN": (_rnn, 1)}


@operator(*CELLS)
def recurrent(
    node: Node,
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    lengths: Any = None,
    h: Any = None,
    c: Any = None,
    p: Any = None,
) -> Any:
    """x [T, N, E], w [D, G·H, E], r [D, G·H, H] -> outputs [T, D, N, H], last states [D, N, H].

    With `lengths` [N], each row stops at its own length: later states are unchanged, outputs 0.
    """
    make, n_states = CELLS[node.op]
    size, first = node.get("hidden_size"), node.get("layout", 0)
    if first:
        x = jnp.swapaxes(x, 0, 1)
        h, c = (v if v is None else jnp.swapaxes(v, 0, 1) for v in (h, c))
    time, n = x.shape[:2]
    here = None if lengths is None else jnp.arange(time)[:, None] < jnp.asarray(lengths)
    direction = node.get("direction", "forward")
    outputs, lasts = [], []
    for k in range(2 if direction == "bidirectional" else 1):
        half = w.shape[1]
        wb, rb = (0, 0) if b is None else (b[k][:half], b[k][half:])
        step = make(node, k, r[k], rb, None if p is None else p[k], size)
        start = tuple(
            jnp.zeros((n, size), x.dtype) if v is None else jnp.asarray(v[k], x.dtype)
            for v in (h, c)[:n_states]
        )

        def move(state: Any, given: Any, step: Step = step) -> Any:
            inputs, present = given
            new = step(state, inputs)
            if present is None:
                return new, new[0]
            new = tuple(jnp.where(present[:, None], a, s) for a, s in zip(new, state, strict=True))
            return new, jnp.where(present[:, None], new[0], 0)

        backwards = direction == "reverse" or k == 1
        last, out = lax.scan(move, start, (x @ w[k].T + wb, here), reverse=backwards)
        outputs.append(out)
        lasts.append(last)
    y = jnp.stack(outputs, 1)
    states = [jnp.stack(v) for v in zip(*lasts, strict=True)]
    if first:
        y = jnp.moveaxis(y, 2, 0)
        states = [jnp.swapaxes(v, 0, 1) for v in states]
    return (y, *states)
