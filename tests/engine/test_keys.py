"""The keys of samples, which are made on the host, are those that JAX makes."""

import jax
import numpy as np
import pytest

from jaxeval.engine import kernels
from jaxeval.engine.sample_view import explainer_key, sample_key


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_of_samples_are_folded_in_by_index(impl):
    key = jax.random.key(7, impl=impl)
    index = np.array([0, 1, 5, 2**31, 2**32 - 1], np.uint32)
    want = [sample_key(key, i) for i in index]
    got = kernels.keys_of(key, index)
    for g, e, w in zip(got, kernels.explainer_keys(got), want, strict=True):
        same(g, w)
        same(e, jax.random.fold_in(w, 1))
        same(explainer_key(g), jax.random.fold_in(w, 1))


def same(one, other):
    np.testing.assert_array_equal(jax.random.key_data(one), jax.random.key_data(other))
