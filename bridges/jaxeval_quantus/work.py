"""What a job costs in Quantus and in jaxeval, estimated from shapes, never from timings."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from .models import evaluating, outputs_of
from .settings import Small

# Seconds, as measured on two cores.
SPEED = 1e10, 5e10
"""Floating-point operations a second of torch, in networks below `LARGE` and beyond."""
STEP, ROW = 2e-4, 4e-5
"""What a step of Quantus's loop costs beside the model, and each of its samples."""
FIRST_CONVERSION, CONVERSION = 4.0, 1.0
KERNELS, OUTPUTS, MAPS = 1.5, 1.5, 4.0
"""Compiling what a metric needs, the forward pass, an explainer (twice that if it has steps)."""
LEAVES = 12
"""Layers of the network that these times are of; more take longer in proportion."""
CALL, OWN_ROW = 5e-3, 1e-5
"""A call of the engine that is compiled, and each sample of each step beside the model."""
LARGE = 3e7
"""Operations a sample from which torch's convolutions are faster than XLA's on a CPU."""
OUTPUT_RATIO, MAP_RATIO = (1.5, 0.75), (3.0, 0.95)
"""How many times as fast as torch JAX is, with outputs and with maps; below `LARGE` and beyond."""
SLOWER = 1.1
"""How many times as long as Quantus's code a job may take."""

_flops: WeakKeyDictionary[Any, dict[tuple[int, ...], float]] = WeakKeyDictionary()
_compiled: dict[Any, set[int]] = {}
"""{program: the numbers of samples that it has been compiled for}."""
_forgone: dict[Any, float] = {}
"""{program: seconds that compiling it would have saved so far}."""
_padded: dict[Any, float] = {}
"""{(program, samples): seconds spent on padding to a number that is compiled}."""
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
    try:
        with evaluating(module), contextlib.suppress(Exception):  # what fails here fails later
            outputs_of(module, np.ascontiguousarray(x[:1], np.float32))
    finally:
        for hook in hooks:
            hook.remove()
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
    """A job of one batch: `steps` queries a sample, each of some `outputs` and an explanation.

    Args:
      outputs: forward passes of each query.
      explainer: what explains each query (`Mapped` or `OnHost`), or None.
      sharing: how many metrics the explanations are for, each of which Quantus would explain anew.
      looped: whether a step of Quantus's code goes through the samples one by one, too.
    """

    module: Any
    x: np.ndarray
    steps: int
    name: str
    outputs: int = 0
    explainer: Any = None
    sharing: int = 1
    looped: bool = True

    def __post_init__(self) -> None:
        self.flops = flops(self.module, self.x)
        self.gradients = 0 if self.explainer is None else self.explainer.cost
        self.on_host = self.explainer is not None and self.explainer.on_host
        shapes = (tuple(self.x.shape[1:]), self.flops)  # its work tells networks of a class apart
        self.network = (type(self.module), *shapes, self.steps)
        self.large = self.flops >= LARGE
        self.pass_ = self.flops / SPEED[self.large]
        leaves = sum(not any(m.children()) for m in self.module.modules())
        self.size = max(1.0, leaves / LEAVES)

    @property
    def theirs(self) -> float:
        """Seconds of Quantus's own code."""
        each = (self.outputs + 3 * self.gradients) * self.pass_
        calls = self.steps * (self.outputs + self.gradients)
        row = each + (ROW if self.looped else 0)
        return self.sharing * (calls * STEP + self.steps * len(self.x) * row)

    @property
    def ours(self) -> float:
        """Seconds of the engine when everything is compiled."""
        return CALL * (self.steps if self.on_host else 1) + len(self.x) * self.steps * self._row

    @property
    def _row(self) -> float:
        """Seconds of the engine for a step of a sample."""
        if self.on_host:
            return OWN_ROW + (self.outputs + 3 * self.gradients) * self.pass_
        outputs = self.outputs / OUTPUT_RATIO[self.large]
        maps = 3 * self.gradients / MAP_RATIO[self.large]
        return OWN_ROW + (outputs + maps) * self.pass_

    @property
    def programs(self) -> dict[Any, float]:
        """{program: seconds to compile it}."""
        found = {(self.name, self.network): KERNELS}
        if self.outputs and not self.on_host:
            found["outputs", self.network] = OUTPUTS * self.size
        if self.gradients and not self.on_host:
            maps = MAPS if self.gradients == 1 else 2 * MAPS
            found[self.explainer.name, self.network] = maps * self.size
        return found

    def rows(self, block: float = math.inf) -> int:
        """The number of samples to compile for: another that is compiled, if padding costs less.

        The last batch of a data set is then padded to the size of those before it.

        Args:
          block: how many samples the engine takes at a time; larger numbers share its programs.
        """
        n, key = len(self.x), next(iter(self.programs))
        if n >= block:
            return n
        known = sorted(int(min(rows, block)) for rows in _compiled.get(key, ()) if rows >= n)
        if not known or known[0] == n:
            return n
        extra = _padded.get((key, n), 0.0) + (known[0] - n) * self._row
        if extra > sum(self.programs.values()):
            return n
        _padded[key, n] = extra
        return known[0]

    def why_not(self, converted: bool) -> str:
        """Why Quantus's own code is likely to be done first; "" if it is not.

        What compiling would have saved in small jobs counts: once it exceeds the cost of
        compiling, that is done.
        """
        if self.ours > SLOWER * self.theirs:
            if not self.on_host and self.large:
                return "torch is as fast at this network as JAX"
            return "the job is small: the engine's calls would take longer"
        rows = {program: _compiled.get(program, set()) for program in self.programs}
        known = {program for program, some in rows.items() if max(some, default=0) >= len(self.x)}
        first = sum(cost for program, cost in self.programs.items() if program not in known)
        if not converted and not self.on_host:
            first += (CONVERSION if _compiled else FIRST_CONVERSION) * self.size
        key = next(iter(self.programs))
        saved, forgone = self.theirs - self.ours, _forgone.get(key, 0.0)
        if (
            first + self.ours <= SLOWER * self.theirs
            or max(saved, 0) * _times[-1] + forgone > first
        ):
            return ""
        _forgone[key] = forgone + saved
        if not self.on_host and self.large and saved < 0.2 * self.theirs:
            return "torch is about as fast at this network as JAX, which would have to be compiled"
        return "the job is small: compiling would take longer"

    def choose(self, converted: bool) -> None:
        """Raise Small if Quantus's own code is likely to be done first."""
        if why := self.why_not(converted):
            raise Small(why)

    def done(self, rows: int) -> None:
        """The engine has done this job, and has its programs for so many samples now."""
        for program in self.programs:
            _compiled.setdefault(program, set()).add(rows)
