"""Grouping explainers by the features of their maps: only equal features can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..check import warn

REMEDY = (
    'evaluate(..., reduce_channels="sum") reduces all maps to one feature per pixel, and '
    "mixed_features=True compares them as they are"
)


def _differ(u: tuple[int, ...] | None, v: tuple[int, ...] | None) -> bool:
    """Whether maps of these shapes have different features; [C, 1] and [1, T] have, if C = T."""
    if u is None or v is None:
        return u is not v
    return np.prod(u) != np.prod(v) or (len(u) == len(v) and u != v)


class Features:
    """The features of each explainer's maps; a part of `Results`."""

    if TYPE_CHECKING:  # provided by `Results`
        settings: Mapping[str, Any]
        outcomes: Mapping[tuple[str, str], Any]

        @property
        def explainers(self) -> tuple[str, ...]: ...

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """explainer -> the shape of one map, for the explainers in ``settings["features"]``."""
        known = self.settings.get("features")
        known = known if isinstance(known, Mapping) else {}
        return {e: tuple(known[e]) for e in self.explainers if e in known}

    def feature_groups(self) -> list[tuple[str, ...]]:
        """Explainers grouped by what a feature of their maps is, the largest group first.

        A metric's scores on maps with one feature per pixel do not compare with those on maps with
        one per entry, so ranks and tests compare explainers only within a group. A single group if
        the features of all maps are the same, or if they are unknown.

        >>> from jaxeval.results import Results
        >>> from jaxeval.types import Outcome
        >>> r = Results({(e, "m"): Outcome(score=np.ones(1)) for e in "ABC"}, {"m": "lower"},
        ...             {"m": "f"}, np.arange(1), np.zeros(1, int),
        ...             settings={"features": {"A": [8, 8], "B": [3, 8, 8], "C": [3, 8, 8]}})
        >>> r.feature_groups()
        [('B', 'C'), ('A',)]
        """
        shapes = self._shapes()
        groups: list[list[str]] = []
        for e in self.explainers:
            alike = (g for g in groups if not any(_differ(shapes.get(e), shapes.get(o)) for o in g))
            if (found := next(alike, None)) is None:
                groups.append(found := [])
            found.append(e)
        if sum(group[0] in shapes for group in groups) < 2:
            return [self.explainers]
        return sorted(map(tuple, groups), key=len, reverse=True)

    def _shape_text(self, explainer: str) -> str:
        """The shape of an explainer's maps, "3 x 8 x 8"."""
        shape = self._shapes().get(explainer)
        return "unknown" if shape is None else " x ".join(map(str, shape)) or "one number"

    def _mixture(self) -> str:
        """The groups in words, for messages."""
        return "; ".join(
            f"{', '.join(map(repr, group))} of {' or '.join(shapes)}"
            for group in self.feature_groups()
            for shapes in [dict.fromkeys(map(self._shape_text, group))]
        )

    def _warn_of_mixture(self, consequence: str) -> None:
        warn(
            f"the explainers' maps have different features: {self._mixture()}. Scores of maps "
            f"with different features cannot be compared: {consequence}. {REMEDY}"
        )

    def _alike(self, mixed_features: bool) -> Any:
        """These results, restricted to the largest group of explainers with the same features.

        Warns if that leaves others out.
        """
        groups = self.feature_groups()
        if mixed_features or len(groups) == 1:
            return self
        rest = [e for group in groups[1:] for e in group]
        self._warn_of_mixture(f"{', '.join(map(repr, rest))} left out")
        chosen = {cell: o for cell, o in self.outcomes.items() if cell[0] in groups[0]}
        return dataclasses.replace(self, outcomes=chosen)  # pyright: ignore[reportArgumentType]
