"""An on-disk cache of the ONNX graphs of exported modules, whose translation is the slow step."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxeval.content import OpaqueError, content, text
from jaxeval.digests import hasher

FORMAT = 2
"""Version of the cache; increased when the translation changes."""


def folder(cache: bool | str | os.PathLike[str]) -> Path | None:
    """The cache folder: the given one, or $JAXEVAL_CACHE, or the user's cache folder."""
    if cache is False:
        return None
    if cache is not True:
        return Path(cache)
    if "JAXEVAL_CACHE" in os.environ:
        return Path(os.environ["JAXEVAL_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jaxeval" / "torch"


def key(program: Any, *settings: Any) -> str | None:
    """A digest of everything that determines the ONNX graph of an exported program.

    That is: every operation with its arguments, shapes and dtypes, the exact constants, which
    values are inputs, parameters and outputs, the modules that the operations come from, and the
    versions of torch and onnxscript. Not the values of parameters and buffers, which cached graphs
    do not contain. None if a part of the program cannot be read.
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
    """The operations of a graph module and of those inside it (branches and loops)."""
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
    """Arguments of an operation as text; tensors by dtype, shape and layout."""
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
    """Write atomically, even if two processes write; do nothing without permission to write."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".part")
        with os.fdopen(handle, "wb") as f:
            f.write(content)
        os.replace(temporary, file)
    except OSError:
        return
