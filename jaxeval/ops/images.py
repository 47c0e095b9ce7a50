"""Images that were normalised per channel, (x - mean) / std: back, and their baselines."""

from __future__ import annotations

from typing import Any

import numpy as np


def denormalise(x: Any, mean: Any, std: Any, channel_axis: int | None = 1) -> np.ndarray:
    """``x * std + mean`` per channel, limited to [0, 1], for display.

    Args:
      x: images [N, ...], or one sample with the channels on `channel_axis`.
      mean, std: one number, or one for each channel.
      channel_axis: the channel axis of x; None if it has none.

    Raises:
      ValueError: mean or std have another number of entries than x has channels.

    >>> x = np.zeros((1, 3, 2, 2))
    >>> denormalise(x, [0.25, 0.5, 0.75], [1, 1, 1])[0, :, 0, 0].tolist()
    [0.25, 0.5, 0.75]
    """
    x = np.asarray(x)
    n = 1 if channel_axis is None else x.shape[channel_axis]
    mean, std = (_per_channel(v, n, x.ndim, channel_axis) for v in (mean, std))
    return np.clip(x * std + mean, 0, 1)


def normalised(
    value: Any, mean: Any, std: Any, channel_axis: int | None = 1, ndim: int = 4
) -> np.ndarray:
    """What a value of an image in [0, 1] is after ``(value - mean) / std``: a baseline.

    0 is black, 1 white: ``baseline=normalised(0, mean, std)`` removes pixels by what the network
    saw as black, where "black" is the smallest entry of each image.

    Args:
      value: one number, or one for each channel.
      mean, std: one number, or one for each channel.
      channel_axis: the channel axis of x.
      ndim: the number of axes of x [N, ...].

    Returns:
      An array that broadcasts to one sample, such as [C, 1, 1].

    >>> normalised(0.0, [0.5, 0.25], [0.5, 0.5]).tolist()
    [[[-1.0]], [[-0.5]]]
    """
    n = max(np.size(v) for v in (value, mean, std))
    value, mean, std = (_per_channel(v, n, ndim, channel_axis) for v in (value, mean, std))
    return ((value - mean) / std)[0].astype(np.float32)


def _per_channel(v: Any, n: int, ndim: int, axis: int | None) -> np.ndarray:
    v = np.asarray(v, float).reshape(-1)
    if len(v) not in (1, n):
        raise ValueError(
            f"mean and std must have one number, or one per channel ({n} of them), got {len(v)}"
        )
    shape = [1] * ndim
    if axis is not None:
        shape[axis] = len(v)
    return v.reshape(shape)
