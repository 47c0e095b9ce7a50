"""Exported graphs, kept between processes: export is the slow step of a conversion."""

from __future__ import annotations

import hashlib
import inspect
import os
import tempfile
from pathlib import Path
from typing import Any

FORMAT = 1
"""Goes up when what is exported changes."""


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


def fingerprint(module: Any, inputs: dict[str, Any], *settings: Any) -> str:
    """A digest of a module's architecture: its code, its settings, the shapes of its tensors.

    The values of the weights are no part of it: a kept graph holds none. What the digest cannot
    see (a global that the code reads) is caught when the converted model is compared with torch.
    """
    import onnxscript
    import torch

    digest = hashlib.sha256()

    def add(*parts: Any) -> None:
        digest.update(repr(parts).encode())

    add(FORMAT, torch.__version__, onnxscript.__version__, *settings)
    for name, tensor in inputs.items():
        add(name, str(tensor.dtype), tuple(tensor.shape[1:]))
    sources: dict[type, str] = {}
    for name, part in module.named_modules():
        kind = type(part)
        if kind not in sources:
            try:
                sources[kind] = inspect.getsource(kind)
            except (OSError, TypeError):
                sources[kind] = ""
            add(kind.__module__, kind.__qualname__, sources[kind])
        add(name, kind.__qualname__)
        plain = {k: v for k, v in vars(part).items() if not k.startswith("_") and _is_plain(v)}
        add(*sorted(plain.items()))
        config = getattr(part, "config", None)
        add(str(config) if config is not None else "")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        add(name, str(tensor.dtype), tuple(tensor.shape))
    return digest.hexdigest()[:32]


def _is_plain(v: Any) -> bool:
    if isinstance(v, (tuple, list)):
        return all(map(_is_plain, v))
    return v is None or isinstance(v, (bool, int, float, str))


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
