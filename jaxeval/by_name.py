"""Metrics and explainers by name and settings, where arguments take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .registry import make


def explainers_by_name(given: Any) -> Any:
    """The argument `explainers`, with names replaced by explainers; see `resolved`."""
    if not _named(given):
        return given
    from .explain import EXPLAINERS  # loads them all, which arguments without names do not need

    return resolved(given, EXPLAINERS, "explainer")


def metrics_by_name(given: Any) -> Any:
    """The argument `metrics`, with names replaced by metrics; see `resolved`."""
    if not _named(given):
        return given
    from .metrics import METRICS

    return resolved(given, METRICS, "metric")


def one_by_name(given: Any, of: Any) -> Any:
    """One metric or explainer, by `of`, one of the functions above."""
    return of([given])[0] if _is_named(given) else given


def resolved(given: Any, table: Mapping[str, type], kind: str) -> Any:
    """Instances in place of names.

    Args:
      given: "Name", ("Name", {setting: value}), a list of those and of instances, or a dict with
        such values, in which {setting: value} alone stands for the class that the key names.
      table: {name: class}.
      kind: what they are, for errors.
    """

    def one(v: Any) -> Any:
        if isinstance(v, str):
            return make(table, kind, v)
        return make(table, kind, v[0], v[1]) if _is_pair(v) else v

    if isinstance(given, Mapping):
        return {
            k: make(table, kind, k, v) if isinstance(v, Mapping) else one(v)
            for k, v in given.items()
        }
    if _is_named(given):
        return [one(given)]
    return [one(v) for v in given]


def _named(given: Any) -> bool:
    """Whether a name is in the argument."""
    if _is_named(given):
        return True
    if isinstance(given, Mapping):
        return any(_is_named(v) or _is_settings(v) for v in given.values())
    return isinstance(given, (list, tuple)) and any(map(_is_named, given))


def _is_named(v: Any) -> bool:
    return isinstance(v, str) or _is_pair(v)


def _is_settings(v: Any) -> bool:
    """Whether a value holds settings by their names, not arrays by those of inputs."""
    return isinstance(v, Mapping) and not any(hasattr(a, "shape") and a.shape for a in v.values())


def _is_pair(v: Any) -> bool:
    return (
        isinstance(v, (list, tuple))
        and len(v) == 2
        and isinstance(v[0], str)
        and isinstance(v[1], Mapping)
    )
