"""`explain`: Quantus's function of that name, run in JAX where jaxeval has the method."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import quantus.functions.explanation_func as theirs
import torch
from quantus.helpers import asserts, utils

import jaxeval as je

from . import work
from .models import block, convert, in_torch, is_converted
from .settings import Unmapped, chosen, note, refused

quantus_explain = theirs.explain
"""Quantus's own, whatever `install` puts in its place."""


def _window(kwargs: Mapping[str, Any], ndim: int) -> dict[str, Any]:
    return {"window": tuple(kwargs.get("window", (1, *[4] * (ndim - 2)))), "stride": 1}


METHODS: dict[str, tuple[str, Callable[[Mapping[str, Any], int], dict[str, Any]], int]] = {
    "Gradient": ("Gradient", lambda *_: {}, 1),
    "Saliency": ("Saliency", lambda *_: {}, 1),
    "InputXGradient": ("InputXGradient", lambda *_: {}, 1),
    # Quantus fixes the number of steps and the rule.
    "IntegratedGradients": (
        "IntegratedGradients",
        lambda *_: {"n_steps": 10, "method": "riemann_trapezoid"},
        10,
    ),
    "Occlusion": ("Occlusion", _window, 100),
}
"""{captum's name: (jaxeval's, its settings from the keyword arguments, gradients a map)}."""

UNKNOWN = ("xai_lib_kwargs", "baseline", "softmax")
"""Keyword arguments of Quantus's `explain` that change the map and have no counterpart."""


ON_HOST = "maps are made on the host: {}"


class Mapped(NamedTuple):
    """The explainer of jaxeval that stands for a method of Quantus's `explain`.

    `cost`: gradients of a map. It is made when it is needed, as small jobs do not.
    """

    name: str
    settings: Mapping[str, Any]
    cost: int
    on_host: bool = False

    def make(self, *_: Any) -> Any:
        return je.explain.get(self.name, **self.settings)


class OnHost(NamedTuple):
    """A function of (model, inputs, targets, **kwargs), which the engine calls once for a batch.

    Its maps are those of Quantus's `explain_batch` before they are normalised.
    """

    function: Callable[..., Any]
    kwargs: Mapping[str, Any]
    module: Any
    why: str
    name: str = "on the host"
    cost: int = 1
    on_host: bool = True

    def make(self, x: np.ndarray, y: np.ndarray, shape: tuple[int, ...] | None = None) -> Any:
        """The explainer of one batch x, y, which the engine asks for in float32.

        Args:
          shape: of the maps of the clean samples; Quantus decides about others.
        """

        def explain(_model: Any, asked: np.ndarray, *_: Any) -> np.ndarray:
            assert asked.shape == x.shape
            a = self.function(model=self.module, inputs=x, targets=y, **self.kwargs)
            a = utils.expand_attribution_channel(a, x)
            asserts.assert_attributions(x_batch=x, a_batch=a)
            if shape not in (None, a.shape):
                raise Unmapped(f"explain_func makes maps {a.shape}, and a_batch is {shape}")
            return a

        return je.Host(explain)


