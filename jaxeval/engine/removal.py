"""What removing a feature means for models of tokens: baselines as ids."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..metric import Metric, asks_of
from ..tokens import DELETED, PADDED, Tokens


def with_removal(name: str, metric: Metric, tokens: Tokens) -> Metric:
    """The metric with its baselines as ids; checks that it can be asked about tokens.

    Raises:
      ValueError, TypeError: its questions need real-valued inputs, or its baseline is no removal.
    """
    for pert in asks_of(metric):
        if not pert.takes_ids:
            raise TypeError(
                f"metric {name!r}: {type(pert).__name__} needs real-valued inputs, and this model "
                "reads token ids: give what jaxeval.embedded(model, ids, inputs) returns"
            )
    try:
        return _replaced(metric, tokens)
    except ValueError as e:
        raise ValueError(f"metric {name!r}: {e}") from e


def _replaced(value: Any, tokens: Tokens) -> Any:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    changed = {}
    for field in dataclasses.fields(value):
        if not field.init:
            continue
        given = getattr(value, field.name)
        if field.name == "baseline":
            changed[field.name] = tokens.removal(given)
        elif (new := _replaced(given, tokens)) is not given:
            changed[field.name] = new
    return dataclasses.replace(value, **changed) if changed else value


def named(described: Any, tokens: Tokens) -> Any:
    """A description of metrics with the names of removals in place of their ids."""
    if isinstance(described, dict):
        return {
            k: _name(v, tokens) if k == "baseline" and isinstance(v, int) else named(v, tokens)
            for k, v in described.items()
        }
    return [named(v, tokens) for v in described] if isinstance(described, list) else described


def _name(removed: int, tokens: Tokens) -> str | int:
    known = {DELETED: "delete", PADDED: "pad", tokens.mask: "mask"}
    return known.get(removed, removed)
