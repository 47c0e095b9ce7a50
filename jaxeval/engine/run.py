"""One run: every question of a plan, asked block by block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeVar

import numpy as np

from ..progress import NoProgress
from .asking import ask
from .block import BlockState, answer_clean
from .collect import Collected, Record, warn_of_maps
from .errors import out_of_memory
from .evaluator import Evaluator
from .means import ask_means
from .plan import EvalPlan, smaller
from .samples import Block

T = TypeVar("T")


def run(plan: EvalPlan, evaluator: Evaluator, progress: NoProgress) -> Record:
    """Ask everything. Exceptions carry the `Record` so far as `partial`.

    Where the devices run out of memory, it goes on with half the batch size, and warns.
    """
    found = Collected(plan)
    progress.start(plan.evaluations())
    try:
        while (trouble := _run(found, evaluator, progress)) is not None:
            found.plan = smaller(found.plan, evaluator, trouble)
        found.warn()
    except (Exception, KeyboardInterrupt) as e:
        e.partial = found.record(evaluator)  # type: ignore[attr-defined]
        raise
    return found.record(evaluator)


def _run(found: Collected, evaluator: Evaluator, progress: NoProgress) -> str | None:
    """Ask everything about the samples that are not finished.

    Returns:
      None; or the error, if the devices ran out of memory and a smaller batch is possible. No
      arrays of the failed batch are alive then.
    """
    plan, state, reduced = found.plan, None, None
    held: list[BlockState] = []  # of which more may be asked, for means over all samples
    try:
        for block, following in with_next(blocks(plan, evaluator, found.finished)):
            state = BlockState(plan, evaluator, block)
            progress.advance(block.count * plan.clean_evaluations())
            if following is not None:
                following.begin(plan.in_threads(), plan.valid)
            if reduced is not None:  # fetched only now, so that the devices need not wait for it
                done, reduced = reduced, None
                found.add(done)
            for question in plan.questions:
                ask(state, question, progress.advance)
            if plan.means:
                held.append(state)
            else:
                reduced = state.reduced()
            state = None
        if reduced is not None:
            done, reduced = reduced, None
            found.add(done)
        if held:
            ask_means(held)
        while held:
            found.add(held.pop(0).reduced())
    except (Exception, KeyboardInterrupt) as e:
        # The cause (for example out of memory) may make this fail, too, but must not be hidden.
        with contextlib.suppress(Exception):
            if reduced is not None:
                found.add(reduced)
        if out_of_memory(e) and plan.rows > 1:
            return str(e)
        for begun in [*held, state]:
            with contextlib.suppress(Exception):
                if begun is not None:
                    found.add(begun.reduced())
        raise
    return None


def attributions(plan: EvalPlan, evaluator: Evaluator, explainer: str) -> np.ndarray:
    """One explainer's maps [N, ...] of the clean samples."""
    maps: list[np.ndarray] = []
    while (trouble := _attributions(plan, evaluator, explainer, maps)) is not None:
        plan = smaller(plan, evaluator, trouble)
    a = np.concatenate(maps)
    if bad := int((~np.isfinite(a).reshape(len(a), -1).all(1)).sum()):
        warn_of_maps(explainer, bad, len(a))
    return a


def _attributions(
    plan: EvalPlan, evaluator: Evaluator, explainer: str, maps: list[np.ndarray]
) -> str | None:
    """Append the maps of the other samples; returns as `_run`."""
    try:
        for block in blocks(plan, evaluator, sum(map(len, maps))):
            clean = answer_clean(plan, evaluator, block)
            maps.append(np.asarray(clean.maps[explainer])[block.real])
    except Exception as e:
        if out_of_memory(e) and plan.rows > 1:
            return str(e)
        raise
    return None


def with_next(items: Iterator[T]) -> Iterator[tuple[T, T | None]]:
    """Each item with the one after it, None after the last.

    >>> list(with_next(iter("ab")))
    [('a', 'b'), ('b', None)]
    """
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        yield item, following
        item = following


def blocks(plan: EvalPlan, evaluator: Evaluator, first: int = 0) -> Iterator[Block]:
    """The samples from `first` on in blocks."""
    step = plan.local * evaluator.devices
    for start in range(first, plan.job.n, step):
        yield Block(plan.job, evaluator, plan.local, start)
