"""The network, as the engine, explainers and bridges hold it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .check import did_you_mean
from .identity import shapes_of
from .lifetime import Wrapper, hashable, jit, remembered
from .types import pytree, static

UNTRACEABLE = "untraceable"
"""`Model.host` of a model that the engine found to be a host callable."""
KINDS = ("logits", "probabilities", "binary", "values")
"""What the outputs of a model can be."""


def in_columns(outputs: Any) -> Any:
    """Outputs [N, K]; those of a model that answers [N] are one column."""
    return outputs[:, None] if getattr(outputs, "ndim", 2) == 1 else outputs


@pytree(kw_only=False)
class Model:
    """A network: ``apply(params, x[N, ...]) -> outputs [N, K]``, pure and row by row.

    Args:
      apply: the forward pass. Two models with the same `apply` share compiled programs, so
        build it once, outside loops.
      outputs: what `apply` answers with. An answer [N] counts as one output, [N, 1].
        "logits": of K classes, of which the softmax is taken where probabilities are wanted.
        "probabilities": of K classes, for networks that end in a softmax.
        "binary": one logit z, of class 1: its probability is sigmoid(z) and class 0 has the rest,
        so there are K = 2 classes everywhere.
        "values": plain numbers (regression, several targets, labels that do not exclude each
        other): y is the index of the output, and no softmax is taken anywhere.
      params: any pytree of arrays. Where it is a dict with the key ``"params"``, only what is
        under that key counts as trained (the rest is state, such as batch statistics).
      hidden: ``(params, x) -> (logits, {layer: activations [N, ...]})``, for metrics that look
        at hidden layers.
      init: ``(key, x) -> params``, the model's own initialisation, for metrics that randomise.
      channel_axis: the axis of x that holds channels: 1 for N C H W, -1 for channel-last,
        None where every entry of x stands for itself. Tabular x [N, F] has none.
      host: False for JAX functions. "numpy" (or True) for any Python callable: it is called
        on the host, outside compiled programs, with NumPy arrays of a batch's real rows.
        "jax" hands over `jax.Array`s instead (for dlpack); where it is a `jax.custom_vjp` that
        answers in Python, it has input gradients, too, outside of `jax.jit`. A callable that JAX
        cannot trace is treated as "numpy" by the engine, which warns and marks it "untraceable".
      example: the shape and type of inputs that the model takes (`jax.ShapeDtypeStruct`), for
        `layers()`; a tuple of them where it takes several inputs. Converted models have one. A
        model of whole numbers (token ids) or of several inputs is refused where it is explained.
    """

    apply: Callable[..., Any] = static()
    params: Any = None
    hidden: Callable[..., Any] | None = static(None)
    init: Callable[..., Any] | None = static(None)
    channel_axis: int | None = static(1)
    host: bool | str = static(False)
    example: jax.ShapeDtypeStruct | tuple[jax.ShapeDtypeStruct, ...] | None = static(None)
    outputs: str = static("logits")

    def __post_init__(self) -> None:
        if not callable(self.apply):
            raise TypeError(
                "Model(apply=...) must be callable as apply(params, x), got "
                f"{type(self.apply).__name__}"
            )
        for name in ("apply", "hidden", "init"):
            object.__setattr__(self, name, hashable(getattr(self, name)))
        if self.outputs not in KINDS:
            raise ValueError(
                f"Model(outputs={self.outputs!r}): must be one of {', '.join(map(repr, KINDS))}"
                f"{did_you_mean(self.outputs, KINDS)}"
            )
        if self.host not in (False, True, "numpy", "jax", UNTRACEABLE):
            raise ValueError(f'Model(host=...) must be False, "numpy" or "jax", got {self.host!r}')

    def __repr__(self) -> str:
        """What it is, without the numbers in it: the largest network fits on a screen.

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
        head = ", ".join(f"{k}={v}" for k, v in shown.items())
        return "\n".join([f"Model({head})", *_lines(self.params)])

    def __call__(self, x: Any) -> jax.Array:
        """The outputs [N, K] of a batch x [N, ...]."""
        if not self.host:
            return in_columns(self.apply(self.params, x))
        try:
            given = jnp.asarray(x) if self.host == "jax" else np.asarray(x)
            out = self.apply(self.params, given)
            # A "jax" callable with a gradient of its own may be differentiated: then this is one
            # step of `jax.grad`, not yet an array with a value.
            return in_columns(out if isinstance(out, jax.Array) else jnp.asarray(np.asarray(out)))
        except jax.errors.TracerArrayConversionError as e:
            raise TypeError(
                "this model is a host callable: it can be asked for outputs, but it cannot be "
                "traced, so it has no input gradients; use an explainer that asks for outputs "
                "only (Occlusion), or one of your own that answers on the host"
            ) from e

    def n_classes(self, x: Any) -> int:
        """How many classes it has, from the shape and type of one input; not of host models."""
        return 2 if self.outputs == "binary" else self.traced(x).shape[-1]

    def traced(self, x: Any) -> jax.ShapeDtypeStruct:
        """The shape and type of its outputs [TRACED_ROWS, K], from those of one input x [...].

        Each model is traced once. Not of host models.
        """
        known = remembered(self.apply)
        given = ("output", *shapes_of(self.params), x.shape, jnp.dtype(x.dtype))
        if given not in known:
            known[given] = called.eval_shape(self.apply, self.params, _rows_like(x))
        return known[given]

    def layers(self, x: Any = None) -> dict[str, tuple[int, ...]]:
        """The model's layers in the order of the forward pass, with the shapes of their outputs.

        The names are those of Flax modules, of torch's modules in a converted model, or of the
        dicts that hold the parameters. Explainers take them as ``layer=``, and
        `jaxeval.explain.with_hidden` shows those layers to metrics such as RRS. Metrics that
        randomise parameters take the names of `jaxeval.layer_names` instead. See
        `jaxeval.explain.layers`.

        Args:
          x: inputs [N, ...], or their shape and type; None takes the model's `example`.

        >>> params = {"first": jnp.ones((2, 3)), "second": jnp.ones((3, 4))}
        >>> model = Model(lambda p, x: jnp.tanh(x @ p["first"]) @ p["second"], params)
        >>> model.layers(jnp.ones((5, 2)))
        {'first': (5, 3), 'first/activation': (5, 3), 'second': (5, 4)}
        """
        from .explain import layers

        if x is None and not hasattr(self.example, "shape"):
            raise TypeError(
                "Model.layers(x) needs inputs x [N, ...] of the kind that the model takes (only "
                "their shape matters): this model carries no example of one array"
            )
        return layers(self, self.example if x is None else x)

    def sample_channel_axis(self, ndim: int) -> int | None:
        """The channel axis of one sample with `ndim` axes, or None where there is none."""
        if self.channel_axis is None or ndim < 2:
            return None
        axis = self.channel_axis + (ndim + 1 if self.channel_axis < 0 else 0)
        if not 1 <= axis <= ndim:
            raise ValueError(
                f"channel_axis={self.channel_axis} does not name an axis of x with {ndim + 1} axes "
                "(axis 0 is the samples)"
            )
        return axis - 1


