"""`install`: the classes and functions of this package in Quantus's own modules."""

from __future__ import annotations

import sys
from typing import Any

import quantus.helpers.constants as constants

from .classes import CLASSES
from .evaluating import evaluate
from .explainers import explain
from .mended import calculate_auc, fro_norm, l2_norm, linf_norm, normalise_by_negative

FUNCTIONS = {
    "evaluate": evaluate,
    "explain": explain,
    "normalise_by_negative": normalise_by_negative,
    "calculate_auc": calculate_auc,
}
ADDED = {"fro_norm": fro_norm, "l2_norm": l2_norm, "linf_norm": linf_norm}


class Installed:
    """What `install` changed; `undo`, or the end of a ``with`` statement, takes it back."""

    def __init__(self) -> None:
        self.before: list[tuple[dict[str, Any], str, Any]] = []

    def put(self, names: dict[str, Any], name: str, value: Any) -> None:
        self.before.append((names, name, names.get(name)))
        names[name] = value

    def undo(self) -> None:
        while self.before:
            names, name, value = self.before.pop()
            if value is None:
                del names[name]
            else:
                names[name] = value

    def __enter__(self) -> Installed:
        return self

    def __exit__(self, *_: Any) -> None:
        self.undo()


def install() -> Installed:
    """Put the classes and functions of this package into every module of Quantus.

    For scripts that import from `quantus` in many places: call it before those imports.
    """
    done, new = Installed(), {**CLASSES, **FUNCTIONS}
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] != "quantus" or module is None:
            continue
        for name, value in new.items():
            # Not modules of that name, such as `quantus.helpers.utils.identity`'s neighbours.
            if callable(vars(module).get(name)):
                done.put(vars(module), name, value)
    tables: Any = constants.AVAILABLE_METRICS
    for metrics in tables.values():
        for label, theirs in list(metrics.items()):
            done.put(metrics, label, CLASSES.get(theirs.__name__, theirs))
    for name, value in ADDED.items():
        if name not in vars(sys.modules["quantus"]):
            done.put(vars(sys.modules["quantus"]), name, value)
    table = constants.AVAILABLE_NORMALISATION_FUNCTIONS
    done.put(table, "normalise_by_negative", normalise_by_negative)
    return done
