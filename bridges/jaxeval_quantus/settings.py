"""Which engine answers, by which definitions, and the log of which one did."""

from __future__ import annotations

import dataclasses
import warnings
from collections import deque
from typing import Any

from jaxeval.check import did_you_mean

PAGE = "docs/quantus.md"
CHOICES = {"engine": ("auto", "jaxeval", "quantus"), "definitions": ("paper", "quantus")}

chosen = {"engine": "auto", "definitions": "paper"}
"""What holds now; `engine` and `definitions` change it."""


class _Choice:
    """Holds from its call on, or, used in a ``with`` statement, until its end."""

    what: str

    def __init__(self, value: str):
        if value not in CHOICES[self.what]:
            known = CHOICES[self.what]
            raise ValueError(
                f"{self.what}({value!r}): must be one of {', '.join(map(repr, known))}"
                f"{did_you_mean(value, known)}"
            )
        self.before = chosen[self.what]
        chosen[self.what] = value

    def __enter__(self) -> _Choice:
        return self

    def __exit__(self, *_: Any) -> None:
        chosen[self.what] = self.before


class engine(_Choice):
    """Who computes: "jaxeval", "quantus" (Quantus's own code), or "auto".

    "auto", the default, is jaxeval where Quantus's own code is estimated to take longer than
    compiling, and Quantus's code for small jobs, whose numbers are the same.

    >>> with engine("jaxeval"):
    ...     chosen["engine"]
    'jaxeval'
    >>> chosen["engine"]
    'auto'
    """

    what = "engine"


class definitions(_Choice):
    """Whose definition holds where Quantus departs from the paper: "paper" or "quantus".

    With "quantus" such metrics run Quantus's own code.
    """

    what = "definitions"


class Unmapped(Exception):
    """Why Quantus's own code has to run: an argument without a counterpart in jaxeval."""


def refused(error: Exception) -> Unmapped:
    """What jaxeval refuses before it asks the model, and Quantus may take."""
    return Unmapped(f"jaxeval refuses it: {str(error).strip().splitlines()[0]}")


class Small(Unmapped):
    """Quantus's own code runs as its number is the same, or was asked for: no warning."""


@dataclasses.dataclass(frozen=True)
class Answered:
    """Who computed the scores of one batch (or of one call), and why.

    Attributes:
      metric: the name of the metric's class, or "explain".
      engine: "jaxeval" or "quantus".
      why: why it was not jaxeval, or what of it was not; "" where all of it was.
      samples: how many.
    """

    metric: str
    engine: str
    why: str
    samples: int


_log: deque[Answered] = deque(maxlen=10_000)
_counted = [0]
_said: set[tuple[str, str]] = set()


def log() -> list[Answered]:
    """Which engine answered, batch by batch, the newest last."""
    return list(_log)


def clear_log() -> None:
    """Forget the log."""
    _log.clear()


def note(metric: str, engine: str, samples: int, why: str = "") -> None:
    _counted[0] += 1
    _log.append(Answered(metric, engine, why, samples))


def mark() -> int:
    """The number of entries so far, for `answers_since`."""
    return _counted[0]


def answers_since(start: int, metric: str) -> list[Answered]:
    """The entries of one metric that were made since a `mark`."""
    new = _counted[0] - start
    return [
        entry for entry in list(_log)[len(_log) - min(new, len(_log)) :] if entry.metric == metric
    ]


def say_once(metric: str, what: str) -> None:
    """A warning, once for each metric and text."""
    if (metric, what) not in _said:
        _said.add((metric, what))
        warnings.warn(f"{metric}: {what}", UserWarning, stacklevel=3)
