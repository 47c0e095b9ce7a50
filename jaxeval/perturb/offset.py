"""Every input shifted by a constant, and a model that undoes it."""

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
    """A forward pass that takes a shift off its input first; equal ones share programs.

    Its parameters are ``{"model": the model's own, "shift": m}``.
    """

    apply: Callable[..., Any]

    def __call__(self, params: Any, x: Any) -> Any:
        return self.apply(params["model"], x - jnp.asarray(params["shift"], x.dtype))


@pytree
class Offset(Perturbation):
    """One step: x + shift, put to the model g with g(x + shift) = f(x) for all x.

    g is f with ``x - shift`` before its first layer. For a first layer ``w x + b`` that is the
    bias ``b - w shift``, as w (x - shift) + b = w x + (b - w shift); written as a subtraction it
    holds for any first layer, also for a convolution with zero padding, where no constant bias
    would do at the border.
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
