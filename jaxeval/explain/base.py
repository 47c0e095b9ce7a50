"""What every attribution method is made of."""

from __future__ import annotations

import dataclasses
import functools
import math
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
from ..model import Model
from ..registry import Registry
from ..trace import jaxprs
from ..trace.half import Narrow, in_float32, is_half
from ..types import canonical, pytree, static

AHEAD = 2**20
"""Numbers that are made ready at once: a few megabytes, and enough for all cores to share."""
REDUCTIONS: dict[str, Callable[..., jax.Array]] = {
    "sum": jnp.sum,
    "mean": jnp.mean,
    "max": jnp.max,
}


@pytree
class Explainer(ABC):
    """An attribution method: ``explainer(model, x, y, keys) -> a`` on a batch.

    x [N, ...] inputs, y [N] int32 the classes to explain, keys [N] one JAX random key per sample.
    a has the shape of x: one attribution for each entry. A row of a depends on its own x, y and
    key only. A method is a frozen pytree and pure: it goes through `jax.jit` and `jax.vmap`, and
    a change of a number in it never retraces. Outside of them it compiles itself, once.

    Of x in float16 or bfloat16, the model is asked in the type of x, all else is computed in
    float32 (methods that follow the model's operations compute those in float32, too), and a has
    the type of x.

    A subclass writes `attribute`, and reaches the model through `scores` and `input_gradient`.

    Args:
      output: the score of a class that is explained: "value" is the model's own number (the logit
        of a model of logits), others are "logit", "probability", "log_probability", "log_odds",
        or a function ``(outputs [K], y []) -> value []`` of the model's own outputs.
      reduce_channels: "sum", "mean" or "max" over the channels makes a pixel map (the channel
        axis stays, with size 1); None leaves one attribution per entry.
    """

    compiles_itself: ClassVar[bool] = False
    """Outside `jax.jit` it makes compiled programs of its own, which are faster there."""

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
        """The attributions of x, in the shape of x: what a subclass writes."""

    @final
    def __call__(self, model: Model, x: Any, y: Any, keys: Any = None) -> Float[Array, "n ..."]:
        """The attributions a [N, ...] of x [N, ...] for the classes y [N].

        `keys` [N] may be left out where nothing is random.

        Raises:
          ValueError: for a class y that the model does not have, where y is not traced.
        """
        name, given = type(self).__name__, y
        if not isinstance(model, Model):
            what = check.foreign(model) or type(model).__name__
            raise TypeError(f"{name}: model must be a jaxeval.Model, got {what}")
        check.one_array(model, name)
        x, y = _array(x), _array(y)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"{name}: x must hold floating-point numbers, got {x.dtype}")
        if not jnp.issubdtype(y.dtype, jnp.integer):
            raise TypeError(f"{name}: y must hold class numbers (integers), got {y.dtype}")
        if x.ndim < 2 or y.shape != x.shape[:1]:
            raise ValueError(
                f"{name}: wanted x [N, ...] and y [N], got the shapes {x.shape} and {y.shape}"
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
        """The same for arrays that are known to fit: it does not wait for the values of y."""
        half = is_half(x.dtype)
        if half:
            given, x = x.dtype, x.astype(jnp.float32)
            model = in_float32(model, given)
        a = self._for(model)._run(model, x, y, keys)
        a = a if self.reduce_channels is None else self._pixels(model, a)
        return a.astype(given) if half else a

    def _for(self, model: Model) -> Explainer:
        """The method with its `output` said of the model's own outputs, whatever they are."""
        ops.check_output(self.output, model.outputs, None)
        output = ops.of_outputs(self.output, model.outputs)
        return self if output is self.output else dataclasses.replace(self, output=output)

    def _run(self, model: Model, x: Any, y: Any, keys: Any) -> jax.Array:
        if model.host or _is_traced(self, model, x, y, keys):
            return self.attribute(model, jnp.asarray(x), jnp.asarray(y), keys)
        return _compiled(type(self).attribute, self, _suited(model, x), x, y, keys)

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
        """The explained score of every row."""
        return self._values(model(x if model.host else computed(x)), y)

    def _values(self, z: jax.Array, y: jax.Array) -> jax.Array:
        return jax.vmap(lambda z, c: ops.value(z, c, self.output))(z, y)

    def input_gradient(
        self, model: Model, x: Float[Array, "n ..."], y: Int[Array, " n"]
    ) -> Float[Array, "n ..."]:
        """The gradient of every row's score with respect to that row."""
        no_gradients = TypeError(
            f"{type(self).__name__} needs input gradients, and this model is a host callable, "
            "which has none; use an explainer that asks for outputs only (Occlusion), or one "
            "of your own that answers on the host"
        )
        if model.host and model.host != "jax":
            raise no_gradients
        try:
            # Rows do not see each other, so the gradient of the sum is the gradient of each.
            return jax.grad(lambda v: self._values(model(v), y).sum())(x)
        except TypeError as e:
            # A "jax" callable may have gradients of its own; this one could not be traced.
            if model.host and isinstance(e.__cause__, jax.errors.TracerArrayConversionError):
                raise no_gradients from e
            raise

    def baselines(
        self, model: Model, x: Float[Array, "n ..."], b: Any, keys: Key[Array, " n"] | None
    ) -> Float[Array, "n ..."]:
        """The baseline `b` of every sample, in the shape of x."""
        if keys is None and ops.is_random(b):
            raise TypeError(needs_keys(self, f"with baseline={b!r}", len(x)))
        axis = model.sample_channel_axis(x.ndim - 1)

        def one(v: jax.Array, key: Any) -> jax.Array:
            return jnp.broadcast_to(ops.baseline(v, b, axis, key), v.shape)

        return jax.vmap(one)(x, keys)


EXPLAINERS = Registry("explainer", Explainer)
"""Every explainer by the name of its class; `jaxeval.register` adds one."""


@pytree
class SteppedExplainer(Explainer):
    """A method that asks the model in many steps and sums what it learns.

    ``a = finish(state, Σ_i step(state, i))`` over i = 0 .. steps - 1, with
    ``state = prepare()``, any pytree. Every step asks about N rows, whatever the number of steps,
    so memory is that of one step, and of what is `ready` for several: at most `AHEAD` numbers, or
    one step's. Sums are kept in float32 at least. A method whose steps build on each other writes
    `add` instead of `step`, and what it carries along takes the place of the sum.

    Inside `jax.jit` or `jax.vmap` the steps are a compiled loop. Outside they are one compiled
    program, called from Python, and that is the way to go on a CPU: there XLA gives fast
    convolutions to the top level of a program only, and a convolution inside a compiled loop can
    be tens of times slower. What a step should not compute along with the model is written as
    `ready`, a program of its own, which serves several steps at once where they are small.
    """

    compiles_itself: ClassVar[bool] = True
    ready_asks: ClassVar[bool] = False
    """What `ready` makes takes answers or gradients of the model."""

    @abstractmethod
    def steps(self, model: Model, x: jax.Array) -> int:
        """How many steps there are; depends on static fields and on shapes."""

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        """What all steps need and is worth computing once."""
        return None

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        """What is computed before step i, such as noise; step and add get ``(state, ready)``.

        Within one program, XLA's CPU backend would fuse noise with the layer that reads it, and
        draw it anew for every entry of a convolution's window or every pixel that a weight serves.
        """
        raise NotImplementedError

    def ahead(self, model: Model, x: jax.Array) -> int:
        """For how many steps `ready` is computed at once; 1 where it looks at the sum."""
        return evenly(self.steps(model, x), x.size)

    def ready_ahead(
        self,
        width: int,
        total: Any,
        model: Model,
        x: jax.Array,
        y: jax.Array,
        keys: Any,
        state: Any,
        i: Any,
    ) -> Any:
        """`ready` of `width` steps from i on, stacked; or of one, where it is the same for all."""
        steps = i + jnp.arange(width)
        return jax.vmap(lambda i: self.ready(total, model, x, y, keys, state, i))(steps)

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        """What step i adds to the sum, in the shape of x."""
        raise NotImplementedError(f"{type(self).__name__} has neither step() nor add()")

    def add(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        """The sum with what step i adds to it."""
        return total + self.step(model, x, y, keys, state, i)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: Any
    ) -> jax.Array:
        """The attributions, from the sum of all steps."""
        return total

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> Any:
        """What the sum starts from: zeros, as a rule in the shape of x; never arrays of `state`."""
        return jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32))

    @final
    def attribute(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        state = self.prepare(model, x, y, keys)

        total, n = self.zero(model, x, y, keys, state), self.steps(model, x)
        if model.host:
            return self._around_host(model, x, y, keys, state, total, n)

        def add(i: Any, total: Any) -> Any:
            given, now = (model, x, y, keys), state
            if self._readies:
                now = state, computed(self.ready(total, *given, state, i))
            return self.add(total, *given, now, i)

        total = jax.lax.fori_loop(0, n, add, total)
        return self.finish(model, x, y, keys, state, _as(x.dtype, total))

    def _around_host(
        self, model: Model, x: Any, y: Any, keys: Any, state: Any, total: Any, n: int
    ) -> jax.Array:
        """The steps one by one: a host model answers outside compiled programs, in which the rest
        is."""
        shown, me = (
            Model(_on_host, host=model.host, channel_axis=model.channel_axis),
            canonical(self),
        )
        for i in range(n):
            now = state
            if self._readies:
                if self.ready_asks:
                    ready = self.ready(total, model, x, y, keys, state, i)
                else:
                    ready = _compiled_ready(1, total, me, shown, x, y, keys, state, i)
                now = state, ready
            total = self.add(total, model, x, y, keys, now, i)
        total = _as(x.dtype, total)
        return _compiled(type(self).finish, me, shown, x, y, keys, state, total)

    def _run(self, model: Model, x: Any, y: Any, keys: Any) -> jax.Array:
        x, y = jnp.asarray(x), jnp.asarray(y)
        if model.host or _is_traced(self, model, x, y, keys):
            return self.attribute(model, x, y, keys)
        # Arrays of the host go to the device once, not once a step.
        given = (*canonical((self, _suited(model, x))), x, y, keys)
        state = _compiled(type(self).prepare, *given)
        total = given[0].zero(*given[1:], state)
        n, now = self.steps(model, x), None
        width = self.ahead(model, x) if self._readies else 0
        for i in range(n):
            if width and i % width == 0:
                now = _compiled_ready(width, total, *given, state, i)
            total = _compiled_add(width, total, given[0], given[1:], state, now, i)
        return _compiled(type(self).finish, *given, state, _as(x.dtype, total))

    @property
    def _readies(self) -> bool:
        return type(self).ready is not SteppedExplainer.ready


def evenly(steps: int, size: int) -> int:
    """How many steps of `size` numbers each are made ready at once, so that none is to spare."""
    most = max(1, AHEAD // max(1, size))
    return math.ceil(steps / math.ceil(steps / most))


def rows(x: jax.Array) -> jax.Array:
    """x [N, ...] as [N, D]: a loop over an image's short rows takes a CPU twice as long."""
    return x.reshape(len(x), -1)


def computed(v: Any) -> Any:
    """The same, computed before what uses it.

    XLA's CPU backend would compute a noisy or blurred input anew for every entry of a convolution
    that reads it.
    """
    return jax.lax.optimization_barrier(v)


def _array(v: Any) -> Any:
    """An array of JAX or, as it is, of NumPy: a compiled program takes it faster than asarray."""
    return v if isinstance(v, jax.Array) or type(v) is np.ndarray else jnp.asarray(v)


def _checked(model: Model, y: np.ndarray, owner: str) -> Model:
    """A host model whose answers are compared with the classes y: before, K is not known."""

    def apply(params: Any, x: Any) -> Any:
        z = model.apply(params, x)
        n_outputs = np.shape(z)[1] if np.ndim(z) == 2 else 1
        classes.check_classes(y, ops.n_classes(n_outputs, model.outputs), owner)
        return z

    return dataclasses.replace(model, apply=apply)


def _suited(model: Model, x: Any, dtype: Any = None) -> Model:
    if isinstance(model.apply, Narrow):
        own = dataclasses.replace(model, apply=model.apply.fn)
        return in_float32(_suited(own, x, model.apply.dtype), model.apply.dtype)
    try:
        dtype = jax.dtypes.canonicalize_dtype(x.dtype) if dtype is None else dtype
        spec = jax.ShapeDtypeStruct(x.shape[1:], dtype)
        if isinstance(x, jax.Array):
            return suited(model, spec, next(iter(x.devices())).platform)
        config: Any = jax.config
        device = config.jax_default_device or jax.default_backend()
        return suited(model, spec, getattr(device, "platform", device))
    except Exception:  # what is wrong with the model shows where it is asked, if it is at all
        return model


def _is_traced(*given: Any) -> bool:
    if not jaxprs.transformed():
        return False
    if any(isinstance(v, Tracer) for v in jax.tree.leaves(given)):
        return True
    # Inside jit even what is computed of a constant is a tracer; inside vmap only what is mapped.
    return isinstance(jax.lax.neg(_constant()), Tracer)


@functools.cache
def _constant() -> jax.Array:
    with jax.ensure_compile_time_eval():
        return jnp.zeros(())


def _on_host(params: Any, x: Any) -> Any:
    raise TypeError("ready() asks a host model: its explainer must say so, with ready_asks = True")


@program(static_argnums=0)
def _compiled(part: Callable[..., Any], *given: Any) -> Any:
    return part(*given)


def _as(dtype: Any, total: Any) -> Any:
    return jax.tree.map(lambda v: v.astype(dtype), total)


@program(static_argnums=0)
def _compiled_ready(width: int, total: Any, explainer: SteppedExplainer, *given: Any) -> Any:
    """What is ready for `width` steps, stacked."""
    if width == 1:
        return explainer.ready(total, *given)
    return explainer.ready_ahead(width, total, *given)


@program(static_argnums=0, donate_argnums=1)
def _compiled_add(
    width: int, total: Any, explainer: SteppedExplainer, given: Any, state: Any, ready: Any, i: Any
) -> Any:
    if width > 1:
        ready = computed(jax.tree.map(lambda v: v[i % len(v)], ready))
    model, x, y, keys = given
    now = (state, ready) if width else state
    return explainer.add(total, model, x, y, keys, now, i)


def needs_keys(owner: Explainer, why: str, n: int) -> str:
    return (
        f"{type(owner).__name__} {why} is random: give it keys, one per sample, such as "
        f"jax.random.split(jax.random.key(0), {n})"
    )
