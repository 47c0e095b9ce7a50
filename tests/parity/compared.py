"""The same network, inputs, perturbations and random weights: the scores of Quantus and captum.

Only metrics that Quantus 0.6.0 implements soundly are compared. Its own perturbation functions
run, recorded, and what they drew is handed to ours. Maps are normalised per sample on both sides
(Quantus's default divides by the largest value of the batch), and the output is the logit.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import jaxeval as je
from tests.close import MARGIN, reaction

torch = pytest.importorskip("torch", reason="parity needs torch")
captum = pytest.importorskip("captum.metrics", reason="parity needs captum")
quantus = pytest.importorskip("quantus", reason="parity needs quantus")


N, SHAPE = 6, (1, 28, 28)
F = 28 * 28
MASKED = (
    "PointingGame",
    "RelevanceRankAccuracy",
    "RelevanceMassAccuracy",
    "AUC",
    "AttributionLocalisation",
    "TopKIntersection",
)


EXPLAINERS = {
    "Gradient": je.explain.Gradient(),
    "Saliency": je.explain.Saliency(),
    "InputXGradient": je.explain.InputXGradient(),
    # The settings that Quantus has hard-wired.
    "IntegratedGradients": je.explain.IntegratedGradients(n_steps=10, method="riemann_trapezoid"),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One network, twice, and what it is asked about."""

    model: je.Model
    net: Any
    x: np.ndarray
    y: np.ndarray
    mask: np.ndarray

    def maps(self, method: str) -> np.ndarray:
        """captum's maps: both sides score the same numbers."""
        return quantus.explain(self.net, self.x, self.y, method=method)


class Recorded:
    """A perturbation function of Quantus that keeps what it drew, one batch a step."""

    def __init__(self, name: str):
        self.function = getattr(quantus, name)
        self.indices: list[np.ndarray] = []
        self.noise: list[np.ndarray] = []

    def __call__(self, arr: np.ndarray, indices: np.ndarray, **kwargs: Any) -> np.ndarray:
        changed = self.function(arr=arr, indices=indices, **kwargs)
        self.indices.append(indices)
        self.noise.append((changed - arr).reshape(-1, *SHAPE))
        return changed

    def drawn(self, what: str) -> np.ndarray:
        """[N, S, ...]."""
        return np.stack(getattr(self, what), 1)


def theirs(case: Case, name: str, a: Any = None, explain: Any = quantus.explain, **fields: Any):
    """Quantus's scores of maps, or of an explainer that is called by `method`."""
    method, mosaic = fields.pop("method", "Gradient"), fields.pop("mosaic", None)
    softmax = fields.pop("softmax", False)
    fields = {
        "normalise": True,
        "normalise_func": quantus.normalise_by_max,
        "normalise_func_kwargs": {"normalise_axes": (1, 2, 3)},
        "return_aggregate": False,
        "disable_warnings": True,
        "display_progressbar": False,
    } | fields
    np.random.seed(7)
    return getattr(quantus, name)(**fields)(
        model=case.net,
        x_batch=case.x.copy(),
        y_batch=case.y,
        a_batch=None if a is None else a.copy(),  # some metrics write into it
        explain_func=explain,
        explain_func_kwargs={"method": method},
        channel_first=True,
        softmax=softmax,
        batch_size=N,
        **({"s_batch": case.mask} if name in MASKED else {}),
        **({} if mosaic is None else {"custom_batch": mosaic}),
    )


def ours(metric: je.Metric, case: Case, a: Any = None, **kwargs: Any) -> je.Outcome:
    """Our outcome, with logits as the output."""
    kwargs = {"output": "logit", "batch_size": 512} | kwargs
    return je.score(metric, case.model, case.x, case.y, a, **kwargs)


def assert_close(a: Any, b: Any, tol: float = 1e-5, reaction: Any = 0) -> None:
    """Equal to `tol` of the largest score, or to what the scores' reaction to rounding explains."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    assert a.shape == b.shape
    assert np.isfinite(b).all()
    assert np.ptp(b) > 0
    atol = np.maximum(tol * np.abs(b).max(), MARGIN * np.asarray(reaction))
    np.testing.assert_array_less(np.abs(a - b), atol, err_msg=f"{a} is not {b}")


def assert_explains_alike(
    metric: je.Metric,
    case: Case,
    explainer: Any,
    want: Any,
    what: str = "score",
    tol: float = 1e-5,
    a: Any = None,
) -> None:
    """Each side explains for itself, in float32: maps differ by rounding before they are scored.

    Or they are given, and the score reacts to the rounding of the logits.
    """

    def answer(model: je.Model) -> Any:
        outcome = ours(metric, dataclasses.replace(case, model=model), a, explainer=explainer)
        return getattr(outcome, what)

    assert_close(answer(case.model), want, tol, reaction(answer, case.model))


maps = pytest.mark.parametrize("method", ["Gradient", "IntegratedGradients"])


explainers = pytest.mark.parametrize("method", EXPLAINERS)
