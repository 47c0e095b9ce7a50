"""The command ``jaxeval completion``: what a shell needs to complete commands and their options."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from .explain import EXPLAINERS
from .metrics import METRICS

SHELLS = ("bash", "zsh", "tcsh")
FILES = ("model", "data")
"""Arguments that may be files, or something else."""
NAMES = {"--explainers": EXPLAINERS, "--metrics": METRICS}
"""Options that take names, and the tables of these."""


def add(commands: Any) -> None:
    """Add the command to the parser's commands."""
    what = "Print the completion of commands, options and names, for a shell."
    parser = commands.add_parser(
        "completion", help=what, description=what, allow_abbrev=False,
        epilog="For example: jaxeval completion bash > "
        "~/.local/share/bash-completion/completions/jaxeval",
    )  # fmt: skip
    parser.add_argument("shell", choices=SHELLS)


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The shell's script.

    Raises:
      ImportError: shtab is not installed; the message says how to install it.
    """
    try:
        shtab: Any = importlib.import_module("shtab")
    except ImportError as e:
        raise ImportError(f'completion needs shtab ({e}): pip install "jaxeval[completion]"') from e
    functions: dict[str, list[str]] = {"bash": [], "zsh": []}
    for option, table in NAMES.items():
        own, names = f"_jaxeval_{option.strip('-')}", " ".join(table)
        functions["bash"].append(f'{own}() {{ compgen -W "{names}" -- "$1"; }}')
        functions["zsh"].append(f"{own}() {{ compadd {names}; }}")
    for action in _actions(parser):
        name = next((o for o in action.option_strings if o in NAMES), None)
        if name is not None:
            own = f"_jaxeval_{name.strip('-')}"
            action.complete = {"bash": own, "zsh": own, "tcsh": ""}  # pyright: ignore
        elif action.type is Path or (not action.option_strings and action.dest in FILES):
            action.complete = shtab.FILE  # pyright: ignore
    preamble = {k: "\n".join(lines) for k, lines in functions.items()}
    return shtab.complete(parser, shell, preamble=preamble)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments of a parser and of its commands."""
    found = []
    for action in parser._actions:
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found += _actions(command)
    return found
