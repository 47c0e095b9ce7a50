"""Data, sizes, metrics and explainers that are refused, and what the error says."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import jaxeval as je
from tests.cases import metric_of
from tests.contracts.runs import evaluate, score
from tests.world import N, entries, pixels, world

W = world()
SMOOTH = W.maps["smooth"]


def bad(array: Any, value: float) -> Any:
    array = np.array(array)
    array[2].flat[3] = value
    return array


def in_jit(x: Any) -> Any:
    return jax.jit(lambda v: score(je.Sparseness(), None, world().maps["smooth"], x=v).score)(x)


def map_in_jit(a: Any) -> Any:
    return jax.jit(lambda v: score(je.Sparseness(), None, v).score)(a)


def sparse(**given: Any) -> Any:
    given = {"a": world().maps["smooth"]} | given
    return lambda: score(je.Sparseness(), None, **given)


def flipping(**given: Any) -> Any:
    given = {"a": world().maps["smooth"]} | given
    return lambda: score(je.PixelFlipping(n_steps=6), None, **given)


Refused = tuple[Any, type[Exception] | tuple[type[Exception], ...], str]
"""What is called, the error, and what the error says."""


DATA: dict[str, Refused] = {
    # x
    "nan in x": (flipping(x=bad(W.x, np.nan)), ValueError, r"x holds 1 NaN.*sample 2"),
    "inf in x": (flipping(x=bad(W.x, np.inf)), ValueError, r"x holds 1 NaN or inf.*sample 2"),
    "integer x": (flipping(x=W.x.astype(int)), TypeError, r"x must be floating-point, got int64"),
    "no samples": (flipping(x=W.x[:0]), ValueError, r"x must be a batch \[N, ...\]"),
    "x without a batch": (flipping(x=W.x[0, 0, 0]), ValueError, r"x must be a batch"),
    "x of words": (flipping(x=np.full((N, 3), "a")), TypeError, "x must be a numeric array"),
    "x that the model cannot take": (
        flipping(x=W.x[:, :1], a=SMOOTH[:, :1]),
        (ValueError, TypeError),
        "128",
    ),
    # a
    "a of another shape": (
        sparse(a=SMOOTH[..., :4]),
        ValueError,
        r"\[N, 2, 8, 4\] for inputs \[N, 2, 8, 8\]: wanted \[N, 2, 8, 8\] or \[N, 8, 8\]",
    ),
    "a with other channels": (sparse(a=np.repeat(SMOOTH, 2, 1)), ValueError, r"\[N, 4, 8, 8\]"),
    "flat a": (sparse(a=SMOOTH.reshape(N, -1)), ValueError, r"\[N, 128\] for inputs"),
    "a of fewer samples": (sparse(a=SMOOTH[:5]), ValueError, r"each of the 7 samples, got \[5, "),
    "neither a nor explainer": (lambda: score(je.Sparseness(), None), ValueError, "give a="),
    "a of words": (sparse(a=[["a"]] * N), TypeError, "explainer|array"),
    # y
    "y out of range": (flipping(y=[0, 1, 2, 3, 4, 5, 0]), ValueError, r"class 5.* 5 outputs"),
    "negative y": (flipping(y=[0, 1, 2, 3, -1, 0, 0]), ValueError, r"from 0 on, got -1"),
    "short y": (flipping(y=[0, 1]), ValueError, r"each of the 7 samples, got \[2\]"),
    "y of another rank": (flipping(y=W.y[:, None, None]), ValueError, r"got \[7, 1, 1\]"),
    "float y": (flipping(y=W.y.astype(np.float32)), TypeError, "integer classes, got float32"),
    "bool y": (flipping(y=W.y > 2), TypeError, "integer classes, got bool"),
    # masks
    "no mask": (
        lambda: score(je.AUC(), None, SMOOTH, mask=None),
        ValueError,
        "'AUC'.*give mask=",
    ),
    "mask of another size": (
        lambda: score(je.AUC(), None, SMOOTH, mask=W.mask[:, :4]),
        ValueError,
        r"mask of shape \[7, 4, 8\] does not fit.*\[7, 2, 8, 8\]",
    ),
    "mask per entry for a pixel map": (
        lambda: score(je.AUC(), pixels, mask=np.ones((N, 2, 8, 8), bool)),
        ValueError,
        r"mask of shape \[7, 2, 8, 8\] does not fit.*\[7, 8, 8\]",
    ),
    "mask of fewer samples": (
        lambda: score(je.AUC(), None, SMOOTH, mask=W.mask[:3]),
        ValueError,
        r"mask must have one row for each of the 7 samples, got \[3",
    ),
    "mask of shades": (
        lambda: score(je.AUC(), None, SMOOTH, mask=0.5 * W.mask),
        ValueError,
        "mask must be boolean",
    ),
    # index, key, sizes
    "index of another length": (sparse(index=[1, 2]), ValueError, "one integer id for each of"),
    "index of floats": (sparse(index=np.arange(7.0)), ValueError, "one integer id.*float64"),
    "negative index": (sparse(index=np.arange(-1, 6)), ValueError, r"0\.\.2\*\*32 - 1, got -1"),
    "a key of floats": (sparse(key=0.5), TypeError, "key must be an integer seed or one JAX"),
    "a word as key": (sparse(key="0"), TypeError, "key must be an integer seed"),
    "many keys": (sparse(key=jax.random.split(jax.random.key(0), N)), TypeError, "one JAX random"),
    "batch_size 0": (sparse(batch_size=0), ValueError, "batch_size must be a positive.*got 0"),
    "batch_size 2.5": (sparse(batch_size=2.5), ValueError, "batch_size.*got 2.5"),
    "batch_size True": (sparse(batch_size=True), ValueError, "batch_size.*got True"),
    "another mesh": (sparse(mesh="cpu"), TypeError, "mesh must be a jax.sharding.Mesh, got str"),
    "unknown precision": (
        sparse(precision="hihgest"),
        ValueError,
        "precision='hihgest'.*Did you mean 'highest'",
    ),
    "unknown output of the run": (
        sparse(output="logits"),
        ValueError,
        "output='logits'.*Did you mean 'logit'",
    ),
    # metrics and explainers
    "a metric's class": (lambda: score(je.Sparseness, None, SMOOTH), TypeError, "instance"),
    "a metric's class in evaluate": (
        lambda: evaluate(metrics={"s": je.Sparseness}),
        TypeError,
        r"class Sparseness: give an instance, Sparseness\(\)",
    ),
    "no metric": (lambda: evaluate(metrics={}), ValueError, "metrics is empty"),
    "a word as metric": (
        lambda: evaluate(metrics={"s": "Sparsness"}),
        ValueError,
        "no metric .*'Sparseness'",
    ),
    "metrics in a list twice": (
        lambda: evaluate(metrics=[je.Sparseness(), je.Sparseness()]),
        ValueError,
        "more than one Sparseness",
    ),
    "a metric outside a dict": (lambda: evaluate(metrics=je.Sparseness()), TypeError, "dict"),
    "no explainer": (lambda: evaluate(explainers={}), ValueError, "explainers is empty"),
    "an explainer's class": (
        lambda: evaluate(explainers={"g": je.explain.Gradient}),
        TypeError,
        r"class Gradient: give an instance, Gradient\(\)",
    ),
    "a word as explainer": (
        lambda: evaluate(explainers={"g": "Gradent"}),
        ValueError,
        "no explainer .*'Gradient'",
    ),
    "stored maps for a metric that explains": (
        lambda: score(metric_of("MaxSensitivity"), None, SMOOTH),
        ValueError,
        "'MaxSensitivity' explains changed inputs.*give the explainer itself",
    ),
    "stored maps of another shape than the explainer's": (
        lambda: score(je.Sparseness(), entries, SMOOTH.sum(1)),
        ValueError,
        r"\[7, 8, 8\], but the explainer makes maps of shape \[2, 8, 8\]",
    ),
    "an explainer of another shape": (
        lambda: score(je.Sparseness(), lambda m, x, y, k: x[..., 0]),
        ValueError,
        r"\[N, 2, 8\] for inputs",
    ),
    "an explainer of one number": (
        lambda: score(je.Sparseness(), lambda m, x, y, k: x.sum()),
        ValueError,
        "one map per sample",
    ),
    "a model of words": (lambda: evaluate(model="resnet"), TypeError, "model must be.*got str"),
    "a model that gives no logits": (
        lambda: evaluate(model=lambda x: x),
        ValueError,
        r"logits \[N, K\]; for N = 2 it gave float32\[2, 2, 8, 8\]",
    ),
    # tracers
    "a tracer as x": (lambda: in_jit(W.x), TypeError, "x is a tracer.*use jaxeval.as_function"),
    "a tracer as a": (lambda: map_in_jit(SMOOTH), TypeError, "tracer.*use jaxeval.as_function"),
}
