"""Mosaics of four images, in which the location of the evidence for a class is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class Mosaics(NamedTuple):
    """M mosaics of 2 x 2 images, for `jaxeval.Focus`.

    x [M, C, 2H, 2W] (or as the images are laid out); y [M] int32, the class that two tiles show;
    mask [M, 2H, 2W] bool, where those tiles are; tiles [M, 4], which images the tiles are, in the
    order top left, top right, bottom left, bottom right.
    """

    x: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    tiles: np.ndarray


def mosaic(
    x: Any, y: Any, *, n_per_class: int = 10, channel_axis: int | None = 1, seed: int = 0
) -> Mosaics:
    """Mosaics of two images of a class and two of others, in random places.

    As in Arias-Duart et al. 2022, "Focus! Rating XAI methods and finding biases": an explanation
    of the mosaic's class should lie on the two tiles that show it. For these, the images of a
    class are used equally often (up to a difference of one); the other two are different images
    drawn from all other classes. Mosaics are twice as high and wide as the images.

    Args:
      x: images [N, C, H, W], [N, H, W, C] or [N, H, W].
      y: their classes [N], integers.
      n_per_class: number of mosaics per class.
      channel_axis: the channel axis of x, 1 or -1; None for images without channels.
      seed: random seed of the choice of images and of their positions.

    Raises:
      ValueError: x is not a batch of images, fewer than two classes, or a class with one image.

    >>> import numpy as np
    >>> x, y = np.arange(16.0).reshape(4, 1, 2, 2), np.array([0, 0, 1, 1])
    >>> made = mosaic(x, y, n_per_class=1)
    >>> made.x.shape, made.y.tolist(), made.mask.sum((1, 2)).tolist()
    ((2, 1, 4, 4), [0, 1], [8, 8])
    """
    x, y = np.asarray(x), np.asarray(y)
    axis = None if channel_axis is None else channel_axis % max(x.ndim, 1)
    space = [i for i in range(1, x.ndim) if i != axis]
    if axis == 0 or len(space) != 2:
        raise ValueError(
            f"x of shape {list(x.shape)} with channel_axis={channel_axis} is no batch of images: "
            "wanted [N, C, H, W] with 1, [N, H, W, C] with -1, or [N, H, W] with None"
        )
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise ValueError(
            f"y must be an integer class for each of the {len(x)} images, got {y.dtype}"
            f"{list(y.shape)}"
        )
    if n_per_class < 1:
        raise ValueError(f"n_per_class must be at least 1, got {n_per_class}")
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        found = dict(zip(classes.tolist(), counts.tolist(), strict=True))
        raise ValueError(f"a mosaic takes two images of two classes each, got {found}")
    rng = np.random.default_rng(seed)
    tiles = []
    for c in classes:
        pairs, others = _pairs(rng, np.flatnonzero(y == c)), np.flatnonzero(y != c)
        for _ in range(n_per_class):
            rest = rng.choice(others, 2, replace=False)
            tiles.append(rng.permutation([*next(pairs), *rest]))
    tiles, labels = np.array(tiles), np.repeat(classes, n_per_class)
    target = (y[tiles] == labels[:, None])[..., None, None]
    target = np.broadcast_to(target, (*tiles.shape, *(x.shape[i] for i in space)))
    return Mosaics(
        x=_two_by_two(x[tiles], *space),
        y=labels.astype(np.int32),
        mask=_two_by_two(target, 1, 2),
        tiles=tiles,
    )


def _pairs(rng: np.random.Generator, images: np.ndarray) -> Iterator[list[int]]:
    """An endless stream of pairs of different images, each image equally often."""
    queue: list[int] = []
    while True:
        if len(queue) < 2:
            fresh = rng.permutation(images)
            # The remaining image must not be paired with itself.
            queue += sorted(fresh.tolist(), key=lambda i: i in queue)
        yield [queue.pop(0), queue.pop(0)]


def _two_by_two(tiles: np.ndarray, height: int, width: int) -> np.ndarray:
    """[M, 4, ...] -> [M, ...], twice as high and wide; axes of one mosaic's batch."""
    rows = [np.concatenate([tiles[:, k], tiles[:, k + 1]], width) for k in (0, 2)]
    return np.concatenate(rows, height)
