"""One batch of Quantus's, as the engine is asked about it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from quantus.helpers import asserts
from quantus.helpers.model.pytorch_model import PyTorchModel
from quantus.metrics.base import Metric

import jaxeval as je

from . import work
from .explainers import ON_HOST, Mapped, OnHost, explainer_of, unwrapped
from .models import block, convert, ends_in_softmax, in_torch, is_converted, of_outputs
from .questions import Explained, Inputs, Outputs
from .settings import Small, Unmapped, chosen, refused
from .sharing import Shared, shared

CHUNK = 2**28
"""Bytes of given inputs, and of maps that come back, at a time."""


class Step(NamedTuple):
    """The answers of one step: the inputs [N, *x], numbers [N], and the maps [N, *a] or None."""

    x: np.ndarray
    change: np.ndarray
    relative: np.ndarray
    distance: np.ndarray
    changed: np.ndarray
    maps: Any


@dataclasses.dataclass
class Batch:
    """The arguments of Quantus's `evaluate_batch`; its maps a are normalised as it does."""

    metric: Any
    wrapped: Any
    x: np.ndarray
    y: np.ndarray
    a: np.ndarray
    predicted: np.ndarray | None = None
    """The predicted classes [N], where Quantus has asked for them."""
    in_torch: bool = False
    aside: str = ""
    """What of the metric is not the engine's, for the log."""

    @classmethod
    def of(cls, metric: Any, given: dict[str, Any]) -> Batch:
        """Raises Unmapped where the engine does not take the model or the inputs."""
        wrapped, x = given["model"], given["x_batch"]
        if not isinstance(wrapped, PyTorchModel):
            raise Unmapped("the model is no torch module")
        if wrapped.model_predict_kwargs:
            raise Unmapped("model_predict_kwargs")
        if not wrapped.channel_first:
            raise Unmapped("channels come last")
        if wrapped.get_model().training:
            raise Unmapped("the model is in training mode")
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or x.ndim < 2:
            raise Unmapped("the inputs are no array of floating-point numbers")
        if not np.isfinite(x).all():
            raise Unmapped("the inputs hold NaN or infinite values")
        y = np.asarray(given["y_batch"]).reshape(-1)
        if y.dtype.kind not in "iu":
            raise Unmapped("the classes are no integers")
        return cls(metric, wrapped, x, y, given["a_batch"], predicted=given.get("y_pred_classes"))

    @property
    def n(self) -> int:
        return len(self.x)

    @property
    def flat(self) -> np.ndarray:
        return self.x.reshape(self.n, -1)

    @property
    def full(self) -> np.ndarray:
        """The maps with a value for each entry of x, [N, F]: Quantus repeats them over channels."""
        return np.broadcast_to(self.a, self.x.shape).reshape(self.n, -1)

    def worth(
        self,
        steps: int,
        outputs: int = 1,
        explainer: Mapped | OnHost | None = None,
        always: bool = False,
        looped: bool = True,
    ) -> None:
        """Raise Unmapped if the engine is not to be asked, or Quantus's code would be done first.

        Args:
          steps: queries a sample.
          outputs: forward passes of each.
          explainer: what explains each, if they are explained.
          always: whether Quantus's own code gives another number. Then the `outputs` of small jobs
            are torch's.
          looped: see `work.Job`.
        """
        module, name = self.wrapped.get_model(), type(self.metric).__name__
        group = shared(self.metric)
        sharing = 1 if group is None else group.size
        self.job = work.Job(module, self.x, steps, name, outputs, explainer, sharing, looped)
        self.in_torch = False
        if chosen["engine"] == "auto":
            why = self.job.why_not(is_converted(module, self.x.shape[1:]))
            if why and not always:
                raise Small(why)
            self.in_torch = bool(why)

    def ask(self, metric: je.Metric, **given: Any) -> je.Outcome:
        """The outcome of a jaxeval metric for this batch, with Quantus's class score."""
        x = np.ascontiguousarray(given.pop("x", self.x), np.float32)
        if "model" not in given:
            given["model"], given["output"] = of_outputs(self.wrapped, x)
        given.setdefault("a", x)
        if isinstance(given.get("explainer"), je.Host):  # one call for a step of this batch
            given["batch_size"] = rows = self.job.rows()
        else:
            rows = self.job.rows(block(given["model"], x))
        own = None
        try:
            outcome = je.score(metric, x=x, y=self.y, rows=rows, **given)
        except (TypeError, ValueError) as e:
            if not isinstance(given.get("explainer"), je.Host) or e.__cause__ is None:
                raise refused(e) from e
            own = e.__cause__
        if own is not None:
            raise own  # by the caller's function; outside, so that no error is its own context
        self.job.done(rows)
        return outcome

    def outputs(
        self, question: Any, what: str = "value", x: np.ndarray | None = None, **extras: np.ndarray
    ) -> np.ndarray:
        """[N, S]: what the model answers, see `Outputs`; `clean` becomes f(x), [N].

        Args:
          x: other inputs to start from.
        """
        x = np.asarray(self.x if x is None else x, np.float32)
        if not self.in_torch:
            outcome = self.ask(Outputs(question=question, what=what), x=x, extras=extras)
            self.clean = np.asarray(outcome.score)
            return np.asarray(outcome.curve)
        rows, steps = np.arange(self.n), question.n_steps(None)
        self.clean = self.wrapped.predict(x)[rows, self.y]
        answers = []
        for s in range(steps):
            draw = getattr(question, "draws", None)
            if draw is not None:
                draw = draw[:, s]
                draw = draw if draw.ndim == x.ndim else draw.reshape(self.n, *[1] * (x.ndim - 1))
            sample = je.Sample(x=x, y=self.y, key=None, position=None, draw=draw, extras=extras)
            changed = np.array(question.apply(sample, None, s).x)
            answers.append(self.wrapped.predict(changed)[rows, self.y])
        found = np.stack(answers, 1)
        return self.clean[:, None] - found if what == "drop" else found

    def answers(self, made: Iterator[np.ndarray], steps: int, what: str = "value") -> np.ndarray:
        """[N, S]: what the model answers about the next `steps` inputs [N, *x] or [N, F] made.

        For the caller's own `perturb_func`, which makes them on the host.
        """
        size, found = self._at_a_time(steps, False), []
        for start in range(0, steps, size):
            n = min(size, steps - start)
            given = np.empty((self.n, size, *self.x.shape[1:]), np.float32)
            for s in range(n):
                given[:, s] = next(made).reshape(self.x.shape)
            given[:, n:] = given[:, n - 1 : n]
            found.append(self.outputs(Inputs(draws=given), what)[:, :n])
        return np.concatenate(found, 1)

    def perturbed(
        self, indices: Iterable[np.ndarray], in_turn: bool = False
    ) -> Iterator[np.ndarray]:
        """x with `perturb_func` called for each of the indices [N, n], of x or `in_turn`."""
        x = self.x.reshape(self.n, -1).copy()
        for at in indices:
            changed = self.metric.perturb_func(arr=x, indices=at)
            x = changed if in_turn else x
            yield changed

    def explainer(self) -> Mapped | OnHost:
        """jaxeval's explainer for Quantus's `explain_func`, or the function itself.

        Raises:
          Unmapped: the metric explains by a method of its own.
        """
        replaced: Any = getattr(self.metric.explain_batch, "__func__", None)
        if replaced is not Metric.explain_batch:
            raise Unmapped("explain_batch of a subclass")
        function, kwargs = unwrapped(self.metric.explain_func, self.metric.explain_func_kwargs)
        module = self.wrapped.get_model()
        try:
            return explainer_of(function, kwargs, self.x.ndim, module)
        except Unmapped as why:
            self.aside = ON_HOST.format(why)
            return OnHost(function, kwargs, module, str(why))

    def explained(
        self,
        draw: Callable[[], np.ndarray],
        steps: int,
        explainer: Mapped | OnHost,
        *,
        watch: bool = False,
        raw: bool = False,
        distance: Any = None,
        eps: float = 1e-6,
        exact_layers: bool = False,
    ) -> Iterator[Step]:
        """Explains what `draw()` gives for each step, as many steps at a time as fit in memory.

        Args:
          draw: the inputs [N, *x] of the next step.
          explainer: jaxeval's.
          watch, raw, eps: as of `Explained`.
          distance: a metric of relative stability.
          exact_layers: whether hidden layers are asked for.
        """
        group, own = shared(self.metric), () if distance is None else (distance,)
        if group is None or not (set(map(type, own)) <= set(map(type, group.distances))):
            group = Shared(watch, raw, own)
        at = [type(d) for d in group.distances].index(type(distance)) if own else None
        module = self.wrapped.get_model()
        if ends_in_softmax(module) and (group.distances or (group.watch and not explainer.on_host)):
            raise Unmapped("the model ends in a Softmax, and both its outputs and maps are needed")
        # On the host it is called as Quantus does: with one step of this batch.
        size = 1 if explainer.on_host else self._at_a_time(steps, group.raw)
        if explainer.on_host and not exact_layers:
            model = in_torch(module)
        else:
            model = convert(module, self.x, exact_layers=exact_layers)
        a, first = np.asarray(self.a, np.float32), Explained.NUMBERS
        n = first + len(group.distances)
        for start in range(0, steps, size):
            inputs = [draw() for _ in range(min(size, steps - start))]
            given = np.stack([*inputs, *inputs[-1:] * (size - len(inputs))], 1, dtype=np.float32)
            key = group.key(given, a) if group.size > 1 else None
            answers = group.known(key)
            if answers is None:
                metric = Explained(
                    question=Inputs(draws=given),
                    magnitudes=self.metric.abs and not self.metric.normalise,
                    distances=group.distances,
                    watch=group.watch,
                    raw=group.raw,
                    eps=eps,
                )
                outcome = self.ask(
                    metric, model=model, a=a, explainer=explainer.make(inputs[0], self.y, a.shape)
                )
                answers = np.array(outcome.curve).reshape(self.n, size, -1)
                group.keep(key, answers)
            for s, x in enumerate(inputs):
                change, relative, changed, low, high = answers[:, s, :first].T
                self._check_maps(low, high)
                far = np.zeros(self.n) if at is None else answers[:, s, first + at]
                maps = answers[:, s, n:].reshape(self.a.shape).copy() if group.raw else None
                # Another metric of the group may watch the prediction, and this one not.
                yield Step(x, change, relative, far, (changed > 0) & watch, maps)

    def _check_maps(self, low: np.ndarray, high: np.ndarray) -> None:
        """Quantus's error for maps of a batch that are all zero, all equal or all negative.

        Args:
          low, high: the extremes of each map, [N].
        """
        if low.min() == high.max() or high.max() < 0:
            extremes = np.stack([low, high], 1)
            asserts.assert_attributions(x_batch=extremes, a_batch=extremes)

    def _at_a_time(self, steps: int, raw: bool) -> int:
        """How many steps are asked about at once: equal parts, each within `CHUNK` bytes."""
        each = 4 * self.n * (self.flat.shape[1] + (self.a[0].size if raw else 0))
        return max(1, math.ceil(steps / max(1, math.ceil(steps * each / CHUNK))))
