"""The caller's arrays are as they were."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import draws_of, metric_of
from tests.contracts.runs import PLAIN, clean_maps, evaluate, metrics, together
from tests.world import N, world


@pytest.mark.rows
@together
@pytest.mark.parametrize("kind", [np.array, jnp.array], ids=["numpy", "jax"])
def test_nothing_of_the_caller_is_changed(kind):
    """Arrays that could be written to, or donated, are as they were."""
    w = world()
    want = {
        "x": w.x,
        "y": w.y,
        "mask": w.mask,
        "a": clean_maps(),
        "draws": draws_of("MaxSensitivity", metric_of("MaxSensitivity"), w),
        "index": np.arange(N),
        "params": w.model.params,
    }
    given = jax.tree.map(kind, want)
    data = {k: given[k] for k in ("x", "y", "mask")}
    model = dataclasses.replace(w.model, params=given["params"])
    extra = dataclasses.replace(metric_of("MaxSensitivity"), draws=given["draws"])
    both = {**metrics(), "with draws": extra}
    evaluate(model=model, index=given["index"], metrics=both, **data)
    if PLAIN:
        evaluate(explainers={"a": given["a"]}, metrics=metrics(PLAIN), **data)
    jax.tree.map(np.testing.assert_array_equal, given, want)
