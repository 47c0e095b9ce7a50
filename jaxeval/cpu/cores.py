"""Convolutions that XLA would run on one core alone.

Some versions of jaxlib (`private_jax`) delegate channels-last convolutions to YNNPACK, which uses
several cores only for 128 channels or more, and one core for fewer. YNNPACK does not take
convolutions whose output is larger than their input in a dimension. So one extra row is computed
and dropped; and one column of padding is added to the input beforehand, so that the same holds for
the gradient. On two cores this takes 0.5 to 0.7 of the time. Within a `CpuJit` it is not needed.
"""

from __future__ import annotations

import math
import os
from typing import Any

import jax.numpy as jnp

from ..private_jax import YNNPACK_ON_ONE_CORE
from ..trace import jaxprs

FEWEST = 16
"""Input channels from which it pays; YNNPACK takes convolutions with more than 16 in or out."""
SPREAD = 128
"""Input and output channels from which YNNPACK uses all cores."""
MOST_MORE = 1 / 8
"""Maximum share of extra rows and columns for which it pays."""


def available_cores() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def on_one_core(eqn: Any) -> bool:
    """Whether a `conv_general_dilated` would run on one core once it is channels-last."""
    p, dims = eqn.params, eqn.params["dimension_numbers"]
    x, kernel, out = (v.aval for v in (*eqn.invars, *eqn.outvars))
    if not YNNPACK_ON_ONE_CORE or x.dtype != jnp.float32 or x.ndim != 4 or available_cores() < 2:
        return False
    if math.prod((*p["window_strides"], *p["lhs_dilation"])) != 1 or p["feature_group_count"] != 1:
        return False
    o, c = (kernel.shape[i] for i in dims.rhs_spec[:2])
    if c < FEWEST or max(c, o) <= 16 or min(c, o) >= SPREAD:
        return False
    before = tuple(x.shape[i] for i in dims.lhs_spec[2:])
    after = tuple(out.shape[i] for i in dims.out_spec[2:])
    if any(v < 0 for side in p["padding"] for v in side):
        return False
    more = _more(before, after)
    few = all(m <= MOST_MORE * n for m, n in zip(more, after, strict=True))
    return few and sum(p["padding"][1]) >= more[1]


def _more(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, int]:
    """(rows that the output lacks to be higher than the input, columns that the input lacks to be
    wider than the output).
    """
    return max(0, before[0] - after[0] + 1), max(0, after[1] - before[1] + 1)


def spread(eqn: Any, x: Any, kernel: Any) -> Any:
    """The convolution of x [n, h, w, c] with kernel [kh, kw, c, o], on all cores.

    Args:
      eqn: its equation, channels-last but for the shapes of its variables.
    """
    (top, bottom), (left, right) = eqn.params["padding"]
    kh, kw = (
        (n - 1) * d + 1 for n, d in zip(kernel.shape[:2], eqn.params["rhs_dilation"], strict=True)
    )
    before = x.shape[1:3]
    after = before[0] + top + bottom - kh + 1, before[1] + left + right - kw + 1
    rows, columns = _more(before, after)
    first = min(left, columns)
    rest = columns - first
    x = jnp.pad(x, ((0, 0), (0, 0), (first, rest), (0, 0)))
    padding = ((top + rows, bottom), (left - first, right - rest))
    (out,) = jaxprs.bind(eqn.replace(params={**eqn.params, "padding": padding}), [x, kernel])
    return out[:, rows:]
