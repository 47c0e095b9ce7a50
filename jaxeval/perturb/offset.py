"""A constant shift of the input, with a model that compensates for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp

from ..model import Model
from ..types import Query, Sample, pytree
from .base import Perturbation


@dataclasses.dataclass(frozen=True)
class Compensated:
    """A forward pass that first subtracts a shift from its input; equal ones share programs.

    Its parameters are ``{"model": the original parameters, "shift": m}``.
    """

    apply: Callable[..., Any]

    def __call__(self, params: Any, x: Any, *inputs: Any) -> Any:
        return self.apply(params["model"], x - jnp.asarray(params["shift"], x.dtype), *inputs)


@pytree
class Offset(Perturbation):
    """One step: query x + shift of the model g, where g(x + shift) = f(x) for all x.

    g subtracts the shift before the first layer of f. For a first layer ``w x + b`` this equals the
    bias ``b - w shift``. The subtraction works for any first layer, including convolutions with
    zero padding, where no constant bias is equivalent at the border.
    """

    changes_params: ClassVar[bool] = True
    takes_padding: ClassVar[bool] = True

    shift: Any = -1.0

    def n_steps(self, sample: Sample) -> int:
        return 1

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        return Query(x=sample.x + jnp.asarray(self.shift, sample.x.dtype), y=sample.y)

    def model(self, model: Model, key: Any, step: Any) -> Model:
        return dataclasses.replace(
            model,
            apply=Compensated(model.apply),
            params={"model": model.params, "shift": self.shift},
            hidden=None if model.hidden is None else Compensated(model.hidden),
            init=None,
        )
