"""Functions of one sample at a time, vectorised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ..model import Model, with_inputs


def by_row(fn: Callable[..., Any], model: Model, *rows: Any) -> Any:
    """``fn(model, *row)`` for each row alone, as a batch of one, with the inputs of that row."""

    def one(inputs: Any, *row: Any) -> Any:
        inputs, row = jax.tree.map(lambda v: v[None], (inputs, row))
        return fn(with_inputs(model, inputs), *row)

    return jax.vmap(one)(model.inputs, *rows)
