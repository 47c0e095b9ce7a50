"""Sorting, ranks and selections.

On CPUs, XLA sorts a single array of unsigned integers several times faster than floats or pairs of
keys and indices. So floats are sorted as integers with the same order. On GPUs and TPUs it is the
other way round: one sort of pairs costs a few passes over memory, a gather of single numbers or a
binary search up to a hundred. Results are the same.
"""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int32, Integer, Real, UInt32

from ._common import as_float


def _sortable(v: Array) -> Array:
    """uint32 keys with the order of v (at most 32 bits), with -0 = 0 and NaN last."""
    if jnp.issubdtype(v.dtype, jnp.unsignedinteger):
        return v.astype(jnp.uint32)
    if jnp.issubdtype(v.dtype, jnp.integer):
        return lax.bitcast_convert_type(v.astype(jnp.int32), jnp.uint32) ^ jnp.uint32(1 << 31)
    bits = lax.bitcast_convert_type(as_float(v), jnp.uint32)
    sign = jnp.uint32(1 << 31)
    bits = jnp.where(bits == sign, 0, bits)
    bits = jnp.where(bits & ~sign > 0x7F800000, 0x7FC00000, bits)
    return jnp.where(bits & sign, ~bits, bits | sign)


def sort(v: Real[ArrayLike, " ..."]) -> Real[Array, " F"]:
    """The entries of v [F], flattened, in ascending order; NaN last.

    >>> sort(jnp.array([0.5, -2.0, 0.0])).tolist()
    [-2.0, 0.0, 0.5]
    """
    v = jnp.ravel(jnp.asarray(v))
    if v.dtype != jnp.float32:
        return jnp.sort(v)
    return _sort(v)


@jax.custom_jvp
def _sort(v: Array) -> Array:
    bits, sign = jnp.sort(_sortable(v)), jnp.uint32(1 << 31)
    return lax.bitcast_convert_type(jnp.where(bits & sign, bits ^ sign, ~bits), jnp.float32)


@_sort.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return _sort(*primals), tangents[0][ascending(primals[0])]


def _order(v: ArrayLike, descending: bool) -> Array:
    """Stable argsort of v."""
    v = jnp.ravel(jnp.asarray(v))
    size = v.size
    if v.dtype.itemsize > 4 or size >= 1 << 24:
        return jnp.argsort(v, stable=True, descending=descending).astype(jnp.int32)
    keys = ~_sortable(v) if descending else _sortable(v)
    return lax.platform_dependent(keys, cpu=_order_by_digits, default=_order_of_pairs)


def _order_of_pairs(keys: Array) -> Array:
    """Stable argsort of unsigned keys by one sort of (key, index) pairs."""
    at = jnp.arange(keys.size, dtype=jnp.int32)
    return lax.sort((keys, at), num_keys=1, is_stable=True)[1]


def _order_by_digits(keys: Array) -> Array:
    """Stable argsort of unsigned keys: a radix sort that packs each digit and the index into 32
    bits.
    """
    size = keys.size
    index_bits = max(size - 1, 1).bit_length()
    digit_bits = 32 - index_bits
    order = jnp.arange(size, dtype=jnp.int32)
    for shift in range(0, 32, digit_bits):
        digits = (keys[order] >> shift) << index_bits
        at = jnp.sort(digits | jnp.arange(size, dtype=jnp.uint32)) & ((1 << index_bits) - 1)
        order = order[at.astype(jnp.int32)]
    return order


def descending(v: Real[ArrayLike, " ..."]) -> Int32[Array, " F"]:
    """Flat indices of v from the largest to the smallest entry; ties go to the lowest index.

    Args:
      v: an array with F entries, of any shape.

    Returns:
      The order [F]. NaN counts as the largest.

    >>> descending(jnp.array([0.0, 2.0, 0.0, 2.0])).tolist()
    [1, 3, 0, 2]
    """
    return _order(v, descending=True)


def ascending(v: Real[ArrayLike, " ..."]) -> Int32[Array, " F"]:
    """Flat indices of v from the smallest to the largest entry; ties go to the lowest index.

    With ties this is not the reverse of `descending`.

    Args:
      v: an array with F entries, of any shape.

    Returns:
      The order [F]. NaN counts as the largest.

    >>> ascending(jnp.array([0.0, 2.0, 0.0, 2.0])).tolist()
    [0, 2, 1, 3]
    """
    return _order(v, descending=False)


