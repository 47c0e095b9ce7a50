"""Print the lowest versions that pyproject.toml allows, as requirements for pip: name==version.

    python .ci/lowest.py [extra,extra...]

Those of the package itself, then those of the extras. Every dependency must have a lower bound and
nothing else: `name>=version`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
BOUND = re.compile(r"([\w.-]+)(\[[\w,-]+\])?>=([\w.]+)")
OWN = re.compile(rf"{PROJECT['name']}\[([\w,-]+)\]")


def lowest(extras: list[str]) -> dict[str, str]:
    """The lowest version of each dependency, by name."""
    found: dict[str, str] = {}
    optional = PROJECT["optional-dependencies"]
    for group in [PROJECT["dependencies"], *(optional[e] for e in extras if e)]:
        for requirement in group:
            if own := OWN.fullmatch(requirement):
                found |= lowest(own[1].split(","))
            elif bound := BOUND.fullmatch(requirement):
                found[bound[1]] = bound[3]
            else:
                raise SystemExit(f"pyproject.toml: not name>=version: {requirement!r}")
    return found


if __name__ == "__main__":
    for name, version in lowest(",".join(sys.argv[1:]).split(",")).items():
        print(f"{name}=={version}")
