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
from jaxeval.tokens import read_tokens

from . import cache as cached
from .export import OPSET, ROWS, capture, named_tensors, to_onnx
from .forward import Forward
from .graph import ConversionError, OnnxGraph
from .initial import initial
from .layers import find_layers
from .logits import Logits, named_inputs
from .tensors import device_of, in_evaluation, in_its_type, to_jax
from .text import check_ids, of_tokens, with_embedding

TOLERANCE = 1e-4
"""The largest accepted difference from torch's logits, relative to the largest logit."""
ROUNDINGS = 16
"""The same in units of the module dtype's eps; the larger of both bounds holds. In half precision
every layer's output is rounded by up to eps / 2, differently in torch and in JAX: over L layers
independent errors add up to about sqrt(L) eps / 2 of the logits, and to a few times as much if
logits are differences of larger numbers. A wrong graph is off by about 1."""


def from_torch(
    module: Any,
    example: Any,
    *,
    output: str | int | None = None,
    exact_layers: bool = False,
    cache: bool | str | os.PathLike[str] = True,
    channel_axis: int | None = 1,
    outputs: str = "logits",
    tokens: Any = None,
) -> je.Model:
    """Convert a torch module to a JAX model: a pure function, for `jax.jit`, `vmap` and `grad`.

    The module is exported to ONNX in evaluation mode, with a variable batch size, and JAX runs
    the graph. Its logits on `example` are compared with torch's. The module is left unchanged,
    including its training mode and ``requires_grad``; later changes of its weights do not affect
    the model.

    Args:
      module: an `nn.Module` on any device; it may return a tensor, a tuple, a dict or a dataclass.
      example: inputs as the module takes them, with a leading sample axis: a tensor or array, a
        tuple of them (positional), or a dict (by keyword). Token ids and attention masks may be
        integers. The model takes x in the same form and casts floats to the module's precision:
        a module in float16, bfloat16 or float64 accepts float32 inputs.
      output: which part of the module's output holds the logits [N, K]: a key, attribute or
        position. None: the tensor itself, else ``logits``, else the first part that fits.
      exact_layers: give `Model.hidden` the output of every submodule by name (further calls are
        "name@2", ...), and do not fold batch normalisations into convolutions. Folding is faster
        and differs by rounding.
      cache: keep the ONNX graph (without weights), whose translation takes most of the time, for
        later conversions of modules that export to the same program, in this folder or in
        $JAXEVAL_CACHE, by default in ``~/.cache/jaxeval/torch``. The module is exported every
        time, so everything that determines its computation (settings, helper functions, globals,
        hooks) also determines which cached graph is used.
      channel_axis: as for `jaxeval.Model`.
      outputs: what the module returns, as for `jaxeval.Model`: "logits", "probabilities",
        "binary" or "values".
      tokens: for modules of token ids: a `jaxeval.Tokens`, or the module's Hugging Face tokenizer.
        x then are the ids [N, T], the first input of the example, and the rest of the example, by
        keyword, are ``inputs``; without an attention mask among them, it is that of the ids. Texts
        may be as long as those of the example, or shorter if the module allows that. The
        layer of the embeddings is that of ``module.get_input_embeddings()`` if there is one.

    The parameters are ``{"params": {name: array}, "state": {...}}`` under torch's own names;
    "state" holds buffers, such as running statistics. `Model.init` draws every layer's parameters
    as its ``reset_parameters`` would (MPRT's "reinit").

    Raises:
      ConversionError: the module cannot be exported (it branches on data), uses an unsupported
        operator, or its converted logits differ. `wrap_torch` runs any module, in torch.

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
    tokens = read_tokens(tokens)
    if tokens is not None:
        tokens = with_embedding(tokens, module)
        check_ids(inputs, names)
    # The comparison uses another batch size than the export.
    if len(next(iter(inputs.values()))) <= ROWS:
        inputs = {k: torch.cat([t, t, t])[: ROWS + 1] for k, t in inputs.items()}
    folder = cached.folder(cache)
    with in_evaluation(module), torch.no_grad():
        # An output [N] is one column; `outputs` of the model says what it means.
        picked = Logits(module, names, output, "values" if outputs == "binary" else outputs)
        inputs = {k: in_its_type(t, module) for k, t in inputs.items()}
        on_device = [t.to(device_of(module)) for t in inputs.values()]
        try:
            answer = picked(*on_device).detach().cpu()
        except IndexError as e:
            if tokens is None:
                raise
            raise ValueError(
                f"the module failed on the example, texts of T = {on_device[0].shape[1]} tokens: "
                f"{e}. An id, or a position, is outside of its table of embeddings: check the "
                "tokenizer, and cut texts that are longer than the module takes"
            ) from e
        rounding = max(_eps(answer), *map(_eps, (*module.parameters(), *module.buffers())), 0.0)
        expected = Expected(answer.double().numpy(), max(TOLERANCE, ROUNDINGS * rounding))

        def convert(any_length: bool) -> je.Model:
            program, file = capture(picked, on_device, any_length), None
            if folder is not None and program is not None:
                key = cached.key(program, OPSET)
                file = None if key is None else folder / f"{key}.onnx"

            def read(graph: bytes) -> je.Model:
                model = _model(graph, picked, inputs, expected, exact_layers, channel_axis)
                if any_length:
                    _compare_shorter(model, picked, on_device, expected.tolerance)
                return of_tokens(model, tokens, inputs, expected, outputs, any_length)

            if file is not None and (kept := cached.read(file)) is not None:
                # If a cached graph is unusable (broken, from another version of onnx), export
                # again, so that errors concern the new graph.
                with contextlib.suppress(Exception):
                    return read(kept)
            exported = to_onnx(picked, on_device, program, any_length)
            model = read(exported)
            if file is not None:
                cached.write(file, exported)
            return model

        if tokens is not None and on_device[0].shape[1] > 2:
            # Not every module can be exported for texts of any length.
            with contextlib.suppress(ConversionError):
                return convert(any_length=True)
        return convert(any_length=False)


def _compare_shorter(model: je.Model, picked: Logits, inputs: list[Any], tolerance: float) -> None:
    """Compare the logits of texts that are a token shorter than the example."""
    length = inputs[0].shape[1]
    cut = [t[:, :-1] if t.ndim > 1 and t.shape[1] == length else t for t in inputs]
    logits = picked(*cut).detach().cpu().double().numpy()
    x = picked.as_given([to_jax(t) for t in cut])
    with jax.default_matmul_precision("highest"):
        compare(model.apply, model.params, x, Expected(logits, tolerance))


def _eps(t: Any) -> float:
    """eps of a tensor's dtype; 0 for integers."""
    import torch

    return torch.finfo(t.dtype).eps if t.dtype.is_floating_point else 0.0


