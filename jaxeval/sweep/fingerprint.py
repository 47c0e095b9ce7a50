"""Fingerprints of sweeps, and differences between two."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..content import OpaqueError, Reader
from ..content.functions import version
from ..content.values import text
from ..digests import hasher, rows_digest
from ..version import __version__
from .lines import Keys, SweepError


def short(value: Any) -> str:
    """A digest of plain data, 32 hexadecimal digits."""
    running = hasher()
    running.update(text(value).encode())
    return running.hexdigest()


class Contents:
    """Reads the parts of a sweep (`jaxeval.content`), and collects the packages they use."""

    def __init__(self) -> None:
        self.libraries = {"jax"}

    def of(self, value: Any, keys: Keys) -> Any:
        """The content of a model, an explainer, a metric, or a function.

        Raises:
          SweepError: it has state that cannot be read; `keys` is its path in the configuration.
        """
        if not callable(value) and hasattr(value, "shape") and hasattr(value, "dtype"):
            return {"stored attributions": [*value.shape[1:]], "digest": rows_digest(value)}
        reader = Reader(".".join(map(str, keys)))
        try:
            found = reader.read(value)
        except OpaqueError as e:
            raise SweepError(str(e), keys[:2]) from e
        self.libraries |= reader.libraries
        return found

    def code(self) -> dict[str, Any]:
        """The versions of jaxeval (with a digest of its sources) and of the packages used."""
        others = sorted(self.libraries - {"jaxeval"})
        return {**code(), "libraries": {name: version(name) for name in others}}


def code() -> dict[str, str]:
    """The version of jaxeval, and a digest of its sources."""
    return {"version": __version__, "sources": version("jaxeval")}


def changes(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """The differences between two configurations, one line each.

    >>> list(changes({"seeds": [0], "a": {"b": 1}}, {"seeds": [0, 1], "a": {"b": 1.0}}))
    ['seeds: [0] -> [0, 1]', 'a.b: 1 -> 1.0']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            here = f"{path}.{key}" if path else str(key)
            if key not in new:
                yield f"{here}: {_short(old[key])} removed"
            elif key not in old:
                yield f"{here}: {_short(new[key])} added"
            else:
                yield from changes(old[key], new[key], here)
    elif _nested(old) and _nested(new) and len(old) == len(new):
        for i, (before, now) in enumerate(zip(old, new, strict=True)):
            yield from changes(before, now, f"{path}.{i}")
    elif text(old) != text(new):  # 1, 1.0 and True are equal in Python, but different settings
        yield f"{path}: {_short(old)} -> {_short(new)}"


def _nested(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(v, (Mapping, list)) for v in value)


def _short(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
