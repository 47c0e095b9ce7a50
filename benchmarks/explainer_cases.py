"""Explainers as captum and jaxeval have them, on one network: whether they agree, their floors."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from captum import attr
from captum._utils.models.linear_model import SkLearnLasso
from captum.attr._utils.lrp_rules import EpsilonRule
from explainer_cases_more import CLASSES, UNIT, of_attention, of_layers
from networks import Network
from timing import gap

import jaxeval as je
from jaxeval import cpu

SAME = 1e-4
"""Largest difference of two maps that counts as none, relative to the largest entry."""
EPSILON = 1e-12
"""The stabiliser of relevance, on both sides: captum's stabilises a convolution and the batch
normalisation behind it apart, ours the layer that both make up.
"""
PENALTY = 1e-4
"""Of Lime, on both sides: with that of captum, 0.01, all coefficients of the ResNet are 0."""
DRAWS = 32
"""Maps of which means are compared, where they are random."""
Z = (0.5, 1.6)
"""Bounds of the root mean square of differences of means, in standard errors; about 1 is right."""


@dataclasses.dataclass(frozen=True)
class Passes:
    """Evaluations of a whole batch: of the model, and of its parts before and behind a layer."""

    forward: int = 0
    gradient: int = 0
    before: int = 0
    behind: int = 0
    """Gradients with respect to the layer."""
    unit: int = 0
    """Gradients of a unit of the layer."""
    rest: int = 0
    """Forward passes from the layer on."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One explainer on one network.

    Attributes:
      theirs: captum's map of torch inputs x and classes y; None where captum has no such method.
      random: "rows" where captum draws anew for each row, "calls" where for each call.
    """

    net: Network
    name: str
    ours: Any
    theirs: Callable[..., Any] | None
    floor: Passes
    random: str | None = None
    quick: bool = False

    def run_ours(self, x: Any = None, y: Any = None) -> np.ndarray:
        net = self.net
        x, y = (net.x if x is None else x), (net.y if y is None else y)
        return jax.block_until_ready(self.ours(net.model, x, y, _keys(len(x))))

    def run_engine(self) -> np.ndarray:
        net = self.net
        a = je.attribute(self.ours, net.model, net.x, net.y, batch_size=len(net.x))
        return jax.block_until_ready(a)

    def run_theirs(self, x: Any = None, y: Any = None) -> np.ndarray:
        assert self.theirs is not None
        net = self.net
        x = torch.from_numpy(np.array(net.x if x is None else x))
        y = torch.from_numpy(np.array(net.y if y is None else y, np.int64))
        return self.theirs(x, y).detach().numpy()

    def double(self) -> Case:
        """The same in float64; within ``jax.enable_x64``."""
        found = cases(self.net.double(), self.quick)
        return next(case for case in found if case.name == self.name)

    def apart(self) -> float:
        """How far both sides' maps are apart, relative to the largest entry."""
        ours, theirs = np.asarray(self.run_ours()), self.run_theirs()
        assert ours.dtype == self.net.x.dtype
        return gap(ours.reshape(theirs.shape), theirs, 0)

    def agreement(self) -> tuple[bool, str]:
        """(both sides give the same maps, how close they are)."""
        if self.random is None:
            with jax.enable_x64(True):
                double = self.double().apart()
            return double <= SAME, f"{double:.0e} ({self.apart():.0e})"
        torch.manual_seed(0)
        np.random.seed(0)
        n = max(1, len(self.net.x) // DRAWS)  # samples, each explained many times
        rows = np.repeat(np.arange(n), DRAWS)
        x, y = self.net.x[rows], self.net.y[rows]
        ours = np.asarray(self.run_ours(x, y)).reshape(n, DRAWS, -1)
        if self.random == "rows":
            theirs = self.run_theirs(x, y).reshape(n, DRAWS, -1)
        else:
            theirs = np.stack([self.run_theirs()[:n] for _ in range(DRAWS)], 1)
            theirs = theirs.reshape(n, DRAWS, -1)
        error = np.sqrt((ours.var(1, ddof=1) + theirs.var(1, ddof=1)) / DRAWS)
        certain = error < 1e-6 * np.abs(theirs).max()
        z = (ours.mean(1) - theirs.mean(1))[~certain] / error[~certain]
        z = float(np.sqrt((z**2).mean()))
        return Z[0] < z < Z[1], f"z {z:.2f}"

    def bare(self, as_run: bool) -> Callable[[], None]:
        """The floor, ready to run; `as_run`: of the model as jaxeval runs it."""
        net, passes = self.net, self.floor
        x, y = jnp.asarray(net.x), jnp.asarray(net.y)
        model = net.model
        assert net.parts is not None
        before, behind = net.parts
        if as_run and (platform := jax.default_backend()) == "cpu":
            model = cpu.suited(model, net.x[0], platform)
            before, behind = cpu.Rewritten(before), cpu.Rewritten(behind)
        forward, gradient = (_programs if as_run else _jitted)()
        hidden = before(model.params, x)
        calls = (
            [(forward, model.apply, x)] * passes.forward
            + [(gradient, model.apply, x)] * passes.gradient
            + [(forward, before, x)] * passes.before
            + [(gradient, behind, hidden)] * passes.behind
            + [(forward, behind, hidden)] * passes.rest
            + [(gradient, OfUnit(before), x)] * passes.unit
        )

        def run() -> None:
            jax.block_until_ready([f(apply, model.params, v, y) for f, apply, v in calls])

        return run


@dataclasses.dataclass(frozen=True)
class OfUnit:
    """The part of the model before a layer, with one unit of it as the score of every class."""

    before: Callable[..., Any]

    def __call__(self, params: Any, x: Any) -> Any:
        u = self.before(params, x)[(slice(None), *UNIT)]
        return jnp.broadcast_to(u[:, None], (len(u), CLASSES))


@functools.lru_cache
def _keys(n: int) -> jax.Array:
    return jax.random.split(jax.random.key(0), n)


def _forward(apply: Any, params: Any, x: Any, y: Any) -> Any:
    with jax.default_matmul_precision("highest"):
        return apply(params, x)


def _gradient(apply: Any, params: Any, x: Any, y: Any) -> Any:
    def total(v: Any) -> Any:
        return jnp.take_along_axis(apply(params, v), y[:, None], 1).sum()

    with jax.default_matmul_precision("highest"):
        return jax.grad(total)(x)


@functools.cache
def _jitted() -> list[Any]:
    return [jax.jit(f, static_argnums=0) for f in (_forward, _gradient)]


@functools.cache
def _programs() -> list[Any]:
    return [cpu.program(static_argnums=0)(f) for f in (_forward, _gradient)]


def cases(net: Network, quick: bool) -> list[Case]:
    """Every explainer on one network, with the same settings on both sides."""
    e = je.explain
    steps = 4 if quick else 20
    if net.torch is None:
        found = of_attention(Passes)
        return [Case(net, type(row[0]).__name__, *row, quick=quick) for row in found]
    side = net.x.shape[-1]
    patch = side // 4  # 16 features
    few = 2 if quick else 5
    several = 8 if quick else 50
    channels = net.x.shape[1]
    square = (channels, patch, patch)
    background = net.x[: 2 if quick else 8]
    theirs_background = torch.from_numpy(background)
    cells = np.arange(side) // patch
    # One copy a channel: captum's ShapleyValueSampling refuses one that is broadcast.
    grid = torch.from_numpy(np.tile(cells[:, None] * 4 + cells, (1, channels, 1, 1)))
    module = net.torch.get_submodule(net.module)
    layer = {"layer": net.layer}
    path = {"n_steps": steps}

    def captum(name: str, /, *given: Any, **settings: Any) -> Callable[..., Any]:
        def explain(x: Any, y: Any) -> Any:
            method = getattr(attr, name)(net.torch, *given)
            return method.attribute(x, target=y, **settings)

        return explain

    def activation(x: Any, y: Any) -> Any:
        return attr.LayerActivation(net.torch, module).attribute(x)

    def relevance(x: Any, y: Any) -> Any:
        for part in net.torch.modules():
            if not isinstance(part, torch.nn.ReLU) and not list(part.children()):
                part.rule = EpsilonRule(epsilon=EPSILON)
        return attr.LRP(net.torch).attribute(x, target=y)

    def tunnel(kind: str) -> Callable[..., Any]:
        def explain(x: Any, y: Any) -> Any:
            method = attr.NoiseTunnel(attr.Saliency(net.torch))
            return method.attribute(
                x, nt_type=kind, nt_samples=steps, stdevs=0.15, abs=False, target=y
            )

        return explain

    def shap(noise: float) -> Callable[..., Any]:
        return captum("GradientShap", n_samples=steps, stdevs=noise, baselines=theirs_background)

    def guided_cam(x: Any, y: Any) -> Any:
        return attr.GuidedGradCam(net.torch, module).attribute(x, target=y)

    one, many = Passes(gradient=1), Passes(gradient=steps)
    noisy = {"n_samples": steps, "noise_level": 0.15}
    grouped = {"patch": patch}
    sets = Passes(forward=several + 2)

    rows: list[tuple[Any, Any, Passes, str | None]] = [
        (e.Gradient(), captum("Saliency", abs=False), one, None),
        (e.Saliency(), captum("Saliency"), one, None),
        (e.InputXGradient(), captum("InputXGradient"), one, None),
        (e.IntegratedGradients(**path), captum("IntegratedGradients", **path), many, None),
        (e.SmoothGrad(**noisy), tunnel("smoothgrad"), many, "rows"),
        (e.SmoothGradSquared(**noisy), tunnel("smoothgrad_sq"), many, "rows"),
        (e.VarGrad(**noisy), tunnel("vargrad"), many, "rows"),
        (
            e.GradientShap(background=background, n_samples=steps, noise_level=0.1),
            shap(0.1),
            many,
            "rows",
        ),
        (e.ExpectedGradients(background=background, n_samples=steps), shap(0.0), many, "rows"),
        (e.NoiseGrad(n_samples=steps), None, many, None),
        (e.FusionGrad(n_models=2, n_samples=steps // 2), None, many, None),
        (e.BlurIG(n_steps=steps), None, many, None),
        (e.GuidedIG(n_steps=steps), None, many, None),
        (
            e.Occlusion(window=patch, stride=patch),
            captum("Occlusion", sliding_window_shapes=square, strides=square),
            Passes(forward=17),
            None,
        ),
        (
            e.FeatureAblation(**grouped),
            captum("FeatureAblation", feature_mask=grid),
            Passes(forward=17),
            None,
        ),
        (
            e.FeaturePermutation(background=net.x, **grouped),
            captum("FeaturePermutation", feature_mask=grid),
            Passes(forward=17),
            "calls",
        ),
        (
            e.ShapleyValueSampling(n_samples=few, **grouped),
            captum("ShapleyValueSampling", n_samples=few, feature_mask=grid),
            Passes(forward=few * 15 + 2),
            "calls",
        ),
        (
            e.KernelShap(n_samples=several, **grouped),
            captum("KernelShap", n_samples=several, feature_mask=grid),
            sets,
            "rows",
        ),
        (
            e.Lime(n_samples=several, alpha=PENALTY, **grouped),
            captum("Lime", SkLearnLasso(alpha=PENALTY), n_samples=several, feature_mask=grid),
            sets,
            "rows",
        ),
        (e.RISE(n_samples=several), None, Passes(forward=several), None),
        (e.GuidedBackprop(), captum("GuidedBackprop"), one, None),
        (e.Deconvolution(), captum("Deconvolution"), one, None),
        (
            e.DeepLift(pooling="gradient"),
            captum("DeepLift"),
            one,
            None,
        ),
        (
            e.DeepLiftShap(background=background, pooling="gradient"),
            captum("DeepLiftShap", baselines=theirs_background),
            Passes(gradient=len(background)),
            None,
        ),
        (e.LRP(rule=e.Epsilon(epsilon=EPSILON)), relevance, one, None),
        # The activations, and forwards and backwards with the positive weights.
        (e.ExcitationBackprop(), None, Passes(forward=1, gradient=1), None),
        (
            e.GradCAM(rectify=False, upsample=None, **layer),
            captum("LayerGradCam", module),
            Passes(before=1, behind=1),
            None,
        ),
        (
            e.GuidedGradCAM(upsample="nearest", **layer),
            guided_cam,
            Passes(gradient=1, before=1, behind=1),
            None,
        ),
        (e.LayerActivation(**layer), activation, Passes(before=1), None),
        (
            e.LayerGradientXActivation(**layer),
            captum("LayerGradientXActivation", module),
            Passes(before=1, behind=1),
            None,
        ),
        (
            e.LayerConductance(derivative="differences", **path, **layer),
            captum("LayerConductance", module, **path),
            Passes(before=steps + 1, behind=steps),
            None,
        ),
        (
            e.InternalInfluence(**path, **layer),
            captum("InternalInfluence", module, **path),
            Passes(before=steps, behind=steps),
            None,
        ),
        (
            e.LayerIntegratedGradients(**path, **layer),
            captum("LayerIntegratedGradients", module, **path),
            Passes(before=2, behind=steps),
            None,
        ),
    ]
    rows += of_layers(net, Passes, steps, EPSILON)
    return [Case(net, type(row[0]).__name__, *row, quick=quick) for row in rows]
