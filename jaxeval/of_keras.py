"""Keras 3 models, on its JAX backend."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Iterator
from typing import Any, ClassVar

import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from .lifetime import Wrapper, target
from .model import Model

__all__ = ["from_keras"]

OUTPUT_OF = "output of "
"""How traced models recognise the output of a layer; see `jaxeval.trace.names`."""


@dataclasses.dataclass(frozen=True)
class _Keras(Wrapper):
    """The forward pass of a Keras model in inference mode.

    Attributes:
      trained, state: paths of the variables in the parameters, in Keras's order.
      sigmoid: whether its one output is a probability, to be returned as those of two classes.
      takes: how x is given to the model; see `_takes`.
      training: whether the model takes the argument ``training=False``.
    """

    HOLDS: ClassVar[str] = "model"
    model: Any
    trained: tuple[tuple[str, ...], ...]
    state: tuple[tuple[str, ...], ...]
    sigmoid: bool
    takes: Any
    training: bool

    @property
    def reads_inputs(self) -> bool:
        return self.takes is not None

    def __call__(self, params: Any, x: Any, inputs: Any = None) -> Any:
        model = target(self.model)
        given = [[_at(params, p) for p in paths] for paths in (self.trained, self.state)]
        with _named_outputs(model):
            mode = {"training": False} if self.training else {}
            out, _ = model.stateless_call(*given, *_arguments(self.takes, x, inputs or {}), **mode)
        if self.sigmoid:
            p = out.reshape(len(out), 1)
            return jnp.concatenate([1 - p, p], 1)
        return out


def _takes(model: Any) -> Any:
    """How a model is given several inputs.

    Of a functional model, (key, name) of each input, the key being None if it takes a list. Of a
    subclassed one, the names of the arguments of its `call`, if it has several. None: one argument,
    x as it is.
    """
    if (struct := getattr(model, "_inputs_struct", None)) is not None:
        if isinstance(struct, dict):
            flat = all(hasattr(v, "shape") for v in struct.values())
            return tuple((key, v.name) for key, v in struct.items()) if flat else None
        several = isinstance(struct, (list, tuple)) and len(struct) > 1
        flat = several and all(hasattr(v, "shape") for v in struct)
        return tuple((None, v.name) for v in struct) if flat else None
    free = [
        name
        for name, p in inspect.signature(model.call).parameters.items()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        if name not in ("training", "mask")
    ]
    return tuple(free) if len(free) > 1 else None


def _knows_training(model: Any) -> bool:
    """Whether a model's `call` has the argument `training`."""
    parameters = inspect.signature(model.call).parameters
    return "training" in parameters or any(p.kind == p.VAR_KEYWORD for p in parameters.values())


def _arguments(takes: Any, x: Any, rest: Any) -> tuple[Any, ...]:
    """The arguments of a model, of x as the caller gives it.

    Args:
      rest: inputs that are not explained, by name; x is the other one then.

    Raises:
      TypeError: x does not have its inputs.
    """
    if takes is None:
        return (x,)
    functional = not isinstance(takes[0], str)
    names = [name for _, name in takes] if functional else list(takes)
    keyed = functional and takes[0][0] is not None
    keys = [key for key, _ in takes] if keyed else names
    if rest and not isinstance(x, (dict, tuple, list)):
        others = [k for k in keys if k not in rest]
        x = {**rest, others[0] if len(others) == 1 else "x": x}
    if isinstance(x, dict) and set(x) in (set(keys), set(names)):
        values = [x[k] for k in (keys if set(x) == set(keys) else names)]
    elif isinstance(x, (tuple, list)) and len(x) == len(keys) and not keyed:
        values = list(x)
    else:
        given = f"a dict of {', '.join(map(repr, x))}" if isinstance(x, dict) else _shown(x)
        tuples = "" if keyed else f", or a tuple of {len(keys)} arrays"
        raise TypeError(
            f"this Keras model has the inputs {', '.join(map(repr, keys))}: give x as a dict of "
            f"arrays with these names{tuples}, or one of them as x and the others as inputs=, a "
            f"dict; got {given}"
        )
    if not functional:
        return tuple(values)
    return ((dict(zip(keys, values, strict=True)) if keyed else values),)


def _shown(x: Any) -> str:
    return f"a tuple of {len(x)}" if isinstance(x, (tuple, list)) else "one array"


