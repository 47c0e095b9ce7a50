"""Attribution methods that call the model in many steps."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp

from ..cpu import program
from ..model import Model
from ..types import canonical, pytree
from .base import Explainer, compiled, computed, is_traced, suited_model

AHEAD = 2**20
"""Numbers that `ready` computes at a time: a few megabytes, enough work for all CPU cores."""


@pytree
class SteppedExplainer(Explainer):
    """A method that evaluates the model in many steps and sums the results.

    ``a = finish(state, Σ_i step(state, i))`` over i = 0 .. steps - 1, with ``state = prepare()``,
    any pytree. Each step evaluates N rows, so memory does not grow with the number of steps: it
    holds one step, plus the results of `ready` (at most `AHEAD` numbers, or those of one step).
    Sums are in float32 or float64. A method whose steps depend on each other implements `add`
    instead of `step`, with any pytree as the carry in place of the sum.

    Inside `jax.jit` or `jax.vmap`, the steps are a compiled loop. Outside, a Python loop calls one
    compiled program per step. This is much faster on CPUs, where XLA uses its fast convolutions
    only at the top level of a program; inside a compiled loop they can be tens of times slower.
    Computations that should not be fused with the model go into `ready`, a separate program, which
    is evaluated for several steps at once if they are small.
    """

    compiles_itself: ClassVar[bool] = True
    ready_asks: ClassVar[bool] = False
    """Whether `ready` evaluates the model or its gradient."""

    @abstractmethod
    def steps(self, model: Model, x: jax.Array) -> int:
        """The number of steps; may depend only on static fields and shapes."""

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        """Values shared by all steps, computed once."""
        return None

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        """Values computed before step i, such as noise; `step` and `add` get ``(state, ready)``.

        In a single program, XLA's CPU backend would fuse the noise with the layer that reads it and
        recompute it for every entry of a convolution's window.
        """
        raise NotImplementedError

    def ahead(self, model: Model, x: jax.Array) -> int:
        """The number of steps that `ready` is computed for at once; 1 if it uses `total`."""
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
        """`ready` for `width` steps from i on, stacked (or one result, if all are equal)."""
        steps = i + jnp.arange(width)
        return jax.vmap(lambda i: self.ready(total, model, x, y, keys, state, i))(steps)

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        """The contribution of step i to the sum, in the shape of x."""
        raise NotImplementedError(f"{type(self).__name__} has neither step() nor add()")

    def add(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        """The new sum after step i."""
        return total + self.step(model, x, y, keys, state, i)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: Any
    ) -> jax.Array:
        """The attributions, given the sum over all steps."""
        return total

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> Any:
        """The initial sum: usually zeros in the shape of x. Must not alias arrays of `state`."""
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
        return self.finish(model, x, y, keys, state, _as(real(x.dtype), total))

    def _around_host(
        self, model: Model, x: Any, y: Any, keys: Any, state: Any, total: Any, n: int
    ) -> jax.Array:
        """The steps for a host model, called outside the compiled programs of the other parts."""
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
        total = _as(real(x.dtype), total)
        return compiled(type(self).finish, me, shown, x, y, keys, state, total)

    def _run(self, model: Model, x: Any, y: Any, keys: Any) -> jax.Array:
        x, y = jnp.asarray(x), jnp.asarray(y)
        if model.host or is_traced(self, model, x, y, keys):
            return self.attribute(model, x, y, keys)
        # Transfer host arrays to the device once, not in every step.
        given = (*canonical((self, suited_model(model, x))), x, y, keys)
        state = compiled(type(self).prepare, *given)
        total = given[0].zero(*given[1:], state)
        n, now = self.steps(model, x), None
        width = self.ahead(model, x) if self._readies else 0
        for i in range(n):
            if width and i % width == 0:
                now = _compiled_ready(width, total, *given, state, i)
            total = _compiled_add(width, total, given[0], given[1:], state, now, i)
        return compiled(type(self).finish, *given, state, _as(real(x.dtype), total))

    @property
    def _readies(self) -> bool:
        return type(self).ready is not SteppedExplainer.ready


def evenly(steps: int, size: int) -> int:
    """How many steps, of `size` numbers each, to compute at once: equal chunks within `AHEAD`."""
    most = max(1, AHEAD // max(1, size))
    return math.ceil(steps / math.ceil(steps / most))


def real(dtype: Any) -> Any:
    """The dtype of maps: float32 for token ids."""
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.dtype(jnp.float32)


def rows(x: jax.Array) -> jax.Array:
    """x [N, ...] as [N, D]: on CPUs, loops over the short rows of images take twice as long."""
    return x.reshape(len(x), -1)


def _on_host(params: Any, x: Any) -> Any:
    raise TypeError("ready() calls a host model: set ready_asks = True in the explainer's class")


def _as(dtype: Any, total: Any) -> Any:
    return jax.tree.map(lambda v: v.astype(dtype), total)


@program(static_argnums=0)
def _compiled_ready(width: int, total: Any, explainer: SteppedExplainer, *given: Any) -> Any:
    """The results of `ready` for `width` steps, stacked."""
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
