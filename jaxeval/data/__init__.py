"""Small real data and models trained on it, for demonstrations and tests; no downloads.

Needs ``pip install "jaxeval[demo]"``; importing this module alone does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .digit_images import Digits as Digits
from .digit_images import digits as digits
from .mosaics import Mosaics as Mosaics
from .mosaics import mosaic as mosaic
from .sources import Source as Source
from .sources import open_source as open_source

if TYPE_CHECKING:
    from ..model import Model
    from .digit_network import DigitsCNN as DigitsCNN

_NEEDS_FLAX = 'the digits network needs Flax: pip install "jaxeval[demo]"'


def digits_cnn() -> Model:
    """A convolutional network that reads 98.5 % of the held-out `digits` correctly.

    x [N, 8, 8, 1] in [0, 1] -> logits [N, 10], channels last. It is `DigitsCNN` with the weights
    of ``python -m jaxeval.data.train_digits``, which come with the package.

    >>> model, data = digits_cnn(), digits()
    >>> round(100 * float((model(data.x_test).argmax(-1) == data.y_test).mean()), 1)
    98.5
    """
    try:
        from .digit_network import load
    except ImportError as e:
        raise ImportError(_NEEDS_FLAX) from e
    return load()


def digits_transformer() -> Model:
    """A vision transformer for the `digits`, for explainers of attention.

    x [N, 8, 8, 1] in [0, 1] -> logits [N, 10], channels last: 16 patches of 2 x 2 pixels and a
    class token, with the weights of ``python -m jaxeval.data.train_digits --network transformer``.

    >>> model, data = digits_transformer(), digits()
    >>> bool((model(data.x_test).argmax(-1) == data.y_test).mean() > 0.95)
    True
    """
    try:
        from .digit_network import TRANSFORMER_WEIGHTS, DigitsTransformer, load
    except ImportError as e:
        raise ImportError(_NEEDS_FLAX) from e
    return load(TRANSFORMER_WEIGHTS, DigitsTransformer())


def __getattr__(name: str) -> Any:
    if name == "DigitsCNN":  # needs Flax, which nothing else here does
        try:
            from .digit_network import DigitsCNN
        except ImportError as e:
            raise ImportError(_NEEDS_FLAX) from e
        return DigitsCNN
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
