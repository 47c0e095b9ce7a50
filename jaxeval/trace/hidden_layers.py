"""The layers of `Model.hidden` by their names, in a traced model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Literal

from ..lifetime import Wrapper
from . import jaxprs
from .compare import same_operations
from .names import HIDDEN


@dataclasses.dataclass(frozen=True)
class Shown(Wrapper):
    """The forward pass of a `Model.hidden`, some of whose layers `Graph` knows by their names."""

    HOLDS: ClassVar[str] = "hidden"

    hidden: Callable[..., Any]
    names: tuple[str, ...]

    def __call__(self, *given: Any) -> Any:
        closed, layers = hidden_layers(self.hidden, *given)
        names: dict[Any, list[str]] = {}
        for name in self.names:
            names.setdefault(layers.get(name), []).append(name)

        def named(v: Any, value: Any) -> Any:
            for name in names.get(v, ()):
                value = checkpoint_name(value, HIDDEN + name)
            return value

        def operation(eqn: Any, ins: list[Any]) -> list[Any]:
            return list(map(named, eqn.outvars, jaxprs.bind(eqn, ins)))

        leaves = list(map(named, closed.jaxpr.invars, jax.tree.leaves(given)))
        return jaxprs.evaluate(closed.jaxpr, closed.consts, leaves, operation, calls=())[0]


def hidden_layers(hidden: Callable[..., Any], *given: Any) -> tuple[Any, dict[str, Any]]:
    """(jaxpr of ``hidden(*given)`` without calls, {layer: its variable in that}).

    The first output is that of the model. A layer that it is not computed from has None.
    """

    # A new function, as JAX caches traces by function; see `Program`.
    def anew(*given: Any) -> Any:
        return hidden(*given)

    closed, (_, layers) = jax.make_jaxpr(anew, return_shape=True)(*given)
    whole = _inlined(closed, given)
    values, (needed, _) = whole.jaxpr.outvars[1:], _leading(whole.jaxpr)
    paths = [p for p, _ in jax.tree_util.tree_leaves_with_path(layers)]
    names = [jax.tree_util.keystr(p, simple=True, separator="/") for p in paths]
    inside = [None if isinstance(v, Literal) or v not in needed else v for v in values]
    return whole, dict(zip(names, inside, strict=True))


def _inlined(closed: Any, given: Any) -> Any:
    """A program without calls."""

    def inlined(*leaves: Any) -> list[Any]:
        calls = tuple(jaxprs.CALLS)
        return jaxprs.evaluate(closed.jaxpr, closed.consts, leaves, jaxprs.bind, calls=calls)

    return jax.make_jaxpr(inlined)(*jax.tree.leaves(given))


def _leading(jaxpr: Any) -> tuple[set[Any], list[Any]]:
    """(variables, equations) that the first output of a program is computed from."""
    out, eqns = jaxpr.outvars[0], []
    needed = set() if isinstance(out, Literal) else {out}
    for eqn in reversed(jaxpr.eqns):
        if not needed.isdisjoint(eqn.outvars):
            needed.update(v for v in eqn.invars if not isinstance(v, Literal))
            eqns.append(eqn)
    return needed, eqns[::-1]


def same_program(apply: Callable[..., Any], hidden: Callable[..., Any], *given: Any) -> bool:
    """Whether the logits of a `Model.hidden` are computed by the operations of the forward pass."""

    def anew(*given: Any) -> Any:
        return apply(*given)

    one = _inlined(jax.make_jaxpr(anew)(*given), given)
    other = hidden_layers(hidden, *given)[0]
    return same_operations(_leading(one.jaxpr)[1], _leading(other.jaxpr)[1])
