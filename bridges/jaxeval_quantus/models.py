"""The torch modules that Quantus is given, as JAX models, kept as long as the modules live."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import jax
import numpy as np
import torch
from jaxeval_torch import ConversionError, from_torch, wrap_torch

import jaxeval as je
from jaxeval.digests import hasher
from jaxeval.engine.batch_size import MOST, automatic

from .settings import Unmapped

KEPT = 8
"""Architectures whose graphs are kept for copies of their modules."""
TOLERANCE = 1e-4
"""How far off torch's a copy's outputs may be, of the largest; beyond, it is converted anew."""


@dataclasses.dataclass
class _Known:
    weights: str
    model: je.Model
    x: np.ndarray
    outputs: np.ndarray
    """The module's outputs for x, which change with whatever it does otherwise."""

    def holds(self, module: Any, weights: str) -> bool:
        return weights == self.weights and _close(outputs_of(module, self.x), self.outputs)


_known: WeakKeyDictionary[Any, dict[Any, _Known]] = WeakKeyDictionary()
_refused: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_by_architecture: OrderedDict[Any, je.Model] = OrderedDict()


def _weights(module: Any) -> str:
    """A digest of the weights themselves: torch does not count every change of them."""
    running = hasher()
    for t in (*module.parameters(), *module.buffers()):
        running.update(t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return running.hexdigest()


def _architecture(module: Any) -> tuple[Any, ...]:
    shapes = tuple((k, tuple(t.shape)) for k, t in module.state_dict().items())
    return type(module), repr(module), shapes


def is_converted(module: Any, shape: tuple[int, ...], exact_layers: bool = False) -> bool:
    """Whether this module, or one of its architecture, has been converted."""
    key = (shape, exact_layers)
    return key in _known.get(module, {}) or (_architecture(module), key) in _by_architecture


def convert(module: Any, x: np.ndarray, *, exact_layers: bool = False) -> je.Model:
    """The module as a JAX model with its present weights.

    A module whose weights have changed keeps its graph, and so its compiled programs, and so does
    a copy, after its outputs have been compared with torch's. A module that computes something else
    than before, with the same weights, is converted anew.

    Raises:
      Unmapped: the module cannot be converted.
    """
    if module in _refused:
        raise Unmapped(_refused[module])
    key = (tuple(x.shape[1:]), exact_layers)
    known, now = _known.setdefault(module, {}), _weights(module)
    if key in known and known[key].holds(module, now):
        return known[key].model
    model, name = None, (_architecture(module), key)
    if name in _by_architecture:
        _by_architecture.move_to_end(name)
        model = _with_weights(_by_architecture[name], module)
        model = model if _agrees(model, module, x) else None
    if model is None:
        model = _from_torch(module, x, exact_layers)
    rows = np.array(x[:1], np.float32)
    known[key] = _Known(now, model, rows, outputs_of(module, rows))
    _by_architecture[name] = model
    while len(_by_architecture) > KEPT:
        _by_architecture.popitem(last=False)
    return model


def _from_torch(module: Any, x: np.ndarray, exact_layers: bool) -> je.Model:
    example = np.ascontiguousarray(x[:2], np.float32)
    outputs = "probabilities" if ends_in_softmax(module) else "logits"
    axis = None if x.ndim == 2 else 1
    try:
        model = from_torch(
            module, example, exact_layers=exact_layers, channel_axis=axis, outputs=outputs
        )
    except ConversionError as e:
        first = str(e).strip().splitlines()[0]
        _refused[module] = f"the model cannot be converted to JAX: {first}"
        raise Unmapped(_refused[module]) from e
    except RuntimeError as e:  # of the module itself, about inputs of this shape
        raise Unmapped(f"the model fails: {(str(e).strip() or repr(e)).splitlines()[0]}") from e
    return dataclasses.replace(model, init=None)  # which would keep the module alive


def block(model: je.Model, x: np.ndarray) -> int:
    """How many samples the engine takes at a time, on all devices."""
    devices = jax.devices()
    one = jax.ShapeDtypeStruct(x.shape[1:], np.float32)
    return automatic(model, one, MOST, devices[0]) * len(devices)


def in_torch(module: Any) -> je.Model:
    """The module as a model that runs in torch, where its maps are made on the host as well."""
    return wrap_torch(module, outputs="probabilities" if ends_in_softmax(module) else "logits")


def _with_weights(model: je.Model, module: Any) -> je.Model:
    own = dict(module.named_parameters(remove_duplicate=False))
    own |= dict(module.named_buffers(remove_duplicate=False))

    def moved(group: dict[str, Any]) -> dict[str, Any]:
        return {k: np.array(own[k].detach().cpu().numpy(), v.dtype) for k, v in group.items()}

    return dataclasses.replace(model, params={k: moved(v) for k, v in model.params.items()})


def device_of(module: Any) -> Any:
    """The device of a module's first parameter."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def _agrees(model: je.Model, module: Any, x: np.ndarray) -> bool:
    rows = np.ascontiguousarray(x[:2], np.float32)
    with jax.default_matmul_precision("highest"):
        got = np.asarray(_forward(model.apply, model.params, rows))
    return _close(got, outputs_of(module, rows))


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Inside, the module is in evaluation mode; then each of its parts is in its own again."""
    was = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, training in was:
            m.training = training


def outputs_of(module: Any, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return module(torch.from_numpy(x).to(device_of(module))).detach().cpu().numpy()


def calls(module: Any, x: np.ndarray) -> Counter[str]:
    """How many times each of a module's parts is called for x."""
    times: Counter[str] = Counter()
    hooks = [
        part.register_forward_hook(lambda *_, name=name: times.update([name]))
        for name, part in module.named_modules()
    ]
    try:
        with evaluating(module):
            outputs_of(module, np.ascontiguousarray(x, np.float32))
    finally:
        for hook in hooks:
            hook.remove()
    return times


def _close(got: np.ndarray, want: np.ndarray) -> bool:
    return got.shape == want.shape and bool(
        np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()
    )


_forward = jax.jit(lambda apply, params, x: apply(params, x), static_argnums=0)


def ends_in_softmax(module: Any) -> bool:
    """Whether the last module is a Softmax: then Quantus takes outputs for probabilities."""
    return isinstance(list(module.modules())[-1], torch.nn.Softmax)


def of_outputs(wrapped: Any, x: np.ndarray) -> tuple[je.Model, str]:
    """(the model whose outputs Quantus's `predict` gives, the `output` that jaxeval scores).

    Quantus adds a softmax with ``softmax=True``, and takes one away with ``softmax=False``.
    """
    module = wrapped.get_model()
    if not ends_in_softmax(module):
        return convert(module, x), "probability" if wrapped.softmax else "logit"
    if wrapped.softmax:
        return convert(module, x), "probability"
    return convert(wrapped.get_softmax_arg_model(), x), "logit"
