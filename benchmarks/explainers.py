"""What explanations cost: against captum, and against the bare model evaluations.

``python benchmarks/explainers.py [--samples 64] [--repeats 3] [--quick] [--only NAME ...] [--out
FILE]`` prints Markdown.

An explainer is timed only after both sides have given the same maps of the same network: equal to
`SAME`, relative to the largest entry, or, where they are random, equal in the mean of many draws,
in units of its standard error. Maps that are not random are compared in float64: in float32 a
rectifier whose input is 0 but for rounding may be open on one side and shut on the other, and
gradients jump there; how far apart the maps are in float32 is told beside it. Then captum, ours and
two floors take turns within each repeat, and ratios within a repeat are reported. A floor is the
model's evaluations that a method cannot do without, as bare compiled programs: forward passes,
input gradients, and those of the parts before and behind a layer, at the same batch size. The first
is `jax.jit` of the model as it is written. The second, lower on CPUs, has the model as jaxeval runs
it there, with some operations replaced by faster ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from captum import attr
from captum._utils.models.linear_model import SkLearnLasso
from captum.attr._utils.lrp_rules import EpsilonRule
from networks import Network, lenet, residual
from timing import gap, in_turns, load, machine, seconds, spread

import jaxeval as je
from jaxeval import cpu

PACKAGES = ("jaxeval", "jax", "numpy", "torch", "captum")

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
        )

        def run() -> None:
            jax.block_until_ready([f(apply, model.params, v, y) for f, apply, v in calls])

        return run


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
    return [Case(net, type(row[0]).__name__, *row, quick=quick) for row in rows]


@dataclasses.dataclass
class Timing:
    """Seconds of each repeat, and of the first call."""

    agreement: str
    first: float
    theirs: list[float] = dataclasses.field(default_factory=list)
    ours: list[float] = dataclasses.field(default_factory=list)
    floor: list[float] = dataclasses.field(default_factory=list)
    as_run: list[float] = dataclasses.field(default_factory=list)
    """The floor of the model as jaxeval runs it."""
    engine: list[float] = dataclasses.field(default_factory=list)
    """What `jaxeval.attribute` took more, where calls are short."""

    @property
    def faster(self) -> list[float]:
        return [a / b for a, b in zip(self.theirs, self.ours, strict=False)]

    @property
    def over(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.floor, strict=True)]

    @property
    def over_as_run(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.as_run, strict=True)]


def measure(case: Case, repeats: int) -> Timing | str:
    """The timing of a case, or why there is none."""
    first = seconds(case.run_ours)
    agreement = "no peer"
    if case.theirs is not None:
        try:
            agreed, agreement = case.agreement()
        except (AssertionError, RuntimeError, TypeError, ValueError) as e:
            return f"one side fails with {type(e).__name__}: {e}"
        if not agreed:
            return f"the two sides differ: {agreement}"
    floors = [case.bare(as_run) for as_run in (False, True)]
    for floor in floors:
        floor()
    t = Timing(agreement, first)
    # Where a call is short: the best of a few turns.
    once = min(seconds(case.run_ours) for _ in range(2))
    turns = next(n for limit, n in TURNS if once < limit)
    for _ in range(repeats):
        calls = [case.run_ours, *floors, *([case.run_theirs] if case.theirs else [])]
        best = in_turns(calls, turns)
        t.ours.append(best[0])
        t.floor.append(best[1])
        t.as_run.append(best[2])
        t.theirs += best[3:]
    if once < TURNS[0][0]:
        case.run_engine()
        ours, engine = in_turns([case.run_ours, case.run_engine], turns)
        t.engine.append(engine - ours)
    return t


TURNS = ((0.05, 15), (0.5, 5), (float("inf"), 1))
"""Of how many turns the best is taken, for calls of less than so many seconds."""
HEAD = """
| network | explainer | agreement | captum / ours | ours / floor | ours / floor as run | captum, s \
| ours, s |
|---|---|---|---|---|---|---|---|"""


def row(case: Case, t: Timing) -> str:
    theirs, faster = ("–", "–")
    if t.theirs:
        theirs, faster = f"{median(t.theirs):.3f}", spread(t.faster, 1)
    return (
        f"| {case.net.name} | {case.name} | {t.agreement} | {faster} | {spread(t.over, 2)} "
        f"| {spread(t.over_as_run, 2)} | {theirs} | {median(t.ours):.4f} |"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="32 samples, once, fewer steps")
    parser.add_argument("--only", nargs="*", help="names of explainers: these alone")
    parser.add_argument("--net", choices=("LeNet", "ResNet"), help="this network alone")
    parser.add_argument("--out", type=Path, help="write the Markdown here, too")
    given = parser.parse_args(arguments)
    samples, repeats = (DRAWS, 1) if given.quick else (given.samples, given.repeats)
    warnings.filterwarnings("ignore")
    jax.config.update("jax_enable_compilation_cache", False)
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    say(f"# Explainers against captum: {samples} samples, {repeats} repeats\n")
    say(f"{machine(PACKAGES)}; load average at the start {load()}.")
    say(HEAD)
    timings, apart, compiled = [], [], []
    for build in (lenet, residual):
        net = build(samples)
        if given.net not in (None, net.name):
            continue
        for case in cases(net, given.quick):
            if given.only and case.name not in given.only:
                continue
            t = measure(case, repeats)
            if isinstance(t, str):
                apart.append(f"* {net.name}, {case.name}: {t}")
            else:
                timings.append(t)
                compiled.append(t.first - median(t.ours))
                say(row(case, t))
    over = [median(t.over) for t in timings]
    as_run = [median(t.over_as_run) for t in timings]
    faster = [median(t.faster) for t in timings if t.theirs]
    if faster:
        mean = np.exp(np.mean(np.log(faster)))
        slower = sum(v < 1 for v in faster)
        say(f"\nGeometric mean of captum / ours: {mean:.1f}; slower than captum: {slower}.")
    if over:
        for name, ratios in {"floor": over, "floor as run": as_run}.items():
            mean, most = np.exp(np.mean(np.log(ratios))), sum(v <= 1.1 for v in ratios)
            say(f"Geometric mean of ours / {name}: {mean:.2f}; at most 1.1: {most} of {len(over)}.")
        if engine := [v for t in timings for v in t.engine]:
            say(f"`jaxeval.attribute` took {median(engine) * 1e3:.1f} ms more a call (median).")
        say(f"The first call took {median(compiled):.1f} s more than later ones (median).")
    say(
        "\nRatios are medians over the repeats (smallest to largest). The floor: the evaluations "
        "of the model that the method needs, by `jax.jit` of it as it is written; as run: of "
        "the model as jaxeval runs it. Agreement: the largest difference of two maps in float64, "
        "relative to the largest entry, and in float32 in parentheses; or of means of random maps, "
        "the root mean square in standard errors, about 1 where they are drawn alike."
    )
    if apart:
        say("\n**No result**:\n\n" + "\n".join(apart))
    say(f"\nLoad average at the end {load()}.")
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")
    return bool(apart)


if __name__ == "__main__":
    sys.exit(main())
