"""Every metric and explainer on the accelerator and on the CPU of the same machine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from scipy.stats import spearmanr

import jaxeval as je
from jaxeval.data import digits, digits_cnn

N, FEW = 32, 8
SETTINGS: dict[str, Any] = {
    "FaithfulnessCorrelation": {"subset_size": 16},
    "MuFidelity": {"n_samples": 50},
    "Focus": None,
}
"""Settings for images of 64 pixels; None: needs data of its own."""
SMALL = {"n_samples": 10, "n_steps": 8}


def mesh(platform: str | None) -> Mesh:
    """One device: the CPU, or the default."""
    return Mesh(np.array(jax.devices(platform)[:1]), ("data",))


@functools.cache
def world(quick: bool) -> dict[str, Any]:
    data, n = digits(), FEW if quick else N
    model = digits_cnn()
    x = np.asarray(data.x_test[:n])
    shapes = model.layers(x[:1])
    layers = list(shapes)
    mask = np.zeros(x.shape, bool)
    mask[:, 2:6, 1:5] = True
    hidden = je.explain.with_hidden(model, layers[-2:-1]) if model.hidden is None else model
    y = np.asarray(data.y_test[:n], np.int32)
    unit = tuple(n // 2 for n in shapes[layers[2]][1:])
    return {"model": hidden, "x": x, "y": y, "mask": mask, "layer": layers[2], "unit": unit}


def attention() -> je.Model:
    """Two layers of attention, with random parameters, over the rows [8] of a digit [8, 8]."""
    d, heads, rng = 8, 2, np.random.default_rng(0)
    names = ("q", "k", "v", "out", "up", "down")
    params = {
        f"{layer}{name}": rng.normal(size=(d, d)).astype(np.float32) / d**0.5
        for layer in range(2)
        for name in names
    }

    def apply(p: Any, x: Any) -> Any:
        for layer in range(2):
            w = {name: p[f"{layer}{name}"] for name in names}
            q, k, v = (
                (x @ w[n]).reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3) for n in "qkv"
            )
            a = jax.nn.softmax(q @ k.mT * (d // heads) ** -0.5)
            x = x + (a @ v).transpose(0, 2, 1, 3).reshape(x.shape) @ w["out"]
            x = x + jax.nn.gelu(x @ w["up"]) @ w["down"]
        return x.mean(1)

    return je.Model(apply, params, channel_axis=-1)


def made(cls: Any, **settings: Any) -> Any:
    """An object with those of the settings that its class has."""
    names = set(cls.__dataclass_fields__)
    return cls(**{k: v for k, v in settings.items() if k in names})


def family(which: str, quick: bool) -> dict[str, Any]:
    """The metrics of a family, together; those that these images are not for, by name."""
    w, metrics, refused = world(quick), {}, {}
    for name, cls in je.METRICS.items():
        if cls.family != which:
            continue
        if SETTINGS.get(name, {}) is None:
            refused[name] = "needs data of its own"
            continue
        metrics[name] = made(cls, **SETTINGS.get(name, {}))
    metrics = dict(list(metrics.items())[:3]) if quick else metrics
    while True:
        try:
            ours, cpu = (scores(w, metrics, platform) for platform in (None, "cpu"))
            break
        except (TypeError, ValueError) as e:
            bad = next((m for m in metrics if repr(m) in str(e)), None)
            if bad is None:
                raise
            refused[bad] = str(e)[:120]
            del metrics[bad]
    table = []
    for m in metrics:
        a, b = (np.asarray(r["e", m].score, np.float64) for r in (ours, cpu))
        table.append({"name": m, **compared(a, b)})
    return {"table": table, "refused": refused}


def scores(w: dict[str, Any], metrics: dict[str, Any], platform: str | None) -> je.Results:
    return je.evaluate(
        w["model"], w["x"], w["y"], explainers={"e": je.explain.Gradient()}, metrics=metrics,
        mask=w["mask"], progress=False, mesh=mesh(platform), batch_size=256,
    )  # fmt: skip


def compared(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """The largest and median difference, relative to the largest score, and NaN on one side."""
    both = np.isfinite(a) & np.isfinite(b)
    scale = max(1e-12, float(np.abs(b[both]).max())) if both.any() else 1.0
    apart = np.abs(a - b)[both] / scale
    return {
        "largest": float(apart.max()) if both.any() else None,
        "median": float(np.median(apart)) if both.any() else None,
        "differ": int((apart > 1e-3).sum()),
        "of": int(both.sum()),
        "nan": int((np.isnan(a) != np.isnan(b)).sum()),
    }


def explainers(names: list[str], quick: bool) -> dict[str, Any]:
    """Maps of some explainers."""
    w, table, refused = world(quick), [], {}
    for name in names:
        cls, model, x, y = je.explain.EXPLAINERS[name], w["model"], w["x"], w["y"]
        if cls in je.explain.FAMILIES["attention"]:
            model, x, y = attention(), x[..., 0], y % 8
        settings = {"background": w["x"][:4], "layer": w["layer"], "unit": w["unit"], **SMALL}
        try:
            e = made(cls, **settings)
            maps = [np.asarray(je.attribute(e, model, x, y, mesh=mesh(p))) for p in (None, "cpu")]
        except (TypeError, ValueError) as error:
            refused[name] = str(error)[:120]
            continue
        a, b = (m.reshape(len(m), -1).astype(np.float64) for m in maps)
        with np.errstate(invalid="ignore"):
            ranks = [spearmanr(u, v)[0] for u, v in zip(a, b, strict=True)]
        table.append({"name": name, **compared(a.ravel(), b.ravel()), "ranks": least(ranks)})
    return {"table": table, "refused": refused}


def least(ranks: list[float]) -> float | None:
    known = [v for v in ranks if np.isfinite(v)]
    return float(min(known)) if known else None


def parity_steps(quick: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    families = list(dict.fromkeys(cls.family for cls in je.METRICS.values()))
    found: dict[str, Any] = {
        f"parity/metrics/{f}": functools.partial(family, f, quick)
        for f in (families[:2] if quick else families)
    }
    names = list(je.explain.EXPLAINERS)[: 4 if quick else None]
    for start in range(0, len(names), 9):
        some = names[start : start + 9]
        name = f"parity/explainers/{some[0]} to {some[-1]}"
        found[name] = functools.partial(explainers, some, quick)
    return found
