"""Ranks on CPUs and on accelerators: two algorithms, one result, bit for bit."""

import re

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax import export
from scipy.stats import rankdata

from jaxeval import ops
from jaxeval.ops import rank

PAIRS = [
    (jax.jit(rank._order_by_digits), jax.jit(rank._order_of_pairs)),
    (jax.jit(rank._ranks_by_search), jax.jit(rank._ranks_of_pairs)),
]
ODD = [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1.0, -1.0, 1e-40, -1e-40, 3e38]
odd = hnp.arrays(np.float32, 33, elements=st.sampled_from(np.float32(ODD).tolist()))


def same(of_cpus, of_others, keys):
    a, b = of_cpus(keys), of_others(keys)
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(np.asarray(a).view(np.uint32), np.asarray(b).view(np.uint32))
    return b


@given(odd)
@settings(max_examples=30)
def test_ties_signed_zeros_nan_and_infinities(v):
    for keys in (rank._sortable(jnp.asarray(v)), ~rank._sortable(jnp.asarray(v))):
        for pair in PAIRS:
            same(*pair, keys)


@pytest.mark.parametrize("size", [1, 2, 65, 50_176])
def test_any_size(rng, size):
    v = np.round(rng.normal(size=size) * size / 4).astype(np.float32)
    keys = rank._sortable(jnp.asarray(v))
    np.testing.assert_array_equal(same(*PAIRS[0], keys), np.argsort(v, kind="stable"))
    np.testing.assert_array_equal(same(*PAIRS[1], keys), rankdata(v))


def test_places(rng):
    order = jnp.asarray(rng.permutation(1000), jnp.int32)
    place = same(rank._places_by_scatter, rank._order_of_pairs, order)
    np.testing.assert_array_equal(place[order], np.arange(1000))


def of_all(v):
    order = ops.descending(v)
    return order, ops.places(order), ops.average_ranks(v), ops.top(v, 5), ops.spearman(v, v[::-1])


def operations(platform):
    """The operations of a program for a platform; JAX leaves out what is for others."""
    rows = jax.ShapeDtypeStruct((4, 4096), jnp.float32)
    program = export.export(jax.jit(jax.vmap(of_all)), platforms=(platform,))(rows)
    return set(re.findall(r"stablehlo\.\w+", program.mlir_module()))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_an_accelerator_sorts_and_neither_scatters_nor_searches_nor_gathers(platform):
    used = operations(platform)
    assert "stablehlo.sort" in used
    assert not {"stablehlo.scatter", "stablehlo.gather", "stablehlo.while"} & used


def test_a_cpu_gathers():
    assert {"stablehlo.scatter", "stablehlo.gather"} <= operations("cpu")
