"""The base class of attribution methods."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Key

from .. import check, classes, ops
from ..cpu import program, suited
from ..model import Model, reads_inputs
from ..registry import Registry
from ..shown import settings
from ..tokens import COUNTED, IDS
from ..trace import jaxprs
from ..trace.embedding import check_ids, check_removal, embeddings, of_embeddings, vocabulary
from ..trace.half import Narrow, in_float32, is_half
from ..types import pytree, static
from .hidden_layers import shown

REDUCTIONS: dict[str, Callable[..., jax.Array]] = {
    "sum": jnp.sum,
    "mean": jnp.mean,
    "max": jnp.max,
    "l1": lambda a, **axes: jnp.abs(a).sum(**axes),
    "l2": lambda a, **axes: jnp.sqrt(jnp.square(a).sum(**axes)),
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PerRow:
    """A baseline for each row, [N, ...]."""

    rows: Any


@pytree
class Explainer(ABC):
    """An attribution method: ``explainer(model, x, y, keys) -> a`` on a batch.

    x [N, ...] are the inputs, y [N] (int32) the classes to explain, keys [N] one PRNG key per
    sample. a has the shape of x: one attribution per entry. Each row of a depends only on its own
    x, y and key. An explainer is a frozen pytree and a pure function: it works inside `jax.jit`
    and `jax.vmap`, and changing a numeric field never retraces. Outside of them it is compiled
    automatically, once.

    For x in float16 or bfloat16, the model is evaluated in the dtype of x, everything else in
    float32 (including the model's operations, for methods that follow them), and a has the dtype
    of x.

    Subclasses implement `attribute`, and call the model through `scores` and `input_gradient`.

    Args:
      output: the class score to explain: "value" (the model's output for the class: the logit for
        a model of logits), "logit", "probability", "log_probability", "log_odds", or a function
        ``(outputs [K], y []) -> value []`` of the model's own outputs.
      reduce_channels: "sum", "mean", "max", "l1" (sum of magnitudes) or "l2" (root of the sum of
        squares) over the channels gives a pixel map (the channel axis is kept, with size 1); None
        keeps one attribution per entry.

    For a model of tokens, x are ids [N, T] and a [N, T] has one attribution per token. Methods that
    need gradients explain the embeddings [N, T, E]; attributions are summed over E, or reduced by
    `reduce_channels`. Their baselines are "zero", and the embeddings of the mask token ("mask"), of
    padding ("pad") or of an id. What does not count (padding, special tokens) is never changed.
    """

    on_tokens: ClassVar[str] = "embeddings"
    """What it explains of a model of tokens: "embeddings", "ids", or "" for neither."""
    over_embedding: ClassVar[str] = "sum"
    """How attributions [N, T, E] of embeddings are reduced to tokens by default."""
    baseline_of_layer: ClassVar[bool] = False
    """Whether its `baseline` is one of a layer's output, and not of the input."""
    compiles_itself: ClassVar[bool] = False
    """Whether it compiles its own programs when called outside `jax.jit`, which is then faster."""

    output: str | Callable[..., Any] = static(default="value")
    reduce_channels: str | None = static(default=None)

    def __post_init__(self) -> None:
        if not callable(self.output):
            check.one_of(self, "output", ops.OUTPUTS)
        check.one_of(self, "reduce_channels", (*REDUCTIONS, None))

    @abstractmethod
    def attribute(
        self,
        model: Model,
        x: Float[Array, "n ..."],
        y: Int[Array, " n"],
        keys: Key[Array, " n"] | None,
    ) -> Float[Array, "n ..."]:
        """The attributions of x, in the shape of x; implemented by subclasses."""

    def _repr_html_(self) -> str:
        summary = (inspect.getdoc(type(self)) or "").split("\n\n")[0].replace("``", "")
        return settings(self, f"{type(self).__name__}: {summary}")

    @final
    def __call__(self, model: Model, x: Any, y: Any, keys: Any = None) -> Float[Array, "n ..."]:
        """The attributions a [N, ...] of x [N, ...] for the classes y [N].

        `keys` [N] can be omitted for deterministic methods.

        Raises:
          ValueError: if y holds a class that the model does not have (not checked if y is traced).
        """
        name, given = type(self).__name__, y
        if not isinstance(model, Model):
            what = check.foreign(model) or type(model).__name__
            raise TypeError(f"{name}: model must be a jaxeval.Model, got {what}")
        check.one_array(model, name)
        x, y = _array(x), _array(y)
        if model.tokens is not None:
            if not jnp.issubdtype(x.dtype, jnp.integer) or x.ndim != 2:
                raise TypeError(f"{name}: x must be token ids [N, T], got {x.dtype}{list(x.shape)}")
            _check_tokens(self, model, x)
            x = x.astype(np.int32)
        elif not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"{name}: x must hold floating-point numbers, got {x.dtype}")
        if not jnp.issubdtype(y.dtype, jnp.integer):
            raise TypeError(f"{name}: y must hold class numbers (integers), got {y.dtype}")
        if x.ndim < 2 or y.shape != x.shape[:1]:
            raise ValueError(
                f"{name}: expected x [N, ...] and y [N], got the shapes {x.shape} and {y.shape}"
            )
        if keys is not None:
            dtype, shape = getattr(keys, "dtype", type(keys)), np.shape(keys)
            if not jnp.issubdtype(dtype, jax.dtypes.prng_key) or shape != y.shape:
                raise TypeError(
                    f"{name}: keys must be {len(y)} typed random keys, one per sample, such as "
                    f"jax.random.split(jax.random.key(0), {len(y)}); got {dtype}{list(shape)}"
                )
        labels = classes.concrete(given)
        if labels is not None:
            if model.host:
                model = _checked(model, labels, name)
            k = classes.classes_of(model, x)
            classes.check_classes(labels, k, name)
            ops.check_output(self.output, model.outputs, k)
        return self.unchecked(model, x, y, keys)

    def unchecked(self, model: Model, x: Any, y: Any, keys: Any) -> Float[Array, "n ..."]:
        """`__call__` without validation, so that it does not wait for the values of y."""
        if model.tokens is not None:
            return self._of_tokens(model, x, y, keys)
        model = shown(model, x, self.named_layers)
        half = is_half(x.dtype)
        if half:
            given, x = x.dtype, x.astype(jnp.float32)
            model = in_float32(model, given)
        a = self._for(model)._run(model, x, y, keys)
        a = a if self.reduce_channels is None else self._pixels(model, a)
        return a.astype(given) if half else a

    @property
    def named_layers(self) -> tuple[str, ...]:
        """The names of layers that it looks up in the traced model."""
        return ()

    def _of_tokens(self, model: Model, ids: Any, y: Any, keys: Any) -> Float[Array, "n ..."]:
        """The attributions of token ids."""
        if not self.on_tokens:
            raise TypeError(
                f"{type(self).__name__} explains real-valued inputs, and this model reads token "
                "ids: give it what jaxeval.embedded(model, ids, inputs) returns, or use one of "
                "FeatureAblation, KernelShap, Lime and ShapleyValueSampling"
            )
        assert model.tokens is not None
        if self.on_tokens == "ids":
            inputs = dict(model.inputs or {})
            inputs |= {IDS: ids, COUNTED: model.tokens.counted(ids, inputs)}
            model = dataclasses.replace(model, inputs=inputs)
            return self._for(model)._run(model, ids, y, keys)
        new, e = of_embeddings(model, jnp.asarray(ids))
        plain = dataclasses.replace(_with_baselines(self, model, new, e), reduce_channels=None)
        a = plain.unchecked(new, e, y, keys)
        if a.ndim != 3 or a.shape[:2] != ids.shape:
            return a
        return REDUCTIONS[self.reduce_channels or self.over_embedding](a, axis=2)

    def _for(self, model: Model) -> Explainer:
        """The explainer with `output` translated to the model's kind of outputs."""
        ops.check_output(self.output, model.outputs, None)
        output = ops.of_outputs(self.output, model.outputs)
        return self if output is self.output else dataclasses.replace(self, output=output)

    def _run(self, model: Model, x: Any, y: Any, keys: Any) -> jax.Array:
        if model.host or is_traced(self, model, x, y, keys):
            return self.attribute(model, jnp.asarray(x), jnp.asarray(y), keys)
        return compiled(type(self).attribute, self, suited_model(model, x), x, y, keys)

    def _pixels(self, model: Model, a: jax.Array) -> jax.Array:
        axis = model.sample_channel_axis(a.ndim - 1)
        if axis is None:
            raise ValueError(
                f"{type(self).__name__}(reduce_channels={self.reduce_channels!r}): this model's "
                f"input [N, {', '.join(map(str, a.shape[1:]))}] has no channel axis"
            )
        return REDUCTIONS[str(self.reduce_channels)](a, axis=axis + 1, keepdims=True)

    def scores(
        self, model: Model, x: Float[Array, "n ..."], y: Int[Array, " n"]
    ) -> Float[Array, " n"]:
        """The explained score of each row."""
        return self._values(model(x if model.host else computed(x)), y)

    def _values(self, z: jax.Array, y: jax.Array) -> jax.Array:
        return jax.vmap(lambda z, c: ops.value(z, c, self.output))(z, y)

    def input_gradient(
        self, model: Model, x: Float[Array, "n ..."], y: Int[Array, " n"]
    ) -> Float[Array, "n ..."]:
        """The gradient of each row's score with respect to that row."""
        no_gradients = TypeError(
            f"{type(self).__name__} needs input gradients, but this model is a host callable, "
            "which has none; use an explainer that needs only outputs (Occlusion), or a "
            "user-defined one that runs on the host"
        )
        if model.host and model.host != "jax":
            raise no_gradients
        try:
            # Rows are independent, so the gradient of the sum holds the gradient of each row.
            return jax.grad(lambda v: self._values(model(v), y).sum())(x)
        except TypeError as e:
            # A "jax" callable may define its own gradients; this one could not be traced.
            if model.host and isinstance(e.__cause__, jax.errors.TracerArrayConversionError):
                raise no_gradients from e
            raise

    def baselines(
        self, model: Model, x: Float[Array, "n ..."], b: Any, keys: Key[Array, " n"] | None
    ) -> Float[Array, "n ..."]:
        """The baseline `b` of each sample, in the shape of x."""
        if isinstance(b, PerRow):
            return jnp.broadcast_to(b.rows.astype(x.dtype), x.shape)
        if model.tokens is not None:
            removed = model.tokens.removal(b, "zero")
            return jnp.where(model.inputs[COUNTED], jnp.asarray(removed, x.dtype), x)
        if keys is None and ops.is_random(b):
            raise TypeError(needs_keys(self, f"with baseline={b!r}", len(x)))
        axis = model.sample_channel_axis(x.ndim - 1)

        def one(v: jax.Array, key: Any) -> jax.Array:
            return jnp.broadcast_to(ops.baseline(v, b, axis, key), v.shape)

        return jax.vmap(one)(x, keys)


