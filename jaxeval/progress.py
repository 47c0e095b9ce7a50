"""The progress bar of a run: questions done and left, their rate and the time left."""

from __future__ import annotations

from typing import Any


class NoProgress:
    """Shows nothing."""

    def start(self, total: int) -> None: ...
    def advance(self, n: int) -> None: ...
    def stop(self) -> None: ...


class Bar(NoProgress):
    """A bar on the terminal (standard error) or in a notebook, gone when the run is done.

    Args:
      doing, what: the words before the bar, and of what it counts.
    """

    def __init__(self, doing: str = "evaluating", what: str = "questions") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        screen = Console(stderr=True)
        self._bar = Progress(
            TextColumn(doing),
            BarColumn(),
            TextColumn(f"{{task.completed:,.0f}} of {{task.total:,.0f}} {what}"),
            TextColumn("{task.fields[rate]}/s"),
            TimeRemainingColumn(),
            console=screen,
            disable=not (screen.is_terminal or screen.is_jupyter),
            transient=True,
            refresh_per_second=4,
        )
        self._doing = doing
        self._task: Any = None

    def start(self, total: int) -> None:
        self._task = self._bar.add_task(self._doing, total=total, rate="-")
        self._bar.start()

    def advance(self, n: int) -> None:
        if self._task is not None:
            speed = self._bar.tasks[0].speed if self._bar.tasks else None
            rate = f"{speed:,.0f}" if speed else "-"
            self._bar.update(self._task, advance=n, rate=rate)

    def stop(self) -> None:
        self._bar.stop()
