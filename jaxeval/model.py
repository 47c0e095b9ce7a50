"""`Model`: a network as used by the engine, explainers and bridges."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from .check import did_you_mean
from .identity import shapes_of
from .lifetime import Weak, Wrapper, hashable, jit, remembered
from .shown import card, count
from .tokens import Tokens, read_tokens
from .types import pytree, static

UNTRACEABLE = "untraceable"
"""`Model.host` of a model that JAX could not trace."""
KINDS = ("logits", "probabilities", "binary", "values")
"""The kinds of model outputs."""


def in_columns(outputs: Any) -> Any:
    """Outputs as [N, K]; outputs [N] become one column [N, 1]."""
    return outputs[:, None] if getattr(outputs, "ndim", 2) == 1 else outputs


def _array(v: Any) -> Any:
    """Values of other libraries, such as tensors, as NumPy arrays; all else as it is."""
    return np.asarray(v) if hasattr(v, "__array__") and not isinstance(v, jax.Array) else v


@pytree(kw_only=False)
class Model:
    """A network: ``apply(params, x[N, ...]) -> outputs [N, K]``, pure, each row independent.

    A model of several inputs is ``apply(params, x, inputs)``, with ``inputs`` a dict of arrays
    [N, ...] that belong to the rows of x and are not explained: ``inputs=`` of `jaxeval.evaluate`.

    Args:
      apply: the forward pass. Two models with the same `apply` share compiled programs, so
        build it once, outside loops.
      outputs: what `apply` returns. Shape [N] counts as one output, [N, 1].
        "logits": of K classes; their softmax gives the probabilities.
        "probabilities": of K classes, for networks that end in a softmax.
        "binary": one logit z, with p(class 1) = sigmoid(z) and p(class 0) = 1 - sigmoid(z), so
        K = 2 classes everywhere.
        "values": plain numbers (regression, several targets, multi-label outputs): y is the index
        of the output, and no softmax is taken.
      params: any pytree of arrays. If it is a dict with the key ``"params"``, only the arrays
        under that key are trained parameters (the rest is state, such as batch statistics).
      hidden: ``(params, x) -> (logits, {layer: activations [N, ...]})``, for metrics that use
        hidden layers. Explainers take these names as ``layer=``, too, for values that the logits
        are computed from; they follow `hidden` then in place of `apply`.
      init: ``(key, x) -> params``, the model's own initialisation, for metrics that randomise
        parameters.
      channel_axis: the channel axis of x: 1 for N C H W, -1 for channel-last, None if x has no
        channels. Tabular x [N, F] has none.
      host: False for JAX functions. "numpy" (or True) for any Python callable: it is called
        on the host, outside compiled programs, with the real rows of a batch as NumPy
        arrays. "jax": the same with `jax.Array`s (for dlpack); if it is a `jax.custom_vjp`
        implemented in Python, it also has input gradients, outside `jax.jit`. The engine treats a
        callable that JAX cannot trace as "numpy", warns, and marks it "untraceable".
      example: shape and dtype of the model's input (`jax.ShapeDtypeStruct`), for `layers()`; a
        tuple of them for several inputs. Converted models have one. Models with integer inputs
        that are not `tokens`, or with several inputs that are not ``inputs``, cannot be explained
        and raise an error.
      classes: labels of the K classes, in the order of the outputs, if they are not 0..K-1: text or
        whole numbers. y given to `evaluate`, `score` and `attribute` then holds these labels.
      feature_names: names of the columns of tabular x [N, F], in their order. A data frame given as
        x must have these columns.
      tokens: for a model of token ids x, integers [N, T]: which of them are special, and how to
        remove one; a `Tokens` or a Hugging Face tokenizer. If `apply` takes ``inputs``, they have
        the attention mask ``inputs["attention_mask"]`` [N, T], of the ids that are not padding
        unless it is given.
      inputs: the inputs of the rows to evaluate, for calls of the model or of an explainer by
        itself; `jaxeval.evaluate` and its kin fill it in.
    """

    apply: Callable[..., Any] = static()
    params: Any = None
    hidden: Callable[..., Any] | None = static(None)
    init: Callable[..., Any] | None = static(None)
    channel_axis: int | None = static(1)
    host: bool | str = static(False)
    example: jax.ShapeDtypeStruct | tuple[jax.ShapeDtypeStruct, ...] | None = static(None)
    outputs: str = static("logits")
    classes: tuple[Any, ...] | None = static(None)
    feature_names: tuple[str, ...] | None = static(None)
    tokens: Tokens | None = static(None)
    inputs: Any = None

    def __post_init__(self) -> None:
        if not callable(self.apply):
            raise TypeError(
                "Model(apply=...) must be callable as apply(params, x), got "
                f"{type(self.apply).__name__}"
            )
        for name in ("apply", "hidden", "init"):
            object.__setattr__(self, name, hashable(getattr(self, name)))
        object.__setattr__(self, "tokens", read_tokens(self.tokens))
        if self.outputs not in KINDS:
            raise ValueError(
                f"Model(outputs={self.outputs!r}): must be one of {', '.join(map(repr, KINDS))}"
                f"{did_you_mean(self.outputs, KINDS)}"
            )
        if self.host not in (False, True, "numpy", "jax", UNTRACEABLE):
            raise ValueError(f'Model(host=...) must be False, "numpy" or "jax", got {self.host!r}')
        for name in ("classes", "feature_names"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _distinct(name, given))

    def __repr__(self) -> str:
        """A summary without parameter values, short even for large networks.

        >>> Model(jnp.dot, {"w": jnp.ones((3, 4)), "b": 0.0}, channel_axis=None)
        Model(apply=dot, params=<13 numbers in 2 arrays>, channel_axis=None)
          b  float
          w  float32[3, 4]
        """
        shown = {"apply": _name(self.apply), "params": _summary(self.params)}
        shown |= {k: _name(v) for k in ("hidden", "init") if (v := getattr(self, k)) is not None}
        shown["channel_axis"] = str(self.channel_axis)
        shown |= {"host": repr(self.host)} if self.host else {}
        shown |= {"outputs": repr(self.outputs)} if self.outputs != "logits" else {}
        shown |= {"tokens": repr(self.tokens)} if self.tokens is not None else {}
        head = ", ".join(f"{k}={v}" for k, v in shown.items())
        return "\n".join([f"Model({head})", *_lines(self.params)])

    def _repr_html_(self) -> str:
        head, *lines = repr(self).splitlines()
        return card(
            head,
            [re.split("  +", line.strip(), maxsplit=1) for line in lines],
            ("parameter", "array"),
        )

    def __call__(self, x: Any) -> jax.Array:
        """The outputs [N, K] for a batch x [N, ...]: an array, a torch tensor or a data frame."""
        x = jax.tree.map(_array, x)
        if not self.host:
            return in_columns(self.apply(*self.given(x)))
        try:
            array = jnp.asarray if self.host == "jax" else np.asarray
            params, *rows = self.given(x)
            out = self.apply(params, *jax.tree.map(array, rows))
            # A "jax" callable with a custom gradient may be differentiated: then `out` is a tracer
            # of `jax.grad`, not a concrete array.
            return in_columns(out if isinstance(out, jax.Array) else jnp.asarray(np.asarray(out)))
        except jax.errors.TracerArrayConversionError as e:
            raise TypeError(
                "this model is a host callable: JAX cannot trace it, so it has outputs but no "
                "input gradients; use an explainer that needs outputs only (Occlusion), or a "
                "user-defined one that runs on the host"
            ) from e

    def given(self, x: Any, clean: bool = False) -> tuple[Any, ...]:
        """The arguments of `apply` for rows x: the parameters, x, and the rows' inputs, if any.

        `clean`: whether x is known to have no removed tokens.
        """
        inputs = self.inputs
        if self.tokens is not None:
            x, inputs = self.tokens.asked(x, inputs, clean)
            inputs = inputs if reads_inputs(self.apply) else None
        if inputs is None:
            return self.params, x
        if not isinstance(x, jax.ShapeDtypeStruct):
            for name, v in inputs.items():
                if len(v) != len(x):
                    raise ValueError(
                        f"inputs[{name!r}] has {count(len(v), 'row')}, and x has {len(x)}: a model "
                        "with inputs can be asked only about rows that have theirs"
                    )
        return self.params, x, inputs

    def like(self, x: Any, rows: int | None = None) -> tuple[Any, ...]:
        """Shapes and dtypes of the arguments of `apply`, for rows like x [...].

        Args:
          rows: how many; default: `TRACED_ROWS`.
        """
        rows = TRACED_ROWS if rows is None else rows

        def spec(v: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((rows, *np.shape(v)[1:]), jnp.result_type(v))

        x = jax.ShapeDtypeStruct((rows, *x.shape), jnp.dtype(x.dtype))
        model = dataclasses.replace(self, inputs=jax.tree.map(spec, self.inputs))
        return model.given(x) if self.tokens is None else jax.eval_shape(Model.given, model, x)

    def n_classes(self, x: Any) -> int:
        """The number of classes, given the shape and dtype of one input; not for host models."""
        return 2 if self.outputs == "binary" else self.traced(x).shape[-1]

    def traced(self, x: Any) -> jax.ShapeDtypeStruct:
        """Shape and dtype of its outputs [TRACED_ROWS, K], given those of one input x [...].

        Each model is traced once. Not for host models.
        """
        known, rows = remembered(self.apply), (self.params, self.inputs)
        given = ("output", *shapes_of(rows), self.tokens, x.shape, jnp.dtype(x.dtype))
        if given not in known:
            known[given] = called.eval_shape(self.apply, *self.like(x))
        return known[given]

    def layers(self, x: Any = None) -> dict[str, tuple[int, ...]]:
        """The model's layers in the order of the forward pass, with the shapes of their outputs.

        Layers are named after the Flax modules, after the torch modules of a converted model, or
        after the dicts that hold the parameters. Explainers take the names as ``layer=``, and
        `jaxeval.explain.with_hidden` makes those layers available to metrics such as RRS. Metrics
        that randomise parameters take the names from `jaxeval.layer_names` instead. See
        `jaxeval.explain.layers`.

        Args:
          x: inputs [N, ...], or their shape and dtype; default: the model's `example`.

        >>> params = {"first": jnp.ones((2, 3)), "second": jnp.ones((3, 4))}
        >>> model = Model(lambda p, x: jnp.tanh(x @ p["first"]) @ p["second"], params)
        >>> model.layers(jnp.ones((5, 2)))
        {'first': (5, 3), 'first/activation': (5, 3), 'second': (5, 4)}
        """
        from .explain import layers

        if x is None and not hasattr(self.example, "shape"):
            raise TypeError(
                "Model.layers(x) needs inputs x [N, ...] with the shape and dtype that the model "
                "takes (values do not matter): this model has no example input"
            )
        return layers(self, self.example if x is None else x)

    def sample_channel_axis(self, ndim: int) -> int | None:
        """The channel axis of one sample with `ndim` axes, or None."""
        if self.channel_axis is None or ndim < 2:
            return None
        axis = self.channel_axis + (ndim + 1 if self.channel_axis < 0 else 0)
        if not 1 <= axis <= ndim:
            raise ValueError(
                f"channel_axis={self.channel_axis} does not name an axis of x with {ndim + 1} axes "
                "(axis 0 is the samples)"
            )
        return axis - 1


def _distinct(name: str, given: Any) -> tuple[Any, ...]:
    """Labels of classes or columns as a tuple of text and integers, all different."""
    if isinstance(given, str):
        raise TypeError(f"Model({name}={given!r}) must be a list of names, not one text")
    found = tuple(v.item() if isinstance(v, np.generic) else v for v in given)
    if not all(isinstance(v, (str, int)) for v in found):
        raise TypeError(f"Model({name}=...) must hold text or whole numbers, got {found!r}")
    if len(set(found)) < len(found):
        raise ValueError(f"Model({name}=...) holds a name twice: {found!r}")
    return found


SHOWN = 20
"""Maximum number of parameter arrays in a model's repr; of more, the first and last are shown."""


