"""The table `[meta]` of a sweep: which perturbations its metrics are tested by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..check import did_you_mean
from ..meta.evaluate import check_numbers, read_tests
from ..meta.perturbations import InputNoise, MapNoise, MetaTest, ModelNoise
from .grid import named, value_of
from .lines import Keys, SweepError

TESTS: dict[str, type[MetaTest]] = {c.__name__: c for c in (ModelNoise, InputNoise, MapNoise)}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MetaTable:
    """How the metrics of a sweep are tested; each field as the argument of `meta_evaluate`.

    Raises:
      SweepError: an invalid value; its `path` begins with "meta".
    """

    tests: Any = None
    n_perturbations: int = 15
    groups: int = 3
    seeds: str = "fresh"
    controls: bool = True

    def __post_init__(self) -> None:
        try:
            check_numbers(self.n_perturbations, self.groups, self.seeds)
            object.__setattr__(self, "tests", read_tests(self.tests))
        except (TypeError, ValueError) as e:
            found = [f.name for f in dataclasses.fields(self) if str(e).startswith(f.name)]
            raise SweepError(f"meta: {e}", ("meta", *found[:1])) from e
        if not isinstance(self.controls, bool):
            raise SweepError(
                f"meta: controls must be true or false, got {self.controls!r}", ("meta", "controls")
            )


def as_table(given: Any) -> MetaTable | None:
    """The table from what a `Sweep` is given: None, a table, or a dict of its fields.

    Raises:
      SweepError: it is none of these, or has unknown keys.
    """
    if given is None or isinstance(given, MetaTable):
        return given
    if not isinstance(given, Mapping):
        raise SweepError(f"meta must be a table, got {given!r}", ("meta",))
    known = [f.name for f in dataclasses.fields(MetaTable)]
    for key in given:
        if key not in known:
            raise SweepError(f"meta has no key {key!r}{did_you_mean(key, known)}", ("meta", key))
    return MetaTable(**given)


def read_table(given: Any, folder: Path) -> dict[str, Any]:
    """The fields of the table in a file: `tests` as names, or as tables of their settings.

    A list is one value here, and not a grid.
    """
    if not isinstance(given, dict):
        raise SweepError(f"meta must be a table, got {given!r}", ("meta",))
    tests = given.get("tests")
    if tests is None:
        return given
    path = ("meta", "tests")
    if isinstance(tests, list):
        tests = {name: {} for name in tests}
    if not isinstance(tests, dict):
        raise SweepError("meta.tests must be a list of names or a table of tables", path)
    return {**given, "tests": {name: _test(name, t, folder, path) for name, t in tests.items()}}


def _test(name: str, given: Any, folder: Path, path: Keys) -> MetaTest:
    path = (*path, name)
    if not isinstance(given, dict):
        raise SweepError(f"{name} must be a table of its settings, got {given!r}", path)
    make = named(given.get("class", name), TESTS, (*path, "class"), "test")
    settings = {k: v for k, v in given.items() if k != "class"}
    known = [f.name for f in dataclasses.fields(make)]
    for key in settings:
        if key not in known:
            raise SweepError(f"{name} has no setting {key!r}{did_you_mean(key, known)}",
                             (*path, key))  # fmt: skip
    values = {k: value_of(v, folder, (*path, k)) for k, v in settings.items()}
    try:
        return make(**values)
    except (TypeError, ValueError) as e:
        raise SweepError(f"{name}: {e}", path) from e
