"""Models from Flax: Linen modules with their variables, and NNX modules."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any, ClassVar

from .check import did_you_mean
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
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __architecture__(self) -> Any:
        found = _architecture(self.graph)
        return None if found is None else (found, self.kwargs)

    def __call__(self, state: Any, x: Any, inputs: Any = None) -> Any:
        from flax import nnx

        module = nnx.merge(self.graph, state["params"], state["state"])
        return module(x, **_named(module, inputs), **dict(self.kwargs))


TRAINING = {"train": True, "training": True, "is_training": True, "deterministic": False}
"""Usual flags of `__call__`, and their value in training."""


def _check_call(
    module: Any, kwargs: dict[str, Any], stateful: bool = False, of_text: bool = False
) -> None:
    """Check the further arguments of a module's `__call__(x, ...)`.

    Args:
      stateful: whether the module has state, which training would change.
      of_text: whether it reads token ids, with which further arguments come as ``inputs``.
    """
    name = type(module).__name__
    call = inspect.signature(type(module).__call__)
    parameters = list(call.parameters.values())[2:]  # without self and x
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for given in kwargs:
            if given not in named:
                known = f"only {', '.join(named)}" if named else "x only"
                raise TypeError(
                    f"from_flax: {name}.__call__ has no argument {given!r}, {known}"
                    f"{did_you_mean(given, named)}"
                )
    for p in named.values():
        if p.name in kwargs:
            if stateful and p.name in TRAINING and kwargs[p.name] is TRAINING[p.name]:
                raise ValueError(
                    f"from_flax: {p.name}={kwargs[p.name]} is training mode, which would change "
                    f"the module's state: give {p.name}={not TRAINING[p.name]}"
                )
            continue
        flag = f"{p.name}={not TRAINING[p.name]}" if p.name in TRAINING else f"{p.name}=..."
        if p.default is p.empty and not (of_text and p.name not in TRAINING):
            raise TypeError(
                f"from_flax: {name}.__call__ needs the argument {p.name!r}: give from_flax(module, "
                f"variables, {flag})"
            )
        if p.name in TRAINING and p.default is TRAINING[p.name]:
            raise ValueError(
                f"from_flax: {name}.__call__ is in training mode by default, {p.name}={p.default}: "
                f"give from_flax(module, variables, {flag})"
            )


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
        to inference mode (on a copy: your module keeps its mode).
      kwargs: further arguments of the module's `__call__`, such as ``train=False``; checked at
        once. A flag that is in training mode by default must be given.
      channel_axis: -1, as Flax convolutions are channel-last; 1 if your module takes
        channel-first input and transposes it itself.
      outputs: what the module returns: "logits", "probabilities", "binary" or "values", as for
        `jaxeval.Model`.
      tokens: for a module of token ids, as for `jaxeval.Model`.

    Inputs that belong to the rows of x (``inputs=`` of `jaxeval.evaluate`), such as an attention
    mask, are passed as keyword arguments of the module's ``__call__``.

    Hidden layers are named by the paths of their modules, such as ``"Dense_0"``.

    Raises:
      TypeError, ValueError: arguments that `__call__` does not have or lacks, or that leave the
        module in training mode; variables that are not what ``module.init`` returns.

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
        if not hasattr(variables, "keys"):
            raise TypeError(
                'from_flax: variables must be what module.init returns, {"params": ...}, got '
                f"{type(variables).__name__}"
            )
        if "params" not in variables:
            raise ValueError(
                'from_flax: variables must be what module.init returns, {"params": ...}, '
                f"got the keys {sorted(map(str, variables))}"
            )
        _check_call(module, kwargs, len(variables) > 1, tokens is not None)
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
        if variables is not None:
            raise TypeError("from_flax(nnx_module): an NNX module holds its own variables")
        _check_call(module, kwargs, of_text=tokens is not None)
        copy = nnx.clone(module)
        copy.eval()
        # Random streams are part of the state; the forward pass in inference mode ignores them.
        graph, params, rest = nnx.split(copy, nnx.Param, ...)
        params = {"params": params, "state": rest}
        from .explain.layer import Hidden  # loads the explainers

        apply = _Nnx(graph, tuple(sorted(kwargs.items())))
        own = {"channel_axis": channel_axis, "outputs": outputs, "tokens": tokens}
        return Model(apply, params, hidden=Hidden(apply, None), **own)
    raise TypeError(f"from_flax takes a flax.linen or flax.nnx module, got {type(module).__name__}")
