"""The steps of `accelerator.py`: each measures one thing and returns plain values."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from accelerator_idle import idle
from timing import timed

import jaxeval as je

if TYPE_CHECKING:
    from networks import Network

E = je.explain
Step = Callable[[], dict[str, Any]]
SAMPLES = {"LeNet": (256, 32), "ResNet-18": (64, 8), "ResNet-50": (64, 4)}
"""(samples of ours, of Quantus) on each network; times are per sample."""
TURNS = 3


@functools.cache
def network(name: str, quick: bool) -> Network:
    # Here, so that steps without these networks go on where torch or captum is missing.
    from networks import lenet
    from resnets import resnet

    n = SAMPLES[name][0]
    if name == "LeNet":
        return lenet(8 if quick else n)
    depth = int(name.split("-")[1])
    return resnet(depth, 4, 32, 8) if quick else resnet(depth, n)


def best(call: Callable[[], Any], turns: int = TURNS) -> tuple[float, float]:
    """(seconds of the first call, best of some later ones)."""
    first, *later = [timed(lambda: jax.block_until_ready(call()))[1] for _ in range(turns + 1)]
    return first, min(later)


def peak() -> int | None:
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    return (stats or {}).get("peak_bytes_in_use")


# -- the bare model -----------------------------------------------------------------------------


@functools.cache
def bare(name: str, quick: bool, kind: str, rows: int, precision: str = "highest") -> list[float]:
    """[seconds of the first call, of a later one] of one batch: a "forward" or a "gradient"."""
    net = network(name, quick)
    model = net.model

    def score(x: Any) -> Any:
        z = model(x)
        return z if kind == "forward" else z.max(-1).sum()

    with jax.default_matmul_precision("highest" if precision == "highest" else None):
        fn = jax.jit(score if kind == "forward" else jax.grad(score))
        x = jnp.asarray(np.resize(net.x, (rows, *net.x.shape[1:])))
        return list(best(lambda: fn(x)))


def floor_of(name: str, quick: bool, results: je.Results) -> float:
    """Seconds of the model evaluations of a run alone, in batches as large as its chunks."""
    rows = int(results.settings["chunk_width"])
    asked, total = results.asked, 0.0
    for what, kind in (("output", "forward"), ("attribution", "gradient")):
        if asked[what]:
            total += asked[what] / rows * bare(name, quick, kind, rows)[1]
    return total


def sizes(name: str, quick: bool) -> dict[str, Any]:
    """Times of a row against the batch size, and what jaxeval chooses."""
    rows = (8, 32, 128, 512, 2048) if name == "LeNet" else (8, 32, 64, 128, 256)
    rows = (8, 16) if quick else rows
    table = []
    for n in rows:
        for precision in ("highest", "fast"):
            row: dict[str, Any] = {"rows": n, "precision": precision}
            for kind in ("forward", "gradient"):
                first, later = bare(name, quick, kind, n, precision)
                row |= {f"{kind} ms": 1e3 * later / n, f"{kind} first s": first}
            table.append({**row, "peak": peak()})
    return {"table": table}


def automatic(name: str, quick: bool) -> dict[str, Any]:
    """The batch size that jaxeval chooses, and evaluations a second with it and others."""
    net, found = network(name, quick), []
    for rows in (None, 4, 8) if quick else (None, 16, 64, 256):
        run = functools.partial(ours, net, {"m": je.PixelFlipping()}, batch_size=rows)
        first, later = best(run, 1)
        results = run()
        found.append({
            "batch": results.settings["batch_size"], "given": rows, "first s": first,
            "evaluations a second": results.asked["output"] / later, "peak": peak(),
        })  # fmt: skip
    return {"table": found}


# -- metrics, against Quantus and the floor -------------------------------------------------------


def ours(net: Network, metrics: dict[str, Any], explainers: Any = None, **given: Any) -> je.Results:
    return je.evaluate(
        net.model, net.x, net.y, explainers=explainers or {"Saliency": E.Saliency()},
        metrics=metrics, output="logit", progress=False, **given,
    )  # fmt: skip


def rows_of(name: str, quick: bool) -> dict[str, Any]:
    """Metrics on both sides, with settings of equal cost."""
    import peers

    _, channels, side, _ = network(name, quick).x_torch.shape
    # Quantus wants a divisor of the number of pixels.
    flipped, runs = side * side // (28 if channels == 1 else 8), 8 if quick else 32
    found = {
        "FaithfulnessCorrelation": peers.faithfulness_correlation(runs, side * side // 4),
        "MaxSensitivity": peers.sensitivity("MaxSensitivity", 4 if quick else 10),
        "Sparseness": peers.sparseness(),
        "PixelFlipping": peers.pixel_flipping(flipped),
    }
    if channels == 1:
        found["RegionPerturbation"] = peers.region_perturbation(4)
    return found


def theirs(name: str, quick: bool, metric: Any) -> tuple[float, np.ndarray, int]:
    """(seconds a sample, scores, samples) of Quantus on the same device."""
    import peers
    import quantus
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    net, n = network(name, quick), 4 if quick else SAMPLES[name][1]
    model = copy.deepcopy(net.torch).to(device)

    def explain(model: Any, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        x = torch.as_tensor(np.asarray(inputs, np.float32), device=device).requires_grad_()
        y = torch.as_tensor(np.asarray(targets, np.int64), device=device)
        z = model(x).gather(1, y[:, None]).sum()
        return torch.autograd.grad(z, x)[0].abs().cpu().numpy()

    def run() -> np.ndarray:
        np.random.seed(1)
        scores = getattr(quantus, metric.theirs)(
            normalise=True, normalise_func=quantus.normalise_by_max,
            normalise_func_kwargs={"normalise_axes": (1, 2, 3)}, return_aggregate=False,
            disable_warnings=True, display_progressbar=False, **metric.fields,
        )(
            model=model, x_batch=net.x_torch[:n], y_batch=net.y[:n].astype(np.int64),
            a_batch=None, explain_func=explain, device=device, channel_first=True, softmax=False,
        )  # fmt: skip
        return np.asarray(scores)

    assert peers.quantus is quantus
    run()  # kernels are chosen in the first call
    scores, seconds = timed(run)
    return seconds / n, scores, n


def metric(name: str, quick: bool, which: str) -> dict[str, Any]:
    """One metric: ours, Quantus's and the floor."""
    row, net = rows_of(name, quick)[which], network(name, quick)
    run = functools.partial(ours, net, {which: row.ours})
    first, later = best(run)
    results, n = run(), len(net.x)
    found = {
        "first s": first, "ours": later / n, "floor": floor_of(name, quick, results) / n,
        "batch": results.settings["batch_size"], "peak": peak(),
        "evaluations": sum(v for k, v in results.asked.items() if k != "naive"),
    }  # fmt: skip
    try:
        seconds, scores, m = theirs(name, quick, row)
    except ImportError as e:
        return {**found, "quantus": None, "why": str(e)}
    outcome = results["Saliency", which]
    own = np.asarray(outcome.curve if row.curve else outcome.score)[:m]
    same = row.differs is None and row.draws is None and own.shape == scores.shape
    scale = max(1.0, float(np.abs(scores).max()))
    apart = float(np.median(np.abs(own - scores)) / scale) if same else None
    return {**found, "quantus": seconds, "apart": apart}


