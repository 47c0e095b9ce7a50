"""Detects functions whose traced program changes from one trace to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal


def unwrapped(fn: Any) -> Any:
    """The function inside `jax.jit`, whose trace is cached; other functions unchanged."""
    return fn.__wrapped__ if hasattr(fn, "lower") and hasattr(fn, "__wrapped__") else fn


def changes(fn: Callable[..., Any], *given: Any) -> bool:
    """Whether tracing a function twice gives two different programs.

    Such a function draws random numbers outside JAX (`np.random`) or has mutable state: compiled,
    it would keep the values of its first trace.
    """
    fn = unwrapped(fn)
    one, other = (jax.make_jaxpr(lambda *args: fn(*args))(*given) for _ in range(2))
    return not _alike(one, other)


def same_operations(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two lists of equations are the same operations, in the same order."""
    return len(one) == len(other) and all(map(_same_equation, one, other))


def _alike(one: Any, other: Any) -> bool:
    """Whether two programs, or parameters of equations, are equal; unknown types count as equal."""
    if one is other:
        return True
    if hasattr(one, "eqns"):
        consts = (tuple(getattr(v, "consts", ())) for v in (one, other))
        same = len(one.eqns) == len(other.eqns) and _alike(*consts)
        return same and all(map(_same_equation, one.eqns, other.eqns))
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
