"""The forward pass of a converted graph, as the function that a model applies."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxeval.check import takes_numbers

from .graph import OnnxGraph

MOST_CONSTANTS = 2**20
"""Bytes of constants in a graph, beyond which nothing that is compiled of it outlives the model."""


@dataclasses.dataclass(frozen=True)
class Forward:
    """The forward pass of a graph. Equal graphs share compiled programs.

    params: {"params": {name: trained}, "state": {name: the rest}}.
    """

    graph: OnnxGraph
    names: tuple[str, ...] | None = None
    """The names of the inputs, where x is a dict."""
    output: str = ""
    dtypes: tuple[str, ...] | None = None
    """The types of the inputs, where they are known: floats are cast to them."""
    layers: tuple[tuple[str, str], ...] | None = None
    """(layer, the graph's name of its output): answers (logits, {layer: activations})."""
    fold: bool = True

    def __call__(self, params: Any, x: Any) -> Any:
        given = {**params["params"], **params["state"], **self.inputs(x)}
        wanted = [self.output, *(value for _, value in self.layers or ())]
        values = self.graph.run(given, wanted, fold=self.fold)
        logits = jnp.asarray(values[self.output])
        if self.layers is None:
            return logits
        return logits, {name: jnp.asarray(values[value]) for name, value in self.layers}

    def __architecture__(self) -> Any:
        """What equal graphs have in common, for the programs that are compiled of them."""
        large = sum(v.nbytes for v in self.graph.constants.values()) > MOST_CONSTANTS
        if large or self.graph.own:  # no text says all that a user's function computes
            return None
        rest = (getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "graph")
        return ("ONNX", self.graph.digest, *rest)

    def inputs(self, x: Any) -> dict[str, Any]:
        if self.names is not None:
            if not isinstance(x, Mapping) or set(x) != set(self.names):
                raise TypeError(
                    f"this model takes a dict with the keys {', '.join(self.names)}, got "
                    + (f"the keys {', '.join(map(str, x))}" if isinstance(x, Mapping) else _kind(x))
                )
            x = [x[name] for name in self.names]
        elif not isinstance(x, (tuple, list)):
            x = (x,)
        if len(x) != len(self.graph.inputs):
            raise TypeError(f"this model takes {len(self.graph.inputs)} inputs, got {len(x)}")
        # Data is never known beforehand, even where the caller gives NumPy arrays.
        arrays = [jnp.asarray(v) for v in x]
        if self.dtypes is not None:
            arrays = [_as_declared(v, dtype) for v, dtype in zip(arrays, self.dtypes, strict=True)]
        return dict(zip(self.graph.inputs, arrays, strict=True))


def _as_declared(x: Any, dtype: str) -> Any:
    """An input in the type that the graph wants: floats are cast, whole numbers are not made."""
    if jnp.issubdtype(dtype, jnp.floating):
        return x.astype(jax.dtypes.canonicalize_dtype(dtype))
    if jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(takes_numbers(dtype, f"got {x.dtype}{list(x.shape)}"))
    return x


def _kind(x: Any) -> str:
    return f"an array of shape {list(x.shape)}" if hasattr(x, "shape") else type(x).__name__
