"""torch modules and ONNX files as JAX models."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxeval as je
from jaxeval.check import takes_numbers
from jaxeval.cpu import RewrittenOnCpus

from . import cache as cached
from .graph import ConversionError, Graph
from .initial import initial
from .layers import find_layers
from .logits import Logits, named_inputs
from .tensors import device_of, in_evaluation, in_its_type, to_jax

OPSET = 20
TOLERANCE = 1e-4
"""The largest difference from torch's logits, relative to the largest logit, that passes."""
ROUNDINGS = 16
"""The same in roundings (eps) of the module's type, where that is more. In half precision every
layer's output is rounded by up to eps / 2, in torch as here, but not alike: over L layers of random
errors that makes about sqrt(L) eps / 2 of the logits, and a few times as much where logits are
differences of larger numbers. A graph that is wrong is off by about 1."""


MOST_CONSTANTS = 2**20
"""Bytes of constants in a graph, beyond which nothing that is compiled of it outlives the model."""
ROWS = 2
"""Rows to export with: of one alone the exporter would take the batch for an axis of size 1."""


@dataclasses.dataclass(frozen=True)
class Forward:
    """The forward pass of a graph. Equal graphs share compiled programs.

    params: {"params": {name: trained}, "state": {name: the rest}}.
    """

    graph: Graph
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
        program, file = _program(picked, on_device), None
        if folder is not None and program is not None:
            key = cached.key(program, OPSET)
            file = None if key is None else folder / f"{key}.onnx"
        if file is not None and (kept := cached.read(file)) is not None:
            with contextlib.suppress(Exception):  # broken, or of another version of onnx
                model = _model(kept, picked, inputs, expected, exact_layers, channel_axis)
                return dataclasses.replace(model, outputs=outputs)
        exported = _export(picked, on_device, program)
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


def _rows(inputs: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What to export with, and which of its axes may have any size."""
    import torch

    batch = torch.export.Dim("batch")
    return tuple(t[:ROWS] for t in inputs), {"given": tuple({0: batch} for _ in inputs)}


def _program(picked: Logits, inputs: list[Any]) -> Any:
    """What the exporter makes of the module before it translates it, or None where it cannot."""
    rows, shapes = _rows(inputs)
    try:
        from torch.onnx._internal.exporter import _capture_strategies as strategies

        with _quiet():
            for strategy in strategies.CAPTURE_STRATEGIES:
                found = strategy()(picked, rows, None, shapes).exported_program
                if found is not None:
                    return found
    except Exception:  # another version of torch, which has these elsewhere
        pass
    return None


def _export(picked: Logits, inputs: list[Any], program: Any = None) -> bytes:
    """The ONNX graph of the module, without the values of its parameters and buffers.

    Args:
      program: of `_program`.
    """
    import torch

    rows, shapes = _rows(inputs)
    try:
        with _quiet():
            program = torch.onnx.export(
                picked if program is None else program,
                rows if program is None else (),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes if program is None else None,
                optimize=False,
                verbose=False,
            )
    except Exception as e:
        raise ConversionError(
            f"torch could not export {type(picked.module).__name__} to ONNX: "
            f"{_first_lines(e)}\nA forward pass that branches on the values of its input, or that "
            "fixes the batch size, cannot be exported. jaxeval_torch.wrap_torch runs the module "
            "in torch"
        ) from e
    assert program is not None
    proto = program.model_proto
    own = _tensors(picked.module)
    for t in proto.graph.initializer:
        t.name = name = t.name.removeprefix("module.") if _own(t.name, own) else t.name
        if name in own:
            kind, shape = t.data_type, list(t.dims)
            t.Clear()
            t.name, t.data_type = name, kind
            t.dims.extend(shape)
    _rename(proto.graph, own)
    return proto.SerializeToString(deterministic=True)


def _own(name: str, own: Mapping[str, Any]) -> bool:
    return name.startswith("module.") and name.removeprefix("module.") in own


def _rename(graph: Any, own: Mapping[str, Any]) -> None:
    """Parameters and buffers under torch's own names, also where a branch reads them."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if _own(name, own):
                node.input[i] = name.removeprefix("module.")
        for attribute in node.attribute:
            _rename(attribute.g, own)


def _tensors(module: Any) -> dict[str, Any]:
    """All parameters and buffers by name; what is shared is there under every name."""
    return {
        **dict(module.named_buffers(remove_duplicate=False)),
        **dict(module.named_parameters(remove_duplicate=False)),
    }


def _first_lines(e: BaseException) -> str:
    cause: BaseException = e
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {' '.join(lines[:3])}"[:600]


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
    own = _tensors(picked.module)
    trained = dict(picked.module.named_parameters(remove_duplicate=False))
    used = [t.name for t in proto.graph.initializer if t.name in own]
    graph = Graph(proto, used)
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
        check(apply, params, x, expected)
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


def check(apply: Any, params: Any, x: Any, wanted: Expected) -> None:
    """The converted model gives the logits that torch gave."""
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's messages about packages that are not there."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _declared(model: Any, graph: Graph) -> tuple[str, ...] | None:
    """The types of the graph's inputs, as the file declares them."""
    import onnx

    types = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
    try:
        names = [types[name] for name in graph.inputs]
        return tuple(str(onnx.helper.tensor_dtype_to_np_dtype(kind)) for kind in names)
    except (KeyError, TypeError, ValueError):
        return None


def from_onnx(
    model: Any,
    *,
    output: str | None = None,
    fold: bool = True,
    channel_axis: int | None = 1,
    outputs: str = "logits",
) -> je.Model:
    """An ONNX model as a JAX model.

    Args:
      model: the path of an ``.onnx`` file, its bytes, or an `onnx.ModelProto`.
      output: the name of the graph's output that holds the logits [N, K]; None: the first.
      fold: compute a convolution and the batch normalisation after it as one.
      channel_axis: as in `jaxeval.Model`.
      outputs: what the graph answers with, as in `jaxeval.Model`.

    Its float weights are ``params["params"]`` under the file's names (running statistics are
    "state"), so that they can be randomised; single numbers and whole ones are part of the
    program. With several inputs the model takes a tuple. Nothing here can compare the answers:
    do so where you have the original.

    Raises:
      ConversionError: operators that are not known here, all of them named.
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
    graph = Graph(model, weights)
    if output is not None and output not in graph.outputs:
        raise ValueError(
            f"from_onnx: the graph has no output {output!r}, only {', '.join(graph.outputs)}"
        )
    params = {
        "params": {k: v for k, v in weights.items() if k not in state},
        "state": {k: v for k, v in weights.items() if k in state},
    }
    forward = Forward(graph, None, output or graph.outputs[0], _declared(model, graph), fold=fold)
    return je.Model(RewrittenOnCpus(forward), params, channel_axis=channel_axis, outputs=outputs)
