"""ONNX graphs of exported modules, kept between processes: their translation is the slow step."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxeval.content import OpaqueError, content, text
from jaxeval.digests import hasher

FORMAT = 2
"""Goes up when what is translated changes."""


def folder(cache: bool | str | os.PathLike[str]) -> Path | None:
    """Where graphs are kept: a given folder, or $JAXEVAL_CACHE, or the user's cache folder."""
    if cache is False:
        return None
    if cache is not True:
        return Path(cache)
    if "JAXEVAL_CACHE" in os.environ:
        return Path(os.environ["JAXEVAL_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jaxeval" / "torch"


def key(program: Any, *settings: Any) -> str | None:
    """A digest of all that the ONNX graph of an exported program follows from.

    Every operation with its arguments, the shapes and types, the constants bit for bit, what is
    input, parameter and output, the modules that the operations come from, and the versions of
    torch and onnxscript. The values of parameters and buffers are no part of it: a kept graph
    holds none. None where the program holds what cannot be read.
    """
    import onnxscript
    import torch

    running = hasher()
    try:
        parts = (
            [FORMAT, torch.__version__, onnxscript.__version__, *map(repr, settings)],
            list(_operations(program.graph_module)),
            [str(program.graph_signature), str(program.range_constraints)],
            [content(dict(program.constants))],
        )
    except OpaqueError:
        return None
    running.update(text(parts).encode())
    return running.hexdigest()


def _operations(part: Any, path: str = "") -> Iterator[list[str]]:
    """What a graph module computes, and the graph modules inside, which branches and loops are."""
    import torch

    for node in part.graph.nodes:
        meta = node.meta
        yield [
            path, node.name, node.op, str(node.target), _exact(node.args), _exact(node.kwargs),
            _exact(meta.get("val")), str(meta.get("nn_module_stack")),
        ]  # fmt: skip
    for name, inner in part.named_children():
        if not isinstance(inner, torch.fx.GraphModule):
            raise OpaqueError(f"{path}.{name}", f"of the type {type(inner).__name__}")
        yield from _operations(inner, f"{path}.{name}")


def _exact(v: Any) -> str:
    """Arguments of an operation as text; a tensor by its type, shape and layout."""
    if isinstance(v, dict):
        return str({k: _exact(item) for k, item in sorted(v.items())})
    if isinstance(v, (tuple, list)):
        return f"{type(v).__name__}{[_exact(item) for item in v]}"
    if hasattr(v, "dtype") and hasattr(v, "shape"):
        return f"{v.dtype}{list(v.shape)}{v.layout}{v.device.type}"
    return f"{type(v).__name__} {v!r}"


def read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def write(file: Path, content: bytes) -> None:
    """Whole or not at all, even when two processes write; not at all where one may not write."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".part")
        with os.fdopen(handle, "wb") as f:
            f.write(content)
        os.replace(temporary, file)
    except OSError:
        return
