"""A function of torch tensors as an explainer."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

import jaxeval as je
from jaxeval import check

from ..logits import OUTPUTS
from ..tensors import device_of, in_evaluation, in_its_type, to_jax, to_torch
from ..wrap import accepted


@dataclasses.dataclass(frozen=True)
class TorchExplainer:
    """``fn(module, inputs, targets) -> attributions`` as an explainer: tensors in, a tensor out.

    torch's random numbers are seeded with the sample's key; torch's global random state is restored
    afterwards.
    """

    fn: Callable[[Any, Any, Any], Any]
    module: Any
    device: Any
    per_sample: bool = False
    alone: Any = None
    """The `Logits` module that `fn` calls, if any."""
    outputs: str | None = None
    """The kind of its outputs; None: that of the explained model."""

    def __fingerprint__(self) -> dict[str, Any]:
        return {
            "fn": self.fn,
            "module": self.module,
            "per_sample": self.per_sample,
            "outputs": self.outputs,
        }

    def __call__(self, model: Any, x: Any, y: Any, keys: Any) -> jax.Array:
        classes = np.asarray(y)
        if classes.size and classes.min() < 0:
            raise ValueError(f"y must hold classes from 0 on, got {classes.min()}")
        if self.alone is not None:
            # `outputs` takes precedence: the model may do more than the module.
            self.alone.outputs = self.outputs or getattr(model, "outputs", "logits")
            self.alone.most = int(classes.max(initial=-1))
        more = None if model is None else getattr(model, "inputs", None)
        if more is not None:
            tokens = getattr(model, "tokens", None)
            more = more if tokens is None else tokens.asked(x, more, clean=True)[1]
            more = accepted(self.module, more)
        parts = [slice(i, i + 1) for i in range(len(x))] if self.per_sample else [slice(None)]
        given = (x, y, keys, more or None)
        maps = [self._maps(*jax.tree.map(lambda v: v[p], given)) for p in parts]  # noqa: B023
        return jax.numpy.concatenate(maps) if self.per_sample else maps[0]

    def _maps(self, x: Any, y: Any, keys: Any, more: Any) -> jax.Array:
        import torch

        inputs = in_its_type(to_torch(x, self.device), self.module)
        inputs = inputs if inputs.is_floating_point() else inputs.long()
        rest = () if more is None else ({k: to_torch(v, self.device) for k, v in more.items()},)
        targets = to_torch(y, self.device).long()
        cuda = [self.device] if self.device.type == "cuda" else []
        with in_evaluation(self.module), torch.random.fork_rng(devices=cuda), torch.enable_grad():
            if keys is not None:
                torch.manual_seed(seed_of(keys))
            with nothing_left(self.module):
                a = self.fn(self.module, inputs, targets, *rest)
        a = a[0] if isinstance(a, (tuple, list)) and len(a) == 1 else a
        if not isinstance(a, torch.Tensor):
            a = torch.as_tensor(np.asarray(a))
        a = to_jax(a)
        floating = jax.numpy.issubdtype(a.dtype, jax.numpy.floating)
        dtype = jax.dtypes.canonicalize_dtype(x.dtype)
        real = jax.numpy.issubdtype(dtype, jax.numpy.floating)
        return a.astype(dtype if real else jax.numpy.float32) if floating else a


@contextlib.contextmanager
def nothing_left(module: Any) -> Iterator[None]:
    """Remove attributes that a method adds to submodules, such as activations in captum's LRP.

    They would hold memory, and change the module's fingerprint in a sweep.
    """
    before = [(part, set(vars(part))) for part in module.modules()]
    try:
        yield
    finally:
        for part, names in before:
            for name in set(vars(part)) - names:
                del vars(part)[name]


def unused(method: Any, package: str) -> Any:
    """A copy of a method's object to explain with, so that the object itself does not change.

    Nested objects of `package`, lists and dicts are copied, too. These libraries store state in
    the objects they use, which would change their fingerprint in a sweep.
    """
    new = copy.copy(method)
    for name, value in getattr(new, "__dict__", {}).items():
        if type(value) in (list, dict):
            setattr(new, name, copy.copy(value))
        elif type(value).__module__.partition(".")[0] == package:
            setattr(new, name, unused(value, package))
    return new


def check_outputs(owner: str, outputs: str | None) -> None:
    """Check that `outputs` is a known kind of outputs, or None."""
    if outputs is not None and outputs not in OUTPUTS:
        raise ValueError(
            f"{owner}(outputs={outputs!r}) must be one of {', '.join(map(repr, OUTPUTS))} or None"
            f"{check.did_you_mean(outputs, OUTPUTS)}"
        )


def seed_of(keys: Any) -> int:
    """A seed from the first sample's key."""
    words = np.asarray(jax.random.key_data(keys[:1])).reshape(-1)
    return int(words[-1]) ^ int(words[0]) << 31


def torch_explainer(
    fn: Callable[[Any, Any, Any], Any], module: Any, *, device: Any = None, per_sample: bool = False
) -> je.Host:
    """Wrap a function of torch tensors as an explainer for `jaxeval.evaluate`.

    Args:
      fn: ``(module, inputs [N, ...], targets [N]) -> attributions``, a tensor or array in the
        shape of the inputs, or with a channel axis of size 1 or none (pixel maps). For a model with
        further inputs, such as an attention mask, it has a fourth argument, a dict of them.
      module: the module to explain; it is in evaluation mode while `fn` runs, after which its mode
        and its ``requires_grad`` are restored.
      per_sample: whether to call `fn` for one sample at a time, each with its own seed, so that a
        random method's maps do not depend on the batch.
    """
    return host(fn, module, device, per_sample)


def host(
    fn: Any,
    module: Any,
    device: Any,
    per_sample: bool,
    alone: Any = None,
    outputs: str | None = None,
) -> je.Host:
    """The same, for a method that calls the `Logits` module `alone`."""
    import torch

    if not callable(fn):
        raise TypeError(f"torch_explainer: fn must be callable, got {type(fn).__name__}")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"torch_explainer: module must be an nn.Module, got {type(module).__name__}"
        )
    device = device_of(module) if device is None else torch.device(device)
    made = TorchExplainer(fn, module, device, per_sample, alone, outputs)
    return je.Host(made, arrays="jax")
