"""What a sweep says it has asked is what the model was asked, whatever the shards are."""

from __future__ import annotations

import numpy as np
import pytest
import things

import jaxeval as je
from jaxeval.sweep.place import local_mesh


class Counting:
    """A host model and a host explainer that count the samples they are given."""

    def __init__(self):
        self.rows = {"output": 0, "attribution": 0}

    def logits(self, params, x):
        self.rows["output"] += len(x)
        return np.asarray(x) @ np.asarray(things.linear().params)

    def explain(self, model, x, y, keys):
        self.rows["attribution"] += len(x)
        return 2 * np.asarray(x)


@pytest.mark.parametrize("n", [10, 11, 13])
@pytest.mark.parametrize("shard_size", [5, 100])
def test_asked_is_what_the_model_was_given(tmp_path, n, shard_size):
    """The last shard, of 1 or 3 samples, is padded to 5; what fills it up is not asked."""
    spy, steps, draws = Counting(), 3, 2
    metrics = {
        "flip": je.PixelFlipping(n_steps=steps, baseline=0.0),
        "max": je.MaxSensitivity(n_samples=draws),
        "sparse": je.Sparseness(),
    }
    sweep = things.sweep(
        tmp_path,
        data=things.data(n),
        model=je.Model(spy.logits, {}, channel_axis=None, host=True),
        explainers={"twice": je.Host(spy.explain)},
        metrics=metrics,
        shard_size=shard_size,
    )
    assert je.run(sweep, progress=False, mesh=local_mesh(1)).complete
    asked = je.Store(tmp_path).results().asked
    # The samples of a block of 5 share the query without any feature.
    ends = -(-n // 5)
    want = {"output": n * steps + ends, "attribution": n * (1 + draws)}
    assert {kind: asked[kind] for kind in want} == want == spy.rows
    # Metric by metric the clean map is made three times.
    naive = {"output": n * (1 + steps), "attribution": n * (1 + 1 + draws + 1)}
    assert {kind: asked["naive"][kind] for kind in naive} == naive
