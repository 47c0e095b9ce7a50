"""Metrics of one `evaluate` that explain the same noisy inputs share the explanations."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import jaxeval as je
from jaxeval.digests import array_digest

from .draws import perturbation
from .settings import Unmapped

MOST = 2**28
"""Bytes of answers that are kept for the next metric of a group."""
DISTANCES: dict[str, Any] = {"RelativeInputStability": je.RIS, "RelativeOutputStability": je.ROS}
SHARING = ("MaxSensitivity", "AvgSensitivity", "LocalLipschitzEstimate", *DISTANCES)


@dataclasses.dataclass
class Shared:
    """What the `size` metrics of a group need together, and the answers so far, by their inputs."""

    watch: bool
    raw: bool
    distances: tuple[Any, ...]
    size: int = 1
    answers: dict[Any, tuple[np.ndarray, Any]] = dataclasses.field(default_factory=dict)
    state: Any = None

    def key(self, *arrays: np.ndarray) -> Any:
        return tuple((a.shape, array_digest(a)) for a in arrays)

    def known(self, key: Any) -> np.ndarray | None:
        """An answer; NumPy's generator is then where it was after it had been made."""
        answer, state = self.answers.get(key, (None, None))
        if state is not None:
            np.random.set_state(state)
        return answer

    def keep(self, key: Any, answer: np.ndarray) -> None:
        held = sum(a.nbytes for a, _ in self.answers.values())
        if key is not None and held + answer.nbytes <= MOST:
            self.answers[key] = answer, np.random.get_state()


_now: dict[int, Shared] = {}


def shared(metric: Any) -> Shared | None:
    """The group of a metric in the `evaluate` that is running; None if it has none."""
    return _now.get(id(metric))


def watches(metric: Any) -> bool:
    """Whether a changed prediction makes a score NaN. AvgSensitivity has another name for it."""
    function = _watching(metric)
    if not isinstance(function, functools.partial):
        raise Unmapped("changed_prediction_indices is the caller's own")
    return bool(function.keywords["return_nan_when_prediction_changes"])


def _watching(metric: Any) -> Any:
    name = "changed_prediction_indices"
    return getattr(metric, f"{name}_func", None) or getattr(metric, name)


def _name(metric: Any) -> str:
    return getattr(getattr(metric, "_theirs", None), "__name__", "")


def _noise(metric: Any) -> Any:
    """Equal for metrics that explain the same inputs and finish maps alike."""
    (function, kwargs), of = perturbation(metric), vars(metric)
    samples = of.get("nr_samples", of.get("_nr_samples"))
    finish = metric.normalise_func if metric.normalise else None
    settings = sorted((k, repr(v)) for k, v in kwargs.items())
    return function, repr(settings), samples, metric.abs, finish, of.get("_eps_min", 1e-6)


@contextlib.contextmanager
def grouped(metrics: Mapping[str, Any]) -> Iterator[None]:
    """Inside, metrics with equal noise draw it from one state of NumPy's generator.

    They ask the engine for what all of them need, once. `begin` has to be called before each.
    """
    groups: dict[Any, list[Any]] = {}
    for metric in metrics.values():
        if _name(metric) in SHARING and isinstance(_watching(metric), functools.partial):
            groups.setdefault(_noise(metric), []).append(metric)
    before = dict(_now)
    for group in groups.values():
        if len(group) > 1:
            names = {_name(metric) for metric in group}
            plain = ("MaxSensitivity", "AvgSensitivity", *DISTANCES)
            eps = next((m._eps_min for m in group if hasattr(m, "_eps_min")), 1e-6)
            together = Shared(
                watch=any(watches(metric) for metric in group),
                raw=any(metric.normalise or _name(metric) not in plain for metric in group)
                or not all(_is_difference(metric) for metric in group),
                distances=tuple(make(eps=eps) for name, make in DISTANCES.items() if name in names),
                size=len(group),
            )
            _now.update(dict.fromkeys(map(id, group), together))
    try:
        yield
    finally:
        _now.clear()
        _now.update(before)


def _is_difference(metric: Any) -> bool:
    function = getattr(metric, "similarity_func", None)
    return function is None or function.__name__ in ("difference", "lipschitz_constant")


def begin(metric: Any) -> None:
    """The first metric of a group draws on from where NumPy's generator is, the others like it."""
    group = shared(metric)
    if group is None:
        return
    if group.state is None:
        group.state = np.random.get_state()
    else:
        np.random.set_state(group.state)
