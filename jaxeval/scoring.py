"""The command ``jaxeval score``: a model, a data set, and names of explainers and metrics."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from .api import evaluate
from .cache import use_compilation_cache
from .data.base import Batch
from .explain import EXPLAINERS
from .metrics import METRICS
from .model import KINDS, Model
from .results import Results
from .sweep.describe import DATA, MODELS
from .sweep.grid import Grid, load, named

OPTIONS = (
    *("--channel-axis", "--explainers", "--maps", "--metrics", "--out", "--outputs", "--report"),
    *("--samples", "--seed", "--batch-size"),
)
FROM_ONNX = "jaxeval_torch:from_onnx"


def add(
    commands: Any, integer: Callable[[int, int], Any], axis: Callable[[str], int | None]
) -> None:
    """Add the command to the parser's commands."""
    what = "Score explainers of a model by metrics, without writing Python."
    parser = commands.add_parser(
        "score", help=what, description=what, allow_abbrev=False,
        epilog="An explainer or metric is a name of `jaxeval list`, with settings in brackets "
        "where they differ from the defaults: 'PixelFlipping(n_steps=16, baseline=0.0)'. Quote "
        "these for the shell. Sweeps (`jaxeval run`) do more: data of any size, many models, "
        "resuming.",
    )  # fmt: skip
    option = parser.add_argument
    option(
        "model", help='a file .onnx, "package.module:function" that returns a model, or "digits"'
    )
    option(
        "data",
        help="a file .npz with the arrays x and, if you have them, y, mask, padding, index; a file "
        '.npy with x; Parquet; a folder of images; or "digits"',
    )
    option(
        "--explainers", nargs="+", default=[], metavar="NAME", help="explainers of `jaxeval list`"
    )
    option("--metrics", nargs="+", required=True, metavar="NAME", help="metrics of `jaxeval list`")
    option(
        "--maps", nargs="+", default=[], metavar="NAME=FILE.npy",
        help="your own attributions of these samples, [N, ...]",
    )  # fmt: skip
    option(
        "--outputs", choices=KINDS, default="logits",
        help="what an .onnx model returns (default: %(default)s)",
    )  # fmt: skip
    option(
        "--channel-axis", type=axis, default=1, metavar="AXIS",
        help='the channel axis of an .onnx model\'s inputs, or "none" (default: %(default)s)',
    )  # fmt: skip
    option("--samples", type=integer(1, 2**31), metavar="N", help="only the first N samples")
    option(
        "--batch-size", type=integer(1, 2**20), metavar="N",
        help="maximum number of model evaluations at once (default: chosen)",
    )  # fmt: skip
    option(
        "--seed", type=integer(0, 2**31 - 1), default=0, metavar="N",
        help="seed of all randomness (default: %(default)s)",
    )  # fmt: skip
    option("--out", type=Path, metavar="FILE.parquet", help="also write every score to this file")
    option("--report", type=Path, metavar="FILE.html", help="also write an HTML report")


def run(given: argparse.Namespace, console: Console) -> int:
    """Score, print and write.

    Raises:
      ValueError, TypeError, OSError: wrong input; the message says what is wanted.
      ImportError: a package is missing; the message says how to install it.
    """
    use_compilation_cache()
    explainers: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    for text in given.explainers:
        explainers |= made(text, EXPLAINERS, "explainer")
    for text in given.metrics:
        metrics |= made(text, METRICS, "metric")
    explainers |= dict(stored(text) for text in given.maps)
    if not explainers:
        raise ValueError("give explainers (--explainers) or attributions (--maps), or both")
    batch = samples(given.data, given.samples)
    model = model_of(given.model, given.outputs, given.channel_axis)
    results = evaluate(
        model, explainers=explainers, metrics=metrics, key=given.seed, batch_size=given.batch_size,
        **batch.parts(),
    )  # fmt: skip
    tell(results, console)
    if given.out is not None:
        console.print(f"written to {results.save(given.out)}", **PLAIN)
    if given.report is not None:
        console.print(f"written to {results.report(given.report)}", **PLAIN)
    return 0


PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}


def tell(results: Results, console: Console) -> None:
    """Print mean scores, and the ranking if there is one."""
    console.print(repr(results), **PLAIN)
    if len(results.explainers) > 1:
        console.print("\nranks, 1 is best", **PLAIN)
        console.print(results.ranking().round(2).to_string(), **PLAIN)


def made(text: str, known: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The objects of ``Name`` or ``Name(setting=value, ...)`` by name; a list of values is a grid.

    >>> made("PixelFlipping(n_steps=16)", METRICS, "metric")["PixelFlipping(n_steps=16)"].n_steps
    16
    >>> list(made("PixelFlipping(n_steps=[8, 16])", METRICS, "metric"))
    ['PixelFlipping(n_steps=8)', 'PixelFlipping(n_steps=16)']
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        name = ast.unparse(call.func)
        if call.args or any(k.arg is None for k in call.keywords):
            raise ValueError
        settings = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError):
        raise ValueError(
            f"cannot read the {what} {text!r}: write Name or Name(setting=value, ...), with "
            "numbers, strings in quotes, True, False, None, or tuples or lists of these"
        ) from None
    found = Grid(named(name, known, (), what), **settings).expand(name)
    single = len(found) == 1
    return {text if single else own: setting.made for own, setting in found.items()}


def stored(text: str) -> tuple[str, np.ndarray]:
    """The name and the array of ``NAME=FILE.npy``."""
    name, found, file = text.partition("=")
    if not found or not name or not file:
        raise ValueError(f"--maps takes NAME=FILE.npy, got {text!r}")
    return name, np.load(file, allow_pickle=False)


def samples(given: str, limit: int | None = None) -> Batch:
    """All samples of a data set, in memory."""
    data: Any = given
    if given in DATA:
        data = DATA[given]
    elif ":" in given and not Path(given).exists():
        data = load(given)
    from .data import open_source

    size = 2**62 if limit is None else limit
    for _, batch in open_source(data, limit=limit).blocks(size, lambda number: number == 0):
        return batch
    raise ValueError(f"the data set {given} has no samples")


def model_of(given: str, outputs: str, channel_axis: int | None) -> Model | Any:
    """The model in an .onnx file, or the one that a function returns."""
    if Path(given).suffix == ".onnx":
        try:
            convert = load(FROM_ONNX)
            return convert(given, outputs=outputs, channel_axis=channel_axis)
        except ImportError as e:
            raise ImportError(
                f'models in .onnx files need onnx ({e}): pip install "jaxeval[onnx]"'
            ) from e
    return named(given, MODELS, (), "model")()
