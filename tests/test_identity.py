"""Values of settings: equal ones are one question and share one trace."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeval.identity import identity
from jaxeval.types import canonical

VALUES = [0.2, 1, np.float32(0.2), np.float64(0.2), np.int64(3), np.arange(3.0), np.arange(3)]


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_identity_is_that_of_the_canonical_form(value, x64):
    with jax.enable_x64(x64), warnings.catch_warnings():
        warnings.simplefilter("error")
        made = canonical((value,))
        assert isinstance(made[0], jax.Array)
        assert identity((value,)) == identity(made)
        np.testing.assert_allclose(made[0], value, rtol=1e-7)


def test_identity_tells_values_and_dtypes_apart():
    given = [0.2, 0.3, 1, jnp.ones(1), jnp.ones((1, 1)), jnp.ones(1, jnp.int32)]
    assert len({identity(v) for v in given}) == len(given)
    assert identity(0.2) == identity(np.float32(0.2)) == identity(np.float64(0.2))
