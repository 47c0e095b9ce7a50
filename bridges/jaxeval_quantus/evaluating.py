"""`evaluate`: many metrics of many explanation methods, as in Quantus."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from quantus.helpers import asserts, utils, warn

from .explainers import as_array, explain, quantus_explain
from .settings import say_once
from .sharing import begin, grouped


def evaluate(
    metrics: Mapping[str, Any],
    xai_methods: Mapping[str, Any],
    model: Any,
    x_batch: Any,
    y_batch: Any,
    s_batch: Any = None,
    agg_func: Callable[[Any], Any] = lambda scores: scores,
    explain_func_kwargs: Mapping[str, Any] | None = None,
    call_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
    return_as_df: bool | None = None,
    verbose: bool | None = None,
    progress: bool | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The scores of all metrics for all methods, as Quantus's function of that name gives them.

    Each method explains the batch once, for all metrics. Other than there, the method is the one of
    its name (Quantus scores plain gradients under every name), the settings of one method do not
    reach the next, and a metric that fails is NaN, with a warning, instead of a KeyError. Metrics
    of robustness with the same noise draw the same numbers, and share the explanations.

    Args:
      metrics: {name: metric}.
      xai_methods: {name: its settings for `explain`, a function of (model, inputs, targets,
        **kwargs), or maps [N, ...]}. A name is the `method` of `explain` where the settings have
        none.
      model, x_batch, y_batch, s_batch: as for a metric's call.
      agg_func: what becomes of each list of scores.
      explain_func_kwargs: arguments of the functions in `xai_methods`.
      call_kwargs: {name: arguments of a call}; several give a result each.
      return_as_df: a table with a row for each metric and a column for each method.
      verbose: print what is evaluated.
      kwargs: further arguments of each call.

    Returns:
      {method: {metric: scores}}, with {name of the call: scores} inside for several calls.
    """
    if xai_methods is None or metrics is None:
        print(
            "Define the explanation methods (xai_methods=) and the metrics (metrics=) to evaluate."
        )
        return None
    if call_kwargs is not None and not isinstance(call_kwargs, dict):
        raise TypeError(f"call_kwargs must be a dict of dicts, got {type(call_kwargs).__name__}")
    warn.check_kwargs({k: v for k, v in kwargs.items() if k not in _OF_CALLS})
    calls = call_kwargs or {"call_kwargs_empty": {}}
    x, y, s = (as_array(v) for v in (x_batch, y_batch, s_batch))
    results: dict[str, dict[str, Any]] = {}
    for method, given in xai_methods.items():
        function, settings, maps = _method(method, given, explain_func_kwargs, model, x, y)
        scores: dict[str, dict[str, Any]] = {name: {} for name in metrics}
        for call, own in calls.items():
            arguments = {
                "s_batch": s,
                "explain_func": function,
                "explain_func_kwargs": dict(settings),
                **kwargs,
                **own,
            }
            with grouped(metrics):
                for name, metric in metrics.items():
                    if verbose or progress:
                        print(f"Evaluating {method} by {name} ({call}) ...")
                    begin(metric)
                    try:
                        found = metric(model=model, x_batch=x, y_batch=y, a_batch=maps, **arguments)
                        scores[name][call] = agg_func(found)
                    except Exception as e:
                        warnings.warn(
                            f"{name} of {method} failed and is NaN: {type(e).__name__}: {e}. "
                            "(Metrics that explain anew need a function or settings, not maps.)",
                            stacklevel=2,
                        )
                        scores[name][call] = np.nan
        results[method] = {
            name: by_call if len(calls) > 1 else next(iter(by_call.values()))
            for name, by_call in scores.items()
        }
    if return_as_df and len(calls) > 1:
        print("A table needs one set of call_kwargs: these are the results as a dict.")
        return results
    return pd.DataFrame.from_dict(results) if return_as_df else results


_OF_CALLS = (
    "channel_first", "softmax", "device", "batch_size", "custom_batch", "model_predict_kwargs"
)  # fmt: skip


def _method(
    method: str, given: Any, common: Mapping[str, Any] | None, model: Any, x: Any, y: Any
) -> tuple[Callable[..., Any], dict[str, Any], np.ndarray]:
    """(the function that explains, its keyword arguments, the maps of x)."""
    if isinstance(given := as_array(given), np.ndarray):
        return explain, {"method": method, **(common or {})}, given
    if callable(given):
        function = explain if given is quantus_explain else given
        settings = {"method": method, **(common or {})}
    elif isinstance(given, dict):
        if common is not None:
            say_once("evaluate", "explain_func_kwargs are for functions, and ignored for settings")
        function, settings = explain, {"method": method, **given}
    else:
        raise TypeError(
            f"xai_methods[{method!r}] must be a dict of settings, a function or an array of maps, "
            f"got {type(given).__name__}"
        )
    asserts.assert_explain_func(explain_func=function)
    maps = function(model=model, inputs=x, targets=y, **settings)
    maps: Any = utils.expand_attribution_channel(np.asarray(maps), x)
    asserts.assert_attributions(a_batch=maps, x_batch=x)
    return function, settings, maps
