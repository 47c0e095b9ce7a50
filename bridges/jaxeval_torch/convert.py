"""torch modules as JAX models."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxeval as je
from jaxeval.cpu import RewrittenOnCpus

from . import cache as cached
from .export import OPSET, ROWS, capture, named_tensors, to_onnx
from .forward import Forward
from .graph import ConversionError, OnnxGraph
from .initial import initial
from .layers import find_layers
from .logits import Logits, named_inputs
from .tensors import device_of, in_evaluation, in_its_type, to_jax

TOLERANCE = 1e-4
"""The largest difference from torch's logits, relative to the largest logit, that passes."""
ROUNDINGS = 16
"""The same in roundings (eps) of the module's type, where that is more. In half precision every
layer's output is rounded by up to eps / 2, in torch as here, but not alike: over L layers of random
errors that makes about sqrt(L) eps / 2 of the logits, and a few times as much where logits are
differences of larger numbers. A graph that is wrong is off by about 1."""


def from_torch(
    module: Any,
    example: Any,
    *,
    output: str | int | None = None,
    exact_layers: bool = False,
    cache: bool | str | os.PathLike[str] = True,
    channel_axis: int | None = 1,
    outputs: str = "logits",
) -> je.Model:
    """A torch module as a JAX model: a pure function, for `jax.jit`, `vmap` and `grad`.

    The module is exported to ONNX in evaluation mode, with a batch of any size, and the graph is
    run by JAX. Its logits on `example` are compared with torch's. The module is as before
    afterwards, its training mode and ``requires_grad`` included; later changes of its weights do
    not reach the model.

    Args:
      module: an `nn.Module` on any device; it may answer with a tensor, a tuple, a dict or a
        dataclass.
      example: inputs as the module takes them, with a leading sample axis: a tensor or array, a
        tuple of them (positional), or a dict (by keyword). Token numbers and attention masks
        may be integers. Floats are cast to the module's own precision, by the model, too, which
        takes any: a module in float16, bfloat16 or float64 answers float32 inputs in its type.
        The model then takes x in the same form.
      output: which part of the module's answer holds the logits [N, K]: a key, attribute or
        position. None: the tensor itself, ``logits`` where there is one, else the first part
        that fits.
      exact_layers: give `Model.hidden` the output of every module inside, by its name (a module
        called again is "name@2"), and keep every batch normalisation apart from its convolution.
        Otherwise the two are computed as one, which is quicker and differs by rounding.
      cache: keep the ONNX graph (without weights), whose translation is most of the time, for the
        next conversion of a module that exports to the same program, in the folder given here or
        in $JAXEVAL_CACHE, by default in ``~/.cache/jaxeval/torch``. The module is exported every
        time, so that whatever decides what it computes (settings, helper functions, globals,
        hooks) decides which graph is taken, too.
      channel_axis: as in `jaxeval.Model`.
      outputs: what the module answers with, as in `jaxeval.Model`: "logits", "probabilities",
        "binary" or "values".

    The parameters are ``{"params": {name: array}, "state": {...}}`` under torch's own names;
    "state" holds buffers, such as running statistics. `Model.init` draws every layer's parameters
    as its ``reset_parameters`` would (MPRT's "reinit").

    Raises:
      ConversionError: the module cannot be exported (it branches on data), uses an operator that
        is not known here, or gave other logits. `wrap_torch` runs any module, in torch.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 3))
    >>> model = from_torch(net, torch.zeros(2, 4))
    >>> model(jnp.ones((5, 4))).shape, sorted(model.params["params"])
    ((5, 3), ['0.bias', '0.weight', '2.bias', '2.weight'])
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch takes a torch.nn.Module, got {type(module).__name__}")
    inputs, names = named_inputs(example)
    # Compared on another number of rows than it is exported with.
    if len(next(iter(inputs.values()))) <= ROWS:
        inputs = {k: torch.cat([t, t, t])[: ROWS + 1] for k, t in inputs.items()}
    folder = cached.folder(cache)
    with in_evaluation(module), torch.no_grad():
        # Of one number a sample there is a column; what it means, the model says.
        picked = Logits(module, names, output, "values" if outputs == "binary" else outputs)
        inputs = {k: in_its_type(t, module) for k, t in inputs.items()}
        on_device = [t.to(device_of(module)) for t in inputs.values()]
        answer = picked(*on_device).detach().cpu()
        rounding = max(_eps(answer), *map(_eps, (*module.parameters(), *module.buffers())), 0.0)
        expected = Expected(answer.double().numpy(), max(TOLERANCE, ROUNDINGS * rounding))
        program, file = capture(picked, on_device), None
        if folder is not None and program is not None:
            key = cached.key(program, OPSET)
            file = None if key is None else folder / f"{key}.onnx"
        if file is not None and (kept := cached.read(file)) is not None:
            # Whatever is wrong with a kept graph (broken, of another version of onnx), the module
            # is exported anew, and errors are of that.
            with contextlib.suppress(Exception):
                model = _model(kept, picked, inputs, expected, exact_layers, channel_axis)
                return dataclasses.replace(model, outputs=outputs)
        exported = to_onnx(picked, on_device, program)
        model = _model(exported, picked, inputs, expected, exact_layers, channel_axis)
        if file is not None:
            cached.write(file, exported)
    return dataclasses.replace(model, outputs=outputs)


def _eps(t: Any) -> float:
    """The relative distance of neighbouring numbers in a tensor's type; 0 of whole numbers."""
    import torch

    return torch.finfo(t.dtype).eps if t.dtype.is_floating_point else 0.0


