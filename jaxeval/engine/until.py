"""Asking a question in rounds, until every score is within its tolerance.

Decisions about a sample read only its own measurements for one metric and explainer, so they depend
neither on the batch nor on what else is evaluated. What others ask, too, is asked once, but each
score comes from the steps that its own decisions chose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..metric import asks_of, limit_of
from ..model import Model
from . import kernels
from .block import BlockState
from .questions import Cell, Question
from .rounds import Curve, curve_of, only
from .steps import Steps
from .stops import Stops

if TYPE_CHECKING:
    from .asking import Asking


def pending(state: BlockState, q: Question, steps: Steps) -> dict[Cell, Curve | Stops]:
    """The cells that need some steps only, or are asked to a tolerance, each sample by itself."""
    found: dict[Cell, Curve | Stops] = {}
    for cell, _, n, _ in (s for subscriptions in q.by.values() for s in subscriptions):
        metric: Any = state.plan.cells[cell]
        if (chosen := metric.chosen(steps.counts, q.n_steps)) is not None:
            found[cell] = only(steps, chosen)
            continue
        limit = limit_of(metric)
        if limit is None or limit.per != "sample":
            continue
        if metric.steps_are == "curve":
            assert limit.absolute is not None
            found[cell] = curve_of(steps, q.n_steps, limit.absolute / len(asks_of(metric)))
        else:
            counts = np.minimum(steps.counts, n)
            found[cell] = Stops(counts, q.n_steps, limit, metric.first_draws, n)
    return found


def in_rounds(
    asking: Asking, model: Model, steps: Steps, cells: Mapping[Cell, Curve | Stops], first: int
) -> np.ndarray:
    """Ask until every one of the cells is sure; return which steps were asked [rows, S].

    Args:
      first: how many steps of each sample have been asked already, for others.
    """
    known = np.arange(asking.q.n_steps) < np.minimum(first, steps.counts)[:, None]
    known = steps.to_ask(known)
    wanted = {cell: of.first() for cell, of in cells.items()}
    while any(w.any() for w in wanted.values()):
        ask = steps.to_ask(np.any(list(wanted.values()), axis=0)) & ~known
        asking.some(model, ask)
        known |= ask
        for e, subscriptions in asking.q.by.items():
            stops = {}
            for (cell, *_), (buffer, _) in zip(subscriptions, asking.buffers[e], strict=True):
                of = cells.get(cell)
                if isinstance(of, Stops):
                    stops[cell] = of, buffer
                elif of is not None and wanted[cell].any():
                    of.learn(wanted[cell], np.asarray(buffer))
                    wanted[cell] = of.wanted()
            if any(wanted[cell].any() for cell in stops):
                _decide(asking, e, steps, stops)
                wanted |= {cell: of.wanted() for cell, (of, _) in stops.items()}
    return known


def _decide(asking: Asking, e: str, steps: Steps, stops: Mapping[Cell, tuple[Any, Any]]) -> None:
    """Tell the cells of one explainer their scores and errors under the draws used so far.

    Always all of them, so that there is one program.
    """
    state, n = asking.state, asking.room
    put = state.evaluator.put
    masks = tuple((put(of.used[:, :n]),) for of, _ in stops.values())
    buffers = tuple((buffer,) for _, buffer in stops.values())
    source = None if steps.source is None else put(steps.source[:, :n])
    for (of, _), outcome in zip(
        stops.values(),
        reduced(state, e, list(stops), buffers, masks, ((source,),) * len(stops)),
        strict=True,
    ):
        if of.open.any():
            of.learn(*(np.asarray(v, np.float64) for v in (outcome.score, outcome.error)))


def reduced(state: BlockState, e: str, cells: list[Cell], *given: Any) -> list[Any]:
    """The outcomes [rows] of some cells of an explainer, from (measured, valid, source) of each."""
    scored = state.scored(e, [c.metric for c in cells])
    s = dataclasses.replace(state.samples[e], a=None)
    args = (scored.metrics, s, scored.maps, state.reference, *given)
    return [o for o, _ in jax.device_get(kernels.reduce(state.mesh, scored.which, *args))]
