"""Attribution by gradients between the input and random samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import check
from ..classes import concrete
from ..model import Model
from ..ops import draw
from ..types import pytree, static
from .background import background, check_background
from .base import needs_keys
from .noisy import noisy_rows
from .stepped import SteppedExplainer, rows


@pytree
class ExpectedGradients(SteppedExplainer):
    """Integrated gradients, averaged over random baselines and interpolation points.

    ``a = 1/S Σ_s (x - b_s) · ∂f_y(b_s + α_s (x - b_s))/∂x`` with ``b_s`` drawn from `background`
    and ``α_s ~ U[0, 1]``; signed, in the shape of x. Attributions sum to ``f_y(x) - E f_y(b)`` in
    expectation.

    Erion et al. 2021, "Improving performance of deep learning models with axiomatic attribution
    priors and expected gradients".

    Args:
      background: samples [B, ...], each with the shape of one sample; None: one sample of zeros;
        "background": the samples given as `background=` of `jaxeval.evaluate`; "background mean":
        their mean.
      n_samples: S; each costs one gradient of the batch.
      draws: {"background": numbers of rows of `background`, "alpha": α}, each [S], or [N, S] with
        draws for each sample, used instead of random ones; S is then theirs, and no keys are
        needed.

    >>> import jax, jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: x @ jnp.array([[1.0], [-2.0]]), channel_axis=None)
    >>> e = ExpectedGradients(background=jnp.ones((3, 2)), n_samples=4)
    >>> e(net, jnp.array([[2.0, 3.0]]), jnp.array([0]), jax.random.split(jax.random.key(0), 1))
    Array([[ 1., -4.]], dtype=float32)
    """

    on_tokens: ClassVar[str] = ""
    DRAWN: ClassVar[tuple[str, ...]] = ("background", "alpha")
    """The names of the draws."""

    background: Any = None
    n_samples: int = static(default=50)
    draws: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check.integer(self, "n_samples")
        check_background(self)
        if self.draws is None:
            return
        name = type(self).__name__
        if not isinstance(self.draws, Mapping) or set(self.draws) != set(self.DRAWN):
            given = list(self.draws) if isinstance(self.draws, Mapping) else self.draws
            wanted = ", ".join(f'"{k}": ...' for k in self.DRAWN)
            raise TypeError(f"{name}(draws=...) must be {{{wanted}}}, got {given!r}")
        # Of lists, each number would be a leaf of its own.
        given = {k: v if isinstance(v, jax.Array) else np.asarray(v) for k, v in self.draws.items()}
        object.__setattr__(self, "draws", given)
        for what in self.DRAWN[:2]:
            if given[what].ndim not in (1, 2) or not given[what].size:
                raise ValueError(
                    f"{name}(draws=...): {what!r} must have the shape [S] or [N, S], got "
                    f"{list(given[what].shape)}"
                )
        self._check_numbers(given["background"])

    def _check_numbers(self, drawn: Any) -> None:
        """Check that numbers of rows are whole, and below the number of rows where it is known."""
        name, drawn = type(self).__name__, concrete(drawn)
        if drawn is None:
            return
        if drawn.dtype.kind not in "iu":
            raise TypeError(
                f"{name}(draws=...): 'background' must be whole numbers, the rows of `background`, "
                f"got {drawn.dtype}"
            )
        if isinstance(self.background, str):
            return
        n = 1 if self.background is None else np.shape(self.background)[0]
        if drawn.min() < 0 or drawn.max() >= n:
            wrong = drawn.min() if drawn.min() < 0 else drawn.max()
            raise ValueError(
                f"{name}(draws=...): 'background' has the number {wrong}, and `background` the "
                f"rows 0 to {n - 1}"
            )

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_samples if self.draws is None else np.shape(self.draws["alpha"])[-1]

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> Any:
        if self.draws is None and keys is None:
            raise TypeError(needs_keys(self, "without draws", len(x)))
        return background(self, x), self.spread(model, x), self._given(x)

    def _given(self, x: jax.Array) -> Any:
        """The given draws of each sample, [N, S, ...]; None if they are random."""
        if self.draws is None:
            return None
        s, given = np.shape(self.draws["alpha"])[-1], {}
        for name, draws in self.draws.items():
            one = (s, *(x.shape[1:] if name == "noise" else ()))
            if np.shape(draws) not in (one, (len(x), *one)):
                raise ValueError(
                    f"{type(self).__name__}(draws=...): {name!r} must have the shape {list(one)}, "
                    f"or {[len(x), *one]} for {len(x)} samples, got {list(np.shape(draws))}. "
                    "Draws of each sample go with a call of the explainer itself, "
                    "explainer(model, x, y), whose maps `evaluate` takes"
                )
            dtype = jnp.int32 if name == "background" else x.dtype
            given[name] = jnp.broadcast_to(jnp.asarray(draws, dtype), (len(x), *one))
        return given

    def spread(self, model: Model, x: jax.Array) -> Any:
        """The standard deviation of the noise on x; None for no noise."""
        return None

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        _, way, at = self.drawn(x, keys, state, i)
        return way, at

    def drawn(self, x: jax.Array, keys: Any, state: Any, i: Any) -> Any:
        """The i-th baselines, the ways from them to the (noisy) inputs, and a point of each way."""
        samples, spread, given = rows(state[0]), state[1], state[2]
        if given is not None:
            b, alpha = samples[given["background"][:, i]], given["alpha"][:, i]
            noise = rows(given["noise"][:, i]) * rows(spread) if "noise" in given else 0
            way = rows(x) + noise - b
            return b, way, b + alpha[:, None] * way

        def one(key: jax.Array) -> Any:
            key = draw.fold_in(key, i)
            which, where, noise = (draw.fold_in(key, k) for k in range(3))
            b = samples[jax.random.randint(which, (), 0, len(samples))]
            return b, jax.random.uniform(where, (), jnp.float32).astype(x.dtype), noise

        b, alpha, noise = jax.vmap(one)(keys)
        way = (rows(x) if spread is None else noisy_rows(x, spread, noise, i)) - b
        return b, way, b + alpha[:, None] * way

    def step(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> jax.Array:
        _, ready = state
        way, at = (v.reshape(x.shape) for v in ready)
        return way * self.input_gradient(model, at, y)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: jax.Array
    ) -> jax.Array:
        return total / self.steps(model, x)
