"""The samples of one block, and the clean answers about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

import jax
import numpy as np

from ..tokens import FIRST
from ..types import Answer, Sample
from . import image_memo, kernels
from .answers import check_answers
from .evaluator import Evaluator
from .explainers import Attributor, Batch
from .job import Job


@dataclasses.dataclass(frozen=True, eq=False)
class Clean:
    """A block's clean samples with the answers about them.

    Attributes:
      samples: the samples [rows], without attributions; y are the explained classes.
      reference: the model's answers, if needed.
      answer: the same as the model gave them, in `width` rows per device; None with hidden layers,
        of which one copy is enough.
      maps: {attributor: maps [rows, features]}.
    """

    samples: Sample
    reference: Answer = dataclasses.field(default_factory=Answer)
    answer: Answer | None = None
    width: int = 0
    maps: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Block:
    """The samples from `start` on, `local` on each device; a short last block is padded.

    Attributes:
      real: which rows are samples, not padding [rows].
      where: its name in errors.
    """

    def __init__(self, job: Job, evaluator: Evaluator, local: int, start: int):
        self.job, self.evaluator, self.local, self.start = job, evaluator, local, start
        self.devices = evaluator.mesh.devices.size
        self.real = np.arange(local * self.devices) < job.n - start
        self.count = int(self.real.sum())
        self.where = f"the batch of samples {start}..{start + self.count - 1}"
        self._ahead: dict[Any, list[Future[Any]]] = {}
        self._samples: Sample | None = None

    def begin(self, makes: Iterable[Any], valid: np.ndarray | None) -> None:
        """Begin what needs no answers, while the devices work on the block before this one.

        Args:
          makes: functions of one image that may run in threads, see `host_extra`.
          valid: see `samples`, which are sent to the devices unless these are CPUs.
        """
        for make in makes:
            x, axis = self.padded(self.job.data.x), self._channel_axis
            self._ahead[make] = image_memo.begin(make, x, axis)
        if self.evaluator.mesh.devices.flat[0].platform != "cpu":
            self._samples = self.samples(valid)

    def host_extra(self, make: Any) -> np.ndarray:
        """A function of one image, (x, channel_axis) -> array, for all rows [rows, ...]."""
        if (begun := self._ahead.pop(make, None)) is not None:
            return np.stack([f.result() for f in begun])
        return image_memo.all_images(make, self.padded(self.job.data.x), self._channel_axis)

    @property
    def _channel_axis(self) -> int | None:
        return self.job.model.sample_channel_axis(self.job.data.x.ndim - 1)

    def padded(self, rows: np.ndarray) -> np.ndarray:
        """This block's rows of an array of the data set; padding repeats the first."""
        mine = rows[self.start : self.start + len(self.real)]
        if len(mine) == len(self.real):
            return mine
        return np.concatenate([mine, np.repeat(mine[:1], len(self.real) - len(mine), 0)])

    def load(self, rows: np.ndarray) -> Any:
        """The same on the devices."""
        return self.evaluator.put(self.padded(rows))

    def resized(self, tree: Any, width: int) -> Any:
        """Rows cut or padded to `width` on each device."""
        return tree if width == self.local else kernels.resize(self.evaluator.mesh, width, tree)

    def back(self, tree: Any, width: int) -> Any:
        """The reverse of `resized`."""
        return (
            tree if width == self.local else kernels.resize(self.evaluator.mesh, self.local, tree)
        )

    def real_of(self, width: int) -> np.ndarray:
        """Which of `width` rows per device are real; the block's own come first."""
        real = np.zeros((self.devices, width), bool)
        real[:, : self.local] = self.real.reshape(self.devices, -1)
        return real.reshape(-1)

    def samples(self, valid: np.ndarray | None) -> Sample:
        """The samples, on the devices."""
        if self._samples is not None:
            begun, self._samples = self._samples, None
            return begun
        job, data, n = self.job, self.job.data, self.job.n
        padded, first = self.padded, (self.job.data.inputs or {}).get(FIRST)
        return self.evaluator.put(
            Sample(
                x=padded(data.x),
                y=padded(np.zeros(n, np.int32) if data.y is None else data.y),
                key=kernels.keys_of(job.options.key, padded(data.index)),
                position=padded(np.arange(n, dtype=np.int32)),
                extras={k: padded(v) for k, v in data.extras.items()},
                inputs=None if data.inputs is None else jax.tree.map(padded, data.inputs),
                valid=None if valid is None else padded(valid),
                owner=None if first is None else padded(first),
                channel_axis=self._channel_axis,
            )
        )

    def answered(self, s: Sample, hidden: kernels.Layers, width: int) -> Clean:
        """The samples with the model's answers; y are the predicted classes if none were given."""
        evaluator = self.evaluator
        x, inputs = self.resized((s.x, s.inputs), width)
        answer = evaluator.output(
            evaluator.model, x, inputs, hidden, self.real_of(width), self.where
        )
        reference = self.back(answer, width)
        if not self.start:
            check_answers(self.job, reference.logits, self.real)
        if self.job.data.y is None:
            y = kernels.predicted(evaluator.mesh, None, reference.logits)
            s = dataclasses.replace(s, y=y)
        return Clean(s, reference, None if hidden else answer, width)

    def map(self, attributor: Attributor, s: Sample, width: int) -> Any:
        """An explainer's maps of the samples [rows, features]."""
        x, y, keys, inputs = self.resized((s.x, s.y, s.key, s.inputs), width)
        batch = Batch(x, y, keys, inputs, self.real_of(width), self.where)
        return self.back(attributor.explain(self.evaluator, self.evaluator.model, batch), width)
