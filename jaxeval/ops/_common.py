"""What several of these files need, and no caller does."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax


def as_float(v: Any) -> Array:
    """v as an array of float32, or of float64 where it already is."""
    v = jnp.asarray(v)
    return v.astype(jnp.promote_types(v.dtype, jnp.float32))


def power_of_two(m: Array) -> Array:
    """The power of two at or below m >= 0, kept where its square and inverse stay finite.

    Dividing by it is exact, so rescaling with it costs no digits. A constant for gradients:
    whatever is rescaled with it must not depend on it.
    """
    unsigned, digits, limit = (
        (jnp.uint64, 52, 2.0**990) if m.dtype == jnp.float64 else (jnp.uint32, 23, 2.0**100)
    )
    bits = lax.bitcast_convert_type(lax.stop_gradient(m), unsigned)
    power = lax.bitcast_convert_type((bits >> digits) << digits, m.dtype)
    return jnp.clip(power, 1 / limit, limit)


def largest(v: Array) -> Array:
    """max |v|, and 0 of nothing."""
    return jnp.max(jnp.abs(v), initial=0)


def extremes(v: Array, where: Any = None) -> tuple[Array, Array]:
    """(min v, max v), of the entries that `where` marks."""
    if where is None:
        return v.min(), v.max()
    return jnp.where(where, v, jnp.inf).min(), jnp.where(where, v, -jnp.inf).max()


def only(v: Array, where: Any = None) -> Array:
    """v with 0 where `where` is False."""
    return v if where is None else jnp.where(where, v, 0)


def known(argument: str, given: Any, names: Sequence[str]) -> None:
    """Refuses a name that is not among `names`, with the nearest one that is."""
    if isinstance(given, str) and given in names:
        return
    near = difflib.get_close_matches(str(given), names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    wanted = ", ".join(map(repr, names))
    raise ValueError(f"{argument} must be one of {wanted}, got {given!r}{hint}")
