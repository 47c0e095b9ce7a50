"""Maps of the best and worst samples of a sweep: computed again, as sweeps store only scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..api import attribute
from ..plot import extremes
from ..results.table import Results
from ..sweep import Plan, Sweep


def maps_of_extremes(
    sweep: Sweep, results: Results, metric: str, model: str | None = None, n: int = 3
) -> dict[str, Any]:
    """The arguments of `Results.report` for its gallery: x, attributions, index, channel_axis.

    Random explainers use the sweep's first seed.

    Args:
      sweep: the sweep that computed the results.
      results: the results of one model.
      metric: the metric that defines best and worst samples.
      model: its name, if the sweep has several.
      n: number of best and of worst samples per explainer.
    """
    plan = Plan(sweep)
    found = plan.models[model or next(iter(plan.models))]
    rows = [np.concatenate(extremes(results, e, metric, n)) for e in results.explainers]
    wanted = results.index[np.unique(np.concatenate(rows))]
    at, index, x, y = (np.concatenate(parts) for parts in zip(*_samples(plan, wanted), strict=True))
    labels = {"y": None if (y < 0).any() else y, "index": index}
    return {
        "x": x,
        "index": index,
        "channel_axis": getattr(found, "channel_axis", 1),
        "attributions": {
            e: setting.made[at]
            if hasattr(setting.made, "shape")
            else np.asarray(
                attribute(
                    setting.made, found, x, **labels, key=sweep.seeds[0],
                    batch_size=sweep.batch_size, precision=sweep.precision,
                )
            )
            for e, setting in sweep.explainer_settings.items()
            if e in results.explainers
        },
    }  # fmt: skip


def _samples(plan: Plan, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """(positions, ids, x, y) of the wanted samples, block by block; y -1: the predicted class."""
    size, left = plan.size, len(wanted)
    numbered = plan.first.index is None  # then ids are places
    blocks = set((wanted // size).tolist()) if numbered else None
    for block, batch in plan.source.blocks(size, lambda b: blocks is None or b in blocks):
        at = block * size + np.arange(len(batch))
        ids = at if batch.index is None else batch.index
        chosen = np.isin(ids, wanted)
        if chosen.any():
            y = np.full(len(batch), -1) if batch.y is None else batch.y
            yield at[chosen], ids[chosen], batch.x[chosen], y[chosen]
        left -= int(chosen.sum())
        if left <= 0:
            return
