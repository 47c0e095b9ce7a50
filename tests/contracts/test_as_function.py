"""A metric is a pure function of one sample, under jit, vmap and grad."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval.metric import asks_of
from tests.cases import ROWS, Spy
from tests.contracts.runs import (
    ALL,
    assert_same,
    base,
    clean_maps,
    numpy_explainer,
    numpy_model,
    together,
)
from tests.world import KEY, N, entries, world


def as_function(row: str) -> Any:
    w, explainer = world(), entries if ROWS[row].explains else None
    f = je.as_function(ROWS[row].metric, w.model, explainer)
    # What the host makes of each image is given.
    extras = {
        name: np.stack([make(x, w.channel_axis) for x in w.x])
        for question in asks_of(ROWS[row].metric)
        for name, make in question.host_extras().items()
    }

    def one(x: Any, y: Any, a: Any, key: Any, index: Any, mask: Any) -> Any:
        own = {name: jnp.asarray(rows)[index] for name, rows in extras.items()}
        return f(x, y, a, key, index=index, mask=mask, extras=own)

    return one


@pytest.mark.parametrize("row", ALL)
@together
def test_as_function_under_jit_and_vmap(row):
    if ROWS[row].over_data:
        with pytest.raises(TypeError, match="whole data set"):
            as_function(row)
        return
    if ROWS[row].on_host:
        with pytest.raises(TypeError, match="finished on the host"):
            as_function(row)
        return
    w = world()
    f = jax.jit(jax.vmap(as_function(row), in_axes=(0, 0, 0, None, 0, 0)))
    got = f(w.x, w.y, clean_maps(), jax.random.key(KEY), jnp.arange(N), w.fitted(w.mask))
    assert_same(got, base()["entries", row], row, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("row", ["Deletion", "FaithfulnessCorrelation", "MPRT", "AUC"])
@together
def test_as_function_under_jit(row):
    w, i = world(), 5
    f = jax.jit(as_function(row))
    got = f(w.x[i], w.y[i], clean_maps()[i], jax.random.key(KEY), i, w.fitted(w.mask)[i])
    want = jax.tree.map(lambda v: v[i], base()["entries", row])
    assert_same(got, want, row, rtol=1e-5, atol=1e-5)


def test_as_function_is_differentiable():
    """Completeness in the map: the sign of the sum's gap, on every feature."""
    w = world()
    f = je.as_function(je.Completeness(), w.model)
    g = jax.grad(lambda a: f(w.x[0], w.y[0], a, 0).score)(clean_maps()[0])
    assert np.isin(g, (-1, 1)).all()
    assert len(np.unique(g)) == 1


def test_as_function_refuses_what_it_cannot_do():
    w = world()
    model = w.model
    for call, says in (
        (lambda: je.as_function(je.MaxSensitivity(), model), "give explainer="),
        (lambda: je.as_function(je.MaxSensitivity(), model, je.Host(numpy_explainer)), "host"),
        (lambda: je.as_function(je.PixelFlipping(), numpy_model), "must be a jaxeval.Model"),
        (lambda: je.as_function(je.PixelFlipping(), Spy(w).model), "host callable"),
    ):
        with pytest.raises(TypeError, match=says):
            call()