def places(order: Integer[ArrayLike, " F"]) -> Int32[Array, " F"]:
    """The inverse permutation: places[order[i]] = i.

    Args:
      order: a permutation [F] of 0..F-1, such as the result of `descending`.

    Returns:
      The position [F] of each entry in the order.

    >>> places(jnp.array([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    order = jnp.asarray(order).astype(jnp.int32)
    return lax.platform_dependent(order, cpu=_places_by_scatter, default=_order_of_pairs)


def _places_by_scatter(order: Array) -> Array:
    at = jnp.arange(order.size, dtype=jnp.int32)
    return jnp.zeros(order.size, jnp.int32).at[order].set(at, unique_indices=True)


def top(v: Real[ArrayLike, "*shape"], k: Integer[ArrayLike, ""]) -> Bool[Array, "*shape"]:
    """Mask of the k largest entries; ties go to the lowest index.

    Args:
      v: an array of any shape.
      k: the number of entries to select; may be traced. All if k exceeds the size.

    Returns:
      The bool mask, with v's shape.

    >>> top(jnp.array([0.0, 2.0, 0.0, 2.0]), 3).tolist()
    [True, True, False, True]
    """
    return (places(descending(v)) < k).reshape(jnp.shape(v))


def average_ranks(
    v: Real[ArrayLike, " ..."], where: Bool[ArrayLike, " F"] | None = None
) -> Float[Array, " F"]:
    """Ranks 1..F in ascending order; equal entries share the mean of their ranks.

    Equal to scipy.stats.rankdata. Piecewise constant, so its gradient is 0.

    Args:
      v: an array with F entries, of any shape.
      where: mask [F] of the flattened entries to rank among themselves; None: all. The others get
        larger ranks.

    Returns:
      The ranks [F] of the flattened array. All NaN if v contains NaN.

    >>> average_ranks(jnp.array([0.0, 2.0, 0.0])).tolist()
    [1.5, 3.0, 1.5]
    """
    v = jnp.ravel(jnp.asarray(v))
    v = v if where is None else jnp.where(where, v, jnp.inf)
    keys = v if v.dtype.itemsize > 4 else _sortable(v)
    ranks = lax.platform_dependent(keys, cpu=_ranks_by_search, default=_ranks_of_pairs)
    return jnp.where(jnp.isnan(v).any(), jnp.nan, ranks)


def _runs(run: Array) -> tuple[Array, Array]:
    """(mask of the first, index of the last) entry of the run of equal ones in a sorted array."""
    at = jnp.arange(run.size, dtype=jnp.int32)
    changes, edge = run[1:] != run[:-1], jnp.ones(1, bool)
    ends = jnp.concatenate([changes, edge])
    last = lax.cummin(jnp.where(ends, at, run.size), reverse=True)
    return jnp.concatenate([edge, changes]), last


def _ranks_by_search(keys: Array) -> Array:
    run = jnp.sort(keys)
    first = jnp.searchsorted(run, keys)
    return 1 + (first + _runs(run)[1][first]) / 2


def _ranks_of_pairs(keys: Array) -> Array:
    """The same by sorting to ranks and back, without a search or a gather."""
    at = jnp.arange(keys.size, dtype=jnp.int32)
    run, order = lax.sort((keys, at), num_keys=1, is_stable=False)
    starts, last = _runs(run)
    first = lax.cummax(jnp.where(starts, at, 0))
    return lax.sort((order, 1 + (first + last) / 2), num_keys=1, is_stable=False)[1]


def order_statistic(v: Float[ArrayLike, " F"], place: Integer[ArrayLike, ""]) -> Float[Array, ""]:
    """``sort(v)[place]``, found bit by bit, which is much faster than sorting.

    Args:
      v: numbers [F], none below 0.
      place: the number of smaller entries, from 0 to F - 1; may be traced.

    >>> print(order_statistic(jnp.array([3.0, 1.0, 2.0]), 1))
    2.0
    """
    v = jnp.asarray(v)
    bits = jnp.finfo(v.dtype).bits
    kind = jnp.dtype(f"int{bits}")
    # Non-negative floats order like their bits, read as integers. At most 255 rows, so that the
    # count of each column fits into a byte, which vectorises best.
    width = max(128, -(-v.size // 255))
    given = jnp.pad(
        lax.bitcast_convert_type(v, kind),
        (0, -v.size % width),
        constant_values=jnp.iinfo(kind).max,
    ).reshape(-1, width)

    def below(bound: Array) -> Array:
        return (given < bound).sum(0, dtype=jnp.uint8).astype(jnp.int32).sum()

    def decide(i: Any, found: Array) -> Array:
        more = found | jnp.left_shift(jnp.asarray(1, kind), jnp.asarray(bits - 2 - i, kind))
        return jnp.where(below(more) <= place, more, found)

    found = lax.fori_loop(0, bits - 1, decide, jnp.zeros((), kind))
    return lax.bitcast_convert_type(found, v.dtype)


def portion(
    n: Integer[ArrayLike, ""],
    s: Integer[ArrayLike, ""],
    total: Integer[ArrayLike, ""],
    most: int,
) -> Integer[Array, ""]:
    """floor(n s / total) in int32 without overflow of the product n s.

    Args:
      n: the number to divide, may be traced.
      s: from 0 to `total`, may be traced.
      total: the number of parts, from 1 to `most`; may be traced.
      most: an upper bound of `total`, static.

    >>> print(portion(150_528, 150_527, 150_528, 150_528))
    150527
    """
    n, s, total = jnp.asarray(n), jnp.asarray(s), jnp.asarray(total)
    whole, rest = n // total * s, n % total
    if most**2 < 2**31:
        return whole + rest * s // total
    part, over = jnp.zeros_like(s), jnp.zeros_like(s)
    for bit in reversed(range(int(most).bit_length())):  # binary long multiplication and division
        over = 2 * over + ((s >> bit) & 1) * rest
        part, over = 2 * part + over // total, over % total
    return whole + part


def smallest(keys: UInt32[Array, " F"], n: Integer[ArrayLike, ""]) -> Bool[Array, " F"]:
    """Mask of the n smallest keys; ties go to the lowest index.

    With random bits as keys, this is a uniformly random subset of size n. Instead of sorting, it
    searches for the threshold with n keys below it. Each round counts the keys below two guesses,
    one on each side of the threshold expected for uniform keys, until at most one key is on the
    wrong side. Random keys take 2 or 3 rounds (6 in one of a thousand selections); every fourth
    round divides the interval into thirds, which bounds the number of rounds for any keys.

    Args:
      keys: unsigned integers [F].
      n: the number of keys to select; may be traced. Clipped to 0..F.

    Returns:
      The mask [F], with exactly n entries True.

    >>> smallest(jnp.array([7, 3, 3, 9], jnp.uint32), 1).tolist()
    [False, True, False, False]
    """
    size = keys.size
    n = jnp.clip(jnp.asarray(n, jnp.int32), 0, size)

    def below(t):
        # One variadic reduction: XLA vectorises it on CPUs, unlike the sum of an array [2, F].
        masks = tuple((keys < v).astype(jnp.int32) for v in t)
        zeros, add = (jnp.int32(0),) * len(masks), lambda u, v: tuple(map(operator.add, u, v))
        return jnp.stack(lax.reduce(masks, zeros, add, (0,)))

    # Invariant: at_low keys are < low, at_high keys are <= high, and at_low <= n < at_high (n = F:
    # <=).
    def searching(state):
        low, at_low, high, at_high, _ = state
        return (n - at_low > 1) & (at_high - n > 1) & (low < high)

    def narrow(state):
        low, at_low, high, at_high, step = state
        width, within = high - low, (at_high - at_low).astype(jnp.float32)
        middle = (n - at_low + 0.5) / (within + 1)
        apart = 0.7 * jnp.sqrt(middle * (1 - middle) / (within + 2))  # standard deviations
        third = step % 4 == 3
        middle, apart = jnp.where(third, 0.5, middle), jnp.where(third, 1 / 6, apart)
        shares = jnp.stack([middle - apart, middle + apart])
        # 2^32 - 2^8 is the largest float32 that fits into a uint32.
        ahead = jnp.clip(width.astype(jnp.float32) * shares, 0, 2.0**32 - 2.0**8)
        t = low + jnp.clip(ahead.astype(jnp.uint32), 1, width)
        at_t = below(t)
        fits = at_t <= n
        return (
            jnp.where(fits, t, low).max(),
            jnp.where(fits, at_t, at_low).max(),
            jnp.where(fits, high, t - 1).min(),
            jnp.where(fits, at_high, at_t).min(),
            step + 1,
        )

    zero, full, last = jnp.int32(0), jnp.int32(size), jnp.uint32(2**32 - 1)
    start = (jnp.uint32(0), zero, last, full, zero)
    low, at_low, high, at_high, _ = lax.while_loop(searching, narrow, start)

    # The key at the threshold is either the smallest or the largest in low..high; the largest is
    # found as the smallest complement.
    drops = (at_high - n <= 1) & (n - at_low > 1)
    flip = jnp.where(drops, last, 0)
    inside = jnp.where(drops, keys <= high, keys >= low)
    t = jnp.min(jnp.where(inside, keys ^ flip, last)) ^ flip

    # Of the keys equal to t, those at indices before `cut` are selected too. Usually all or none of
    # them are, and there is nothing to search.
    tied = keys == t
    n_tied = jnp.sum(tied, dtype=jnp.int32)
    wanted = n - jnp.where(drops, at_high - n_tied, at_low)
    at = jnp.arange(size, dtype=jnp.int32)

    def narrow_cut(state):
        low, high = state
        middle = (low + high) // 2
        before = jnp.sum(tied & (at < middle), dtype=jnp.int32)
        enough = before >= wanted
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    low = jnp.where(wanted == n_tied, full, zero)
    high = jnp.where(wanted == 0, low, full)
    cut, _ = lax.while_loop(lambda s: s[0] < s[1], narrow_cut, (low, high))
    return (keys < t) | (tied & (at < cut))
