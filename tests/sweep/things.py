"""A model, explainers and data that sweeps of the tests name."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

import jaxeval as je

N, F, K = 21, 6, 3


def apply(params, x):
    return x @ params


def linear(scale: float = 1.0) -> je.Model:
    weights = np.random.default_rng(0).normal(size=(F, K)).astype(np.float32)
    return je.Model(apply, scale * weights, channel_axis=None)


def data(n: int = N):
    rng = np.random.default_rng(1)
    return {
        "x": rng.normal(size=(n, F)).astype(np.float32),
        "y": (np.arange(n) % K).astype(np.int32),
    }


def spoilt():
    found = data()
    found["x"][9, 0] = np.inf
    return found


def mine(model, x, y, keys):
    return x * 2


def slow(model, x, y, keys):
    """On the host, so that a run lasts long enough to be killed; the last of CALLS kills it."""
    time.sleep(0.05)
    if left := int(os.environ.get("CALLS", "0")):
        os.environ["CALLS"] = str(left - 1)
        if left == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return np.asarray(x) * 3


def fatal(model, x, y, keys):
    """Aborts the process, as XLA does on some devices, if too much is in flight."""
    if len(x) > 2:
        os.abort()
    return np.asarray(x)


def metrics():
    return {
        "flip": je.Grid(je.PixelFlipping, n_steps=[2, 3], baseline="mean"),
        "subsets": je.FaithfulnessCorrelation(n_runs=5, subset_size=2),
        "sparse": je.Sparseness(),
    }


def explainers():
    return {"x": je.explain.InputXGradient(), "random": je.explain.Random(), "mine": mine}


def sweep(output, **changes) -> je.Sweep:
    given = {
        "data": data(),
        "model": linear(),
        "explainers": explainers(),
        "metrics": metrics(),
        "output": output,
        "shard_size": 5,
        "batch_size": 5,
    }
    return je.Sweep(**{**given, **changes})
