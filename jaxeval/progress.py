"""The progress bar of a run: questions done and left, their rate and the time left."""

from __future__ import annotations

import html
import importlib
import time
from typing import Any


class NoProgress:
    """Shows nothing."""

    def start(self, total: int) -> None: ...
    def advance(self, n: int) -> None: ...
    def stop(self) -> None: ...


class InNotebook(NoProgress):
    """A bar in a notebook, in plain HTML, so that it needs no widgets; gone when the run is done.

    Args:
      doing, what: as for `Bar`.
    """

    EVERY = 0.25
    """Seconds between two drawings."""

    def __init__(self, doing: str, what: str) -> None:
        self._words = doing, what
        self._handle: Any = None
        self._ipython: Any = None
        self._total = self._done = 0
        self._began = self._drawn = 0.0

    def start(self, total: int | None) -> None:
        self._total, self._done = total or 0, 0
        self._began = self._drawn = time.monotonic()
        self._ipython = importlib.import_module("IPython.display")  # in notebooks alone
        self._handle = self._ipython.display(self._ipython.HTML(self.text()), display_id=True)

    def advance(self, n: int) -> None:
        self._done += n
        now = time.monotonic()
        if self._handle is not None and now - self._drawn >= self.EVERY:
            self._drawn = now
            self._show(self.text())

    def stop(self) -> None:
        if self._handle is not None:
            self._show("")
            self._handle = None

    def text(self) -> str:
        """The bar as HTML."""
        doing, what = map(html.escape, self._words)
        spent = time.monotonic() - self._began
        rate = f", {self._done / spent:,.0f}/s" if self._done and spent > 0 else ""
        of = f" of {self._total:,}" if self._total else ""
        left = ""
        if rate and self._total:
            left = f", {(self._total - self._done) * spent / self._done:,.0f} s left"
        known = f' value="{self._done}" max="{self._total}"' if self._total else ""
        return f"{doing} <progress{known}></progress> {self._done:,}{of} {what}{rate}{left}"

    def _show(self, text: str) -> None:
        self._handle.update(self._ipython.HTML(text))


class Bar(NoProgress):
    """A bar on the terminal (standard error) or in a notebook, gone when the run is done.

    Args:
      doing, what: the words before the bar, and of what it counts.
    """

    def __init__(self, doing: str = "evaluating", what: str = "questions") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        screen = Console(stderr=True)
        self._page = InNotebook(doing, what) if screen.is_jupyter else None
        self._bar = Progress(
            TextColumn(doing),
            BarColumn(),
            TextColumn(f"{{task.completed:,.0f}} of {{task.total:,.0f}} {what}"),
            TextColumn("{task.fields[rate]}/s"),
            TimeRemainingColumn(),
            console=screen,
            disable=not screen.is_terminal or self._page is not None,
            transient=True,
            refresh_per_second=4,
        )
        self._doing = doing
        self._task: Any = None

    def start(self, total: int) -> None:
        if self._page is not None:
            self._page.start(total)
            return
        self._task = self._bar.add_task(self._doing, total=total, rate="-")
        self._bar.start()

    def advance(self, n: int) -> None:
        if self._page is not None:
            self._page.advance(n)
        elif self._task is not None:
            speed = self._bar.tasks[0].speed if self._bar.tasks else None
            rate = f"{speed:,.0f}" if speed else "-"
            self._bar.update(self._task, advance=n, rate=rate)

    def stop(self) -> None:
        if self._page is not None:
            self._page.stop()
        self._bar.stop()
