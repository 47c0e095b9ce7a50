"""MST compactness: do the salient pixels form dense clusters in a small area?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ... import check
from ...metric import Metric
from ...perturb.base import check_positions
from ...types import Answer, Outcome, Sample, pytree


def mstc(heat: Any, percentile: Any = 80, n_neighbours: Any = 20) -> float:
    """The compactness of the salient pixels of a map [H, W] of magnitudes, in NumPy.

    >>> heat = np.zeros((8, 8))
    >>> heat[2:5, 2:5] = 1  # an area of 2 x 2 between 9 points, and a tree of length 8
    >>> round(mstc(heat), 4) == round(1 / 2 * 9 / 8 * 100 * 8 * 2**0.5, 4)
    True
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial import ConvexHull, KDTree, QhullError

    heat = np.asarray(heat, np.float64)
    points = np.argwhere((heat >= np.percentile(heat, percentile)) & (heat > 0))
    n = len(points)
    try:
        area = ConvexHull(points).volume  # in two dimensions, `volume` is the area
    except (QhullError, ValueError):  # too few points, or on one line
        return float("nan")
    tree = KDTree(points)
    reach = tree.query(points, min(int(n_neighbours), n - 1) + 1)[0][:, -1]
    found = tree.query_ball_point(points, reach * (1 + 1e-9))  # including ties
    start = np.repeat(np.arange(n), [len(v) for v in found])
    end = np.concatenate([np.asarray(v) for v in found])
    start, end = start[start != end], end[start != end]
    lengths = np.linalg.norm(points[start] - points[end], axis=1)
    edges = start.astype(np.int32), end.astype(np.int32)  # SciPy before 1.15 requires int32
    length = minimum_spanning_tree(csr_array((lengths, edges), shape=(n, n))).sum()
    return float(100 * np.hypot(*heat.shape) / np.sqrt(area) * n / length)


@pytree
class MSTC(Metric):
    r"""Compactness of the salient pixels, by their minimum spanning tree (MST-C).

    .. math:: 100 \sqrt{H^2 + W^2} \cdot \frac{1}{\sqrt{A}} \cdot \frac{n}{L}

    The n salient pixels are those with a magnitude at or above the percentile and above 0 (for
    maps of mostly zeros, the percentile can be 0); A is the area of the convex hull of their
    centres and L the length of the minimum spanning tree of their nearest-neighbour graph, in
    pixels. Two pixels are connected if one is among the nearest neighbours of the other, including
    all ties; if the graph is disconnected, L is the total length of the trees of its components.
    Maps with channels are summed over them first. Higher is better. NaN if the salient pixels are
    collinear or fewer than three. Only for maps with two spatial axes. Computed on the host.

    Args:
      percentile: percentile of the magnitudes of the map, 0 to 100.
      n_neighbours: number of neighbours of each pixel in the graph.

    Outcome: score [].
    """

    family = "complexity"
    direction = "higher"
    reference = "Mesgari et al. 2026, Structural compactness as a complementary criterion"

    percentile: Any = 80
    n_neighbours: Any = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "percentile", least=0, most=100)
        check.integer(self, "n_neighbours")

    def fit(self, model: Any, sample: Sample) -> None:
        space = len(sample.x.shape) - (sample.channel_axis is not None)
        if space != 2:
            raise ValueError(
                f"MSTC needs maps with two spatial axes, got inputs of shape "
                f"{tuple(sample.x.shape)}, channel axis {sample.channel_axis}"
            )

        check_positions(sample, "MSTC measures distances between positions")

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        a, axis = sample.a, sample.channel_axis
        channels = axis is not None and len(sample.features) == sample.x.ndim
        return Outcome(score=jnp.nan, record=jnp.abs(a.sum(axis) if channels else a))

    def finish(self, outcome: Outcome) -> Outcome:
        return Outcome(score=np.float32(mstc(outcome.record, self.percentile, self.n_neighbours)))
