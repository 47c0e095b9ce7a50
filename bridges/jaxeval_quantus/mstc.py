"""MST-C in the form of a metric of Quantus, whose released versions do not have it."""

from __future__ import annotations

from typing import Any

import numpy as np
from quantus.helpers.enums import DataType, EvaluationCategory, ModelType, ScoreDirection
from quantus.metrics.base import Metric

import jaxeval as je

from .explainers import as_array


class MSTC(Metric[list[float]]):
    """Compactness of the salient pixels, by their minimum spanning tree: see `jaxeval.MSTC`.

    Higher is better. NaN if the salient pixels are fewer than three, or on one line.

    Args:
      threshold: percentile of a map's magnitudes, at or above which a pixel is salient.
      k: neighbours of each pixel in the graph.
      scale_score: multiply by 100 times the image's diagonal.

    Magnitudes are scored. The other arguments are those of all metrics of Quantus; maps need one
    channel.
    """

    name = "MST-C"
    data_applicability = {DataType.IMAGE}  # noqa: RUF012  (as in Quantus)
    model_applicability = {ModelType.TORCH, ModelType.TF}  # noqa: RUF012
    score_direction = ScoreDirection.HIGHER
    evaluation_category = EvaluationCategory.COMPLEXITY

    def __init__(
        self,
        threshold: float = 80.0,
        k: int = 20,
        scale_score: bool = True,
        normalise: bool = True,
        normalise_func: Any = None,
        normalise_func_kwargs: Any = None,
        return_aggregate: bool = False,
        aggregate_func: Any = None,
        default_plot_func: Any = None,
        disable_warnings: bool = False,
        display_progressbar: bool = False,
        **kwargs: Any,
    ):
        je.MSTC(percentile=threshold, n_neighbours=k)  # checks both
        super().__init__(
            abs=True,
            normalise=normalise,
            normalise_func=normalise_func,
            normalise_func_kwargs=normalise_func_kwargs,
            return_aggregate=return_aggregate,
            aggregate_func=aggregate_func,
            default_plot_func=default_plot_func,
            disable_warnings=disable_warnings,
            display_progressbar=display_progressbar,
            **kwargs,
        )
        self.threshold, self.k, self.scale_score = threshold, k, scale_score

    def __call__(  # type: ignore[override]
        self,
        model: Any,
        x_batch: Any,
        y_batch: Any,
        a_batch: Any = None,
        s_batch: Any = None,
        channel_first: bool | None = None,
        explain_func: Any = None,
        explain_func_kwargs: Any = None,
        model_predict_kwargs: Any = None,
        softmax: bool | None = False,
        device: str | None = None,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> list[float]:
        """The scores [N] of maps, given or made by `explain_func`."""
        a = as_array(a_batch)
        return super().__call__(
            model=model,
            x_batch=as_array(x_batch),
            y_batch=as_array(y_batch),
            a_batch=a.copy() if isinstance(a, np.ndarray) else a,
            s_batch=as_array(s_batch),
            channel_first=channel_first,
            explain_func=explain_func,
            explain_func_kwargs=explain_func_kwargs,
            model_predict_kwargs=model_predict_kwargs,
            softmax=softmax,
            device=device,
            batch_size=batch_size,
            **kwargs,
        )

    def evaluate_batch(self, a_batch: np.ndarray, **kwargs: Any) -> list[float]:  # type: ignore[override]
        if a_batch.ndim != 4 or a_batch.shape[1] != 1:
            raise ValueError(
                f"MSTC scores maps [N, 1, H, W]: got a_batch of shape {list(a_batch.shape)}; "
                "sum or average its channels first"
            )
        scores = [je.functional.mstc(a[0], self.threshold, self.k) for a in a_batch]
        scale = 1 if self.scale_score else 1 / (100 * np.hypot(*a_batch.shape[2:]))
        return [float(scale * score) for score in scores]