def unwrapped(function: Any, kwargs: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The function behind partial ones (Quantus's `explain` for ours), and all its arguments."""
    while isinstance(function, functools.partial) and not function.args:
        function, kwargs = function.func, {**function.keywords, **kwargs}
    return quantus_explain if function is explain else function, kwargs


def explainer_of(explain_func: Any, kwargs: Mapping[str, Any], ndim: int, module: Any) -> Mapped:
    """jaxeval's explainer with the same maps.

    Args:
      module: what is explained.
      kwargs: keyword arguments of `explain`.
      ndim: the number of axes of the inputs.

    Raises:
      Unmapped: there is none.
    """
    explain_func, kwargs = unwrapped(explain_func, kwargs)
    if explain_func is not quantus_explain:
        raise Unmapped("explain_func is the caller's own function")
    if any(m._backward_hooks or m._backward_pre_hooks for m in module.modules()):
        raise Unmapped("backward hooks change the gradients of the model")
    method = kwargs.get("method", "Gradient")
    if method not in METHODS:
        raise Unmapped(f"the method {method!r} of explain runs in captum")
    if kwargs.get("xai_lib", "captum") != "captum":
        raise Unmapped(f"xai_lib={kwargs['xai_lib']!r}")
    for name in UNKNOWN:
        if kwargs.get(name) is not None and not (name == "xai_lib_kwargs" and not kwargs[name]):
            raise Unmapped(f"{name}= of explain")
    name, settings, cost = METHODS[method]
    axes = tuple(kwargs.get("reduce_axes", (1,)))
    if ndim < 3 or not axes:
        reduce = None
    elif axes == (1,):
        reduce = "sum"
    else:
        raise Unmapped(f"reduce_axes={axes} of explain")
    return Mapped(name, {"reduce_channels": reduce, **settings(kwargs, ndim)}, cost)


def explain(model: Any, inputs: Any, targets: Any, **kwargs: Any) -> np.ndarray:
    """The maps [N, ...] that `quantus.explain` makes, by jaxeval's explainer where it has one.

    Args:
      model: a torch module.
      inputs: x [N, C, ...] or [N, F], an array or a tensor.
      targets: the classes [N].
      kwargs: those of Quantus: `method`, `reduce_axes`, `keepdims`, `window`, `device`, ...

    Methods, models and arguments that jaxeval does not have run in Quantus; `log` says which did.
    """
    n = len(inputs)
    try:
        a = _explained(model, inputs, targets, kwargs)
    except Unmapped as why:
        note("explain", "quantus", n, str(why))
        return quantus_explain(model, inputs, targets, **kwargs)
    note("explain", "jaxeval", n)
    return a


def _explained(model: Any, inputs: Any, targets: Any, kwargs: Mapping[str, Any]) -> np.ndarray:
    if chosen["engine"] == "quantus":
        raise Unmapped('engine("quantus")')
    if not isinstance(model, torch.nn.Module):
        raise Unmapped("the model is no torch module")
    x, y = as_array(inputs), as_array(targets)
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or y.dtype.kind not in "iu":
        raise Unmapped("inputs are not floating-point numbers, or targets no classes")
    explainer = explainer_of(explain, kwargs, x.ndim, model)
    x = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(x).all():
        raise Unmapped("inputs hold NaN or infinite values")
    model.eval()  # as Quantus does
    job = work.Job(model, x, steps=1, name="explain", explainer=explainer)
    if chosen["engine"] == "auto":
        job.choose(is_converted(model, x.shape[1:]))
    converted = convert(model, x)
    n, rows = len(x), job.rows(block(converted, x))
    x, y = (np.concatenate([v, np.repeat(v[:1], rows - n, 0)]) for v in (x, y.reshape(-1)))
    try:
        a = np.array(je.attribute(explainer.make(), converted, x, y)[:n])
    except (TypeError, ValueError) as e:
        raise refused(e) from e
    job.done(rows)
    if explainer.settings["reduce_channels"] and not kwargs.get("keepdims", True):
        a = a.squeeze(1)
    return a


def through_engine(function: Callable[..., Any], why: str) -> Callable[..., np.ndarray]:
    """A function that explains, as the engine's: one call of it for each batch."""

    @functools.wraps(function)
    def explain(model: Any, inputs: Any, targets: Any, **kwargs: Any) -> np.ndarray:
        x, y = as_array(inputs), as_array(targets)
        host, own = OnHost(function, kwargs, model, why).make(x, y), None
        try:
            a = je.attribute(
                host, in_torch(model), x.astype(np.float32), y.reshape(-1), batch_size=len(x)
            )
        except je.EvaluationError as e:
            own = e.__cause__ or e
        if own is not None:
            raise own
        note("explain", "jaxeval", len(x), ON_HOST.format(why))
        return np.array(a)

    return explain


def as_array(v: Any) -> Any:
    """Tensors and lists as NumPy arrays; other things as they are."""
    if isinstance(v, torch.Tensor):
        return v.detach().cpu().numpy()
    return np.asarray(v) if isinstance(v, (list, tuple)) else v
