"""The commands ``jaxeval run`` and ``jaxeval status``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..cache import delete_broken_entries, use_compilation_cache
from ..meta.results import MetaResults
from ..results.store import Store
from ..shown import count, each_of
from .describe import Sweep
from .devices import find_device
from .estimate import Estimate, estimate
from .lines import SweepError
from .log import duration
from .meta import FOLDER, MetaPlan
from .place import find_place, local_mesh
from .plan import Plan
from .roofline import forecast, rows_of
from .runner import Done, Runner
from .supervise import end_with_parent, supervise

OPTIONS = (
    "--any-code", "--batch-size", "--device", "--devices", "--dry-run", "--gpus", "--on", "--quiet",
    "--rank", "--restarts", "--world",
)  # fmt: skip


def add_to(commands: Any, integer: Callable[[int, int], Any]) -> None:
    """Add the commands to the parser's."""
    what = "Run or resume a sweep; finished shards are not computed again."
    run = commands.add_parser("run", help=what, description=what, allow_abbrev=False)
    _add_options(run.add_argument, integer)

    what = "Test which metrics of a sweep can be trusted, by the perturbations in its table [meta]."
    meta = commands.add_parser("meta", help=what, description=what, allow_abbrev=False)
    _add_options(meta.add_argument, integer)
    meta.add_argument(
        "-o", "--out", type=Path, metavar="FILE.html", help="also write the results as an HTML page"
    )

    what = "Show the progress of a sweep."
    status = commands.add_parser("status", help=what, description=what, allow_abbrev=False)
    status.add_argument("path", type=Path, help="the sweep's file, or the folder of its scores")


def _add_options(add: Any, integer: Callable[[int, int], Any]) -> None:
    """Add the options of commands that compute shards."""
    add("file", type=Path, metavar="sweep.toml", help="the sweep: .toml, .yaml or .yml")
    add(
        "--dry-run",
        action="store_true",
        help="estimate cost, memory and time; write nothing",
    )
    add(
        "--device",
        metavar="NAME",
        help="with --dry-run: estimate for devices that are not here, such as h100, a100:4 or "
        "tpu-v5e:2x4; run nothing",
    )
    add(
        "--on",
        choices=["here", "ray"],
        default="here",
        help="run in this process or on a Ray cluster (default: %(default)s)",
    )
    add(
        "--rank",
        type=integer(0, 2**20),
        metavar="R",
        help="this process's rank, which selects its shards (default: from SLURM or MPI)",
    )
    add("--world", type=integer(1, 2**20), metavar="W", help="the number of processes")
    add(
        "--devices",
        type=integer(1, 2**16),
        metavar="N",
        help="number of this process's devices to use (default: all)",
    )
    add(
        "--batch-size",
        type=integer(1, 2**20),
        metavar="N",
        help="maximum number of model evaluations at once on a device (default: the sweep's)",
    )
    add(
        "--gpus",
        type=float,
        metavar="N",
        help="GPUs per Ray task (default: 1 if there are any)",
    )
    add(
        "--any-code",
        action="store_true",
        help="resume even if the code of jaxeval, or the version of a package that the sweep uses, "
        "has changed since it began",
    )
    add("--quiet", action="store_true", help="no progress")
    add(
        "--restarts",
        type=integer(0, 1000),
        default=0,
        metavar="N",
        help="restart up to N times if the process dies (for example out of memory), with half the "
        "batch size if it died before finishing a shard (default: %(default)s)",
    )


def run(given: argparse.Namespace, console: Console) -> int:
    """Run a sweep. Exit codes: 0 this process's part is done, 1 shards failed, 2 wrong input."""
    return _run(given, console, Plan)


def meta(given: argparse.Namespace, console: Console) -> int:
    """Test the metrics of a sweep; print and write what comes of it. Exit codes as for `run`."""
    return _run(given, console, MetaPlan, FOLDER)


def _run(given: argparse.Namespace, console: Console, make: type[Plan], within: str = "") -> int:
    """Compute the shards of a plan; `within`: their folder in the sweep's output."""
    try:
        if given.device is not None and not given.dry_run:
            raise ValueError("--device is for --dry-run: a sweep runs on the devices that are here")
        if given.restarts and not given.dry_run:
            return supervise(given, within)
        end_with_parent()
        use_compilation_cache()
        delete_broken_entries()
        sweep = Sweep.from_file(given.file)
        if given.on == "ray" and not given.dry_run:
            from .on_ray import run_on_ray

            done = run_on_ray(
                sweep,
                batch_size=given.batch_size,
                progress=not given.quiet,
                any_code=given.any_code,
                num_gpus=given.gpus,
                make=make,
            )
            return _report(done, console) or _tell(given, make(sweep), done, console)
        place, mesh = find_place(given.rank, given.world), local_mesh(given.devices)
        plan = make(sweep)
        if given.device is not None:
            device = find_device(given.device)
            found = forecast(plan, device, batch_size=given.batch_size, world=place.world)
            console.print(_table(rows_of(found, given.device, _bytes)), highlight=False)
            return 0
        if given.dry_run:
            found = estimate(plan, place=place, batch_size=given.batch_size, mesh=mesh)
            console.print(_estimate_table(found), highlight=False)
            return 0
        runner = Runner(
            plan,
            place=place,
            mesh=mesh,
            batch_size=given.batch_size,
            progress=not given.quiet,
            any_code=given.any_code,
        )
        done = runner()
        return _report(done, console) or _tell(given, plan, done, console)
    except (SweepError, FileNotFoundError) as e:
        return _refuse(e)
    except ValueError as e:
        if type(e) is not ValueError:  # a failed evaluation, not a wrong argument
            raise
        return _refuse(e)