def _at(params: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        params = params[part]
    return params


def _named(call: Any, name: str) -> Any:
    """A layer's `call` with its output named; Keras looks at its signature."""

    @functools.wraps(call)
    def named(*args: Any, **kwargs: Any) -> Any:
        out = call(*args, **kwargs)
        return checkpoint_name(out, name) if hasattr(out, "shape") else out

    return named


@contextlib.contextmanager
def _named_outputs(model: Any) -> Iterator[None]:
    """Names the outputs of layers with an activation or without weights, while it is traced.

    The outputs of the others are known by their parameters.
    """
    changed = []
    for layer in model._flatten_layers(include_self=False):
        name = "/".join(_inside(model, layer.path or layer.name))
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        if layer.weights and activation == "linear":
            continue
        object.__setattr__(layer, "call", _named(layer.call, OUTPUT_OF + name))
        changed.append(layer)
    try:
        yield
    finally:
        for layer in changed:
            object.__delattr__(layer, "call")


def from_keras(
    model: Any, *, channel_axis: int | str | None = "auto", outputs: str | None = None
) -> Model:
    """A `Model` from a Keras 3 model that runs on JAX: sequential, functional or subclassed.

    Always called in inference mode, with ``training=False``. Layers are named as in Keras, by their
    paths in the model: "conv2d" is the output of the layer, activation included, as
    `keras.Model(inputs, layer.output)` gives it.

    Args:
      model: a built `keras.Model` with one output. One of several inputs takes x as a tuple of
        arrays, in the order of its inputs, or as a dict, by their names (those of its own dict, if
        it was made with one); see `jaxeval.join_inputs` for what is explained then. To explain one
        input alone, give it as x and the others by name as ``inputs=``.
      channel_axis: "auto": that of Keras's image data format, or None where a sample has one axis.
      outputs: what the model returns: "logits", "probabilities", "binary" or "values", as for
        `jaxeval.Model`. None: from the activation of the last layer, if that can be found: softmax
        and sigmoid (of one unit, whose two probabilities the model then returns) give
        "probabilities", one linear unit "values"; else "logits".

    Raises:
      ImportError: Keras 3 is not installed.
      TypeError, ValueError: not a Keras model, another backend, a model that is not built, or one
        with several outputs; the message says what to do.
    """
    try:
        import keras
    except ImportError as e:
        raise ImportError("from_keras needs Keras 3: pip install keras") from e
    if not hasattr(model, "stateless_call") or not isinstance(model, keras.Model):
        raise TypeError(
            f"from_keras takes a model of Keras 3, got {type(model).__module__}."
            f"{type(model).__name__}"
        )
    if (backend := keras.backend.backend()) != "jax":
        raise ValueError(
            f"from_keras needs Keras on JAX, but it runs on {backend}: set the environment "
            "variable KERAS_BACKEND=jax before Keras is imported "
            '(os.environ["KERAS_BACKEND"] = "jax"), and '
            "load the model there (keras.saving.load_model reads what any backend saved)"
        )
    if not model.built:
        raise ValueError(
            f"from_keras: {model.name} is not built, so it has no weights yet: call it once on a "
            "batch, model(x[:1])"
        )
    inputs = getattr(model, "inputs", None) or [None]
    results = getattr(model, "outputs", None) or [None]
    if len(results) > 1:
        names = ", ".join(map(repr, getattr(model, "output_names", ())))
        raise TypeError(
            f"from_keras: {model.name} has {len(results)} outputs ({names}), wanted one: give "
            "keras.Model(model.inputs, model.outputs[0]) for the first"
        )
    params: dict[str, Any] = {"params": {}, "state": {}}
    trained = _collected(params, "params", model, model.trainable_variables)
    state = _collected(params, "state", model, model.non_trainable_variables)
    units, activation = _last(model)
    sigmoid = outputs is None and activation == "sigmoid" and units == 1
    if outputs is None:
        outputs = "logits"
        if sigmoid or activation == "softmax":
            outputs = "probabilities"
        elif activation == "sigmoid" or (activation == "linear" and units == 1):
            outputs = "values"
    shapes = [getattr(v, "shape", None) for v in inputs]
    if channel_axis == "auto":
        flat = all(shape is not None and len(shape) == 2 for shape in shapes)
        first = keras.config.image_data_format() == "channels_first"
        channel_axis = None if flat else (1 if first else -1)
    apply = _Keras(model, trained, state, sigmoid, _takes(model), _knows_training(model))
    from .explain.layer import Hidden  # loads the explainers

    return Model(
        apply,
        params,
        hidden=Hidden(apply, None),
        channel_axis=channel_axis,  # pyright: ignore[reportArgumentType]
        outputs=outputs,
    )


def _inside(model: Any, path: str) -> list[str]:
    """The parts of a path, without the name of the model itself."""
    first, *rest = path.split("/")
    return rest if rest and first == model.name else [first, *rest]


def _collected(
    params: dict[str, Any], top: str, model: Any, variables: Any
) -> tuple[tuple[str, ...], ...]:
    """Put variables into nested dicts by their paths; the paths, in the order of the variables."""
    paths = []
    for v in variables:
        *parts, last = _inside(model, v.path)
        place = params[top]
        for part in parts:
            place = place.setdefault(part, {})
        number, name = 1, last
        while name in place:
            number += 1
            name = f"{last}_{number}"
        place[name] = v.value
        paths.append((top, *parts, name))
    return tuple(paths)


def _last(model: Any) -> tuple[int | None, str | None]:
    """(units, name of the activation) of the layer that makes the output; None if unknown."""
    layers = getattr(model, "layers", [])
    if not getattr(model, "outputs", None) or not layers:
        return None, None
    operation = model.outputs[0]._keras_history.operation
    if hasattr(operation, "layers"):
        return _last(operation)
    activation = getattr(getattr(operation, "activation", None), "__name__", None)
    if activation is None and type(operation).__name__ == "Softmax":
        activation = "softmax"
    return model.outputs[0].shape[-1], activation