SHOWN = 20
"""Arrays of parameters that a model's repr lists, of more the first and last ones."""


def _summary(params: Any) -> str:
    """How much there is; a single array by its type and shape."""
    leaves, tree = jax.tree.flatten(params)
    if not leaves:
        return repr(params)
    if jax.tree_util.treedef_is_leaf(tree):
        return _kind(params)
    n = sum(int(np.prod(np.shape(leaf))) for leaf in leaves)
    arrays = f"{len(leaves):,} arrays" if len(leaves) > 1 else "1 array"
    return f"<{n:,} number{'s' if n != 1 else ''} in {arrays}>"


def _lines(params: Any) -> list[str]:
    """A line for each array inside: where it is, its type and shape."""
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
    """The name of a function, or of what calls it: a module, a class."""
    while isinstance(fn, (Wrapper, functools.partial)):
        fn = fn.func if isinstance(fn, functools.partial) else getattr(fn, fn.HOLDS)
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


TRACED_ROWS = 2
"""Rows of the batch on which a function is traced to learn the shape of what it gives."""


@jit(static_argnums=0)
def called(apply: Any, params: Any, x: Any) -> Any:
    """The outputs [N, K] of a function of the parameters and x, compiled."""
    return in_columns(apply(params, x))


def jaxpr_of(model: Model, x: Any) -> Any:
    """The forward pass on `TRACED_ROWS` rows like x [...], as a closed jaxpr."""
    return called.trace(model.apply, model.params, _rows_like(x)).jaxpr


def _rows_like(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((TRACED_ROWS, *x.shape), jnp.dtype(x.dtype))
