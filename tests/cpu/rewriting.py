"""What rewritten functions hold, and whether they compute the same as the original."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxeval.cpu import Rewritten


def operations(fn: Any, *args: Any) -> set[str]:
    """Names of the primitives in a function, nested ones included."""
    return {eqn.primitive.name for eqn in equations(fn, None, *args)}


def equations(fn: Any, name: str | None, *args: Any) -> list[Any]:
    """The operations of that name in a function, or all, nested ones included."""

    def inside(jaxpr: Any) -> Iterator[Any]:
        for eqn in jaxpr.eqns:
            if name in (None, eqn.primitive.name):
                yield eqn
            for v in eqn.params.values():
                if hasattr(v, "jaxpr"):
                    yield from inside(v.jaxpr)

    return list(inside(jax.make_jaxpr(fn)(*args).jaxpr))


def same(fn: Any, *args: Any, gone: str | None = None, tolerance: float = 1e-5) -> None:
    """Rewritten and original agree in value and in every gradient; `gone` was replaced."""
    rewritten = Rewritten(fn)
    if gone is not None:
        assert gone in operations(fn, *args)
        assert gone not in operations(rewritten, *args)
    shape = jax.eval_shape(fn, *args)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=shape.shape), shape.dtype)

    @jax.jit
    def values_and_gradients(*args: Any) -> Any:
        both = [jax.vjp(f, *args) for f in (rewritten, fn)]
        return [(out, *pull(direction)) for out, pull in both]

    got, wanted = values_and_gradients(*args)
    assert got[0].dtype == wanted[0].dtype
    for a, b in zip(got, wanted, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())