def sweep(name: str, quick: bool) -> dict[str, Any]:
    """Many metrics of several explainers in one pass, against the floor."""
    net = network(name, quick)
    n = 2 if quick else 10
    explainers = {
        "Saliency": E.Saliency(), "InputXGradient": E.InputXGradient(),
        "random": lambda model, x, y, keys: jax.random.normal(jax.random.key(1), x.shape),
    }  # fmt: skip
    metrics = {k: row.ours for k, row in rows_of(name, quick).items()}
    metrics |= {
        "Insertion": je.Insertion(), "Deletion": je.Deletion(), "SRG": je.SRG(),
        "LocalLipschitz": je.LocalLipschitz(n_samples=n), "Complexity": je.Complexity(),
        "AvgSensitivity": je.AvgSensitivity(n_samples=n),
    }  # fmt: skip
    run = functools.partial(ours, net, metrics, explainers)
    first, later = best(run, 1)
    results = run()
    asked = {k: v for k, v in results.asked.items() if k != "naive"}
    return {
        "first s": first, "ours": later / len(net.x), "evaluations": sum(asked.values()),
        "naive": sum(results.asked["naive"].values()),
        "floor": floor_of(name, quick, results) / len(net.x), "peak": peak(),
    }  # fmt: skip


# -- precision, idling ----------------------------------------------------------------------------


def methods(quick: bool) -> dict[str, Any]:
    found = {"Saliency": E.Saliency(), "IntegratedGradients": E.IntegratedGradients(n_steps=8)}
    if quick:
        return found
    more = (E.SmoothGrad(n_samples=8), E.InputXGradient(), E.DeepLift(), E.LRP())
    return found | {type(e).__name__: e for e in more}


def fast(name: str, quick: bool) -> dict[str, Any]:
    """What precision="fast" gains, and what it does to the ranks of attributions."""
    from scipy.stats import spearmanr

    net, table = network(name, quick), []
    x, y = net.x[:16], net.y[:16]
    for e, explainer in methods(quick).items():
        maps, times = {}, {}
        for precision in ("highest", "fast"):
            run = functools.partial(je.attribute, explainer, net.model, x, y, precision=precision)
            times[precision] = best(run, 2)[1]
            maps[precision] = np.asarray(run())
        ranks = [spearmanr(u.ravel(), v.ravel())[0] for u, v in zip(*maps.values(), strict=True)]
        table.append({
            "explainer": e, "times": times["highest"] / times["fast"],
            "mean": float(np.mean(ranks)), "least": float(np.min(ranks)),
        })  # fmt: skip
    return {"table": table}


def profile(name: str, quick: bool) -> dict[str, Any]:
    """When the device idles during an evaluation that is compiled already."""
    net = network(name, quick)
    metrics = {"flipping": je.PixelFlipping(), "sensitivity": je.MaxSensitivity(n_samples=4)}
    ours(net, metrics)
    return idle(lambda: ours(net, metrics))


def steps(quick: bool) -> dict[str, Step]:
    """{name: step}, the most telling first."""
    from accelerator_parity import parity_steps

    names = ("LeNet", "ResNet-18") if quick else tuple(SAMPLES)
    which = ("FaithfulnessCorrelation", "PixelFlipping", "MaxSensitivity", "Sparseness")
    found: dict[str, Step] = {}
    for name in names:
        for m in which[:2] if quick else which:
            found[f"metric/{name}/{m}"] = functools.partial(metric, name, quick, m)
    for name in names[:1] if quick else names:
        found[f"sweep/{name}"] = functools.partial(sweep, name, quick)
    found |= parity_steps(quick)
    for name in names[-1:]:
        for what, step in (("sizes", sizes), ("automatic", automatic), ("fast", fast)):
            found[f"{what}/{name}"] = functools.partial(step, name, quick)
    for name in names[:1] if quick else names:
        found[f"profile/{name}"] = functools.partial(profile, name, quick)
    if not quick:
        found |= {
            f"{what}/{name}": functools.partial(step, name, quick)
            for name in names[:-1]
            for what, step in (("sizes", sizes), ("automatic", automatic), ("fast", fast))
        }
    return found
