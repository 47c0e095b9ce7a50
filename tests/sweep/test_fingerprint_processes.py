"""Fingerprints do not depend on the process that makes them."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

PROCESS = """
import functools, json, sys
import numpy as np, jax, jax.numpy as jnp
import jaxeval as je
from jaxeval.content import content

W = np.arange(3.0)
CONFIG = {"names": {"a", "b", "c", "d"}, "more": frozenset([1, "x", None]), 3: "y"}

def helper(x):
    return x * W if "a" in {"a", "b", "zz"} else CONFIG

class Own:
    def __init__(self):
        self.w, self.s = W, {"p", "q", "r"}
    def __call__(self, model, x, y, keys):
        return helper(x)

things = [helper, Own(), functools.partial(Own(), y={"u", "v"}), jax.jit(helper),
          jax.vmap(jax.grad(lambda x: (x * W).sum())), je.PixelFlipping(output=lambda z, y: z[y])]
try:
    import flax.linen as nn
    from flax import nnx
    net = nn.Dense(3)
    things.append(je.from_flax(net, net.init(jax.random.key(0), jnp.ones((1, 4)))))
    things.append(je.from_flax(nnx.Linear(3, 2, rngs=nnx.Rngs(0))))
except ImportError:
    pass
try:
    import torch
    from jaxeval_torch import explainers, wrap_torch
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
    for _ in range(int(sys.argv[1])):
        net.register_forward_hook(lambda *_: None).remove()
    net.register_forward_hook(lambda m, i, o: 2 * o)
    things += [wrap_torch(net), explainers.captum_explainer("IntegratedGradients", net, n_steps=4)]
except ImportError:
    pass
print(json.dumps([content(v) for v in things], sort_keys=True))
"""


def test_equal_things_are_equal_in_other_processes():
    path = os.pathsep.join(str(p) for p in (HERE.parents[1], HERE.parents[1] / "bridges"))
    said = []
    for seed in ("1", "17"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
        said.append(
            subprocess.run(
                [sys.executable, "-c", PROCESS, seed], env=env, capture_output=True, check=True
            ).stdout
        )
    assert said[0] == said[1]
    assert len(json.loads(said[0])) >= 6
