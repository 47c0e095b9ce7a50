"""Configuration files, and the lines of their keys."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Keys = tuple[Any, ...]
Find = Callable[[Keys], int | None]


class SweepError(ValueError):
    """An invalid sweep; the message says what to fix, and where.

    Attributes:
      path: the keys of the setting, such as ``("metrics", "flip", "baseline")``.
    """

    def __init__(self, message: str, path: Keys = ()):
        super().__init__(message)
        self.path = path

    def at(self, file: Path, line: int | None) -> SweepError:
        """The same error with its position in the file."""
        place = f"{file}:{line}" if line else str(file)
        return SweepError(f"{place}: {self}", self.path)


def read_settings(file: Path) -> tuple[dict[str, Any], Find]:
    """The settings in a TOML or YAML file, and a function that finds the line of a path of keys.

    Raises:
      SweepError: another file type, a syntax error, or a top level that is not a table.
    """
    if file.is_dir():
        raise SweepError(f"{file} is a folder: a sweep is a .toml, .yaml or .yml file")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise SweepError(f"{file}: is not UTF-8 text") from e
    if file.suffix == ".toml":
        return _read_toml(file, text)
    if file.suffix in (".yaml", ".yml"):
        return _read_yaml(file, text)
    raise SweepError(f"{file}: a sweep must be a .toml, .yaml or .yml file")


def _read_toml(file: Path, text: str) -> tuple[dict[str, Any], Find]:
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        line = re.search(r"at line (\d+)", str(e))
        number = int(line[1]) if line else len(text.splitlines())
        raise SweepError(f"invalid TOML: {e}").at(file, number) from e
    return settings, lambda path: _line_in_toml(text, path)


def _line_in_toml(text: str, path: Keys) -> int | None:
    """The line of the longest prefix of the path in the text.

    tomllib does not report lines. But if the first n lines alone are valid TOML, a statement ends
    at line n, and the keys that fewer lines did not have belong to that statement.
    """
    lines = text.splitlines(keepends=True)
    found: dict[Keys, tuple[int, int]] = {}
    first = 0
    for stop in range(1, len(lines) + 1):
        try:
            known = tomllib.loads("".join(lines[:stop]))
        except tomllib.TOMLDecodeError:
            continue
        for key in _paths(known):
            found.setdefault(key, (first, stop))
        first = stop
    for n in range(len(path), 0, -1):
        if path[:n] in found:
            first, stop = found[path[:n]]
            # Blank lines and comments may precede the header of a table.
            names = [k for k in reversed(path[:n]) if isinstance(k, str)]
            for name in names:
                for i in range(first, stop):
                    code = lines[i].split("#")[0]
                    if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", code):
                        return i + 1
            return first + 1
    return None


def _paths(value: Any, path: Keys = ()) -> Iterator[Keys]:
    if path:
        yield path
    if isinstance(value, dict):
        for k, v in value.items():
            yield from _paths(v, (*path, k))
    elif isinstance(value, list):
        for i, v in enumerate(value):
            yield from _paths(v, (*path, i))


def _read_yaml(file: Path, text: str) -> tuple[dict[str, Any], Find]:
    try:
        import yaml
    except ImportError as e:
        raise ImportError(f"{file} is YAML, which needs PyYAML: pip install pyyaml") from e
    try:
        settings, tree = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        why = getattr(e, "problem", None) or e
        raise SweepError(f"invalid YAML: {why}").at(file, mark and mark.line + 1) from e
    if not isinstance(settings, dict):
        raise SweepError("its top level must be a table of keys").at(file, 1)
    found: dict[Keys, int] = {}

    def walk(node: Any, path: Keys) -> None:
        if isinstance(node, yaml.MappingNode):
            for k, v in node.value:
                found[*path, k.value] = k.start_mark.line + 1
                walk(v, (*path, k.value))
        elif isinstance(node, yaml.SequenceNode):
            for i, v in enumerate(node.value):
                found[*path, i] = v.start_mark.line + 1
                walk(v, (*path, i))

    walk(tree, ())

    def line(path: Keys) -> int | None:
        parts = (path[:n] for n in range(len(path), 0, -1))
        return next((found[part] for part in parts if part in found), None)

    return settings, line