@dataclasses.dataclass(frozen=True)
class Expected:
    """torch's logits on the example, and how far others may be off, relative to the largest."""

    logits: np.ndarray
    tolerance: float


def _model(
    exported: bytes,
    picked: Logits,
    inputs: dict[str, Any],
    expected: Expected,
    exact_layers: bool,
    channel_axis: int | None,
) -> je.Model:
    import onnx

    proto = onnx.load_model_from_string(exported)
    own = named_tensors(picked.module)
    trained = dict(picked.module.named_parameters(remove_duplicate=False))
    used = [t.name for t in proto.graph.initializer if t.name in own]
    graph = OnnxGraph(proto, used)
    floating = {k: own[k] for k in used if own[k].dtype.is_floating_point}
    # Whole numbers, such as tables of positions, decide shapes: they are part of the program.
    graph = graph.with_constants({k: own[k].cpu().numpy() for k in used if k not in floating})
    params = {
        "params": {k: to_jax(t) for k, t in floating.items() if k in trained},
        "state": {k: to_jax(t) for k, t in floating.items() if k not in trained},
    }
    types = tuple(str(t.dtype).removeprefix("torch.") for t in inputs.values())
    forward = Forward(graph, picked.names, graph.outputs[0], types, fold=not exact_layers)
    apply = RewrittenOnCpus(forward)
    x = picked.as_given([to_jax(t) for t in inputs.values()])
    with jax.default_matmul_precision("highest"):
        compare(apply, params, x, expected)
        hidden = None
        if exact_layers:
            layers = find_layers(forward, params, x, picked, inputs, expected.tolerance)
            hidden = dataclasses.replace(forward, layers=layers)
    init = initial(picked.module)
    parts = [_example(t) for t in inputs.values()]
    example = parts[0] if hasattr(x, "shape") else tuple(parts)
    return je.Model(
        apply, params, hidden=hidden, init=init, channel_axis=channel_axis, example=example
    )


def _example(t: Any) -> jax.ShapeDtypeStruct:
    """What the model takes in place of a tensor; floats of any precision are cast to its own."""
    x = to_jax(t[:1])
    float32 = jnp.issubdtype(x.dtype, jnp.floating)
    return jax.ShapeDtypeStruct(x.shape, jnp.float32 if float32 else x.dtype)


def compare(apply: Any, params: Any, x: Any, wanted: Expected) -> None:
    """Raises ConversionError unless the converted model gives the logits that torch gave."""
    expected = wanted.logits
    logits = np.asarray(jax.jit(apply)(params, x), np.float64)
    if logits.shape != expected.shape:
        raise ConversionError(
            f"the converted model gives logits of shape {list(logits.shape)}, torch gave "
            f"{list(expected.shape)}"
        )
    error = np.abs(logits - expected).max()
    scale = np.abs(expected).max()
    if not error <= wanted.tolerance * scale:
        row = int(np.unravel_index(np.abs(logits - expected).argmax(), logits.shape)[0])
        raise ConversionError(
            f"the converted model is not the module: the logits on the example differ by up to "
            f"{error:.3g}, which is {error / scale:.3g} of the largest logit "
            f"({wanted.tolerance:.3g} is allowed); row {row}: {_short(logits[row])} instead of "
            f"{_short(expected[row])}"
        )


def _short(row: np.ndarray) -> str:
    return np.array2string(row[:6], precision=4, separator=", ", threshold=6)
