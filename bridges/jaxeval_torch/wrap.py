"""Models that run torch modules in torch."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import jaxeval as je
from jaxeval.lifetime import Weak, weakly
from jaxeval.tokens import ATTENTION

from .logits import pick
from .tensors import device_of, in_evaluation, in_its_type, to_jax, to_torch


@dataclasses.dataclass(eq=False)
class InTorch:
    """A module's logits and their gradients, computed by torch on its own device."""

    module: Any
    device: Any
    output: str | int | None = None
    outputs: str = "logits"
    kept: Any = None
    """(x, tensor, logits) of the last forward pass recorded for differentiation."""
    reads_inputs: ClassVar[bool] = True

    def __call__(self, params: Any, x: Any, inputs: Any = None) -> jax.Array:
        x = jnp.asarray(x)
        if inputs or not jnp.issubdtype(x.dtype, jnp.floating):
            return to_jax(self.forward(x, inputs))
        return _in_torch(self, x)

    def __fingerprint__(self) -> dict[str, Any]:
        return {"module": self.module, "output": self.output}

    def tensor(self, x: Any) -> Any:
        """x on torch's device, floats in the module's own precision."""
        import torch

        t = to_torch(x, self.device)
        if not t.is_floating_point() and t.dtype != torch.bool:
            return t.long()
        if t.is_floating_point() and not any(True for _ in self.module.parameters()):
            t = t.to(torch.float32)
        return in_its_type(t, self.module)

    def logits(self, t: Any, **inputs: Any) -> Any:
        return pick(self.module(t, **inputs), self.output, self.outputs)

    def forward(self, x: Any, inputs: Any = None) -> Any:
        import torch

        given = {k: self.tensor(v) for k, v in accepted(self.module, inputs).items()}
        with in_evaluation(self.module), torch.no_grad():
            return self.logits(self.tensor(x), **given)

    def differentiable(self, x: Any) -> tuple[Any, Any]:
        """(the input as a tensor, the logits that depend on it)."""
        import torch

        t = self.tensor(x).requires_grad_()
        with in_evaluation(self.module), torch.enable_grad(), _recurrent_gradients(self.module):
            # A copy, as a module may write to its input.
            return t, self.logits(t.clone())

    def pull(self, t: Any, logits: Any, cotangent: Any) -> Any:
        """The gradient of <logits, cotangent> with respect to t, and of nothing else."""
        import torch

        ct = to_torch(cotangent, logits.device).to(logits.dtype)
        return torch.autograd.grad(logits, t, ct)[0]


def accepted(module: Any, inputs: Any) -> dict[str, Any]:
    """The inputs as keyword arguments; an attention mask only if the module takes one."""
    takes = inspect.signature(module.forward).parameters
    free = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    return {k: v for k, v in (inputs or {}).items() if k != ATTENTION or free or k in takes}


@contextlib.contextmanager
def _recurrent_gradients(module: Any) -> Iterator[None]:
    """Disable cuDNN for recurrent layers: it has gradients in training mode only."""
    import torch

    recurrent = any(isinstance(m, torch.nn.RNNBase) for m in module.modules())
    with torch.backends.cudnn.flags(enabled=False) if recurrent else contextlib.nullcontext():
        yield


# Outside of jit, forward and backward are called with concrete arrays.


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_torch(call: InTorch, x: jax.Array) -> jax.Array:
    return to_jax(call.forward(x))


