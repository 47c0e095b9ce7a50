"""Grids: settings with lists of values, expanded to one object per combination."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..check import did_you_mean
from ..digests import digest
from ..registry import everything
from .lines import Keys, SweepError

SPEC = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
"""``package.module:name``."""


class Grid:
    """A class or factory function with lists of values for some of its settings.

    It represents one object per combination of the lists' values. **A list is always a grid**, and
    everything else is a single value. For a setting that takes several numbers, use a tuple:
    ``percentages=(10, 50, 90)`` is one value, ``percentages=[(10, 50), (10, 90)]`` a grid of two.
    Files have no tuples; there, a list inside the grid's list is one value:
    ``percentages = [[10, 50, 90]]``.

    >>> import jaxeval as je
    >>> grid = je.Grid(je.PixelFlipping, baseline=["black", "mean"], n_steps=16)
    >>> list(grid.expand("flipping"))
    ['flipping(baseline=black)', 'flipping(baseline=mean)']
    """

    def __init__(self, make: Callable[..., Any], /, **settings: Any):
        if not callable(make):
            raise TypeError(f"Grid(make) takes a class or a function, got {make!r}")
        self.make, self.settings = make, settings

    def __repr__(self) -> str:
        settings = "".join(f", {k}={v!r}" for k, v in self.settings.items())
        return f"Grid({getattr(self.make, '__name__', self.make)}{settings})"

    def expand(self, name: str, path: Keys = ()) -> dict[str, Setting]:
        """{name: object} for all combinations.

        Raises:
          SweepError: an unknown setting, or a value that the class rejects.
        """
        self._check_names(name, path)
        lists = {k: v for k, v in self.settings.items() if isinstance(v, list)}
        fixed = {k: v for k, v in self.settings.items() if k not in lists}
        for key, values in lists.items():
            if not values:
                raise SweepError(f"{name}: the grid of {key!r} is empty", (*path, key))
        found: dict[str, Setting] = {}
        for values in itertools.product(*lists.values()):
            varied = dict(zip(lists, values, strict=True))
            inside = ", ".join(f"{k}={shown(v)}" for k, v in varied.items())
            own = f"{name}({inside})" if varied else name
            if own in found:
                raise SweepError(f"{own} occurs twice", (*path, *list(lists)[:1]))
            try:
                made = self.make(**fixed, **varied)
            except (TypeError, ValueError) as e:
                raise SweepError(f"{name}: {e}{_hint(e, varied)}", self._blame(e, path)) from e
            found[own] = Setting(own, name, varied, made)
        return found

    def _check_names(self, name: str, path: Keys) -> None:
        try:
            parameters = inspect.signature(self.make).parameters.values()
        except (TypeError, ValueError):
            return
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return
        known = [p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY]
        for key in self.settings:
            if key not in known:
                raise SweepError(
                    f"{name} has no setting {key!r}{did_you_mean(key, known) or _only(known)}",
                    (*path, key),
                )
        for p in parameters:
            if p.default is p.empty and p.name in known and p.name not in self.settings:
                raise SweepError(f"{name} lacks the setting {p.name!r}", path)

    def _blame(self, e: Exception, path: Keys) -> Keys:
        """The path of the setting that an error names, if it names one."""
        named = [k for k in self.settings if re.search(rf"\b{re.escape(k)}\b", str(e))]
        return (*path, *named[:1])


@dataclasses.dataclass(frozen=True)
class Setting:
    """One object of a grid: its name, the grid's name, and its values from the lists."""

    name: str
    group: str
    varied: Mapping[str, Any]
    made: Any


def _only(known: list[str]) -> str:
    return f", only {', '.join(known)}" if known else ": it takes none"


def _hint(e: Exception, varied: Mapping[str, Any]) -> str:
    """A hint on lists, if an error asks for a list and the grid passed its single values."""
    for key in varied:
        if f"{key} must be a list" in str(e):
            return f". A list is a grid: one list of numbers is written {key} = [[...]]"
    return ""