@dataclasses.dataclass(frozen=True)
class Expected:
    """torch's logits on the example, and the tolerance, relative to the largest logit."""

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
    # Integer buffers, such as tables of positions, determine shapes: they are part of the program.
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
    """Shape and dtype of the model's input for a tensor; floats are cast by the model."""
    x = to_jax(t[:1])
    float32 = jnp.issubdtype(x.dtype, jnp.floating)
    return jax.ShapeDtypeStruct(x.shape, jnp.float32 if float32 else x.dtype)


def compare(apply: Any, params: Any, x: Any, wanted: Expected) -> None:
    """Raise ConversionError if the converted model's logits differ from torch's."""
    expected = wanted.logits
    try:
        logits = np.asarray(jax.jit(apply)(params, x), np.float64)
    except ConversionError:
        raise
    except (TypeError, ValueError) as e:
        raise ConversionError(
            "the converted model fails for another number of rows than it was exported for. A "
            "number of rows that the module reads as a Python number is fixed: write x.shape[0] in "
            f"place of len(x); or use wrap_torch, which runs the module in torch ({e})"
        ) from e
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
            f"the converted model differs from the module: its logits on the example differ by "
            f"up to {error:.3g}, which is {error / scale:.3g} of the largest logit "
            f"({wanted.tolerance:.3g} is allowed); row {row}: {_short(logits[row])} instead of "
            f"{_short(expected[row])}"
        )


def _short(row: np.ndarray) -> str:
    return np.array2string(row[:6], precision=4, separator=", ", threshold=6)