def _ask(call: InTorch, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    call.kept = (x, *call.differentiable(x))
    return to_jax(call.kept[-1]), x


def _pull(call: InTorch, x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    kept, call.kept = call.kept, None
    t, logits = kept[1:] if kept is not None and kept[0] is x else call.differentiable(x)
    return (to_jax(call.pull(t, logits, cotangent)).astype(x.dtype),)


_in_torch.defvjp(_ask, _pull)


# Inside of jit: callbacks, which return NumPy arrays.


@dataclasses.dataclass(eq=False)
class Callback:
    """`InTorch` as callbacks, for use inside compiled programs."""

    call: InTorch
    classes: dict[Any, int] = dataclasses.field(default_factory=dict)
    """{shape of one sample: the number of classes}."""

    def __fingerprint__(self) -> dict[str, Any]:
        return self.call.__fingerprint__()

    def __call__(self, params: Any, x: Any) -> jax.Array:
        refuse_deadlock()
        # A weak reference: a compiled program holds its callbacks and would keep the module alive.
        return _called_back(weakly(self), jnp.asarray(x))

    def n_classes(self, shape: tuple[int, ...], dtype: Any) -> int:
        if shape not in self.classes:
            self.classes[shape] = self.call.forward(np.zeros((2, *shape), dtype)).shape[1]
        return self.classes[shape]

    def logits(self, shape: tuple[int, ...], x: Any) -> np.ndarray:
        rows = np.asarray(x).reshape(-1, *shape)
        out = to_numpy(self.call.forward(rows))
        return out.reshape(*np.shape(x)[: np.ndim(x) - len(shape)], -1)

    def gradient(self, shape: tuple[int, ...], x: Any, cotangent: Any) -> np.ndarray:
        rows = np.asarray(x).reshape(-1, *shape)
        ct = np.asarray(cotangent).reshape(len(rows), -1)
        g = to_numpy(self.call.pull(*self.call.differentiable(rows), ct))
        return g.reshape(np.shape(x)).astype(np.asarray(x).dtype)


def to_numpy(t: Any) -> np.ndarray:
    return t.detach().float().cpu().numpy()


def _logits(call: Weak, shape: tuple[int, ...], x: Any) -> np.ndarray:
    return call.get().logits(shape, x)


def _gradient(call: Weak, shape: tuple[int, ...], x: Any, cotangent: Any) -> np.ndarray:
    return call.get().gradient(shape, x, cotangent)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _called_back(call: Weak, x: jax.Array) -> jax.Array:
    shape = x.shape[1:]
    out = jax.ShapeDtypeStruct((len(x), call.get().n_classes(shape, x.dtype)), jnp.float32)
    return jax.pure_callback(
        functools.partial(_logits, call, shape), out, x, vmap_method="broadcast_all"
    )


def _called_back_ask(call: Weak, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _called_back(call, x), x


def _called_back_pull(call: Weak, x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    out = jax.ShapeDtypeStruct(x.shape, x.dtype)
    f = functools.partial(_gradient, call, x.shape[1:])
    return (jax.pure_callback(f, out, x, cotangent, vmap_method="broadcast_all"),)


_called_back.defvjp(_called_back_ask, _called_back_pull)


def refuse_deadlock() -> None:
    """Raise an error if a callback would deadlock."""
    if jax.default_backend() == "cpu" and jax.config.read("jax_cpu_enable_async_dispatch"):
        raise RuntimeError(
            "a torch module inside a compiled program would deadlock: on the CPU JAX runs "
            'programs asynchronously. Call jax.config.update("jax_cpu_enable_async_dispatch", '
            "False) before the first use of JAX (or set JAX_CPU_ENABLE_ASYNC_DISPATCH=0), or leave "
            "out callback=True, which the engine does not need"
        )


def wrap_torch(
    module: Any,
    device: Any = None,
    *,
    output: str | int | None = None,
    callback: bool = False,
    channel_axis: int | None = 1,
    outputs: str = "logits",
    tokens: Any = None,
) -> je.Model:
    """Wrap a torch module as a model that runs in torch, one call per batch.

    For modules that `from_torch` cannot convert. Attribution methods that need input gradients
    get them from torch's autograd, outside of `jax.jit`. Metrics that read or change parameters
    (MPRT) are not supported. The module runs in evaluation mode, and its mode is restored after
    every call; arrays are passed by dlpack.

    Args:
      module: an `nn.Module`; later changes of its weights take effect.
      device: the device to run on, with a copy of the module if it differs from the device of its
        parameters; None: that of its parameters.
      output: as for `from_torch`.
      callback: use callbacks, so that the model may be part of a compiled program (`jax.jit`,
        `vmap`, `grad`, `jaxeval.as_function`), for which you must keep a reference to the model.
        Raises an error on a CPU with asynchronous dispatch, where it would deadlock.
      channel_axis: as for `jaxeval.Model`.
      outputs: what the module returns, as for `jaxeval.Model`.
      tokens: for modules of token ids, their first argument, as for `jaxeval.Model`. There are no
        gradients with respect to embeddings then: use `from_torch`, `captum_explainer`, or methods
        that need outputs only.

    Inputs that belong to the rows of x (``inputs=`` of `jaxeval.evaluate`), such as an attention
    mask, are passed as keyword arguments of the module.

    >>> import torch
    >>> model = wrap_torch(torch.nn.Linear(4, 3))
    >>> model(jnp.ones((2, 4))).shape
    (2, 3)
    >>> jax.grad(lambda x: model(x).sum())(jnp.ones((2, 4))).shape
    (2, 4)
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"wrap_torch takes a torch.nn.Module, got {type(module).__name__}")
    here = device_of(module)
    device = here if device is None else torch.device(device)
    if device != here and any(True for _ in module.parameters()):
        module = copy.deepcopy(module).to(device)
    call = InTorch(module, device, output, outputs)
    if callback:
        if tokens is not None:
            raise TypeError("wrap_torch(callback=True) takes no tokens: use from_torch")
        refuse_deadlock()
        return je.Model(Callback(call), {}, channel_axis=channel_axis, outputs=outputs)
    return je.Model(call, {}, channel_axis=channel_axis, host="jax", outputs=outputs, tokens=tokens)
