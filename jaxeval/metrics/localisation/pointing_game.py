"""Pointing game: is the most relevant feature on the object?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ... import check
from ...metric import Metric
from ...types import Answer, Outcome, Sample, pytree, static


def pointing_game(
    a: Float[Array, "*features"],
    mask: Bool[Array, "*features"],
    tolerance: Any = 0,
    weighted: bool = False,
    channel_axis: int | None = None,
    where: Bool[Array, "*features"] | None = None,
) -> Float[Array, ""]:
    """1 if the largest entry of a is within `tolerance` pixels of the mask, else 0.

    Ties go to the lowest index. `weighted`: multiplied by 1 - |mask| / F, as small objects are
    harder to hit. Distances are Euclidean over all axes except `channel_axis`. NaN for an empty
    mask.

    >>> import jax.numpy as jnp
    >>> float(pointing_game(jnp.array([0.0, 2.0, 1.0]), jnp.array([True, False, False])))
    0.0
    """
    grid = [g.ravel() for i, g in enumerate(np.indices(a.shape)) if i != channel_axis]
    at, inside = a.argmax(), mask.ravel()
    squares = sum(((jnp.asarray(g) - jnp.asarray(g)[at]) ** 2 for g in grid), jnp.zeros(a.size))
    hit = (inside & (squares <= tolerance**2)).any().astype(jnp.float32)
    if weighted:
        hit = hit * (1 - mask.mean(where=where))
    return jnp.where(inside.any(), hit, jnp.nan)


@pytree
class PointingGame(Metric):
    r"""Whether the largest attribution lies on the object.

    .. math:: 1 \big[ \min_{m \in M} \lVert \operatorname{argmax}_i a_i - m \rVert_2 \le t \big]

    Higher is better: 1 for a hit, 0 for a miss. NaN for an empty mask.

    Args:
      tolerance: t, in pixels; 0 for maps per channel, which have no distances.
      weighted: multiply by 1 - |M| / F, as small objects are harder to hit.

    Outcome: score [].
    """

    family = "localisation"
    direction = "higher"
    needs = frozenset({"mask"})
    takes_padding = True
    reference = "Zhang et al. 2018, Top-down neural attention by excitation backprop, IJCV"

    tolerance: Any = 0
    weighted: bool = static(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "tolerance", least=0)
        check.one_of(self, "weighted", (True, False))

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        # Channels have no distances.
        settings = (0 if sample.per_channel else self.tolerance, self.weighted)
        a = sample.filled(-jnp.inf)
        score = pointing_game(a, sample.mask, *settings, sample.map_channel_axis, sample.where)
        return Outcome(score=score)