def _check_tokens(explainer: Explainer, model: Model, ids: Any) -> None:
    """Check the ids and the baselines of an explainer called by itself, where they are known."""
    if isinstance(ids, Tracer):  # the engine has checked them
        return
    assert model.tokens is not None
    name = type(explainer).__name__
    size = vocabulary(model, jax.ShapeDtypeStruct(ids.shape[1:], np.int32))
    check_ids(ids, size, f"{name}: x")
    check_removal(name, explainer, size, model.tokens)


def _with_baselines(explainer: Any, model: Model, new: Model, e: jax.Array) -> Any:
    """The explainer, and those that it wraps, with baselines of embeddings e [N, T, E].

    Args:
      model: the model of token ids; `new` that of embeddings.
    """
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(explainer):
        value = getattr(explainer, field.name, None)
        if field.name == "baseline" and not explainer.baseline_of_layer:
            changed["baseline"] = PerRow(_baseline(value, model, new, e))
        elif isinstance(value, Explainer):
            changed[field.name] = _with_baselines(value, model, new, e)
    return dataclasses.replace(explainer, **changed) if changed else explainer


def _baseline(b: Any, model: Model, new: Model, e: jax.Array) -> jax.Array:
    """The embeddings e [N, T, E], with those of tokens that count replaced by the baseline."""
    counted, ids = new.inputs[COUNTED], new.inputs[IDS]
    assert model.tokens is not None
    if isinstance(b, str) and b == "zero":
        replaced = jnp.zeros_like(e)
    elif not isinstance(b, str) and np.ndim(b) > 0:
        replaced = jnp.broadcast_to(jnp.asarray(b, e.dtype), e.shape)
    else:
        if isinstance(b, str) and b == "delete":
            raise ValueError(
                'baseline="delete": there is no path to a deleted token: give "zero", "mask", '
                '"pad" or an id'
            )
        one = model.tokens.removal(model.tokens.pad if b == "pad" else b, default="zero")
        one = model.tokens.pad if one < 0 else one
        replaced = embeddings(model, jnp.where(counted, jnp.asarray(one, ids.dtype), ids))
    return jnp.where(counted[:, :, None], replaced, e)