def _summary(params: Any) -> str:
    """The number of entries and arrays; of a single array, its dtype and shape."""
    leaves, tree = jax.tree.flatten(params)
    if not leaves:
        return repr(params)
    if jax.tree_util.treedef_is_leaf(tree):
        return _kind(params)
    n = sum(int(np.prod(np.shape(leaf))) for leaf in leaves)
    return f"<{count(n, 'number')} in {count(len(leaves), 'array')}>"


def _lines(params: Any) -> list[str]:
    """One line per array: its path, dtype and shape."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    lines = {jax.tree_util.keystr(path, simple=True, separator="/"): v for path, v in leaves}
    width = max(map(len, lines), default=0)
    found = [f"  {path:<{width}}  {_kind(v)}" for path, v in lines.items() if path]
    if len(found) > SHOWN:
        found[SHOWN // 2 : -SHOWN // 2] = [f"  ... {len(found) - SHOWN:,} more ..."]
    return found


def _kind(leaf: Any) -> str:
    if not hasattr(leaf, "dtype"):
        return type(leaf).__name__
    return f"{leaf.dtype}{list(np.shape(leaf))}"


def _name(fn: Any) -> str:
    """The name of a function, of a wrapped module, or of a callable's class."""
    while isinstance(fn, (Wrapper, functools.partial)):
        fn = fn.func if isinstance(fn, functools.partial) else getattr(fn, fn.HOLDS)
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


