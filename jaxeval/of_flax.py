"""Models from Flax: Linen modules with their variables, and NNX modules."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .check import CallError, did_you_mean
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
        return _applied(target(self.module), variables, x, inputs, kwargs)

    def hidden(self, variables: Any, x: Any, inputs: Any = None, **kwargs: Any) -> Any:
        capture = {"capture_intermediates": True, "mutable": ["intermediates"]}
        module = target(self.module)
        logits, state = _applied(module, variables, x, inputs, kwargs, **capture)
        return logits, _outputs(state["intermediates"])

    def init(self, key: Any, x: Any, **kwargs: Any) -> Any:
        return target(self.module).init(key, x, **kwargs)


def _applied(
    module: Any, variables: Any, x: Any, inputs: Any, kwargs: dict[str, Any], **options: Any
) -> Any:
    """What ``module.apply`` returns.

    Raises:
      CallError: the module lacks variables, draws random numbers or changes its state.
    """
    from flax import errors

    lacking = (
        errors.ScopeCollectionNotFound,
        errors.ScopeVariableNotFoundError,
        errors.ScopeParamNotFoundError,
    )
    try:
        return module.apply(variables, x, **_named(module, inputs), **kwargs, **options)
    except lacking as e:
        raise CallError(_lacking(module, variables, kwargs, _words(e))) from e
    except (errors.InvalidRngError, errors.ModifyScopeVariableError) as e:
        does = "draws random numbers" if "Rng" in type(e).__name__ else "changes its state"
        raise CallError(
            f"from_flax: {type(module).__name__} {does} when it is called, as in training: "
            f"{_words(e)}. {_inference(module, kwargs) or IN_LAYERS}"
        ) from e


IN_LAYERS = (
    "Give the module in inference mode, with deterministic=True or use_running_average=True in its "
    "layers: it takes the same variables"
)


def _words(e: Exception) -> str:
    """What an error of Flax says, without the address of a page."""
    return str(e).partition(" (https://")[0].rstrip(".")


def _lacking(module: Any, variables: Any, kwargs: dict[str, Any], words: str) -> str:
    """What to do where variables are missing."""
    name, held = type(module).__name__, [c for c, v in variables.items() if v]
    found = re.search(r'collection "([^"]+)"', words)
    collection = found[1] if found else "params"
    if collection in ("params", *held):
        return (
            f"from_flax: the variables are not those of {name} as it is called: {words}. Give what "
            "module.init returns for a module with the same settings, or its training"
        )
    return (
        f"from_flax: {name} reads {collection!r}, but the variables hold only "
        f"{', '.join(map(repr, held))}: {words}. Give all that module.init or the training "
        f'returned, {{"params": ..., "{collection}": ...}}. {_inference(module, kwargs)}'
    ).rstrip(". ")


def _inference(module: Any, kwargs: dict[str, Any]) -> str:
    """How to switch a module to inference by the arguments of its `__call__`, or ""."""
    arguments = inspect.signature(type(module).__call__).parameters
    now = {n: kwargs.get(n, p.default) for n, p in arguments.items() if n in TRAINING}
    flags = ", ".join(
        f"{n}={not TRAINING[n]}" for n, v in now.items() if v is not (not TRAINING[n])
    )
    return f"Give from_flax(module, variables, {flags})" if flags else ""


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


TRAINING = {
    **dict.fromkeys(("train", "training", "is_training", "is_train"), True),
    **dict.fromkeys(("deterministic", "use_running_average", "inference"), False),
}
"""Usual flags of `__call__`, and their value in training."""


def _check_call(
    module: Any,
    kwargs: dict[str, Any],
    stateful: bool = False,
    of_text: bool = False,
    variables: str = "variables, ",
) -> None:
    """Check the further arguments of a module's `__call__(x, ...)`.

    Args:
      variables: how the variables are written in a call of `from_flax`.
      stateful: whether the module has state, which training would change.
      of_text: whether it reads token ids, with which further arguments come as ``inputs``.
    """
    name = type(module).__name__
    call = inspect.signature(type(module).__call__)
    parameters = list(call.parameters.values())[2:]  # without self and x
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for given in kwargs:
            if given == "rngs" and given not in named:
                raise TypeError(
                    "from_flax takes no rngs: a model that draws random numbers would answer by a "
                    f"row's place in its batch. {_inference(module, kwargs) or IN_LAYERS}"
                )
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
        if p.name == "rngs" and not variables:
            flag = "rngs=flax.nnx.Rngs(0)"
        if p.default is p.empty and not (of_text and p.name not in TRAINING):
            raise TypeError(
                f"from_flax: {name}.__call__ needs the argument {p.name!r}: give from_flax(module, "
                f"{variables}{flag})"
            )
        if p.name in TRAINING and p.default is TRAINING[p.name]:
            raise ValueError(
                f"from_flax: {name}.__call__ is in training mode by default, {p.name}={p.default}: "
                f"give from_flax(module, {variables}{flag})"
            )


def from_flax(
    module: Any,
    variables: Any = None,
    *,
    channel_axis: int | None = -1,
    outputs: str = "logits",
    tokens: Any = None,
    example: Any = None,
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
      example: inputs x [N, ...], such as two rows, or their shape and dtype: the module is tried on
        them at once, and `Model.layers` needs none then.

    Inputs that belong to the rows of x (``inputs=`` of `jaxeval.evaluate`), such as an attention
    mask, are passed as keyword arguments of the module's ``__call__``.

    Hidden layers are named by the paths of their modules, such as ``"Dense_0"``.

    Raises:
      TypeError, ValueError: arguments that `__call__` does not have or lacks, or that leave the
        module in training mode; variables that are not what ``module.init`` returns. What shows
        only when the module is called raises when it is first used, or at once with `example`:
        collections that are missing, such as batch statistics, random draws, changes of state.

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
        own = {"channel_axis": channel_axis, "outputs": outputs, "tokens": tokens}
        return _tried(Model(apply, dict(variables), hidden=hidden, init=init, **own), example)
    if isinstance(module, nnx.Module):
        if variables is not None:
            raise TypeError("from_flax(nnx_module): an NNX module holds its own variables")
        _check_call(module, kwargs, of_text=tokens is not None, variables="")
        copy = nnx.clone(module)
        copy.eval()
        # Random streams are part of the state; the forward pass in inference mode ignores them.
        graph, params, rest = nnx.split(copy, nnx.Param, ...)
        params = {"params": params, "state": rest}
        from .explain.layer import Hidden  # loads the explainers

        apply = _Nnx(graph, tuple(sorted(kwargs.items())))
        own = {"channel_axis": channel_axis, "outputs": outputs, "tokens": tokens}
        return _tried(Model(apply, params, hidden=Hidden(apply, None), **own), example)
    raise TypeError(f"from_flax takes a flax.linen or flax.nnx module, got {type(module).__name__}")


def _tried(model: Model, example: Any) -> Model:
    """The model, tried on the example if there is one, which it keeps."""
    if example is None:
        return model
    dtype = jnp.result_type(example.dtype if hasattr(example, "dtype") else example)
    x = jax.ShapeDtypeStruct(jnp.shape(example), dtype)
    model.traced(jax.ShapeDtypeStruct(x.shape[1:], dtype))
    return dataclasses.replace(model, example=jax.ShapeDtypeStruct((1, *x.shape[1:]), dtype))
