"""Kendall's rank correlation, in O(F log F)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Real

from ._common import as_float
from .rank import ascending

MOST = 1 << 19
"""Upper limit of the number of entries: their pairs must be countable in two words."""
BITS = 9
"""Bits of a count held in the low word."""


def _total(counts: Array) -> Array:
    """The sum of counts below `MOST`, as two words [2]: float32 cannot hold it exactly."""
    return jnp.stack([(counts >> BITS).sum(), (counts & (1 << BITS) - 1).sum()])


def _number(words: Array) -> Array:
    high = words[0] + (words[1] >> BITS)
    return high * 2.0**BITS + (words[1] & (1 << BITS) - 1)


def _starts(new: Array) -> Array:
    """The start of the run that each entry belongs to; `new` marks the first entry of each run."""
    return lax.cummax(jnp.where(new, jnp.arange(new.size), 0))


def _changes(v: Array) -> Array:
    return jnp.append(True, v[1:] != v[:-1])


def _tied(new: Array) -> Array:
    """The number of pairs within runs."""
    return _total(jnp.arange(new.size) - _starts(new))


def _inversions(ranks: Array) -> Array:
    """The number of pairs i < j with ranks[i] > ranks[j], for ranks in 0..F-1.

    A radix sort from the highest bit: within each run of entries with equal higher bits, count the
    pairs where a 1 precedes a 0, then move the 0s before the 1s and continue with the next bit.
    """
    size = ranks.size
    at = jnp.arange(size)
    bits = max(size - 1, 1).bit_length()

    def level(k: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        row, total = state
        bit = bits - 1 - k
        new = _changes(row >> (bit + 1))
        start = _starts(new)
        end = lax.cummin(jnp.where(jnp.append(new[1:], True), at, size), reverse=True)
        one = (row >> bit) & 1
        ones = jnp.cumsum(one)
        before = ones - one  # ones before this entry, in all runs
        mine = before - before[start]
        zeros = (end + 1 - start) - (ones[end] - before[start])
        to = start + jnp.where(one == 1, zeros + mine, at - start - mine)
        total += _total(jnp.where(one == 1, 0, mine))
        return row.at[to].set(row, unique_indices=True), total

    start = ranks.astype(jnp.int32), jnp.zeros(2, jnp.int32)
    return lax.fori_loop(0, bits, level, start)[1]


def _below_infinity(v: Array) -> Array:
    return jnp.where(v == jnp.inf, jnp.finfo(v.dtype).max, v)


def kendall(
    u: Real[ArrayLike, "*shape"],
    v: Real[ArrayLike, "*shape"],
    where: Bool[ArrayLike, "*shape"] | None = None,
) -> Float[Array, ""]:
    """Kendall's tau-b rank correlation, in O(F log F).

    With n_u and n_v the numbers of pairs not tied in u and not tied in v::

        (concordant - discordant) / sqrt(n_u n_v)

    Equal to scipy.stats.kendalltau. Piecewise constant, so its gradient is 0.

    Args:
      u: an array of any shape, with fewer than 2^19 entries.
      v: an array of the same shape.
      where: bool mask of the entries to use; None: all.

    Returns:
      The correlation [], in [-1, 1]. NaN where u or v is constant or contains NaN.

    Raises:
      ValueError: for larger arrays.

    >>> print(kendall(jnp.array([1.0, 2.0, 9.0]), jnp.array([3.0, 2.0, 1.0])))
    -1.0
    """
    u, v = jnp.ravel(as_float(u)), jnp.ravel(as_float(v))
    size = u.size
    if size >= MOST:
        raise ValueError(f"kendall counts pairs of fewer than 2^19 entries, got {size}")
    added = 0
    if where is not None:
        # The others are made the largest of both: concordant with every entry, tied with another.
        out = ~jnp.ravel(jnp.asarray(where))
        u, v = (jnp.where(out, jnp.inf, _below_infinity(w)) for w in (u, v))
        added = _total(jnp.where(out, size - out.sum(), 0))
    by_v = ascending(v)
    new_v = _changes(v[by_v])
    ranks = jnp.zeros(size, jnp.int32).at[by_v].set(_starts(new_v), unique_indices=True)
    # Sorted by u, then by v within ties of u: inversions of v are exactly the discordant pairs.
    order = by_v[ascending(u[by_v])]
    new_u = _changes(u[order])
    new_both = new_u | _changes(v[order])
    pairs = _total(jnp.arange(size))
    free_u, free_v = pairs - _tied(new_u) - added, pairs - _tied(new_v) - added
    balance = free_u + free_v - pairs + _tied(new_both) - 2 * _inversions(ranks[order]) + added
    n_u, n_v = _number(free_u), _number(free_v)
    undefined = (n_u == 0) | (n_v == 0) | jnp.isnan(u).any() | jnp.isnan(v).any()
    tau = _number(balance) / jnp.where(undefined, 1, jnp.sqrt(n_u) * jnp.sqrt(n_v))
    return jnp.where(undefined, jnp.nan, jnp.clip(tau, -1, 1)).astype(u.dtype)
