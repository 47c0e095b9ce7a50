"""Real handwritten digits: the 1,797 images of 8x8 pixels that come with scikit-learn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

HELD_OUT_EVERY = 3
N_HELD_OUT = 596


class Digits(NamedTuple):
    """x [N, 8, 8, 1] float32 in [0, 1] (0 is the background), y [N] int32 in 0..9."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def digits() -> Digits:
    """scikit-learn's digits, 1,201 for training and 596 held out; always the same split.

    Every third image of each class, in the order of the data set, is held out, so that the split
    is stratified and depends on no random generator. Both parts hold digits of the same writers.

    The test part of Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI
    Machine Learning Repository (CC BY 4.0).

    Raises:
      ImportError: scikit-learn is not installed; the message says how to install it.

    >>> data = digits()
    >>> data.x_train.shape, data.x_test.shape
    ((1201, 8, 8, 1), (596, 8, 8, 1))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as e:
        raise ImportError('digits needs scikit-learn: pip install "jaxeval[demo]"') from e
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    x = (images / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    y = labels.astype(np.int32)
    held_out = np.zeros(len(y), bool)
    for label in range(10):
        held_out[np.flatnonzero(y == label)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]] = True
    return Digits(x[~held_out], y[~held_out], x[held_out], y[held_out])
