"""The command ``jaxeval``: scores, sweeps, reports, demonstrations, lists."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import completion, scoring
from .cache import use_compilation_cache as use_compilation_cache
from .check import did_you_mean
from .data.digit_images import N_HELD_OUT
from .explain import EXPLAINERS, LRP_RULES
from .metric import DIRECTIONS, FAMILIES
from .metrics import METRICS
from .perturb import PERTURBATIONS
from .registry import Registry
from .report import command as report
from .shown import count
from .sweep import command as sweep
from .version import __version__

OPTIONS = (
    *("--help", "--import", "--out", "--samples", "--seed", "--version", *sweep.OPTIONS),
    *("--maps", "--meta", "--metric", "--model", "--title", *scoring.OPTIONS),
)
NEEDS = {
    "demo": {"flax": "Flax", "matplotlib": "Matplotlib", "sklearn": "scikit-learn"},
    "report": {"jinja2": "Jinja2", "matplotlib": "Matplotlib"},
}
"""Packages of some extras: module -> name."""
EPILOG = """\
exit codes:
  0  done
  1  not done: a package is missing, results cannot be read, or shards of a sweep failed
  2  wrong arguments, or wrong input of `score`, `run`, `meta` and `status`
  130  interrupted
"""
ARROWS = {"higher": "↑", "lower": "↓", "": ""}
PIPED_WIDTH = 100
"""Width in columns when printing to a file or a pipe."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors suggest the closest valid name."""

    def error(self, message: str) -> NoReturn:
        if found := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            message += did_you_mean(found[1], re.findall(r"[\w-]+", found[2]))
        elif word := re.search(r"unrecognized arguments: (\S+)", message):
            message += did_you_mean(word[1], OPTIONS)
        super().error(message)


def parser() -> Parser:
    main = Parser(
        prog="jaxeval",
        description="Evaluation metrics for explanations of neural networks, in JAX.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    main.add_argument("--version", action="version", version=f"jaxeval {__version__}")
    commands = main.add_subparsers(dest="command", required=True, title="commands")

    what = "Compare ten explainers of a digit classifier under fourteen metrics; draw and save."
    demo = commands.add_parser("demo", help=what, description=what, allow_abbrev=False)
    add = demo.add_argument
    add("--out", type=Path, default=Path("demo"), help="folder to write to (default: %(default)s)")
    add(
        "--samples",
        type=integer(2, N_HELD_OUT),
        default=500,
        metavar="N",
        help=f"held-out digits, at most {N_HELD_OUT} (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=integer(1, 2**20),
        metavar="N",
        help="maximum number of model evaluations at once (default: one per sample)",
    )
    _add_seed(demo)

    what = "Draw a picture of every explainer, on three digits."
    gallery = commands.add_parser("gallery", help=what, description=what, allow_abbrev=False)
    file = Path("gallery.png")
    gallery.add_argument(
        "--out", type=Path, default=file, help="file to write (default: %(default)s)"
    )
    _add_seed(gallery)

    what = "List the metrics, explainers, perturbations or LRP rules, with their settings."
    listing = commands.add_parser("list", help=what, description=what, allow_abbrev=False)
    listing.add_argument("what", choices=list(LISTS))
    listing.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module to import first, whose classes with @jaxeval.register are listed, too",
    )

    scoring.add(commands, integer, axis("none", None))
    sweep.add_to(commands, integer)
    report.add(commands, axis("auto", "auto"))
    completion.add(commands)
    return main


def _add_seed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--seed",
        type=integer(0, 2**31 - 1),
        default=0,
        metavar="N",
        help="seed of all randomness (default: %(default)s)",
    )


def integer(least: int, most: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number within bounds."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"must be a whole number in {least}..{most}, got {text!r}"
            )
        return value

    return read


