"""Reading the model argument: traced once to find out whether JAX can compile it."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from ..check import CallError, foreign, warn
from ..classes import check_classes
from ..lifetime import Wrapper, hashable, remembered
from ..model import TRACED_ROWS, UNTRACEABLE, Model, with_inputs
from ..trace.compare import changes, unwrapped
from ..trace.embedding import check_ids, check_removal, vocabulary
from .answers import NO_PREDICTION, check_shape
from .data import Data
from .errors import NOT_TRACEABLE, EvaluationError, named


@dataclasses.dataclass(frozen=True)
class Bare(Wrapper):
    """A function of x alone as an `apply`; equal functions share compiled programs."""

    fn: Callable[..., Any]

    def __call__(self, params: Any, x: Any, *inputs: Any) -> Any:
        return self.fn(x, *inputs)


def read_model(
    model: Any, data: Data, outputs: str | None = None, removals: Mapping[str, Any] | None = None
) -> Model:
    """The model; checks that y is within its classes if tracing shows their number.

    Args:
      outputs: the kind of outputs of a function given as the model.
      removals: {name: metric or explainer}, whose ids of baselines the model must know.
    """
    spec = jax.ShapeDtypeStruct(data.x.shape[1:], data.x.dtype)
    model = as_model(model, spec, outputs, data.inputs_of(np.zeros(TRACED_ROWS, int)))
    if not model.host:
        k = model.n_classes(spec)
        if data.y is not None:
            check_classes(data.y, k)
        elif model.outputs == "values" and k > 1:
            raise ValueError(NO_PREDICTION.format(k))
        if model.tokens is not None:
            size = vocabulary(model, spec)
            check_ids(data.x, size)
            for name, given in (removals or {}).items():
                check_removal(name, given, size, model.tokens)
    return model


def as_model(
    model: Any, x: Any, outputs: str | None = None, inputs: dict[str, Any] | None = None
) -> Model:
    """The model; if JAX cannot trace it, marked as a host callable, with a warning.

    Args:
      x: shape and dtype of one sample.
      outputs: the kind of outputs of a function; None for a `Model`, which has its own.
      inputs: what comes with `TRACED_ROWS` rows of x.
    """
    if isinstance(model, Model) and outputs not in (None, model.outputs):
        raise ValueError(
            f"outputs={outputs!r} is for functions given as models; this one is a Model with "
            f"outputs={model.outputs!r}: give Model(outputs={outputs!r})"
        )
    if not isinstance(model, Model):
        if (way := foreign(model)) is not None:
            raise TypeError(f"model is {way}")
        if not callable(model):
            raise TypeError(
                f"model must be a jaxeval.Model or a function x [N, ...] -> outputs [N, K], got "
                f"{type(model).__name__}"
            )
        model = Model(Bare(hashable(model)), {}, outputs=outputs or "logits")
    elif (way := foreign(model.apply)) is not None:
        raise TypeError(f"Model(apply=...) is {way}")
    model = with_inputs(model, inputs)
    if model.host:
        return model
    try:
        out = model.traced(x)
    except NOT_TRACEABLE as e:
        why = f"it asks for the value of an array ({named(e).splitlines()[0]})"
    except CallError as e:
        raise EvaluationError(str(e)) from e
    except Exception as e:
        raise EvaluationError(
            f"the model failed while JAX traced it on inputs {[TRACED_ROWS, *x.shape]}: {named(e)}"
            "\nIf it takes JAX arrays, check that it accepts inputs of this shape (x holds samples "
            "[N, ...]; a single one is x[None]); if it uses NumPy or another framework, give "
            "jaxeval.Model(apply, params, host=True)"
        ) from e
    else:
        check_shape(out, TRACED_ROWS, model.outputs)
        if not _changes(model, x):
            return model
        why = "it draws numbers outside of JAX, or changes from call to call"
    warn(
        f"JAX cannot compile this model: {why}. It is called on the host, once per batch, which is "
        "slower; jaxeval.Model(apply, params, host=True) does so without this warning"
    )
    return dataclasses.replace(model, host=UNTRACEABLE)


def _changes(model: Model, x: Any) -> bool:
    """Whether a model that is a plain function changes from call to call."""
    fn = model.apply.fn if isinstance(model.apply, Bare) else model.apply
    if not isinstance(unwrapped(fn), types.FunctionType):
        return False
    given = model.like(x)
    return varies(fn, *(given[1:] if fn is not model.apply else given))


def varies(fn: Any, *given: Any) -> bool:
    """Whether two traces of a function differ; cached if they do not."""
    known = remembered(fn)
    if "steady" not in known and not changes(fn, *given):
        known["steady"] = True
    return "steady" not in known
