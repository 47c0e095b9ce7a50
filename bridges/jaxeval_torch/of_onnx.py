"""JAX models from ONNX files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp

import jaxeval as je
from jaxeval.cpu import RewrittenOnCpus
from jaxeval.tokens import IDS

from .forward import Forward
from .graph import OnnxGraph


def from_onnx(
    model: Any,
    *,
    output: str | None = None,
    fold: bool = True,
    channel_axis: int | None = 1,
    outputs: str = "logits",
    tokens: Any = None,
) -> je.Model:
    """Convert an ONNX model to a JAX model.

    Args:
      model: the path of an ``.onnx`` file, its bytes, or an `onnx.ModelProto`.
      output: the name of the graph's output that holds the logits [N, K]; None: the first.
      fold: whether to fold batch normalisations into the convolutions before them.
      channel_axis: as for `jaxeval.Model`.
      outputs: what the graph returns, as for `jaxeval.Model`.
      tokens: for graphs of token ids, as for `jaxeval.Model`. x then is the graph's input
        "input_ids", or its first; the others are ``inputs``, by their names in the file.

    Its float weights are ``params["params"]`` under the file's names (running statistics are
    "state"), so that they can be randomised; scalars and integers are part of the program. With
    several inputs the model takes a tuple. The outputs are not verified: compare them with the
    original model if you have it.

    Raises:
      ConversionError: unsupported operators; the message names all of them.
    """
    import onnx

    if isinstance(model, (str, os.PathLike)):
        if not Path(model).exists():
            raise FileNotFoundError(f"from_onnx: there is no file {os.fspath(model)!r}")
        model = onnx.load(os.fspath(model))
    elif isinstance(model, bytes):
        model = onnx.load_model_from_string(model)
    if not isinstance(model, onnx.ModelProto):
        raise TypeError(
            f"from_onnx takes the path of an .onnx file or an onnx.ModelProto, got "
            f"{type(model).__name__}"
        )
    if model.functions:
        import onnx.inliner

        model = onnx.inliner.inline_local_functions(model)
    state = {
        name for n in model.graph.node if n.op_type == "BatchNormalization" for name in n.input[3:5]
    }
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    weights = {
        k: jnp.asarray(v)
        for k, v in values.items()
        if jnp.issubdtype(v.dtype, jnp.floating) and (v.size > 1 or k in state)
    }
    graph = OnnxGraph(model, weights)
    if output is not None and output not in graph.outputs:
        raise ValueError(
            f"from_onnx: the graph has no output {output!r}, only {', '.join(graph.outputs)}"
        )
    params = {
        "params": {k: v for k, v in weights.items() if k not in state},
        "state": {k: v for k, v in weights.items() if k in state},
    }
    forward = Forward(graph, None, output or graph.outputs[0], _declared(model, graph), fold=fold)
    if tokens is not None:
        names = tuple(graph.inputs)
        ids = IDS if IDS in names else names[0]
        forward = dataclasses.replace(forward, names=names if len(names) > 1 else None, ids=ids)
    return je.Model(
        RewrittenOnCpus(forward),
        params,
        channel_axis=channel_axis,
        outputs=outputs,
        tokens=tokens,
    )


def _declared(model: Any, graph: OnnxGraph) -> tuple[str, ...] | None:
    """The dtypes of the graph's inputs, as declared in the file."""
    import onnx

    types = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
    try:
        names = [types[name] for name in graph.inputs]
        return tuple(str(onnx.helper.tensor_dtype_to_np_dtype(kind)) for kind in names)
    except (KeyError, TypeError, ValueError):
        return None
