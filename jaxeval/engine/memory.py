"""The batch size that fits in the memory of the devices, as their compiler says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from . import batch_size as sizes
from . import kernels
from .evaluator import Evaluator
from .explainers import Compiled
from .rehearsal import Rehearsal, watching

if TYPE_CHECKING:
    from .plan import EvalPlan


def rehearsed(plan: EvalPlan, evaluator: Evaluator) -> Rehearsal:
    """The programs of a run that contain the model, compiled."""
    rehearsal, model = Rehearsal(evaluator.platform, compiles=True), evaluator.model
    one, data = plan.job.one, plan.job.data

    def inputs(rows: int) -> tuple[Any, ...]:
        rehearsal.rows, n = rows, rows * evaluator.devices
        keys = jax.random.split(jax.random.key(0), n)
        more = data.inputs_of(np.zeros(n, int))
        zeros = np.zeros((n, *one.shape), one.dtype), np.zeros(n, np.int32), keys, more
        return evaluator.put(zeros)

    with watching(rehearsal):
        if plan.clean_output:
            x, _, _, more = inputs(plan.forward_rows())
            plain = any(q.asks_model and "hidden" not in q.asks for q in plan.questions)
            for layers in {plan.hidden, False} if plain else {plan.hidden}:
                kernels.forward(evaluator.mesh, (layers, evaluator.precision), model, x, more)
        for name, attributor in plan.attributors.items():
            attributor = getattr(attributor, "then", attributor)
            if isinstance(attributor, Compiled):
                given = inputs(plan.explain_rows(name))
                attributor.maps(evaluator, model, *given)
    return rehearsal


def within_memory(
    plan: EvalPlan,
    evaluator: Evaluator,
    in_batches: Callable[[int], EvalPlan],
    guess: int,
    most: int,
) -> int:
    """The batch size for the memory of the devices, if they say how much they have.

    Args:
      in_batches: the plan in batches of another size.
      guess: the size that is used if they do not say; `most`: the largest that is of use.
    """
    limit, job = evaluator.limit, plan.job
    if limit is None or job.model.host:
        return guess
    # Queries in flight, the block's own samples and maps, and the buffers of measurements.
    size = int(np.prod(job.one.shape)) * max(4, job.one.dtype.itemsize)
    by = [(q.n_steps, len(s)) for q in plan.questions for s in q.by.values()]
    kept = size * (4 + 3 * len(job.attributors)) + sum(4 * steps * n for steps, n in by)

    def rehearse(batch_size: int) -> Rehearsal:
        return rehearsed(in_batches(batch_size), evaluator)

    budget = sizes.SHARE * limit
    return sizes.largest(rehearse, guess, most, budget, kept, evaluator.platform)
