"""Helpers shared by the files of this package."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax


def as_float(v: Any) -> Array:
    """v as a float32 array; float64 stays float64."""
    v = jnp.asarray(v)
    return v.astype(jnp.promote_types(v.dtype, jnp.float32))


def power_of_two(m: Array) -> Array:
    """The largest power of two <= m, for m >= 0, clipped so that its square and inverse are finite.

    Dividing by it is exact, so rescaling loses no precision. Gradients treat it as a constant:
    the final result must not depend on its value.
    """
    unsigned, digits, limit = (
        (jnp.uint64, 52, 2.0**990) if m.dtype == jnp.float64 else (jnp.uint32, 23, 2.0**100)
    )
    bits = lax.bitcast_convert_type(lax.stop_gradient(m), unsigned)
    power = lax.bitcast_convert_type((bits >> digits) << digits, m.dtype)
    return jnp.clip(power, 1 / limit, limit)


def largest(v: Array) -> Array:
    """max |v|; 0 for an empty array."""
    return jnp.max(jnp.abs(v), initial=0)


def extremes(v: Array, where: Any = None) -> tuple[Array, Array]:
    """(min v, max v) over the entries selected by `where`."""
    if where is None:
        return v.min(), v.max()
    return jnp.where(where, v, jnp.inf).min(), jnp.where(where, v, -jnp.inf).max()


def only(v: Array, where: Any = None) -> Array:
    """v, set to 0 where `where` is False."""
    return v if where is None else jnp.where(where, v, 0)


def known(argument: str, given: Any, names: Sequence[str]) -> None:
    """Raise a ValueError unless `given` is one of `names`; the message suggests the closest."""
    if isinstance(given, str) and given in names:
        return
    near = difflib.get_close_matches(str(given), names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    wanted = ", ".join(map(repr, names))
    raise ValueError(f"{argument} must be one of {wanted}, got {given!r}{hint}")
