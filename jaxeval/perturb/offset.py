"""A constant shift of the input, with a model that compensates for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp

from ..model import Model
from ..types import Query, Sample, pytree
from .base import Perturbation

SHIFT = "shift of the input"


@dataclasses.dataclass(frozen=True)
class Compensated:
    """A forward pass that first subtracts a shift from its input; equal ones share programs.

    Attributes:
      beside: whether the shift stands beside the original parameters, in their dict, so that
        layers keep their names; else the parameters are ``{"model": the original ones, SHIFT: m}``.
    """

    apply: Callable[..., Any]
    beside: bool

    def __call__(self, params: Any, x: Any, *inputs: Any) -> Any:
        own = {k: v for k, v in params.items() if k != SHIFT} if self.beside else params["model"]
        return self.apply(own, x - jnp.asarray(params[SHIFT], x.dtype), *inputs)


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
        beside = type(model.params) is dict
        own = model.params if beside else {"model": model.params}
        return dataclasses.replace(
            model,
            apply=Compensated(model.apply, beside),
            params={**own, SHIFT: self.shift},
            hidden=None if model.hidden is None else Compensated(model.hidden, beside),
            init=None,
        )
