"""Walking and evaluating jaxprs, equation by equation."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jax.core import eval_context
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, get_opaque_trace_state

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
"""Primitives that compute each output entry from the same entries of the inputs."""


@functools.cache
def _untransformed() -> Any:
    with eval_context():  # the first call may come from within a transformation
        return get_opaque_trace_state()


def transformed() -> bool:
    """Whether this is called inside a JAX transformation."""
    return get_opaque_trace_state() != _untransformed()


def bind(eqn: Any, given: Sequence[Any]) -> list[Any]:
    """Apply the equation's operation to other inputs."""
    params = eqn.primitive.get_bind_params(eqn.params)
    with eqn.ctx.manager:
        out = eqn.primitive.bind(*given, **params)
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
    """Interpret a jaxpr with ``operation(equation, inputs) -> outputs`` for each equation.

    Values need not be arrays: they can be any objects that `operation` returns. `constant` converts
    the constants and literals of the program. Programs called by one of `calls` are inlined.
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


def where(eqn: Any) -> str:
    """The line of the user's code that an equation comes from, if known."""
    packages = (sys.modules.get(name) for name in ("jax", "jaxlib", "flax", "jaxeval"))
    inside = tuple(os.path.dirname(str(p.__file__)) + os.sep for p in packages if p is not None)
    for frame in getattr(eqn.source_info.traceback, "frames", ()):
        if not frame.file_name.startswith((*inside, "<")):
            return f"{frame.file_name}:{frame.line_num}"
    return "an unknown line"


def nested(eqn: Any) -> list[Any]:
    """The programs inside an equation: loop bodies, branches, calls."""
    given = [w for v in eqn.params.values() for w in (v if isinstance(v, (tuple, list)) else (v,))]
    return [v for v in given if isinstance(v, (ClosedJaxpr, Jaxpr))]


def equations(jaxpr: Any, calls: Sequence[str]) -> Iterator[Any]:
    """All equations in order, with the programs called by one of `calls` inlined."""
    for eqn in jaxpr.eqns:
        inside = called(eqn, calls)
        if inside is None:
            yield eqn
        else:
            yield from equations(inside[0], calls)
