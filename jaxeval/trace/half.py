"""Float32 explanations of half-precision models.

Differences, small denominators and sums lose their precision in float16, whose smallest number is
6e-8 and whose largest is 65504. So explainers compute in float32; the model itself is evaluated in
its own dtype.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from ..model import Model
from . import jaxprs
from .jaxprs import ELEMENTWISE


def is_half(dtype: Any) -> bool:
    """Whether a dtype is floating-point with fewer than 32 bits."""
    return bool(jnp.issubdtype(dtype, jnp.floating)) and jnp.dtype(dtype).itemsize < 4


@dataclasses.dataclass(frozen=True)
class Narrow:
    """A forward pass that casts float32 inputs to `dtype` and half-precision outputs to float32."""

    fn: Callable[..., Any]
    dtype: Any

    def __call__(self, params: Any, x: Any, *inputs: Any) -> Any:
        z = self.fn(params, x.astype(self.dtype), *inputs)
        z = z if isinstance(z, jax.Array) else np.asarray(z)  # host models return NumPy arrays
        return z.astype(np.float32) if is_half(z.dtype) else z


def in_float32(model: Model, dtype: Any) -> Model:
    """A model for half-precision inputs of this dtype, wrapped to take float32 inputs."""
    return dataclasses.replace(model, apply=Narrow(model.apply, jnp.dtype(dtype)))


# -- programs ------------------------------------------------------------------------------------


def wide(dtype: Any) -> Any:
    return jnp.dtype(jnp.float32) if is_half(dtype) else dtype


def wide_array(v: Any) -> Any:
    if not is_half(jnp.result_type(v)):
        return v
    # Scalars stay literals of the program.
    return np.asarray(v, np.float32) if jnp.ndim(v) == 0 else jnp.asarray(v, jnp.float32)


def holds_half(jaxpr: Any) -> bool:
    """Whether a program contains half-precision values."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    values = [*jaxpr.constvars, *jaxpr.invars, *jaxpr.outvars]
    values += [v for eqn in jaxpr.eqns for v in eqn.outvars]
    return any(is_half(getattr(v.aval, "dtype", np.int32)) for v in values) or any(
        holds_half(p) for eqn in jaxpr.eqns for p in jaxprs.nested(eqn)
    )


def widened(closed: Any) -> Any:
    """The program (a closed jaxpr) with all half-precision values in float32."""
    specs = [jax.ShapeDtypeStruct(v.aval.shape, wide(v.aval.dtype)) for v in closed.jaxpr.invars]

    def run(*given: Any) -> list[Any]:
        consts = list(map(wide_array, closed.consts))
        calls = tuple(jaxprs.CALLS)
        return jaxprs.evaluate(closed.jaxpr, consts, given, _widened, wide_array, calls)

    return jax.make_jaxpr(run)(*specs)


def _widened(eqn: Any, given: list[Any]) -> list[Any]:
    """An equation's outputs in float32."""
    edges = [v.aval for v in (*eqn.invars, *eqn.outvars)]
    half = any(is_half(getattr(v, "dtype", np.int32)) for v in edges)
    if not half and not any(map(holds_half, jaxprs.nested(eqn))):
        return jaxprs.bind(eqn, given)
    if eqn.primitive.name == "custom_jvp_call":
        return _with_its_derivative(eqn, given)
    if eqn.primitive.name.startswith("custom_vjp_call"):  # its rules are written for its own dtypes
        return _as_it_is(eqn, given)
    try:
        params = {k: _wide_param(v) for k, v in eqn.params.items()}
        out = jaxprs.bind(eqn.replace(params=params), given)
        if all(v.dtype == wide(o.aval.dtype) for v, o in zip(out, eqn.outvars, strict=True)):
            return out
    except Exception:  # operations that require their dtype, such as a bitcast, keep it
        pass
    return _as_it_is(eqn, given)


def _wide_param(v: Any) -> Any:
    if isinstance(v, ClosedJaxpr):
        return widened(v)
    if isinstance(v, Jaxpr):
        return v if v.constvars else widened(ClosedJaxpr(v, ())).jaxpr
    if isinstance(v, (tuple, list)) and any(isinstance(p, (ClosedJaxpr, Jaxpr)) for p in v):
        return type(v)(map(_wide_param, v))
    if isinstance(v, np.dtype) or (isinstance(v, type) and issubclass(v, np.generic)):
        return wide(v)
    return v


def _as_it_is(eqn: Any, given: list[Any]) -> list[Any]:
    """The equation in its own dtypes, with float32 inputs and outputs."""
    own = [
        jnp.asarray(v, w.aval.dtype) if is_half(getattr(w.aval, "dtype", np.int32)) else v
        for v, w in zip(given, eqn.invars, strict=True)
    ]
    return [wide_array(v) for v in jaxprs.bind(eqn, own)]


def _with_its_derivative(eqn: Any, given: list[Any]) -> list[Any]:
    """A function with a custom derivative, which it keeps."""
    closed = widened(eqn.params["call_jaxpr"])
    floats = [i for i, v in enumerate(given) if jnp.issubdtype(v.dtype, jnp.floating)]

    @jax.custom_jvp
    def f(*args: Any) -> list[Any]:
        return jaxprs.evaluate(closed.jaxpr, closed.consts, args)

    @f.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        def own(*some: Any) -> list[Any]:
            full = list(primals)
            for i, v in zip(floats, some, strict=True):
                full[i] = v
            return _as_it_is(eqn, full)

        at, moves = [primals[i] for i in floats], [tangents[i] for i in floats]
        if {e.primitive.name for e in closed.jaxpr.eqns} <= ELEMENTWISE:
            # The element-wise derivatives, which are moderate, are computed in the model's dtype;
            # the tangents may be large, so they are multiplied in float32.
            changes = [jnp.zeros(v.aval.shape, wide(v.aval.dtype)) for v in eqn.outvars]
            for i, move in enumerate(moves):
                ones = [jnp.full_like(v, float(j == i)) for j, v in enumerate(at)]
                _, slopes = jax.jvp(own, at, ones)
                changes = [c + s * move for c, s in zip(changes, slopes, strict=True)]
            return f(*primals), changes
        return f(*primals), jax.jvp(own, at, moves)[1]

    return list(f(*given))
