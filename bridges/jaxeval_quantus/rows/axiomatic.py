"""Axioms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from quantus.functions.perturb_func import baseline_replacement_by_shift
from quantus.helpers.utils import identity

from ..batch import Batch
from ..draws import fills, fills_values, perturbation
from ..models import evaluating
from ..questions import Replaced
from ..settings import Unmapped
from .row import Row

TOLERANCE = 1e-3
"""Of |f(x) - f(b)|, by which a sum of attributions may be off to be complete."""


def completeness(b: Batch) -> np.ndarray:
    """Two passes of the model: Quantus's own `predict`."""
    metric = b.metric
    if metric.output_func is not identity:
        raise Unmapped("output_func")
    at = np.tile(np.arange(b.flat.shape[1]), (b.n, 1))
    blank = next(b.perturbed([at])).reshape(b.x.shape)
    rows = np.arange(b.n)
    f, f_blank = (b.wrapped.predict(v)[rows, b.y] for v in (b.x, blank))
    gain = f - f_blank
    gap = np.abs(b.a.reshape(b.n, -1).sum(-1) - gain)
    return gap <= TOLERANCE * np.abs(gain)


def non_sensitivity(b: Batch) -> np.ndarray:
    metric = b.metric
    if metric.features_in_step != 1:
        raise Unmapped("features_in_step above 1, which fails in Quantus 0.6.0")
    steps = b.flat.shape[1]
    b.worth(steps, looped=False)
    drops = one_entry_at_a_time(b, steps)
    return ((np.abs(drops) < metric.eps) ^ (b.full < metric.eps)).sum(-1)


def one_entry_at_a_time(b: Batch, steps: int) -> np.ndarray:
    """[N, F]: f(x) - f(x_s), where x_s lacks the s-th entry."""
    if not fills_values(b.metric):
        at = (np.full((b.n, 1), s) for s in range(steps))
        return b.answers(b.perturbed(at), steps, "drop")
    fill = fills(b.metric, b.flat)
    values = np.stack([fill() for _ in range(steps)], 1).astype(np.float32)
    group = np.broadcast_to(np.arange(steps, dtype=np.int32), b.flat.shape)
    question = Replaced(draws=values)
    return b.outputs(question, "drop", group=np.array(group).reshape(b.x.shape))


class Compensated(torch.nn.Module):
    """g(x) = f(x - m), for any f."""

    def __init__(self, model: torch.nn.Module, shift: float):
        super().__init__()
        self.model, self.shift = model, shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x - self.shift)


def input_invariance(metric: Any, given: dict[str, Any]) -> np.ndarray:
    """Whether the maps of x by f and of x + m by g agree, to what Quantus allows."""
    function, kwargs = perturbation(metric)
    if function is not baseline_replacement_by_shift:
        raise Unmapped("perturb_func of InputInvariance")
    shift = float(kwargs["input_shift"])
    x, a = given["x_batch"], given["a_batch"]
    module = given["model"].get_model()
    with evaluating(module):
        shifted = Compensated(module, shift).eval()
        other = metric.explain_batch(shifted, (x + shift).astype(x.dtype), given["y_batch"])
    return np.all(np.isclose(a, other, atol=1e-4), axis=tuple(range(1, a.ndim)))


ROWS = {
    "Completeness": Row(
        completeness,
        in_torch=True,
        paper=f"a sum may be off by {TOLERANCE:g} of the difference of the outputs; Quantus "
        "compares two sums of floats with ==",
    ),
    "NonSensitivity": Row(non_sensitivity),
    "InputInvariance": Row(
        explains=True,
        own=input_invariance,
        paper="the shifted model subtracts the shift from its input; Quantus changes the bias of "
        "the first convolution, which is wrong at borders with zero padding",
    ),
}
