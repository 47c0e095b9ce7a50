"""Every metric and every explainer, with settings for small images."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import jaxeval as je
from jaxeval.data import digits, digits_cnn
from tests import transformers_by_hand as by_hand
from tests.cases import EVERY

METRICS = {row: r.metric for row, r in EVERY.items() if "/" not in row}
"""One row of each metric."""


@functools.cache
def network() -> je.Model:
    """The digits network, with its hidden layers and an initialisation."""
    model = digits_cnn()
    return je.explain.with_hidden(model, list(model.layers(images()[:1]))[1:3])


@functools.cache
def images(n: int = 16) -> np.ndarray:
    return np.asarray(digits().x_test[:n])


@functools.cache
def explainers() -> dict[str, Any]:
    found = {}
    for name, cls in je.explain.EXPLAINERS.items():
        settings = {
            "layer": list(network().layers(images()[:1]))[2],
            "background": images()[:4],
            "n_samples": 3,
            "n_steps": 3,
            "unit": (2, 2, 8),
        }
        found[name] = cls(**{k: v for k, v in settings.items() if k in cls.__dataclass_fields__})
    return found


def explained_by(name: str) -> tuple[je.Model, np.ndarray]:
    """A model that the explainer suits, and its images."""
    if name in {cls.__name__ for cls in je.explain.FAMILIES["attention"]}:
        return by_hand.model(images=True), by_hand.inputs(images=True, n=16)
    return network(), images()


def evaluate(metrics: Any, given: Any, **more: Any) -> je.Results:
    """A run of the digits network."""
    x = images()
    mask = np.zeros(x.shape, bool)
    mask[:, 2:6, 1:5] = True
    return je.evaluate(
        network(), x, np.arange(len(x)) % 10, explainers=given, metrics=metrics, mask=mask,
        progress=False, **more,
    )  # fmt: skip
