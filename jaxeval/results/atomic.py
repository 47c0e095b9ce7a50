"""Atomic replacement of files."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def replace_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a temporary file with `write`, then move it to `path` atomically.

    Readers of `path` see the old file or the complete new one, even if this process is killed.
    Missing folders are created. A killed process may leave a hidden file beside `path`,
    `.<name>.<random>.tmp`, which readers of Parquet folders ignore.
    """
    path = path.resolve()  # keeps a symbolic link and replaces its target
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # sync the folder, so that the new name survives a power loss
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
