"""Models from Flax: Linen modules with their variables, and NNX modules."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any, ClassVar

from .content import OpaqueError, content, text
from .lifetime import Weak, Wrapper, lasting, remembered, target
from .model import Model
from .tokens import ATTENTION

__all__ = ["from_flax"]


@dataclasses.dataclass(frozen=True)
class _Linen(Wrapper):
    """A method call of a Linen module. Equal modules give equal calls and share programs."""

    HOLDS: ClassVar[str] = "module"

    @functools.cached_property
    def weak(self) -> Any:
        if isinstance(self.module, Weak):
            return self
        known = remembered(self.module)
        if "architecture" not in known:
            known["architecture"] = _architecture(self.module)
        return dataclasses.replace(self, module=lasting(known["architecture"], self.module))

    module: Any
    kwargs: tuple[tuple[str, Any], ...]
    call: str

    def __call__(self, *args: Any) -> Any:
        return getattr(self, self.call)(*args, **dict(self.kwargs))

    reads_inputs: ClassVar[bool] = True

    def apply(self, variables: Any, x: Any, inputs: Any = None, **kwargs: Any) -> Any:
        module = target(self.module)
        return module.apply(variables, x, **_named(module, inputs), **kwargs)

    def hidden(self, variables: Any, x: Any, inputs: Any = None, **kwargs: Any) -> Any:
        module = target(self.module)
        kwargs |= {"capture_intermediates": True, "mutable": ["intermediates"]}
        logits, state = module.apply(variables, x, **_named(module, inputs), **kwargs)
        return logits, _outputs(state["intermediates"])

    def init(self, key: Any, x: Any, **kwargs: Any) -> Any:
        return target(self.module).init(key, x, **kwargs)


def _named(module: Any, inputs: Any) -> dict[str, Any]:
    """The rows' inputs as keyword arguments; the attention mask only if the module takes one."""
    given = dict(inputs or {})
    takes = inspect.signature(type(module).__call__).parameters
    free = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    if ATTENTION not in takes and not free:
        given.pop(ATTENTION, None)
    return given


def _architecture(module: Any) -> str | None:
    """A complete text description of a module; None if it holds arrays or is bound."""
    try:
        found = None if getattr(module, "scope", None) is not None else text(content(module))
    except OpaqueError:
        return None
    return None if found is None or '"array":' in found else found


def _outputs(tree: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """{"Conv_0": output, ...} from captured intermediates; a second call is "Conv_0@2"."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if name == "__call__":
            for i, v in enumerate(value):
                if path and hasattr(v, "shape"):
                    found["/".join(path) + (f"@{i + 1}" if i else "")] = v
        elif hasattr(value, "items"):
            found.update(_outputs(value, (*path, name)))
    return found


@dataclasses.dataclass(frozen=True)
class _Nnx:
    """The forward pass of one NNX graph; equal graphs share compiled programs."""

    graph: Any

    def __architecture__(self) -> str | None:
        return _architecture(self.graph)

    def __call__(self, state: Any, x: Any, inputs: Any = None) -> Any:
        from flax import nnx

        module = nnx.merge(self.graph, state["params"], state["state"])
        return module(x, **_named(module, inputs))


def from_flax(
    module: Any,
    variables: Any = None,
    *,
    channel_axis: int | None = -1,
    outputs: str = "logits",
    tokens: Any = None,
    **kwargs: Any,
) -> Model:
    """A `Model` from a Flax module.

    Args:
      module: a Linen module, with its `variables` (``{"params": ..., "batch_stats": ...}``),
        or an NNX module, which holds its own. For NNX, dropout and batch statistics are switched
        to inference mode (on a copy: your module keeps its mode); for Linen, pass the flag of
        your `__call__`, such as ``train=False``, as a keyword here.
      channel_axis: -1, as Flax convolutions are channel-last; 1 if your module takes
        channel-first input and transposes it itself.
      outputs: what the module returns: "logits", "probabilities", "binary" or "values", as for
        `jaxeval.Model`.
      tokens: for a module of token ids, as for `jaxeval.Model`.

    Inputs that belong to the rows of x (``inputs=`` of `jaxeval.evaluate`), such as an attention
    mask, are passed as keyword arguments of the module's ``__call__``.

    Hidden layers (Linen) are named by their module paths, such as ``"Dense_0"``.

    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> net = nn.Dense(3)
    >>> model = from_flax(net, net.init(jax.random.key(0), jnp.ones((1, 4))))
    >>> model(jnp.ones((2, 4))).shape
    (2, 3)
    """
    try:
        import flax.linen as nn
        from flax import nnx
    except ImportError as e:
        raise ImportError('from_flax needs Flax: pip install "jaxeval[flax]"') from e

    if isinstance(module, nn.Module):
        if variables is None:
            raise TypeError("from_flax(module, variables): a Linen module needs its variables")
        if "params" not in variables:
            raise ValueError(
                'from_flax: variables must be what module.init returns, {"params": ...}, '
                f"got the keys {sorted(variables)}"
            )
        apply, hidden, init = (
            _Linen(module, tuple(sorted(kwargs.items())), call)
            for call in ("apply", "hidden", "init")
        )
        return Model(
            apply,
            dict(variables),
            hidden=hidden,
            init=init,
            channel_axis=channel_axis,
            outputs=outputs,
            tokens=tokens,
        )
    if isinstance(module, nnx.Module):
        if variables is not None or kwargs:
            raise TypeError("from_flax(nnx_module): an NNX module holds its own variables")
        copy = nnx.clone(module)
        copy.eval()
        # Random streams are part of the state; the forward pass in inference mode ignores them.
        graph, params, rest = nnx.split(copy, nnx.Param, ...)
        params = {"params": params, "state": rest}
        return Model(_Nnx(graph), params, channel_axis=channel_axis, outputs=outputs, tokens=tokens)
    raise TypeError(f"from_flax takes a flax.linen or flax.nnx module, got {type(module).__name__}")
