"""A small network, explainers and metrics, and draws for all tests."""

from __future__ import annotations

import jax
import numpy as np

import jaxeval as je
from tests.networks import mlp

N, P, FEATURES = 9, 4, 12
MODEL, PARAMS = mlp(3)
X = np.random.default_rng(0).normal(size=(N, FEATURES)).astype(np.float32)
EXPLAINERS = {
    "gradient": je.explain.Gradient(),
    "x grad": je.explain.InputXGradient(),
    "smooth": je.explain.SmoothGrad(n_samples=2),
}
METRICS = {
    "flipping": je.PixelFlipping(n_steps=4, baseline=0.0),
    "correlation": je.FaithfulnessCorrelation(n_runs=8, subset_size=3, baseline=0.0),
    "sensitivity": je.MaxSensitivity(n_samples=2, radius=0.1),
    "sparseness": je.Sparseness(),
}
GIVEN = {"explainers": EXPLAINERS, "metrics": METRICS, "progress": False}


def draws_of_model(seed=0, params=PARAMS):
    """z for every parameter, with a leading axis of perturbations."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda v: rng.normal(size=(P, *v.shape)).astype(np.float32), params)


def draws_of_inputs(seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (P, *X.shape)).astype(np.float32)


def draws_of_maps(seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([[rng.permutation(FEATURES) for _ in range(N)] for _ in range(P)])
