"""Logs of a running sweep: JSON lines in its folder, and progress on the terminal."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from ..progress import InNotebook
from ..shown import count

EVERY = 30.0
"""Seconds between lines of progress without a terminal."""


class Log:
    """Appends one JSON object per line: time, event, rank, host, pid, and the event's values."""

    def __init__(self, folder: Path, rank: int = 0, name: str | None = None):
        self.path = folder / f"{name or f'rank-{rank:04d}'}.jsonl"
        self.fixed = {"rank": rank, "host": socket.gethostname(), "pid": os.getpid()}

    def __call__(self, event: str, **values: Any) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e3):03d}Z"
        line = json.dumps({"time": stamp, "event": event, **self.fixed, **values}, default=str)
        with open(self.path, "a", encoding="utf-8") as file:  # several processes may append
            file.write(line + "\n")


class Progress:
    """Shards done, samples per second, time left; a bar on a terminal, else lines of text."""

    def __init__(self, shown: bool = True):
        from rich.console import Console

        self.shown = shown
        self.console = Console(stderr=True)
        self.bar: Any = None
        self.page: InNotebook | None = None
        self.total: int | None = None
        self.done = self.samples = 0
        self.began = self.spoke = time.monotonic()

    def start(self, total: int | None, skipped: int) -> None:
        """Start with `total` shards for this process to do, besides `skipped` finished ones."""
        self.total, self.began = total, time.monotonic()
        self.spoke = self.began
        if not self.shown:
            return
        if skipped:
            self.say(f"{count(skipped, 'shard')} of this process already finished")
        if self.console.is_jupyter:
            self.page = InNotebook("sweeping", "shards")
            self.page.start(total)
        elif self.console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("sweeping"),
                BarColumn(),
                TextColumn("{task.completed:.0f} of {task.fields[of]}"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self.console,
                refresh_per_second=2,
            )
            self.task = self.bar.add_task("sweeping", total=total, of=self.whole(), rate="")
            self.bar.start()

    def advance(self, samples: int) -> None:
        self.done, self.samples = self.done + 1, self.samples + samples
        spent = time.monotonic() - self.began
        rate = f"{self.samples / max(spent, 1e-9):,.1f} samples/s"
        if self.page is not None:
            self.page.advance(1)
        elif self.bar is not None:
            self.bar.update(self.task, advance=1, rate=rate)
        elif self.shown and time.monotonic() - self.spoke >= EVERY:
            self.spoke = time.monotonic()
            left = ""
            if self.total is not None:
                left = f", {duration(spent / self.done * (self.total - self.done))} left"
            self.say(f"{self.done} of {self.whole()}, {rate}{left}")

    def whole(self) -> str:
        """The number of shards to do."""
        return "? shards" if self.total is None else count(self.total, "shard")

    def say(self, text: str) -> None:
        if self.shown:
            self.console.print(f"jaxeval: {text}", highlight=False, markup=False)

    def stop(self) -> None:
        if self.page is not None:
            self.page.stop()
            self.page = None
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """Seconds in a readable unit.

    >>> duration(0.25), duration(42), duration(150), duration(7300), duration(0.031)
    ('0.2 s', '42 s', '2.5 min', '2.0 h', '31 ms')
    """
    if 0 < seconds < 0.1:
        return f"{1e3 * seconds:.2g} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
