"""Evaluations of the model, compiled or in Python, with counts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from ..check import warn
from ..cpu import suited
from ..model import Model, called, reads_inputs, with_inputs
from ..types import Answer
from . import batch_size as sizes
from . import kernels
from .answers import check_shape
from .errors import EvaluationError, named
from .host_memo import HostMemo

if TYPE_CHECKING:
    from .job import Job


Instead = tuple[str, int | None]
"""A platform, and the bytes of memory of one of its devices; None if it does not say."""


@dataclasses.dataclass(frozen=True)
class CompiledForward:
    """The forward pass as a compiled program, for host explainers, which may store it."""

    fn: Callable[..., Any]
    given: Callable[..., Any]
    """The model that `fn` calls, kept alive as long as this object."""

    @property
    def reads_inputs(self) -> bool:
        return reads_inputs(self.given)

    def __call__(self, *given: Any) -> Any:
        return called(self.fn, *given)


class Evaluator:
    """Evaluates a model on batches, and counts the evaluations in samples x steps.

    Attributes:
      given: the model as given by the caller; `suited`: optimised for its platform.
      asked: the numbers of outputs, attributions and hidden layers evaluated.
      saved: how many more would have been asked without tolerances.
      known: the outputs of a host model that are known in the current block.
    """

    def __init__(
        self, model: Model, x: Any, mesh: Any, precision: str, instead: Instead | None = None
    ):
        """x: shape and dtype of one sample; `instead` of the mesh's devices, plan for others."""
        self.mesh, self.precision, self._instead = mesh, precision, instead
        self.over_rows: Sharding = NamedSharding(mesh, P("data"))
        self.everywhere: Sharding = NamedSharding(mesh, P())
        if mesh.devices.size == 1:
            self.over_rows = self.everywhere = SingleDeviceSharding(mesh.devices.flat[0])
        self.given = model
        self.suited = suited(model, x, self.platform)
        self.asked = {"output": 0, "attribution": 0, "hidden": 0}
        self.saved = dict.fromkeys(self.asked, 0)
        self.known = HostMemo()

    @property
    def platform(self) -> str:
        return self._instead[0] if self._instead else self.mesh.devices.flat[0].platform

    @property
    def limit(self) -> int | None:
        """Bytes of memory of a device, if it says how much it has."""
        return self._instead[1] if self._instead else sizes.limit(self.mesh.devices.flat[0])

    @property
    def devices(self) -> int:
        return self.mesh.devices.size

    @functools.cached_property
    def model(self) -> Model:
        """The model, with its parameters on every device of the mesh from the first use on."""
        return self.given if self.given.host else jax.device_put(self.suited, self.everywhere)

    @functools.cached_property
    def outside(self) -> Model:
        """The model for host explainers, which call it eagerly: its forward pass is compiled."""
        if self.given.host:
            return self.given
        compiled = CompiledForward(self.model.apply, self.given.apply)
        return dataclasses.replace(self.model, apply=compiled)

    def put(self, tree: Any) -> Any:
        """Arrays with a leading axis of rows, sharded over the mesh."""
        return jax.device_put(tree, self.over_rows)

    def fill(self, values: np.ndarray, real: np.ndarray) -> Any:
        """The values of the real rows at their positions among all rows; zeros elsewhere."""
        full = np.zeros((len(real), *values.shape[1:]), values.dtype)
        full[real] = values
        return self.put(full)

    def count(self, what: str, real: np.ndarray) -> int:
        """Count the evaluations of the rows marked in `real`; return their number."""
        self.asked[what] += (n := int(real.sum()))
        return n

    def save(self, kinds: Mapping[str, int], steps: int) -> None:
        """Count the evaluations of steps that a tolerance made unnecessary; negative: needed."""
        for kind, times in kinds.items():
            self.saved[kind] += times * steps

    def output(
        self,
        model: Model,
        x: Any,
        inputs: Any,
        hidden: kernels.Layers,
        real: np.ndarray,
        where: str,
    ) -> Answer:
        """The logits of a batch, with the hidden layers that are wanted.

        Args:
          inputs: what the model is given with x.
          real: which rows are not padding, [rows].
          where: the name of the batch, for errors.
        """
        if hidden and model.host:
            raise ValueError("a host model has no hidden layers")
        if not model.host:
            self.count("output", real)
            if hidden:
                self.count("hidden", real)
            return kernels.forward(self.mesh, (hidden, self.precision), model, x, inputs)

        def ask(given: Any) -> np.ndarray:
            rows, more = given
            n = self.count("output", np.ones(len(rows), bool))
            out = with_inputs(model, more)(rows)
            check_shape(out, n, model.outputs)
            return np.asarray(out)

        def call() -> np.ndarray:
            return self.known.answer(jax.tree.map(lambda v: np.asarray(v)[real], (x, inputs)), ask)

        out = self.fill(self.on_host(f"the model on {where}", call).astype(np.float32), real)
        if model.outputs in ("probabilities", "binary"):
            out = kernels.as_logits(self.mesh, model.outputs, out)
        return Answer(logits=out, outputs=model.outputs)

    def on_host(self, name: str, call: Callable[[], Any]) -> Any:
        """The result of a call; errors are raised with its name."""
        try:
            return call()
        except Exception as e:
            raise EvaluationError(f"{name} failed: {named(e)}") from e


def evaluator_of(job: Job, instead: Instead | None = None) -> Evaluator:
    """The evaluator of a job's model on its devices; `instead` as for `Evaluator`."""
    options = job.options
    evaluator = Evaluator(job.model, job.one, options.mesh, options.precision, instead)
    if evaluator.platform == "tpu" and options.precision == "highest" and not instead:
        warn(
            'precision="highest" on a TPU: programs take about 16 times longer to compile than '
            'with precision="fast", minutes for a ResNet-50, and six times the products. With '
            'jax.config.update("jax_optimization_level", "O1") they compile in seconds'
        )
    return evaluator
