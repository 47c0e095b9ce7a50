"""What a job costs in Quantus and in jaxeval, estimated from shapes, never from timings."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from .models import device_of
from .settings import Small

# Seconds, as measured on two cores.
SPEED = 1e10
"""Floating-point operations a second of torch on small batches."""
STEP, ROW = 2e-4, 4e-5
"""What a step of Quantus's loop costs beside the model, and each of its samples."""
FIRST_CONVERSION, CONVERSION = 4.0, 1.0
KERNELS, OUTPUTS, MAPS = 1.5, 1.5, 4.0
"""Compiling what a metric needs, the forward pass, an explainer (twice that if it has steps)."""
CALL = 0.02
"""A call of the engine that is compiled."""

_flops: WeakKeyDictionary[Any, dict[tuple[int, ...], float]] = WeakKeyDictionary()
_compiled: set[Any] = set()
_spent: dict[Any, float] = {}
_times = [1]


def flops(module: Any, x: np.ndarray) -> float:
    """Floating-point operations of a forward pass of one sample: convolutions and products."""
    known, shape = _flops.setdefault(module, {}), tuple(x.shape[1:])
    if shape in known:
        return known[shape]
    total = [0.0]

    def count(layer: Any, _: Any, out: Any) -> None:
        weight: Any = getattr(layer, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.ndim > 1 and isinstance(out, torch.Tensor):
            total[0] += 2.0 * weight.numel() * out.numel() / len(out) / weight.shape[0]

    hooks = [m.register_forward_hook(count) for m in module.modules()]
    was = [(m, m.training) for m in module.modules()]
    try:
        module.eval()
        with torch.no_grad(), contextlib.suppress(Exception):  # what fails here fails later, too
            one = torch.from_numpy(np.ascontiguousarray(x[:1], np.float32))
            module(one.to(device_of(module)))
    finally:
        for hook in hooks:
            hook.remove()
        for m, training in was:
            m.training = training
    known[shape] = total[0]
    return total[0]


@contextlib.contextmanager
def repeated(times: int) -> Iterator[None]:
    """What is estimated inside will be asked for that many times."""
    _times.append(times)
    try:
        yield
    finally:
        _times.pop()


@dataclasses.dataclass
class Job:
    """A job of one batch: `steps` queries a sample, each of `outputs` forward passes and
    `gradients` forward and backward passes of an `explainer`."""

    module: Any
    x: np.ndarray
    steps: int
    name: str
    outputs: int = 0
    gradients: int = 0
    explainer: str = ""

    @property
    def seconds(self) -> float:
        """Of Quantus's own code, estimated."""
        each = (self.outputs + 3 * self.gradients) * flops(self.module, self.x) / SPEED
        calls = self.steps * (self.outputs + self.gradients)
        return calls * STEP + self.steps * len(self.x) * (ROW + each)

    @property
    def programs(self) -> dict[Any, float]:
        """{program: seconds to compile it}."""
        # Its work tells networks of one class apart.
        network = (type(self.module), tuple(self.x.shape[1:]), flops(self.module, self.x))
        found = {(self.name, network): KERNELS}
        if self.outputs:
            found["outputs", network] = OUTPUTS
        if self.gradients:
            found[self.explainer, network] = MAPS if self.gradients == 1 else 2 * MAPS
        return found

    def is_small(self, converted: bool) -> bool:
        """Whether Quantus's own code is likely to be done first.

        What small jobs spend there counts: once it exceeds the cost of compiling, that is done.
        """
        first = sum(cost for program, cost in self.programs.items() if program not in _compiled)
        if not converted:
            first += CONVERSION if _compiled else FIRST_CONVERSION
        key = next(iter(self.programs))
        seconds, spent = self.seconds, _spent.get(key, 0.0)
        small = seconds < CALL or seconds * _times[-1] + spent < first
        if small:
            _spent[key] = spent + seconds
        return small

    def choose(self, converted: bool) -> None:
        """Raise Small if it is."""
        if self.is_small(converted):
            raise Small("the job is small: compiling would take longer")

    def done(self) -> None:
        """The engine has done this job, and has its programs now."""
        _compiled.update(self.programs)
