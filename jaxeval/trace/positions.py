"""Tables of positions that are shorter than the texts: JAX reads their last row without a word."""

from __future__ import annotations

import contextlib
from typing import Any

import jax
from jax.core import eval_context
from jax.lax import GatherScatterMode

from ..model import Model, jaxpr_of
from .jaxprs import CALLS, bind, evaluate, where

SILENT = (GatherScatterMode.CLIP, GatherScatterMode.PROMISE_IN_BOUNDS)
"""Modes in which an index beyond the end reads the last row."""


class _Unknown:
    """A value that depends on the parameters or the inputs."""


UNKNOWN = _Unknown()


def check_positions(model: Model, x: Any) -> None:
    """Raise an error if a model of tokens reads a table beyond its end, whatever the ids are.

    Args:
      x: shape and dtype of one text, [T].

    Raises:
      ValueError: it does; the message names the line and the size of the table.
    """
    closed, read = jaxpr_of(model, x), []

    def largest() -> list[jax.Array]:
        """The largest index of each look-up by numbers that do not depend on the inputs."""
        read.clear()
        found = []

        def operation(eqn: Any, given: list[Any]) -> list[Any]:
            if eqn.primitive.name == "gather" and eqn.params["mode"] in SILENT:
                index, shape = given[1], eqn.invars[0].aval.shape
                axes = eqn.params["dimension_numbers"].start_index_map
                for k, axis in enumerate(() if index is UNKNOWN or not index.size else axes):
                    found.append(index[..., k].max())
                    read.append((shape[axis], eqn.params["slice_sizes"][axis], where(eqn)))
            if not any(v is UNKNOWN for v in given):
                with contextlib.suppress(Exception):  # what cannot be computed alone is unknown
                    return bind(eqn, given)
            return [UNKNOWN] * len(eqn.outvars)

        args = [UNKNOWN] * len(closed.jaxpr.invars)
        evaluate(closed.jaxpr, closed.consts, args, operation, calls=tuple(CALLS))
        return found

    jax.make_jaxpr(largest)()
    if not read:
        return
    with eval_context():  # this may be called while something else is traced
        indices = [int(v) for v in jax.jit(largest)()]
    for index, (rows, size, line) in zip(indices, read, strict=True):
        if index + size > rows:
            raise ValueError(
                f"the model reads row {index} of a table with {rows} rows ({line}), whatever the "
                f"ids are: texts of T = {x.shape[0]} tokens are longer than its table of "
                "positions, and JAX would read the last row for all beyond it. Cut them to "
                f"{rows} tokens"
            )
