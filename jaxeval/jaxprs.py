"""Traced functions, read operation by operation."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_context
from jax.extend.core import Literal, get_opaque_trace_state

CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
}
"""Primitives that only call a nested program, and the parameter that holds it."""


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENTWISE = words(
    "add sub mul div neg exp exp2 log log1p expm1 tanh logistic erf erfc erf_inv sqrt rsqrt cbrt "
    "integer_pow pow square abs sign max min select_n clamp gt ge lt le eq ne and or not xor "
    "convert_element_type copy copy_p stop_gradient sin cos tan atan2 asinh acosh atanh atan asin "
    "acos sinh cosh floor ceil round is_finite rem name reduce_precision optimization_barrier "
    "add_any"
)
"""Primitives whose outputs' entries depend on the same entries of the inputs alone."""


@functools.cache
def _untransformed() -> Any:
    with eval_context():  # the first call may come from within a transformation
        return get_opaque_trace_state()


def transformed() -> bool:
    """Whether this is called inside a function that JAX is transforming."""
    return get_opaque_trace_state() != _untransformed()


def bind(eqn: Any, given: Sequence[Any]) -> list[Any]:
    """The equation's outputs for other inputs: the same operation once more."""
    params = eqn.primitive.get_bind_params(eqn.params)
    functions, params = params if isinstance(params, tuple) else ((), params)  # jax < 0.10
    with eqn.ctx.manager:
        out = eqn.primitive.bind(*functions, *given, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


def called(eqn: Any, names: Sequence[str] = ("jit", "pjit")) -> tuple[Any, Sequence[Any]] | None:
    """The nested program (jaxpr, constants) of an equation that only calls it, or None."""
    name = eqn.primitive.name
    if name not in names:
        return None
    nested = eqn.params[CALLS[name]]
    return (nested.jaxpr, nested.consts) if hasattr(nested, "consts") else (nested, ())


def evaluate(
    jaxpr: Any,
    consts: Sequence[Any],
    args: Sequence[Any],
    operation: Callable[[Any, list[Any]], list[Any]] = bind,
    constant: Callable[[Any], Any] = lambda v: v,
    calls: Sequence[str] = ("jit", "pjit"),
) -> list[Any]:
    """The jaxpr's outputs, with ``operation(equation, inputs) -> outputs`` for each equation.

    What flows through need not be arrays: it is whatever `operation` makes. `constant` makes it of
    the numbers written in the program. Programs nested in one of `calls` are looked into.
    """
    env: dict[Any, Any] = {}

    def read(v: Any) -> Any:
        return constant(v.val) if isinstance(v, Literal) else env[v]

    env.update(zip(jaxpr.constvars, map(constant, consts), strict=True))
    env.update(zip(jaxpr.invars, args, strict=True))
    for eqn in jaxpr.eqns:
        given, nested = [read(v) for v in eqn.invars], called(eqn, calls)
        if nested is None:
            out = operation(eqn, given)
        else:
            out = evaluate(*nested, given, operation, constant, calls)
        env.update(zip(eqn.outvars, out, strict=True))
    return [read(v) for v in jaxpr.outvars]


def unwrapped(fn: Any) -> Any:
    """The function inside `jax.jit`, which would not be traced again; any other as it is."""
    return fn.__wrapped__ if hasattr(fn, "lower") and hasattr(fn, "__wrapped__") else fn


def changes(fn: Callable[..., Any], *given: Any) -> bool:
    """Whether a function gives another program each time that it is traced.

    It draws numbers outside of JAX then (`np.random`), or keeps a state: compiled, what it had at
    first would be all that it ever has.
    """
    fn = unwrapped(fn)
    one, other = (jax.make_jaxpr(lambda *args: fn(*args))(*given) for _ in range(2))
    return not _alike(one, other)


def _alike(one: Any, other: Any) -> bool:
    """Whether two programs, or parameters of their equations, are equal as far as can be told."""
    if one is other:
        return True
    if hasattr(one, "jaxpr"):  # with its constants
        return _alike(one.jaxpr, other.jaxpr) and _alike(tuple(one.consts), tuple(other.consts))
    if hasattr(one, "eqns"):
        return len(one.eqns) == len(other.eqns) and all(map(_same_equation, one.eqns, other.eqns))
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, (jax.Array, np.ndarray, np.generic, int, float, complex)):
        one, other = _numbers(one), _numbers(other)
        return one.shape == other.shape and one.tobytes() == other.tobytes()
    return True


def _numbers(v: Any) -> np.ndarray:
    if jnp.issubdtype(getattr(v, "dtype", float), jax.dtypes.prng_key):
        v = jax.random.key_data(v)
    return np.asarray(v)


def _same_equation(one: Any, other: Any) -> bool:
    def literals(eqn: Any) -> list[Any]:
        return [v.val for v in eqn.invars if isinstance(v, Literal)]

    return (
        one.primitive is other.primitive
        and one.params.keys() == other.params.keys()
        and _alike(literals(one), literals(other))
        and all(_alike(one.params[k], other.params[k]) for k in one.params)
    )


def where(eqn: Any) -> str:
    """The line of the user's code that an equation comes from, as far as it is known."""
    packages = (sys.modules.get(name) for name in ("jax", "jaxlib", "flax", "jaxeval"))
    inside = tuple(os.path.dirname(str(p.__file__)) + os.sep for p in packages if p is not None)
    for frame in getattr(eqn.source_info.traceback, "frames", ()):
        if not frame.file_name.startswith((*inside, "<")):
            return f"{frame.file_name}:{frame.line_num}"
    return "an unknown line"


Replacement = Callable[[Any], Callable[..., Any] | None]


@dataclasses.dataclass
class Written:
    """How rewritten functions are wanted: with the operations that their authors wrote.

    Attributes:
      turned: their values may lie in another order of axes.
      replacements: what would have been done to the operations, functions of an equation.
    """

    turned: bool
    replacements: list[Replacement] = dataclasses.field(default_factory=list)


_WRITTEN: ContextVar[Written | None] = ContextVar("written", default=None)


@contextlib.contextmanager
def as_written(turned: bool = False) -> Iterator[Written]:
    """Inside, rewritten functions are traced so."""
    wanted = Written(turned)
    token = _WRITTEN.set(wanted)
    try:
        yield wanted
    finally:
        _WRITTEN.reset(token)


def wanted_as_written(replacement: Replacement) -> Written | None:
    """The `as_written` that is in force, which is told of a replacement."""
    wanted = _WRITTEN.get()
    if wanted is not None and replacement not in wanted.replacements:
        wanted.replacements.append(replacement)
    return wanted


def paths(params: Any) -> list[str]:
    """The path of every leaf, such as "params/Dense_0/kernel", in the tree's order."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def layer_of(path: str, collections: Sequence[str] = ("params",)) -> str:
    """The name of the layer that a parameter belongs to: all but the last part of its path.

    >>> layer_of("params/Dense_0/kernel")
    'Dense_0'
    """
    parts = path.split("/")
    if parts[0] in collections and len(parts) > 1:
        parts = parts[1:]
    if parts[-1] == "value" and len(parts) > 1:  # an NNX variable wraps its array
        parts = parts[:-1]
    if len(parts) == 1 and "." in parts[0]:  # a flat name of torch's, such as "layer1.0.weight"
        return parts[0].rpartition(".")[0]
    return "/".join(parts[:-1] or parts)
