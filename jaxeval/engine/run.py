"""One run: every question of a plan, asked block by block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from ..progress import NoProgress
from .asking import ask
from .block import BlockState, answer_clean
from .collect import Collected, Record, warn_of_maps
from .evaluator import Evaluator
from .means import ask_means
from .plan import EvalPlan
from .samples import Block


def run(plan: EvalPlan, evaluator: Evaluator, progress: NoProgress) -> Record:
    """Ask everything. Exceptions carry the `Record` so far as `partial`."""
    found, state, held = Collected(plan), None, []
    progress.start(plan.evaluations())
    try:
        for block in blocks(plan, evaluator):
            state = BlockState(plan, evaluator, block)
            progress.advance(block.count * plan.clean_evaluations())
            for question in plan.questions:
                ask(state, question, progress.advance)
            if plan.means:
                held.append(state)
            else:
                found.add(state)
            state = None
        if held:
            ask_means(held, progress.advance)
        while held:
            found.add(held.pop(0))
        found.warn()
    except (Exception, KeyboardInterrupt) as e:
        for begun in [*held, state]:
            # The cause (for example out of memory) may make this fail, too, but must not be hidden.
            with contextlib.suppress(Exception):
                if begun is not None:
                    found.add(begun)
        e.partial = found.record(evaluator)  # type: ignore[attr-defined]
        raise
    return found.record(evaluator)


def attributions(plan: EvalPlan, evaluator: Evaluator, explainer: str) -> np.ndarray:
    """One explainer's maps [N, ...] of the clean samples."""
    maps = []
    for block in blocks(plan, evaluator):
        maps.append(np.asarray(answer_clean(plan, evaluator, block).maps[explainer])[block.real])
    a = np.concatenate(maps)
    if bad := int((~np.isfinite(a).reshape(len(a), -1).all(1)).sum()):
        warn_of_maps(explainer, bad, len(a))
    return a


def blocks(plan: EvalPlan, evaluator: Evaluator) -> Iterator[Block]:
    """The data set in blocks."""
    step = plan.local * evaluator.mesh.devices.size
    for start in range(0, plan.job.n, step):
        yield Block(plan.job, evaluator, plan.local, start)