def shown(value: Any) -> str:
    """A value as shown in a name.

    >>> shown((10, 50)), shown(0.5), shown(None), shown("black")
    ('10 50', '0.5', 'none', 'black')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return " ".join(map(shown, value))
    if isinstance(value, (str, int, np.number)):
        return str(value)
    if hasattr(value, "shape"):
        return digest(value)[:8]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = [
            f"{f.name}={shown(v)}"
            for f in dataclasses.fields(value)
            if not same(v := getattr(value, f.name), f.default)
        ]
        return f"{type(value).__name__}({', '.join(given)})"
    return getattr(value, "__name__", type(value).__name__)


def same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, (str, int, float, tuple)) and type(a) is type(b) and a == b)


# -- values in a file ----------------------------------------------------------------------------


def imported(module: str, path: Keys = (), what: str = "") -> ModuleType:
    """The module of that name."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise SweepError(f"{what}cannot import {module}: {e}", path) from e


def load(spec: str, path: Keys = ()) -> Any:
    """The object named by ``package.module:name``."""
    module, _, name = spec.partition(":")
    found: Any = imported(module, path, f"{spec!r}: ")
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n in dir(found) if not n.startswith("_")]
            raise SweepError(f"{module} has no {part!r}{did_you_mean(part, names)}", path)
        found = getattr(found, part)
    return found


def value_of(given: Any, folder: Path, path: Keys) -> Any:
    """The Python value of a value in a file.

    "none" is None; ``{class = "Noise", scale = 0.1}`` an object; ``{import = "package:name"}`` an
    imported object; ``{file = "maps.npy"}`` an array (of an .npz with ``key``); a list a tuple.
    """
    if isinstance(given, str):
        return None if given == "none" else given
    if isinstance(given, list):
        return tuple(value_of(v, folder, (*path, i)) for i, v in enumerate(given))
    if not isinstance(given, dict):
        return given
    kinds = [k for k in ("class", "import", "file") if k in given]
    if len(kinds) != 1:
        raise SweepError(
            "a table as a value must have one of the keys class, import and file, "
            f"got {', '.join(given) or 'none'}",
            path,
        )
    rest = {k: v for k, v in given.items() if k != kinds[0]}
    spec = given[kinds[0]]
    if not isinstance(spec, str):
        raise SweepError(f"{kinds[0]} must be a string, got {spec!r}", (*path, kinds[0]))
    if kinds[0] == "class":
        make = named(spec, everything(), (*path, "class"), "class")
        read = {k: value_of(v, folder, (*path, k)) for k, v in rest.items()}
        return Grid(make, **read).expand(spec, path)[spec].made
    allowed = {"import": (), "file": ("key",)}[kinds[0]]
    for key in rest:
        if key not in allowed:
            raise SweepError(
                f"{{{kinds[0]} = ...}} has no key {key!r}{did_you_mean(key, allowed)}", (*path, key)
            )
    return load(spec, path) if kinds[0] == "import" else _array(folder / spec, rest, path)


def _own(what: str) -> str:
    """How to name what is there, and what is one's own."""
    if what == "model":
        return " (one of your own is package.module:function)"
    named = "`jaxeval list`" if what == "class" else f"`jaxeval list {what}s`"
    return (
        f" ({named} names ours; one of your own is package.module:Class, or goes by its name if it "
        'has @jaxeval.register and its module is in import = ["package.module"])'
    )


def _array(file: Path, given: Mapping[str, Any], path: Keys) -> Any:
    try:
        found = np.load(file, mmap_mode="r" if file.suffix == ".npy" else None)
    except (OSError, ValueError) as e:
        raise SweepError(f"cannot read an array from {file}: {e}", path) from e
    if isinstance(found, np.lib.npyio.NpzFile):
        names = found.files
        key = given.get("key", names[0] if len(names) == 1 else None)
        if key not in names:
            raise SweepError(f"{file} has the arrays {', '.join(names)}: name one with key", path)
        return found[key]
    return found


def named(spec: Any, known: Mapping[str, Any], path: Keys, what: str) -> Any:
    """The class of that name, or the object named by ``package.module:name``."""
    if not isinstance(spec, str):
        raise SweepError(f"the {what} must be a name, got {spec!r}", path)
    if SPEC.fullmatch(spec):
        return load(spec, path)
    if spec not in known:
        raise SweepError(
            f"there is no {what} {spec!r}{did_you_mean(spec, known)}{_own(what)}", path
        )
    return known[spec]
