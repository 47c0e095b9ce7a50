"""Every metric and every explainer, with settings for small images and for large networks."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

import jaxeval as je
from jaxeval.data import digits, digits_cnn
from tests import transformers_by_hand as by_hand
from tests.accelerators.networks import CLASSES, SHAPE, bert12, resnet50
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


def evaluate(metrics: Any, given: Any, run: Any = je.evaluate, **more: Any) -> Any:
    """A run of the digits network."""
    x = images()
    mask = np.zeros(x.shape, bool)
    mask[:, 2:6, 1:5] = True
    return run(
        network(), x, np.arange(len(x)) % 10, explainers=given, metrics=metrics, mask=mask,
        progress=False, **more,
    )  # fmt: skip


def meta_evaluate(given: Any, **more: Any) -> je.MetaResults:
    """Metrics of outputs, hidden layers and maps under perturbed inputs, models and maps."""
    metrics = {name: METRICS[name] for name in ("PixelFlipping", "RRS", "Sparseness")}
    return evaluate(metrics, given, je.meta_evaluate, n_perturbations=3, **more)


@dataclasses.dataclass(frozen=True)
class Large:
    """A large network, and what suits it of all metrics and explainers.

    Attributes:
      model: the network.
      shape: of an input.
      n_classes: the number of its classes.
      settings: of explainers, for those that have them.
      skip: metrics and explainers that do not suit its inputs or layers.
    """

    model: je.Model
    shape: tuple[int, ...]
    n_classes: int
    settings: dict[str, Any]
    skip: frozenset[str]

    def metrics(self) -> dict[str, Any]:
        """With their defaults, but some hundred features in a step where all are taken out."""
        found = {}
        for name, small in METRICS.items():
            step = getattr(small, "features_in_step", None)
            given = {"features_in_step": 1568} if step is not None and step > 1 else {}
            found[name] = type(small)(**given)
        return {name: m for name, m in found.items() if name not in self.skip}

    def explainers(self) -> dict[str, Any]:
        return {
            name: cls(**{k: v for k, v in self.settings.items() if k in cls.__dataclass_fields__})
            for name, cls in je.explain.EXPLAINERS.items()
            if name not in self.skip
        }

    def evaluate(self, n: int, metrics: Any, given: Any, **more: Any) -> je.Results:
        """A run of n samples."""
        x = np.zeros((n, *self.shape), np.float32)
        mask = np.zeros(x.shape, bool)
        mask[:, 10:60] = True
        return je.evaluate(
            self.model, x, np.arange(n) % self.n_classes, explainers=given, metrics=metrics,
            mask=mask, progress=False, **more,
        )  # fmt: skip


def named(family: str) -> frozenset[str]:
    return frozenset(cls.__name__ for cls in je.explain.FAMILIES[family])


@functools.cache
def large(network: str) -> Large:
    """ResNet-50 ("resnet") or an encoder of BERT's size ("bert")."""
    if network == "resnet":
        cells = {"patch": 16, "window": 16, "stride": 16}
        at = {"layer": "3.2/c/relu", "unit": (0, 0, 5), "background": np.zeros((4, *SHAPE), "f4")}
        return Large(resnet50(), SHAPE, CLASSES, cells | at, named("attention"))
    shape = 128, 768
    tokens = np.broadcast_to(np.arange(128)[:, None], shape)
    at = {"layer": "00/normalise@24", "unit": (0, 5), "background": np.zeros((4, *shape), "f4")}
    cells = {"features": tokens, "window": 8, "stride": 8}
    # RAP has no rule for attention, RRS needs given layers, and the others two axes of space.
    skip = {"RAP", "RRS", "MSTC", "XRAI", "ExtremalPerturbation"}
    return Large(bert12(), shape, 2, cells | at, frozenset(skip))
