"""Equinox modules as models."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp

from .check import CallError
from .model import Model

__all__ = ["from_equinox"]


@dataclasses.dataclass(frozen=True)
class _Equinox:
    """The forward pass of one Equinox module without its arrays; equal ones share programs.

    Attributes:
      tree: the structure of the module; `paths` are those of its arrays, in its order.
      rest: its leaves that are no arrays, such as activation functions.
    """

    tree: Any
    paths: tuple[tuple[str, ...], ...]
    rest: tuple[Any, ...]
    batched: bool
    stateful: bool
    kwargs: tuple[tuple[str, Any], ...]

    def __call__(self, params: Any, x: Any) -> Any:
        arrays = [_at(params, path) if path else None for path in self.paths]
        leaves = [
            r if p == () else a for p, a, r in zip(self.paths, arrays, self.rest, strict=True)
        ]
        module, state = jax.tree.unflatten(self.tree, leaves)
        given = dict(self.kwargs)

        def call(row: Any) -> Any:
            if self.stateful:
                return module(row, state, **given)[0]
            return module(row, **given)

        try:
            return call(x) if self.batched else jax.vmap(call)(x)
        except (TypeError, ValueError) as e:
            if given.get("key", "") is None and "key" in str(e).casefold():
                raise CallError(
                    f"from_equinox: {type(module).__name__} uses the key that it is called with "
                    f"({e}): give from_equinox(module, key=jax.random.key(0)), which layers in "
                    "inference mode do not draw from"
                ) from e
            raise


def _at(params: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        params = params[part]
    return params


def from_equinox(
    module: Any,
    state: Any = None,
    *,
    batched: bool = False,
    channel_axis: int | None = 1,
    outputs: str = "logits",
    **kwargs: Any,
) -> Model:
    """A `Model` from an Equinox module.

    Dropout and batch normalisation are switched to inference mode, on a copy. An argument ``key``
    that `__call__` needs is None then, unless given.

    Args:
      module: a callable `equinox.Module`.
      state: the `equinox.nn.State` of modules with state, such as those with BatchNorm, which are
        called as ``module(x, state) -> (outputs, state)``.
      batched: False: the module takes one sample and is vmapped, as is usual in Equinox; True: it
        takes a batch [N, ...].
      channel_axis: 1, as Equinox's convolutions are channel-first; None for tables [N, F].
      outputs: what the module returns: "logits", "probabilities", "binary" or "values", as for
        `jaxeval.Model`.
      kwargs: further arguments of `__call__`.

    Hidden layers are named by the paths of their attributes, such as ``"layers/0"``.

    Raises:
      ImportError: Equinox is not installed.
      TypeError: no callable Equinox module, or arguments that `__call__` does not have.
    """
    try:
        import equinox as eqx
    except ImportError as e:
        raise ImportError("from_equinox needs Equinox: pip install equinox") from e
    if not isinstance(module, eqx.Module) or not callable(module):
        raise TypeError(
            f"from_equinox takes a callable equinox.Module, got {type(module).__name__}; for a "
            "function give jaxeval.Model(apply, params)"
        )
    if isinstance(state, eqx.Module):
        raise TypeError(
            "from_equinox(module, state): state must be an equinox.nn.State, as "
            "equinox.nn.make_with_state returns it after the module"
        )
    kwargs = _arguments(module, state, kwargs)
    module = _rows_first(eqx.nn.inference_mode(module))
    leaves, tree = jax.tree.flatten((module, state))
    names = [p for p, _ in jax.tree_util.tree_leaves_with_path((module, state))]
    params: dict[str, Any] = {"params": {}, "state": {}}
    paths, rest = [], []
    for key, leaf in zip(names, leaves, strict=True):
        if not eqx.is_array(leaf):
            paths.append(())
            rest.append(leaf)
            continue
        top, *parts = key
        trained = top.idx == 0 and jnp.issubdtype(leaf.dtype, jnp.inexact)
        own = tuple(jax.tree_util.keystr((p,), simple=True) for p in parts) or ("value",)
        path = ("params" if trained else "state", *own)
        place = params
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = leaf
        paths.append(path)
        rest.append(None)
    apply = _Equinox(
        tree, tuple(paths), tuple(rest), batched, state is not None, tuple(sorted(kwargs.items()))
    )
    from .explain.layer import Hidden  # loads the explainers

    return Model(
        apply, params, hidden=Hidden(apply, None), channel_axis=channel_axis, outputs=outputs
    )


@functools.cache
def _linear() -> Any:
    """`equinox.nn.Linear` as ``x @ W^T``, whose rows stay the first axis under `jax.vmap`."""
    import equinox as eqx

    class Linear(eqx.Module):
        weight: Any
        bias: Any

        def __call__(self, x: Any, *, key: Any = None) -> Any:
            y = x @ self.weight.T
            return y if self.bias is None else y + self.bias

    return Linear


def _rows_first(module: Any) -> Any:
    """The module with each `equinox.nn.Linear` replaced by an equal one.

    Else the values of a layer would have the samples on their last axis.
    """
    import equinox as eqx

    def is_linear(v: Any) -> bool:
        return type(v) is eqx.nn.Linear and "scalar" not in (v.in_features, v.out_features)

    def replaced(v: Any) -> Any:
        return _linear()(v.weight, v.bias) if is_linear(v) else v

    return jax.tree.map(replaced, module, is_leaf=is_linear)


def _arguments(module: Any, state: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The further arguments of a module's `__call__`, with key=None where it needs one."""
    name = type(module).__name__
    parameters = list(inspect.signature(module.__call__).parameters.values())[1:]
    free = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for given in kwargs:
        if given not in named and not free:
            raise TypeError(f"from_equinox: {name}.__call__ has no argument {given!r}")
    needed = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if "key" in needed and "key" not in kwargs:
        kwargs = {**kwargs, "key": None}
    lacking = [n for n in needed if n not in kwargs]
    if state is not None and lacking:
        lacking = lacking[1:]  # the state itself
    elif "state" in lacking:
        raise TypeError(
            f"from_equinox: {name}.__call__ takes a state: give from_equinox(module, state), both "
            "as equinox.nn.make_with_state returned them or as they were trained"
        )
    if lacking:
        raise TypeError(f"from_equinox: {name}.__call__ needs the argument {lacking[0]!r}: give it")
    return kwargs
