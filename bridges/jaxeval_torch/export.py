"""Export of torch modules to ONNX graphs, by torch's own exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from .graph import ConversionError
from .logits import Logits

OPSET = 20
ROWS = 2
"""Rows of the batch for export: of a single one the exporter would fix the batch size to 1."""


def _rows(inputs: list[Any], any_length: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The example for export, and which of its axes are dynamic.

    Args:
      any_length: whether the texts, the first of the inputs [N, T], may have any length T.
    """
    import torch

    batch, tokens = torch.export.Dim("batch"), torch.export.Dim.DYNAMIC
    length = inputs[0].shape[1] if any_length else None
    axes = tuple(
        {0: batch, 1: tokens} if t.ndim > 1 and t.shape[1] == length else {0: batch} for t in inputs
    )
    return tuple(t[:ROWS] for t in inputs), {"given": axes}


def capture(picked: Logits, inputs: list[Any], any_length: bool = False) -> Any:
    """The exported program of the module before its translation to ONNX, or None on failure.

    `any_length`: for texts of any length, see `_rows`.
    """
    rows, shapes = _rows(inputs, any_length)
    try:
        from torch.onnx._internal.exporter import _capture_strategies as strategies

        with _quiet():
            for strategy in strategies.CAPTURE_STRATEGIES:
                found = strategy()(picked, rows, None, shapes).exported_program
                if found is not None:
                    return found
    except Exception:  # private parts of torch: `to_onnx` works without, and reports errors
        pass
    return None


def to_onnx(
    picked: Logits, inputs: list[Any], program: Any = None, any_length: bool = False
) -> bytes:
    """The ONNX graph of the module, without the values of its parameters and buffers.

    Args:
      program: the result of `capture`; None exports the module itself.
      any_length: as for `capture`.
    """
    import torch

    rows, shapes = _rows(inputs, any_length)
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
    except Exception as e:  # the module and torch's passes over it may raise anything
        raise ConversionError(
            f"torch could not export {type(picked.module).__name__} to ONNX: "
            f"{_first_lines(e)}\nA forward pass that branches on the values of its input, or that "
            "fixes the batch size, cannot be exported. jaxeval_torch.wrap_torch runs the module "
            "in torch"
        ) from e
    assert program is not None
    proto = program.model_proto
    own = named_tensors(picked.module)
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
    """Give parameters and buffers torch's own names, inside branches too."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if _own(name, own):
                node.input[i] = name.removeprefix("module.")
        for attribute in node.attribute:
            _rename(attribute.g, own)


def named_tensors(module: Any) -> dict[str, Any]:
    """All parameters and buffers by name; shared ones under each of their names."""
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's messages about missing packages."""
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
