"""The persistent compilation cache: compiled programs are reused by later processes."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

import jax

from .private_jax import readable

BROKEN = re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")


def use_compilation_cache(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Keeps compiled programs on disk, so that the next process need not compile them again.

    Call it once, before the first evaluation. The command line does so by itself.

    Args:
      folder: where to keep them; None: the user's cache folder, ``~/.cache/jaxeval``, unless JAX
        already has one (``JAX_COMPILATION_CACHE_DIR``).

    Returns:
      The folder; None if JAX already has one, or if the user's cache folder cannot be made.

    Raises:
      OSError: the given folder cannot be made.
    """
    given = folder is not None
    if folder is None:
        if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
            return None
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxeval"
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        if given:
            raise
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # A small model has many programs that each compile in less than JAX's default limit, 1 s.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return folder


def delete_broken_entries() -> None:
    """From now on, delete cache entries when JAX warns that it cannot read them.

    JAX writes entries in place, so a killed process may leave an incomplete one; JAX then warns
    in every later process, compiles again, and never replaces the entry.
    """
    if getattr(warnings.showwarning, "deletes_broken_entries", False):
        return
    before = warnings.showwarning

    def show(message: Any, *args: Any, **kwargs: Any) -> None:
        folder = getattr(jax.config, "jax_compilation_cache_dir", None)
        if (found := BROKEN.search(str(message))) and folder:
            for file in broken(Path(folder), found[1]):
                file.unlink(missing_ok=True)
        before(message, *args, **kwargs)

    show.deletes_broken_entries = True  # type: ignore[attr-defined]
    warnings.showwarning = show


def broken(folder: Path, program: str) -> list[Path]:
    """The unreadable cache entries of a program; all entries if JAX cannot check them."""

    def fails(file: Path) -> bool:
        try:
            return not readable(file.read_bytes())
        except FileNotFoundError:  # another process has deleted it
            return False

    return [file for file in folder.glob(f"{program}-*-cache") if fails(file)]
