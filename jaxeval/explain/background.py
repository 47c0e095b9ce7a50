"""Background samples: a set of baselines."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import check, ops


def check_background(owner: Any) -> None:
    """Check that the field `background` is an array [B, ...] with B >= 1, a name, or None."""
    given = owner.background
    if isinstance(given, str):
        check.one_of(owner, "background", ops.BACKGROUND_BASELINES)
    elif given is not None and (np.ndim(given) < 2 or np.shape(given)[0] < 1):
        raise ValueError(
            f"{type(owner).__name__}(background=...) must be an array [B, ...] of samples, got the "
            f"shape {np.shape(given)}"
        )


def background(owner: Any, x: jax.Array) -> jax.Array:
    """The owner's background [B, ...] for inputs x [N, ...]; zeros [1, ...] if it is None."""
    if owner.background is None:
        return jnp.zeros((1, *x.shape[1:]), x.dtype)
    if isinstance(owner.background, str):
        raise ValueError(
            f"{type(owner).__name__}(background={owner.background!r}) needs samples: give "
            "background=, an array [B, ...] of them, to evaluate, score or attribute"
        )
    given = jnp.asarray(owner.background, x.dtype)
    if given.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"{type(owner).__name__}(background=...) must have the shape "
            f"[B, {', '.join(map(str, x.shape[1:]))}] for samples of the shape {x.shape[1:]}, got "
            f"{given.shape}"
        )
    return given
