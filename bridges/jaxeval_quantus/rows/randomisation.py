"""Randomisation: explanations of other classes and of randomised models.

Quantus's own loops run, which explain by `explain`, so that every map comes from the engine.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from ..models import evaluating, outputs_of
from ..settings import chosen
from .row import Row

FLOATS = 2**24
"""Noisy inputs that are explained at a time, in numbers."""


def random_logit(metric: Any, given: dict[str, Any]) -> Any:
    """Quantus's score, of a class that the model has: `num_classes` is 1000 by default there."""
    x, y, a = (given[name] for name in ("x_batch", "y_batch", "a_batch"))
    np.random.seed(metric.seed)
    module = given["model"].get_model()
    with evaluating(module):  # explaining takes a model in training mode to this one as well
        classes = outputs_of(module, np.ascontiguousarray(x[:1], np.float32)).shape[-1]
    classes = min(metric.num_classes, classes)
    other = np.random.randint(0, classes - 1, len(x))
    y = np.arange(classes)[np.asarray(y)]  # as there: -1 is the last one, and others are errors
    changed = metric.explain_batch(given["model"], x, other + (other >= y))
    return metric.similarity_func(a.reshape(len(x), -1), changed.reshape(len(x), -1), batched=True)


class Smooth:
    """SmoothMPRT with noise on every copy, the same for every model, of any explainer."""

    _seed: int

    def _call(self, given: dict[str, Any]) -> Any:
        if "quantus" in chosen.values():
            return super()._call(given)  # type: ignore[misc]
        self._seed = int(np.random.randint(2**31))
        try:
            return super()._call(given)  # type: ignore[misc]
        finally:
            del self._seed

    def explain_smooth_batch_numpy(
        self, model: Any, x_batch: np.ndarray, y_batch: np.ndarray, std: Any, **kwargs: Any
    ) -> np.ndarray:
        if "quantus" in chosen.values():
            own: Any = super()
            return own.explain_smooth_batch_numpy(model, x_batch, y_batch, std, **kwargs)
        metric: Any = self
        of_batch = zlib.crc32(np.ascontiguousarray(x_batch).tobytes())
        rng = np.random.default_rng([self._seed, of_batch])
        most, total, left = max(1, FLOATS // x_batch.size), 0.0, metric.nr_samples
        while left:
            copies = min(most, left)
            left -= copies
            noise = rng.normal(size=(copies, *x_batch.shape)) * std
            inputs = (x_batch + noise).astype(x_batch.dtype).reshape(-1, *x_batch.shape[1:])
            maps = metric.explain_func(
                model=model,
                inputs=inputs,
                targets=np.tile(y_batch, copies),
                **metric.explain_func_kwargs,
            )
            total = total + maps.reshape(copies, len(x_batch), *maps.shape[1:]).sum(0)
        return total / metric.nr_samples


ROWS = {
    "MPRT": Row(explains=True),
    "ModelParameterRandomisation": Row(explains=True),
    "RandomLogit": Row(explains=True, own=random_logit),
    "EfficientMPRT": Row(explains=True),
    "SmoothMPRT": Row(
        explains=True,
        mixin=Smooth,
        paper="the given explainer is smoothed, with noise on all copies, the same for every "
        "model; Quantus smooths its own `explain`, with other noise for each model",
    ),
}
