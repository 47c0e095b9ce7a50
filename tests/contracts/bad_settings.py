"""Settings and draws that are refused, and what the error says."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxeval as je
from tests.cases import EVERY
from tests.contracts.bad_data import Refused
from tests.contracts.runs import score
from tests.world import K, N, pixels, world

W = world()
SMOOTH = W.maps["smooth"]


def drawn(row: str, draws: Any, **fields: Any) -> Any:
    """A metric with these draws, of stored maps or of the explainer."""

    def call() -> Any:
        m = dataclasses.replace(EVERY[row].metric, draws=draws, **fields)
        return score(m) if EVERY[row].explains else score(m, None, world().maps["smooth"])

    return call


def flat(x: Any) -> Any:
    """A model of tables."""
    return x @ jnp.ones((4, K))


SETTINGS: dict[str, Refused] = {
    # settings
    "unknown normalise": (
        lambda: je.PixelFlipping(normalise="maks"),
        ValueError,
        "PixelFlipping.normalise='maks'.*Did you mean 'max'",
    ),
    "unknown output": (
        lambda: je.PixelFlipping(output="probabilty"),
        ValueError,
        "Did you mean 'probability'",
    ),
    "unknown baseline": (
        lambda: je.PixelFlipping(baseline="blakc"),
        ValueError,
        "baseline='blakc'.*Did you mean 'black'",
    ),
    "unknown order": (
        lambda: je.PixelFlipping(order="mrof"),
        ValueError,
        "order='mrof'.*Did you mean 'morf'",
    ),
    "unknown order of layers": (
        lambda: je.MPRT(order="topdown"),
        ValueError,
        "Did you mean 'top_down'",
    ),
    "unknown similarity": (lambda: je.MPRT(similarity="sim"), ValueError, "Did you mean 'ssim'"),
    "unknown layer": (
        lambda: score(je.MPRT(layers=("hiden",))),
        ValueError,
        "no layer 'hiden', only .*Did you mean 'hidden'",
    ),
    "unknown perturbation": (
        lambda: je.Infidelity(perturbation="gausian"),
        ValueError,
        "Did you mean 'gaussian'",
    ),
    "an unknown field": (lambda: je.PixelFlipping(steps=3), TypeError, "steps"),
    "absolute of words": (
        lambda: je.Sparseness(absolute="yes"),
        (TypeError, ValueError),
        "absolute='yes'",
    ),
    "no steps": (lambda: je.PixelFlipping(n_steps=0), ValueError, "n_steps.*at least 1"),
    "a fraction of steps": (lambda: je.PixelFlipping(n_steps=2.5), TypeError, "n_steps=2.5"),
    "a noise by name": (
        lambda: je.MaxSensitivity(noise="gaussian"),
        TypeError,
        "noise='gaussian'.*a Noise or None",
    ),
    "an unknown noise": (lambda: je.Noise(kind="gausian"), ValueError, "Did you mean 'gaussian'"),
    "no noise": (lambda: je.Noise(scale=0), ValueError, "scale=0.*above 0"),
    "noise of no samples": (lambda: je.Noise(n_samples=0), ValueError, "n_samples.*at least 1"),
    "a hidden layer that is not there": (
        lambda: score(je.RRS(layers=("hiden",))),
        ValueError,
        "no layer 'hiden', only hidden. Did you mean 'hidden'",
    ),
    "a hidden layer, not in a list": (lambda: je.RRS(layers="hidden"), TypeError, "must be names"),
    "no hidden layers": (lambda: je.RRS(layers=()), TypeError, "must be names, or None"),
    "hidden layers that the model does not show": (
        lambda: score(je.RRS(), model=dataclasses.replace(W.model, hidden=None)),
        ValueError,
        r"'RRS' looks at hidden layers: give Model\(hidden=",
    ),
    "more signs than features": (
        lambda: score(je.Consistency(n=65), pixels),
        ValueError,
        "n=65 is larger than the 64 features",
    ),
    "one shift": (lambda: je.Continuity(n_steps=1), ValueError, "n_steps.*at least 2"),
    "a spanning tree of a table": (
        lambda: score(je.MSTC(), None, np.ones((N, 4)), x=W.x[:, 0, 0, :4], mask=None, model=flat),
        ValueError,
        r"'MSTC'.*two spatial axes, got inputs of shape \(4,\)",
    ),
    "a percentile above 100": (lambda: je.MSTC(percentile=101), ValueError, "at most 100"),
    "negative radius": (lambda: je.MaxSensitivity(radius=-1), ValueError, "radius.*above 0"),
    "no percentage": (
        lambda: je.ROAD(percentages=(0, 50)),
        ValueError,
        "percentages must be a list of finite numbers above 0 and at most 100",
    ),
    "a percentage": (lambda: je.ROAD(percentages=50), TypeError, "percentages must be a list"),
    "all pixels": (
        lambda: score(je.ROAD(percentages=(50, 100)), None, SMOOTH),
        ValueError,
        "leave none of the 64 pixels",
    ),
    "noise for other percentages": (
        drawn("ROAD", np.zeros((3, 2, 8, 8))),
        ValueError,
        "draws give 3 steps for 4 percentages",
    ),
    "replacements of other groups": (
        drawn("MonotonicityCorrelation", np.zeros((3, 2, 8, 8))),
        ValueError,
        "draws give 3 replacements, wanted groups x n_samples = 8 x 2",
    ),
    "cells beyond the grid": (
        drawn("MuFidelity", np.full((8, 3), 16)),
        ValueError,
        "draws must lie in -1 to 15, got 16",
    ),
    "one superpixel": (lambda: je.IROF(n_segments=1), ValueError, "n_segments.*at least 2"),
    "nan radius": (lambda: je.MaxSensitivity(radius=np.nan), ValueError, "radius.*finite"),
    "nan baseline": (lambda: je.PixelFlipping(baseline=np.nan), ValueError, "baseline.*finite"),
    "a share above 1": (
        lambda: je.SensitivityN(n_max_percentage=1.5),
        ValueError,
        "n_max_percentage.*at most 1",
    ),
    "a subset larger than the features": (
        lambda: score(je.FaithfulnessCorrelation(subset_size=129), None, SMOOTH),
        ValueError,
        "subset of 129 features is larger than the 128 features",
    ),
    "the default subset": (
        lambda: score(je.FaithfulnessCorrelation(), None, SMOOTH),
        ValueError,
        "224 features is larger than the 128.*give smaller ones, by subset_size=",
    ),
    "more top features than features": (
        lambda: score(je.TopKIntersection(k=65), pixels),
        ValueError,
        r"'TopKIntersection' for explainer .*k=65 is larger than the 64 features.*\(8, 8\)",
    ),
    "a size larger than the features": (
        lambda: score(je.SensitivityN(sizes=(3, 65)), pixels),
        ValueError,
        "65 features is larger than the 64",
    ),
    "a patch larger than the input": (
        lambda: score(je.RegionPerturbation(patch_size=9), None, SMOOTH),
        ValueError,
        r"patch_size=9 is larger than the input.*\(8, 8\)",
    ),
    "a baseline of another shape": (
        lambda: score(je.PixelFlipping(baseline=np.zeros(5)), None, SMOOTH),
        ValueError,
        r"baseline of shape \(5,\) does not broadcast.*\(2, 8, 8\)",
    ),
    # draws
    "noise of another shape": (
        drawn("MaxSensitivity", np.zeros((6, 2, 8, 4))),
        ValueError,
        r"draws of shape \[6, 2, 8, 4\] do not fit: wanted \[S, 2, 8, 8\]",
    ),
    "noise of another rank": (
        drawn("MaxSensitivity", np.zeros((2, 8, 8))),
        ValueError,
        r"draws of shape \[2, 8, 8\] do not fit: wanted \[S",
    ),
    "noise for fewer samples": (
        drawn("MaxSensitivity", np.zeros((3, 6, 2, 8, 8))),
        ValueError,
        "3 rows for 7 samples",
    ),
    "nan in noise": (
        drawn("MaxSensitivity", np.full((6, 2, 8, 8), np.nan)),
        ValueError,
        "draws.*(NaN|finite)",
    ),
    "noise of words": (
        drawn("MaxSensitivity", np.full((6, 2, 8, 8), "a")),
        (TypeError, ValueError),
        "draws",
    ),
    "subsets beyond the features": (
        drawn("FaithfulnessCorrelation", np.full((8, 5), 128)),
        ValueError,
        r"draws must lie in -1 to 127, got 128",
    ),
    "subsets of floats": (
        drawn("FaithfulnessCorrelation", np.zeros((8, 5))),
        ValueError,
        "draws must be whole numbers, got float64",
    ),
    "subsets of another rank": (
        drawn("FaithfulnessCorrelation", np.arange(5)),
        ValueError,
        "draws of shape",
    ),
    "an order of fewer features": (
        drawn("PixelFlipping/random", np.arange(100)),
        ValueError,
        "draws.*128",
    ),
    "an order beyond the features": (
        drawn("PixelFlipping/random", np.arange(1, 129)),
        ValueError,
        "draws",
    ),
    "an order that repeats a feature": (
        drawn("PixelFlipping/random", np.zeros(128, int)),
        ValueError,
        "draws",
    ),
    "fewer replacements": (
        drawn("NonSensitivity", np.zeros(100, np.float32)),
        ValueError,
        "draws give 100 replacements, wanted .* 1 x 128",
    ),
    "corners with an axis too many": (
        drawn("Infidelity/square", np.zeros((6, 3), int)),
        ValueError,
        "draws",
    ),
    "corners beyond the input": (
        drawn("Infidelity/square", np.full((6, 2), 6)),
        ValueError,
        "draws",
    ),
    "a class beyond the model's": (drawn("RandomLogit", np.int32(5)), ValueError, "draws"),
    "classes for fewer samples": (
        drawn("RandomLogit", np.zeros(3, int)),
        ValueError,
        "3 rows for 7 samples",
    ),
    "parameters of another tree": (
        drawn("MPRT", {"hidden": np.zeros(1)}),
        ValueError,
        "draws must be a pytree like the model's params",
    ),
    "draws where nothing is drawn": (
        lambda: je.Infidelity(perturbation="patches", draws=np.zeros((3, 2))),
        ValueError,
        "draws nothing",
    ),
    "an order of one's own for a ranked one": (
        lambda: score(je.PixelFlipping(order="morf", draws=np.arange(128)), None, SMOOTH),
        ValueError,
        "draws",
    ),
}
