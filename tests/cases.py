"""What the contract tests run over: a row for each metric, and the samples that it is given."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any
from unittest import mock

import numpy as np

import jaxeval as je
from jaxeval.engine.host_memo import HostMemo
from tests.rows import (
    axiomatic,
    complexity,
    faithfulness,
    faithfulness_ordered,
    localisation,
    randomisation,
    rationale,
    robustness,
)
from tests.rows.row import Row
from tests.world import KEY, N, World

EVERY: dict[str, Row] = {
    **faithfulness_ordered.ROWS,
    **faithfulness.ROWS,
    **robustness.ROWS,
    **localisation.ROWS,
    **rationale.ROWS,
    **complexity.ROWS,
    **randomisation.ROWS,
    **axiomatic.ROWS,
}
"""Each metric once, or more often with settings that make it another: "Name/what is special"."""
ROWS = dict(EVERY)
"""Those that this run is about: all, or those of `pytest --only`."""


def only(names: Iterable[str]) -> None:
    """Leave these rows; a metric's name stands for all of its rows."""
    chosen = set()
    for name in names:
        found = {row for row in EVERY if name in (row, class_name(row))}
        if not found:
            near = difflib.get_close_matches(name, EVERY, 3, 0.5)
            also = (
                f" Did you mean {', '.join(near)}?" if near else f" There are {', '.join(EVERY)}."
            )
            raise ValueError(f"no row {name!r} in tests/rows.{also}")
        chosen |= found
    for row in set(ROWS) - chosen:
        del ROWS[row]


def class_name(row: str) -> str:
    """The name of a row's metric."""
    return row.split("/")[0]


def metric_of(row: str, name: str = "entries", variant: str | None = None) -> Any:
    """The row's metric, as it is or in one of its variants, for a world."""
    r = EVERY[row]
    fields = {**r.in_world.get(name, {}), **(r.variants[variant] if variant else {})}
    return dataclasses.replace(r.metric, **fields)


def draws_of(row: str, m: Any, w: World, shared: bool = False) -> Any:
    """Draws for metric m of a row, [N, S, ...] or shared by all samples; None if it takes none."""
    r, rng = EVERY[row], np.random.default_rng(9)
    if r.draws is None or r.draws(w, m, rng) is None:
        return None
    if shared or not r.per_sample_draws:
        return r.draws(w, m, rng)
    return np.stack([r.draws(w, m, rng) for _ in range(N)])


# -- what is asked of a host model or explainer --------------------------------------------------


@dataclasses.dataclass(eq=False)
class Spy:
    """A NumPy model and a NumPy explainer that keep what they were asked."""

    world: World
    x: list[np.ndarray] = dataclasses.field(default_factory=list)
    y: list[np.ndarray] = dataclasses.field(default_factory=list)

    def logits(self, params: Any, x: Any) -> np.ndarray:
        self.x.append(np.array(x))
        return np.array([self.world.net.logits(v) for v in x.astype(np.float64)], np.float32)

    def explain(self, model: Any, x: Any, y: Any, keys: Any) -> np.ndarray:
        self.x.append(np.array(x))
        self.y.append(np.array(y))
        maps = [self.world.net.gradient(v, c) for v, c in zip(x.astype(np.float64), y, strict=True)]
        return np.array([self.world.reduce(g) for g in maps], np.float32)

    @property
    def model(self) -> je.Model:
        return je.Model(self.logits, {}, channel_axis=self.world.model.channel_axis, host=True)

    @property
    def queries(self) -> np.ndarray:
        """The inputs [N, S, ...] beside the clean ones, of a run in one block and one chunk."""
        assert len(self.x[0]) == N
        asked = np.concatenate(self.x[1:])
        return asked.reshape(-1, N, *asked.shape[1:]).swapaxes(0, 1)

    @property
    def classes(self) -> np.ndarray:
        """The classes [N, S] that were explained."""
        return np.concatenate(self.y[1:]).reshape(-1, N).T


def ask_spy(row: str, m: Any, w: World, a: Any = None) -> tuple[Any, Spy]:
    """The outcome of a metric on a spy, and the spy; `a` for metrics that do not explain."""
    spy = Spy(w)
    explainer = je.Host(spy.explain) if EVERY[row].explains else None
    model = w.model if EVERY[row].explains else spy.model
    a = None if explainer else w.maps["smooth"] if a is None else a
    with mock.patch.object(HostMemo, "answer", lambda _, rows, ask: ask(rows)):  # all, in order
        out = je.score(
            m, model, w.x, w.y, a, explainer=explainer, mask=w.mask, key=KEY, batch_size=8192
        )
    return out, spy
