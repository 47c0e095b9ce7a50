"""Where a function is called from."""

import jax
import jax.numpy as jnp
import pytest

from jaxeval.trace import jaxprs

TRANSFORMATIONS = {
    "jit": jax.jit,
    "vmap": jax.vmap,
    "grad": lambda f: jax.grad(lambda x: f(x).sum()),
    "jvp": lambda f: lambda x: jax.jvp(f, (x,), (x,)),
    "scan": lambda f: lambda x: jax.lax.map(f, x),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations_are_told_from_plain_calls_wherever_it_is_asked_first(name):
    seen = []

    def seeing(x):
        seen.append(jaxprs.transformed())
        return x * 2

    jaxprs._untransformed.cache_clear()
    try:
        TRANSFORMATIONS[name](seeing)(jnp.ones(2))
        assert seen
        assert all(seen)
        assert not jaxprs.transformed()
    finally:
        jaxprs._untransformed.cache_clear()