def axis(word: str, value: Any) -> Callable[[str], Any]:
    """The type of an argument that is the number of an axis, or a word that stands for `value`."""

    def read(text: str) -> Any:
        try:
            return value if text == word else int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f'must be a whole number or "{word}", got {text!r}'
            ) from None

    return read


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code; wrong arguments exit with 2."""
    if not (sys.argv[1:] if arguments is None else arguments):
        parser().print_help(sys.stderr)
        return 2
    given = parser().parse_args(arguments)
    given.arguments = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH)
    try:
        if given.command in ("list", "score") and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # an installed command does not look there
        if given.command == "report":
            _check_packages("report", "jaxeval report")
        elif page := vars(given).get("report") or (given.command == "meta" and given.out):
            _check_packages("report", str(page))
        if given.command == "list":
            _import(given.modules)
            console.print(LISTS[given.what](), highlight=False)
        elif given.command in sweep.COMMANDS:
            return sweep.COMMANDS[given.command](given, console)
        elif given.command == "report":
            console.print(report.run(given), highlight=False, markup=False, soft_wrap=True)
        elif given.command == "score":
            return scoring.run(given, console)
        elif given.command == "completion":
            print(completion.script(parser(), given.shell))
        elif given.command == "gallery":
            _gallery(given, console)
        else:
            _demo(given, console)
    except KeyboardInterrupt:
        print("jaxeval: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ImportError as e:
        print(f"jaxeval: {e}", file=sys.stderr)
        return 1
    except (ValueError, TypeError, OSError) as e:
        if given.command not in ("report", "score"):
            raise
        print(f"jaxeval: {sweep.said(e)}", file=sys.stderr)
        return 1 if given.command == "report" else 2
    return 0


def _check_packages(extra: str, what: str) -> None:
    """Say at once what a command, or an option, lacks.

    Raises:
      ImportError: packages are missing; the message names them and says how to install them.
    """
    missing = [v for module, v in NEEDS[extra].items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(f'`{what}` needs {" and ".join(missing)}: pip install "jaxeval[{extra}]"')


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def _demo(given: argparse.Namespace, console: Console) -> None:
    _check_packages("demo", "jaxeval demo")
    _make(given.out, given.out)
    use_compilation_cache()
    from . import demo

    demo.run(given.out, given.samples, given.batch_size, given.seed, console)


def _gallery(given: argparse.Namespace, console: Console) -> None:
    if given.out.suffix.lower() not in (".pdf", ".png", ".svg"):
        parser().error(f"argument --out: must end in .png, .pdf or .svg, got {str(given.out)!r}")
    _check_packages("demo", "jaxeval gallery")
    _make(given.out.parent, given.out)
    use_compilation_cache()
    from . import gallery

    maps = gallery.run(given.out, given.seed)
    console.print(f"{count(len(maps), 'explainer')}, written to {given.out}", highlight=False)


def _make(folder: Path, out: Path) -> None:
    try:  # fail early
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        parser().error(f"argument --out: cannot write to {out}: {e.strerror}")


def metrics_table() -> Table:
    """All metrics: name, direction, what they ask for and need, paper."""
    table = _table("metric", "", "asks for", "paper")
    for family in FAMILIES:
        if table.row_count:
            table.add_row()
        table.add_row(Text(family, style="bold italic"))
        for name, metric in METRICS.items():
            if metric.family == family:
                asks = ", ".join([*_names(metric.asks), *_names(metric.needs)]) or "–"
                direction = metric.direction if metric.direction in DIRECTIONS else ""
                table.add_row(name, ARROWS[direction], asks, metric.reference)
    table.caption = (
        "\n↑ higher is better, ↓ lower is better. A metric asks for the model's output, its hidden "
        "layers, or attributions for changed inputs or models (it then needs the explainer "
        "itself); a mask marks the object."
    )
    return table


def _names(given: Any) -> list[str]:
    """The names in `asks` or `needs` of a class; empty if they depend on the instance."""
    return [] if hasattr(given, "__get__") else sorted(given)


def table_of(registry: Registry[Any], caption: str = "") -> Table:
    """All classes of a registry: name, settings, summary."""
    table = _table(registry.kind, "options", "what it is")
    shared = {f.name: f.default for f in dataclasses.fields(registry.base)}
    for name, cls in registry.items():
        options = [
            f.name if f.default is dataclasses.MISSING else f"{f.name}={f.default!r}"
            for f in dataclasses.fields(cls)
            if f.name not in shared and f.name != "draws"
        ]
        table.add_row(name, "\n".join(options), _summary(cls))
    every = ", ".join(f"{name}={default!r}" for name, default in shared.items())
    table.caption = "\n" + (caption or f"All of them take {every}.") if shared else ""
    return table


def explainers_table() -> Table:
    """Every explainer: its name, its options, what it is."""
    return table_of(
        EXPLAINERS,
        'All of them take output="value" (what is explained) and reduce_channels=None ("sum", '
        '"mean" or "max" make a pixel map).',
    )


def perturbations_table() -> Table:
    """Every perturbation: its name, its options, what it is."""
    return table_of(PERTURBATIONS)


def rules_table() -> Table:
    """Every rule of LRP: its name, its options, what it is."""
    return table_of(LRP_RULES)


def _summary(cls: type) -> Text:
    """The first sentence of a class's docstring."""
    paragraph = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    return Text(re.split(r"(?<!et al)\. ", paragraph.replace("`", ""))[0].removesuffix("."))


def _table(*columns: str) -> Table:
    table = Table(
        box=None, padding=(0, 2, 0, 0), header_style="bold", caption_justify="left",
        caption_style="dim",
    )  # fmt: skip
    for i, column in enumerate(columns):
        table.add_column(column, no_wrap=i == 0)
    return table


LISTS: dict[str, Callable[[], Any]] = {
    "metrics": metrics_table,
    "explainers": explainers_table,
    "perturbations": perturbations_table,
    "rules": rules_table,
}


if __name__ == "__main__":
    sys.exit(main())
