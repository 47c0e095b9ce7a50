"""Quantus's classes, with the engine behind them."""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from typing import Any, ClassVar

import numpy as np
import quantus
from quantus.functions.perturb_func import baseline_replacement_by_mask
from quantus.metrics.base import Metric

from . import work
from .batch import Batch
from .explainers import as_array, explain, explainer_of, quantus_explain, through_engine
from .mended import BATCHED, FASTER, MENDED, quick_checks
from .rows import ROWS
from .rows.row import Row
from .settings import PAGE, Small, Unmapped, answers_since, chosen, mark, note, say_once

OF_EXPLAIN = (
    "method", "xai_lib", "xai_lib_kwargs", "gc_layer", "interpolate", "interpolate_mode",
    "reduce_axes", "keepdims", "window", "n_steps", "baseline", "composite", "attributor",
    "canonizer",
)  # fmt: skip
"""Arguments of a call that go on to `explain`, as in the articles of Quantus 0.1."""
GONE = (
    "img_size",
    "nr_channels",
    "normalise",
    "abs",
    "pos_only",
    "neg_only",
    "max_steps_per_input",
)
"""Arguments of a call in Quantus 0.1 that later versions do not have."""
HOOKS = ("custom_preprocess", "custom_postprocess")
"""Methods that are called whoever computes."""
RENAMED = {"perturb_radius": "lower_bound"}