EXPLAINERS = Registry("explainer", Explainer)
"""Every explainer by the name of its class; `jaxeval.register` adds one."""


def computed(v: Any) -> Any:
    """v behind an optimization barrier, so that it is computed before its use.

    Otherwise XLA may recompute a noisy or blurred input for every entry of a convolution that reads
    it. Where the CPU backend drops barriers before it fuses (jaxlib 0.10), only a program of its
    own keeps v apart.
    """
    return jax.lax.optimization_barrier(v)


def _array(v: Any) -> Any:
    """v as an array. NumPy arrays stay as they are: compiled programs take them faster."""
    return v if isinstance(v, jax.Array) or type(v) is np.ndarray else jnp.asarray(v)


def _checked(model: Model, y: np.ndarray, owner: str) -> Model:
    """A host model that checks the classes y at its first output, when K becomes known."""

    def apply(*given: Any) -> Any:
        z = model.apply(*given)
        n_outputs = np.shape(z)[1] if np.ndim(z) == 2 else 1
        classes.check_classes(y, ops.n_classes(n_outputs, model.outputs), owner)
        return z

    apply.reads_inputs = reads_inputs(model.apply)  # type: ignore[attr-defined]
    return dataclasses.replace(model, apply=apply)


def suited_model(model: Model, x: Any, dtype: Any = None) -> Model:
    if isinstance(model.apply, Narrow):
        own = dataclasses.replace(model, apply=model.apply.fn)
        return in_float32(suited_model(own, x, model.apply.dtype), model.apply.dtype)
    dtype = jax.dtypes.canonicalize_dtype(x.dtype) if dtype is None else dtype
    spec = jax.ShapeDtypeStruct(x.shape[1:], dtype)
    if isinstance(x, jax.Array):
        return suited(model, spec, next(iter(x.devices())).platform)
    config: Any = jax.config
    device = config.jax_default_device or jax.default_backend()
    return suited(model, spec, getattr(device, "platform", device))


def is_traced(*given: Any) -> bool:
    if not jaxprs.transformed():
        return False
    if any(isinstance(v, Tracer) for v in jax.tree.leaves(given)):
        return True
    # Inside jit, results of constants are tracers, too; inside vmap, only mapped values are.
    return isinstance(jax.lax.neg(_constant()), Tracer)


@functools.cache
def _constant() -> jax.Array:
    with jax.ensure_compile_time_eval():
        return jnp.zeros(())


@program(static_argnums=0)
def compiled(part: Callable[..., Any], *given: Any) -> Any:
    return part(*given)


def needs_keys(owner: Explainer, why: str, n: int) -> str:
    """The error message for a random explainer that is called without keys."""
    return (
        f"{type(owner).__name__} {why} is random: give it keys, one per sample, such as "
        f"jax.random.split(jax.random.key(0), {n})"
    )
