"""Fingerprints: of parameters, data, functions, and of a whole description."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..api import describe
from ..digests import digest, hasher, rows_digest
from ..types import Model
from ..version import __version__

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def function(fn: Any) -> dict[str, Any]:
    """A function by its name and the digest of its source, where that can be had."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    found = {"function": f"{getattr(fn, '__module__', '?')}.{_name(fn)}"}
    try:
        source = inspect.getsource(fn if inspect.isroutine(fn) else type(fn))
        found["source"] = hashlib.sha256(source.encode()).hexdigest()[:16]
    except (OSError, TypeError):
        pass
    return found


def _name(fn: Any) -> str:
    return getattr(fn, "__qualname__", type(fn).__qualname__)


def thing(value: Any) -> Any:
    """An explainer or a metric as plain data: a class with all its fields, or a function."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return {"stored attributions": [*value.shape[1:]], "digest": rows_digest(value)}
    plain = not hasattr(value, "__dataclass_fields__") and callable(value)
    return function(value) if plain else _finite(describe(value))


def _finite(value: Any) -> Any:
    """Numbers for which JSON has no word as text."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def model(given: Any) -> dict[str, Any]:
    """What a model's answers depend on: its function, and its parameters bit for bit."""
    if not isinstance(given, Model):
        return {"apply": function(given)}
    text = ADDRESS.sub("", repr(given.apply))
    called = function(given.apply)
    # A Flax module is an object: its fields say which network it is.
    if hasattr(given.apply, "__dataclass_fields__"):
        called = {**called, "fields": hashlib.sha256(text.encode()).hexdigest()[:16]}
    return {
        "apply": called,
        "params": digest(given.params),
        "hidden": None if given.hidden is None else function(given.hidden),
        "channel_axis": given.channel_axis,
        "host": given.host,
    }


@functools.cache
def code() -> dict[str, str]:
    """The version of jaxeval, and a digest of its sources, which tells edits of a checkout."""
    running = hasher()
    root = Path(__file__).parents[1]
    for file in sorted(root.rglob("*.py")):
        running.update(f"{file.relative_to(root).as_posix()}|".encode())
        running.update(file.read_bytes())
    return {"version": __version__, "sources": running.hexdigest()[:16]}


def changes(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """What differs between two descriptions, a line each.

    >>> list(changes({"seeds": [0], "a": {"b": 1}}, {"seeds": [0, 1], "a": {"b": 1}}))
    ['seeds: [0] -> [0, 1]']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            here = f"{path}.{key}" if path else str(key)
            if key not in new:
                yield f"{here}: {_short(old[key])} is gone"
            elif key not in old:
                yield f"{here}: {_short(new[key])} is new"
            else:
                yield from changes(old[key], new[key], here)
    elif old != new:
        yield f"{path}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