class OnEngine(Metric):
    """What all of these classes have: the engine answers, or Quantus's own code, and `log` says so.

    `_row` is the metric's row of the table, `_theirs` Quantus's class.
    """

    _row: ClassVar[Row]
    _theirs: ClassVar[type]

    def _say(self, what: str) -> None:
        say_once(self._theirs.__name__, f"{what}. See {PAGE}")

    def _new(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The constructor's arguments, as Quantus 0.6 takes them."""
        given = {RENAMED.get(k, k): v for k, v in kwargs.items()}
        name = self._theirs.__name__
        func = _known(given.get("perturb_func"), BATCHED)
        if name == "IROF" and func in BATCHED.values():
            func = baseline_replacement_by_mask
        if func is not None and name != "InputInvariance":
            given["perturb_func"] = func
        if given.get("normalise_func") is not None:
            given["normalise_func"] = _known(given["normalise_func"], MENDED)
        return given

    def _called(self, bound: inspect.BoundArguments) -> dict[str, Any]:
        """The arguments of a call, as Quantus 0.6 takes them; arrays are never written to."""
        given = dict(bound.arguments)
        given.pop("self")
        extra = given.pop("kwargs", {})
        flat = {k: extra.pop(k) for k in OF_EXPLAIN if k in extra}
        dropped = [k for k in GONE if extra.pop(k, None) is not None]
        if dropped:
            self._say(f"{', '.join(dropped)} of a call are those of Quantus 0.1, and ignored")
        for name in ("x_batch", "y_batch", "a_batch", "s_batch"):
            if name in given:
                given[name] = as_array(given[name])
        if isinstance(given.get("a_batch"), np.ndarray):
            given["a_batch"] = given["a_batch"].copy()
        if flat or given.get("explain_func_kwargs") is not None:
            given["explain_func_kwargs"] = {**flat, **(given.get("explain_func_kwargs") or {})}
        if given.get("explain_func") is quantus_explain:
            given["explain_func"] = explain
        if self._row.whole and "quantus" not in chosen.values():
            given["batch_size"] = len(given["x_batch"])
        return {**given, **extra}

    def _call(self, given: dict[str, Any]) -> Any:
        with quick_checks() if "quantus" not in chosen.values() else contextlib.nullcontext():
            return self._scores(given)

    def _scores(self, given: dict[str, Any]) -> Any:
        start = mark()
        if not self._row.explains:
            return super().__call__(**given)
        if self._row.paper and "quantus" not in chosen.values():
            self._say(self._row.paper)
        given["explain_func"] = function = self._explaining(given)
        with work.repeated(_layers(given.get("model"))):
            scores = super().__call__(**given)
        asked = answers_since(start, "explain")
        whys = sorted({entry.why for entry in asked if entry.engine == "quantus"})
        if asked and not whys:
            asides = sorted({entry.why for entry in asked if entry.why})
            note(self._theirs.__name__, "jaxeval", len(given["x_batch"]), "; ".join(asides))
            return scores
        if function is not explain:
            whys = ["explain_func is the caller's own function"]
        note(
            self._theirs.__name__,
            "quantus",
            len(given["x_batch"]),
            "; ".join(whys) or _asked_for() or "nothing was explained",
        )
        return scores

    def _explaining(self, given: dict[str, Any]) -> Any:
        """The function that explains: the engine calls it, if it is to and has no other."""
        function, kwargs = given.get("explain_func"), given.get("explain_func_kwargs") or {}
        torch_module = hasattr(given.get("model"), "named_modules")
        if chosen["engine"] != "jaxeval" or not callable(function) or not torch_module:
            return function
        try:
            explainer_of(function, kwargs, np.ndim(given["x_batch"]), given["model"])
        except Unmapped as why:
            return through_engine(quantus_explain if function is explain else function, str(why))
        return function

    def _for_theirs(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a batch, for Quantus's own code."""
        return given

    def _overridden(self) -> list[str]:
        """Methods of Quantus's class that its `evaluate_batch` calls, and a subclass has replaced.

        Others are called by the engine's rows, too.
        """
        ours, either = CLASSES[self._theirs.__name__], (*HOOKS, "evaluate_batch")
        names = [k for k, v in vars(self._theirs).items() if inspect.isfunction(v)]
        return [
            name
            for name in names
            if name not in either
            and not name.startswith("__")
            and (name in vars(self) or getattr(type(self), name) is not getattr(ours, name))
        ]

    def evaluate_batch(self, *args: Any, **kwargs: Any) -> Any:
        row, name = self._row, self._theirs.__name__
        own: Any = functools.partial(self._theirs.evaluate_batch, self)
        kwargs |= dict(zip(inspect.signature(own).parameters, args, strict=False))
        if row.explains:
            theirs = row.own is None or (row.paper and "quantus" in chosen.values())
            try:
                return own(**kwargs) if theirs else row.own(self, kwargs)  # type: ignore[misc]
            except Unmapped as why:
                self._say(f"Quantus's own code runs: {why}")
                return own(**kwargs)
        n, state = len(kwargs["x_batch"]), np.random.get_state()
        try:
            if chosen["engine"] == "quantus":
                raise Small(_asked_for())
            if own_methods := self._overridden():
                raise Unmapped(f"{', '.join(own_methods)} of a subclass")
            if row.run is None:
                raise Small("a metric of maps alone, which takes milliseconds")
            if row.paper and chosen["definitions"] == "quantus":
                raise Small(_asked_for())
            batch = Batch.of(self, kwargs)
            result = row.run(batch)
        except Unmapped as why:
            if not isinstance(why, Small):
                self._say(f"Quantus's own code runs: {why}")
            note(name, "quantus", n, str(why))
            np.random.set_state(state)
            return own(**self._for_theirs(kwargs))
        if row.paper:
            self._say(row.paper)
        if row.in_torch or batch.in_torch:
            batch.aside = "few outputs, which are torch's"
        note(name, "jaxeval", n, batch.aside)
        return result

    def custom_postprocess(self, **kwargs: Any) -> Any:
        scores: Any = self.evaluation_scores
        ours = self._row.run is not None and len(scores) and not isinstance(scores[0], dict)
        name = self._theirs.__name__
        if name == "ROAD" and "quantus" not in chosen.values():
            # The accuracy over all batches; Quantus takes the first.
            self.evaluation_scores = [np.concatenate(scores)]
        elif name == "SensitivityN" and ours:
            # A number a size, as in Quantus, and not one a sample.
            self.evaluation_scores = np.nanmean(np.stack(scores), 0).tolist()
            return None
        return super().custom_postprocess(**kwargs)


def _asked_for() -> str:
    """The choice by which Quantus's own code runs; "" if there is none."""
    return next((f'{what}("quantus")' for what, v in chosen.items() if v == "quantus"), "")


def _known(function: Any, table: dict[Any, Any]) -> Any:
    """What stands for a function in a table; itself if nothing does."""
    return table.get(function, function) if callable(function) else function


def _layers(model: Any) -> int:
    """How many times a batch is explained where layer after layer is randomised."""
    modules = getattr(model, "modules", list)()
    return 2 + sum(hasattr(m, "reset_parameters") for m in modules)


def _class(theirs: Any, row: Row) -> type:
    """A subclass of one of Quantus's classes, with its name, signatures and documentation."""
    call = inspect.signature(theirs.__call__)
    init = inspect.signature(theirs.__init__)

    @functools.wraps(theirs.__init__)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        given = dict(init.bind_partial(self, *args, **kwargs).arguments)
        del given["self"]
        more, args = given.pop("kwargs", {}), given.pop("args", ())
        super(made, self).__init__(*args, **self._new({**given, **more}))
        if hasattr(self, "similarity_func"):
            self.similarity_func = _known(self.similarity_func, FASTER)

    @functools.wraps(theirs.__call__)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._called(call.bind(self, *args, **kwargs)))

    def body(names: dict[str, Any]) -> None:
        names |= {"_row": row, "_theirs": theirs, "__init__": __init__, "__call__": __call__}
        names |= {
            "__module__": __name__,
            "__qualname__": theirs.__name__,
            "__doc__": theirs.__doc__,
        }

    mixins = () if row.mixin is None else (row.mixin,)
    made: Any = types.new_class(theirs.__name__, (*mixins, OnEngine, theirs), {}, body)
    return made


CLASSES: dict[str, type] = {name: _class(getattr(quantus, name), row) for name, row in ROWS.items()}
globals().update(CLASSES)  # so that instances can be pickled
