"""A parent process that restarts a run killed by a signal, with a smaller batch size if needed.

Out of memory is not always an exception: XLA may abort the process, and Linux may kill it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from ..results.store import Store
from .describe import Sweep
from .place import find_place

PARENT = "JAXEVAL_PARENT"
ASKED = (signal.SIGINT, signal.SIGTERM)
"""Signals that end a run on purpose, after which it is not restarted."""


def supervise(given: argparse.Namespace, within: str = "") -> int:
    """Run the command as a child process, restart it when it dies, and return its exit code.

    If the child died before finishing a shard, the batch size is halved.

    Args:
      within: the folder of its shards in the sweep's output.
    """
    sweep = Sweep.from_file(given.file)
    place = find_place(given.rank, given.world)
    folder = Path(sweep.output) / within
    log = folder / "log" / f"rank-{place.rank:04d}.jsonl"
    store, cap = Store(folder), given.batch_size or sweep.batch_size
    arguments = [*given.arguments, "--restarts", "0"]
    for attempt in range(given.restarts + 1):
        before = store.done() if store.parts.exists() else set()
        more = [] if cap is None else ["--batch-size", str(cap)]
        code = _child([sys.executable, "-m", "jaxeval.cli", *arguments, *more])
        if code >= 0:
            return code
        name = signal.Signals(-code).name
        if -code in ASKED or attempt == given.restarts:
            print(f"jaxeval: the run was killed by {name}", file=sys.stderr)
            return 128 - code
        after = store.done() if store.parts.exists() else set()
        less = ""
        if after == before:
            cap = max(1, (cap or _last_batch_size(log) or sweep.shard_size) // 2)
            less = f" with a batch size of {cap}"
        print(f"jaxeval: the run was killed by {name}: restarting{less}", file=sys.stderr)
    raise AssertionError("the last attempt returns")


def _child(command: list[str]) -> int:
    process = subprocess.Popen(command, env={**os.environ, PARENT: str(os.getpid())})
    before = signal.getsignal(signal.SIGTERM)
    main = threading.current_thread() is threading.main_thread()
    if main:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the child receives it, too
                continue
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _last_batch_size(log: Path) -> int | None:
    """The last batch size in the log of the run."""
    if not log.exists():
        return None
    for line in reversed(log.read_text(encoding="utf-8").splitlines()):
        event = json.loads(line)
        if event["event"] in ("shard", "out of memory"):
            return event.get("now") or event["batch_size"]
    return None


def end_with_parent() -> None:
    """In a child: exit when the parent has been killed."""
    if PARENT not in os.environ:
        return
    parent = int(os.environ.pop(PARENT))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="jaxeval-parent", daemon=True).start()