TRACED_ROWS = 2
"""Number of rows in the batch on which a function is traced to find its output shape."""


@jit(static_argnums=0)
def called(apply: Any, *given: Any) -> Any:
    """The outputs [N, K] of ``apply(*given)``, compiled."""
    return in_columns(apply(*given))


def jaxpr_of(model: Model, x: Any) -> Any:
    """The forward pass on `TRACED_ROWS` rows like x [...], as a closed jaxpr."""
    return called.trace(model.apply, *model.like(x)).jaxpr


def with_inputs(model: Model, inputs: Any) -> Model:
    """The model with the inputs of other rows; the same object if it has these already."""
    return model if inputs is model.inputs else dataclasses.replace(model, inputs=inputs)


def reads_inputs(fn: Any) -> bool:
    """Whether a forward pass is ``fn(params, x, inputs)``: its third argument has that name."""
    while isinstance(fn, (Weak, Wrapper)) and not hasattr(fn, "reads_inputs"):
        fn = fn.get() if isinstance(fn, Weak) else getattr(fn, fn.HOLDS)
    if (says := getattr(fn, "reads_inputs", None)) is not None:
        return bool(says)
    try:
        parameters = [*inspect.signature(cast(Any, fn)).parameters.values()]
    except (TypeError, ValueError):
        return False
    return len(parameters) > 2 and parameters[2].name == "inputs"
