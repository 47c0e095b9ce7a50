"""The networks on which explainers are compared, and how close is equal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxeval import explain
from jaxeval.explain import Explainer
from jaxeval.model import Model
from tests import networks


@dataclasses.dataclass(frozen=True)
class Case:
    model: Model
    torch: Callable[[], Any]  # torch only where it is asked for
    x: np.ndarray
    y: np.ndarray

    @property
    def channel_axis(self) -> int | None:
        return self.model.sample_channel_axis(self.x.ndim - 1)


def make(name: str, n: int = 3) -> Case:
    build, build_torch, shape = {
        "lenet": (networks.lenet, networks.lenet_torch, (1, 28, 28)),
        "rgb": (networks.smooth_cnn, networks.smooth_cnn_torch, (3, 18, 18)),
        "tabular": (networks.mlp, networks.mlp_torch, (12,)),
    }[name]
    model, params = build(seed=3)
    rng = np.random.default_rng(7)
    x = rng.uniform(-1, 1, (n, *shape)).astype(np.float32)
    y = np.resize(np.array([0, 3, 2, 1], np.int32), n)
    return Case(model, lambda: build_torch(params), x, y)


NAMES = ("lenet", "rgb", "tabular")


def keys(n: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), n)


def run(explainer: Explainer, model: Model, x: Any, y: Any, k: Any) -> jax.Array:
    return explainer(model, x, y, k)


jitted = jax.jit(run)  # one for all tests: equal programs compile once


def assert_close(a: Any, b: Any, rtol: float = 4e-5) -> None:
    """Equal to `rtol` of the largest value: attributions near 0 are sums that cancel."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.abs(b).max() > 1e-3
    np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())


def linear(seed: int = 0, shape: tuple[int, ...] = (3, 5, 4), n_classes: int = 4) -> Model:
    """logits = <w, x> + c, so that every method has a closed form."""
    rng = np.random.default_rng(seed)
    params = {
        "w": jnp.asarray(rng.normal(size=(*shape, n_classes)), jnp.float32),
        "c": jnp.asarray(rng.normal(size=n_classes), jnp.float32),
    }
    return Model(_linear, params, channel_axis=1 if len(shape) > 1 else None)


def _linear(params: Any, x: jax.Array) -> jax.Array:
    w = params["w"]
    return x.reshape(len(x), -1) @ w.reshape(-1, w.shape[-1]) + params["c"]


ALIKE = (
    *("NeuronGradient", "NeuronIntegratedGradients", "NeuronGradientShap"),
    *("NeuronGuidedBackprop", "NeuronDeconvolution", "LayerLRP", "AttnLRP"),
    *("LayerCAM", "XGradCAM", "GradCAMPlusPlus"),
)
"""Explainers that differ from another by a formula; what holds for all is slow to try on them."""


def quickly(names: Any) -> list[Any]:
    """The names as parameters of a test, those of `ALIKE` in the slow ones."""
    import pytest

    return [pytest.param(n, marks=pytest.mark.slow) if n in ALIKE else n for n in names]


def every(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Explainer]:
    """{name: explainer} of all that there are; a new one is among them without another line.

    Args:
      common: settings of all explainers that have such a field.
      own: {name: settings} of single ones, which win.
    """
    assert set(own) <= set(explain.EXPLAINERS)

    def settings(name: str) -> dict[str, Any]:
        known = {f.name for f in dataclasses.fields(explain.EXPLAINERS[name])}
        return {**{k: v for k, v in common.items() if k in known}, **own.get(name, {})}

    return {name: explain.get(name, **settings(name)) for name in explain.EXPLAINERS}