def status(given: argparse.Namespace, console: Console) -> int:
    """Print the progress of a sweep."""
    try:
        folder = given.path if given.path.is_dir() else Sweep.from_file(given.path).output
        store = Store(folder)
        manifest = store.manifest()
    except (SweepError, FileNotFoundError) as e:
        return _refuse(e)
    console.print(_status_table(store, manifest), highlight=False)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace, Console], int]] = {
    "run": run,
    "meta": meta,
    "status": status,
}


def _tell(given: argparse.Namespace, plan: Plan, done: Done, console: Console) -> int:
    """Print and write the results of a meta-evaluation that is complete."""
    if not isinstance(plan, MetaPlan) or not done.complete:
        return 0
    for name, file in plan.save().items():
        found = MetaResults.load(file)
        console.print(f"{name}\n{found!r}".lstrip(), highlight=False, markup=False, soft_wrap=True)
        console.print(f"written to {file}", highlight=False, markup=False, soft_wrap=True)
        if given.out is not None:
            out = given.out.with_stem(f"{given.out.stem}-{file.stem}") if name else given.out
            page = found.report(out)
            console.print(f"written to {page}", highlight=False, markup=False, soft_wrap=True)
    return 0


def said(e: Exception) -> str:
    """An error in words: a file that is not there is named, without the number of the error."""
    if isinstance(e, FileNotFoundError) and e.filename:
        return f"there is no {e.filename}"
    return str(e)


def _refuse(e: Exception) -> int:
    print(f"jaxeval: {said(e)}", file=sys.stderr)
    return 2


def _report(done: Done, console: Console) -> int:
    parts = [f"{count(done.computed, 'shard')} computed"]
    if done.found:
        parts.append(f"{done.found} already finished")
    if done.doubled:
        parts.append(f"{done.doubled} written first by another process")
    if done.failed:
        parts.append(f"{len(done.failed)} failed")
    end = "the sweep is complete" if done.complete else "the sweep is not complete yet"
    console.print(f"{', '.join(parts)}; {end}: {done.store.folder}", highlight=False, markup=False)
    for key, error in list(done.failed.items())[:5]:
        console.print(f"  {key}: {error}", highlight=False, markup=False)
    return 1 if done.failed else 0


def _table(rows: list[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _bytes(n: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            break
        n /= 1024
    return f"{n:.1f} {unit}"


def _estimate_table(e: Estimate) -> Table:
    s = e.settings
    asked = " and ".join(
        f"{v:,} {k}" if k == "hidden" else count(v, k) for k, v in e.evaluations.items() if v
    )
    once, alone = sum(e.evaluations.values()), sum(e.naive.values())
    rows = [
        (
            "settings",
            " x ".join(count(s[f"{v}s"], v) for v in ("model", "seed", "explainer", "metric")),
        ),
        ("samples", "unknown (a stream)" if e.samples is None else f"{e.samples:,}"),
        ("shards", "unknown" if e.shards is None else f"{e.shards:,}"),
        ("distinct questions", f"{e.questions:,} per sample, model and seed"),
        ("evaluations", f"{asked or 'none'} per sample, model and seed"),
        ("one at a time", f"{alone:,}, {alone / max(once, 1):.1f} times as many"),
        ("batch size", f"{e.batch_size:,} on {each_of(e.devices, 'device')}"),
    ]
    if e.memory is not None:
        text = f"about {_bytes(e.memory)} per device"
        if e.measured is not None:
            text += f"; {_bytes(e.measured)} measured"
        rows.append(("device memory", text))
    rows.append(
        (
            "timed",
            f"{count(e.batch_samples, 'sample')}: {duration(e.first)} with compilation, "
            f"{duration(e.batch)} after",
        )
    )
    if e.total is not None:
        whose = "" if e.world == 1 else f" for this process of {e.world}"
        rows.append(("estimated time", duration(e.total) + whose))
    return _table(rows)


def _status_table(store: Store, manifest: dict[str, Any]) -> Table:
    config, there = manifest["config"], sorted(store.done())
    models, seeds = list(config["models"]), config["seeds"]
    n, size = config["data"]["samples"], config["shard_size"]
    n = store.noted("samples") if n is None else n
    each = None if n is None else -(-n // size)
    units = config.get("units", 1)
    total = None if each is None else each * len(models) * len(seeds) * units
    share = f" ({len(there) / total:.0%})" if total else ""
    rows = [
        ("folder", str(store.folder)),
        ("begun", str(manifest["environment"]["created"])),
        ("shards", f"{len(there):,} of {'?' if total is None else f'{total:,}'}{share}"),
    ]
    import pyarrow.parquet as pq

    scores = sum(pq.read_metadata(store.path(key)).num_rows for key in there)
    seconds = sum(store.shard(key)["seconds"] for key in there)
    rows.append(("scores", f"{scores:,}"))
    rows.append(("computing time", duration(seconds)))
    if total and there and len(there) < total:
        left = seconds / len(there) * (total - len(there))
        rows.append(("left", f"{duration(left)} of computing time"))
    if len(models) * len(seeds) > 1:
        for m, name in enumerate(models):
            for s, seed in enumerate(seeds):
                done = sum(f"-m{m}-s{s}-" in f"{key}-" for key in there)
                of = "? shards" if each is None else count(each * units, "shard")
                rows.append((f"{name}, seed {seed}", f"{done:,} of {of}"))
    return _table(rows)
