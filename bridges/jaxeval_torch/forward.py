"""The forward pass of a converted graph, as the `apply` of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxeval.check import takes_numbers
from jaxeval.tokens import ATTENTION

from .graph import OnnxGraph

MOST_CONSTANTS = 2**20
"""With more bytes of constants in a graph, its compiled programs are freed with the model."""


@dataclasses.dataclass(frozen=True)
class Forward:
    """The forward pass of a graph. Equal graphs share compiled programs.

    params: {"params": {name: trained parameter}, "state": {name: other}}.
    """

    graph: OnnxGraph
    names: tuple[str, ...] | None = None
    """The names of the inputs if x is a dict."""
    output: str = ""
    dtypes: tuple[str, ...] | None = None
    """The dtypes of the inputs, if known: floats are cast to them."""
    layers: tuple[tuple[str, str], ...] | None = None
    """(layer, name of its output in the graph), to return (logits, {layer: activations})."""
    fold: bool = True
    ids: str | None = None
    """The name of the input of token ids, which then is x; the others are ``inputs``."""
    length: int | None = None
    """The number of tokens T that the graph of token ids takes; with `shorter`, the most."""
    shorter: bool = False

    @property
    def reads_inputs(self) -> bool:
        return self.ids is not None

    def __call__(self, params: Any, x: Any, inputs: Any = None) -> Any:
        if self.ids is not None:
            x = self.with_ids(x, inputs or {})
        given = {**params["params"], **params["state"], **self.inputs(x)}
        wanted = [self.output, *(value for _, value in self.layers or ())]
        values = self.graph.run(given, wanted, fold=self.fold)
        logits = jnp.asarray(values[self.output])
        if self.layers is None:
            return logits
        return logits, {name: jnp.asarray(values[value]) for name, value in self.layers}

    def __architecture__(self) -> Any:
        """A description that equal graphs share, so that they share compiled programs."""
        large = sum(v.nbytes for v in self.graph.constants.values()) > MOST_CONSTANTS
        if large or self.graph.own:  # no text fully describes a user-defined function
            return None
        rest = (getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "graph")
        return ("ONNX", self.graph.digest, *rest)

    def with_ids(self, ids: Any, inputs: Mapping[str, Any]) -> Any:
        """All inputs, in the form of the example: ids alone, or a dict."""
        given, most = ids.shape[1], self.length
        if most is not None and given != most and not (self.shorter and given < most):
            # A longer text may run out of the table of positions, which JAX would not notice.
            raise ValueError(
                f"the model was converted for texts of {'up to ' if self.shorter else ''}T = "
                f"{most} tokens and got {given}: "
                + (f"cut them to {most}" if self.shorter else f"pad or cut them to {most}")
                + f", or give from_torch an example of T = {given}, if the model takes that many"
            )
        if self.names is None:
            own = {k for k in inputs if k != ATTENTION}
            if own:
                raise TypeError(f"this model takes token ids alone, and got inputs {sorted(own)}")
            return ids
        found = {self.ids: ids, **inputs}
        if ATTENTION not in self.names:
            found.pop(ATTENTION, None)
        missing = [name for name in self.names if name not in found]
        if missing or len(found) > len(self.names):
            unknown = sorted(set(found) - set(self.names))
            raise TypeError(
                f"this model reads {', '.join(self.names)}: "
                + (f"give inputs={{{missing[0]!r}: ...}}" if missing else f"not {unknown[0]!r}")
            )
        return found

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
        # Inputs are never constants of the program, even if the caller passes NumPy arrays.
        arrays = [jnp.asarray(v) for v in x]
        if self.dtypes is not None:
            arrays = [_as_declared(v, dtype) for v, dtype in zip(arrays, self.dtypes, strict=True)]
        return dict(zip(self.graph.inputs, arrays, strict=True))


def _as_declared(x: Any, dtype: str) -> Any:
    """An input in the graph's dtype: floats are cast to float dtypes, but never to integers."""
    if jnp.issubdtype(dtype, jnp.floating):
        return x.astype(jax.dtypes.canonicalize_dtype(dtype))
    if jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(takes_numbers(dtype, f"got {x.dtype}{list(x.shape)}"))
    return x


def _kind(x: Any) -> str:
    return f"an array of shape {list(x.shape)}" if hasattr(x, "shape") else type(x).__name__
