"""Attribution by the smooth mask of a given area that keeps (or removes) the score best."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import check, ops
from ..model import Model
from ..types import pytree, static
from .smooth_masks import Masks
from .stepped import SteppedExplainer

SIDE, STEP, SIGMA, BLUR = 224, 7, 21.0, 20.0
"""The side of an image, and the settings for that size in the paper's code."""
GROWTH, MOMENTUM = 1.0035, 0.9
TIE = 2.0**-14
"""Entries of a mask that are closer count as equal."""
PERTURBATIONS = ("blur", "fade")
VARIANTS = {"preserve": (1,), "delete": (-1,), "dual": (1, -1)}
"""Signs of the scores of the image within the mask (1) and outside of it (-1)."""
REWARDS = ("score", "contrastive")


_masks = functools.lru_cache(maxsize=32)(Masks)


@dataclasses.dataclass(frozen=True)
class Contrast:
    """The score of the class less the largest of the other classes' scores.

    Attributes:
      output: what a class's score is; see `jaxeval.ops.value`.
      n_classes: the number of classes.
    """

    output: Any
    n_classes: int

    def __call__(self, z: jax.Array, y: jax.Array) -> jax.Array:
        number = jnp.arange(self.n_classes)
        scores = jax.vmap(lambda c: ops.value(z, c, self.output))(number)
        return scores[y] - jnp.where(number == y, -jnp.inf, scores).max()


@pytree
class ExtremalPerturbation(SteppedExplainer):
    """The smooth mask of a given area for which the perturbed image has the largest score.

    ``m = argmax f_y(m ⊗ x) - λ_t mean((sort(m) - r_a)²)`` by gradient ascent with momentum, where
    ``m ⊗ x`` blurs x where m is below 1, and r_a is 1 for a share a of the pixels and 0 for the
    others. In [0, 1]; the map has one channel, and is the mean over the masks of several areas.
    One gradient of the batch for each step and area.

    Fong et al. 2019, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks". As
    in the authors' code (TorchRay), with ``jitter=True, step_size=7, sigma=21.0, max_blur=20.0``,
    whatever the size of the image, but for equal entries of the mask, which share what r_a is for
    them (there, their order is arbitrary); ``λ_t = 300 · 1.0035^t``. The area is that of the mask
    with a margin of σ around the image, so that within the image it is larger or smaller.

    Args:
      areas: a, one share or several.
      n_steps: number of steps of the ascent for each area.
      perturbation: "blur" with σ from `max_blur` (m = 0) to 0 (m = 1), where the image is 0 beyond
        its border; or "fade" to 0.
      variant: "preserve" as above; "delete" looks for the mask without which the score is least,
        ``-f_y((1 - m) ⊗ x)``; "dual" for both.
      reward: "score", or "contrastive": the score of the class less the largest of the others.
      step_size: pixels between the points of the grid on which masks are parametrised; None: 7 for
        images of 224 x 224, and in proportion for others.
      sigma: the radius of a mask's smoothness; None: 21 pixels in proportion, but at least 1.
      max_blur: the largest σ of the blur; None: 20 pixels in proportion.
      n_levels: number of blurred images, between which is interpolated.
      jitter: whether every second step mirrors the image, which makes another class of some.
      learning_rate: of the ascent.
      weight: λ_0.

    >>> import jax.numpy as jnp
    >>> from jaxeval import Model
    >>> net = Model(lambda p, x: x[:, :, 2:6, 2:6].sum((1, 2, 3))[:, None])
    >>> e = ExtremalPerturbation(areas=0.2, n_steps=40, perturbation="fade", learning_rate=0.1)
    >>> a = e(net, jnp.ones((1, 1, 16, 16)), jnp.array([0]))
    >>> bool(a[0, 0, 4, 4] > a[0, 0, 12, 12])
    True
    """

    areas: Any = (0.1,)
    n_steps: int = static(default=800)
    perturbation: str = static(default="blur")
    variant: str = static(default="preserve")
    reward: str = static(default="score")
    step_size: int | None = static(default=None)
    sigma: float | None = static(default=None)
    max_blur: float | None = static(default=None)
    n_levels: int = static(default=8)
    jitter: bool = static(default=False)
    learning_rate: Any = 0.01
    weight: Any = 300.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.areas, (tuple, list)):
            object.__setattr__(self, "areas", (self.areas,))
        object.__setattr__(self, "areas", tuple(self.areas))
        if not self.areas:
            raise ValueError(f"{type(self).__name__}(areas=...) must have at least one share")
        check.reals(self, "areas", least=0, most=1)
        check.integer(self, "n_steps")
        check.integer(self, "n_levels", least=2)
        check.integer(self, "step_size", optional=True)
        for name in ("sigma", "max_blur"):
            if getattr(self, name) is not None:
                check.real(self, name, above=0)
        check.one_of(self, "perturbation", PERTURBATIONS)
        check.one_of(self, "variant", VARIANTS)
        check.one_of(self, "reward", REWARDS)
        check.real(self, "learning_rate", above=0)
        check.real(self, "weight", least=0)

    def steps(self, model: Model, x: jax.Array) -> int:
        return self.n_steps * len(self.areas)

    def space(self, model: Model, x: jax.Array) -> tuple[int, int]:
        """Height and width of an image."""
        channel = model.sample_channel_axis(x.ndim - 1)
        space = [n for i, n in enumerate(x.shape[1:]) if i != channel]
        if len(space) != 2:
            raise ValueError(
                f"{type(self).__name__} needs images, and this model's input is "
                f"[N, {', '.join(map(str, x.shape[1:]))}]"
            )
        return space[0], space[1]

    def masks(self, model: Model, x: jax.Array) -> Masks:
        space = self.space(model, x)
        ratio = math.sqrt(space[0] * space[1]) / SIDE
        step = max(1, round(STEP * ratio)) if self.step_size is None else self.step_size
        sigma = max(1.0, SIGMA * ratio) if self.sigma is None else float(self.sigma)
        if sigma < max(1, step / 2):
            raise ValueError(
                f"{type(self).__name__}(step_size={step}, sigma={sigma:g}): the points of the mask "
                f"would not reach all pixels; sigma must be at least {max(1, step / 2):g}"
            )
        masks = _masks(space, step, sigma)
        if any(masks.margin + n > whole for n, whole in zip(space, masks.size, strict=True)):
            raise ValueError(
                f"{type(self).__name__}(step_size={step}, sigma={sigma:g}): the mask would be "
                f"smaller than images {list(space)}; a sigma that is a multiple of step_size fits, "
                f"such as {step * max(1, round(sigma / step))}"
            )
        return masks

    def prepare(self, model: Model, x: jax.Array, y: jax.Array, keys: Any) -> jax.Array:
        """The images [L, N, ...] from the most perturbed to x itself."""
        space = self.space(model, x)
        levels = np.linspace(0, 1, self.n_levels)
        if self.perturbation == "fade":
            return jnp.stack([x * level for level in levels])
        channel = model.sample_channel_axis(x.ndim - 1)
        axes = [i for i in range(1, x.ndim) if i - 1 != channel]
        most = BLUR * math.sqrt(space[0] * space[1]) / SIDE
        most = most if self.max_blur is None else float(self.max_blur)
        return jnp.stack([blurred(x, axes, (1 - level) * most) for level in levels])

    def zero(self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any) -> Any:
        """Parameters, their velocity, the mask of the last step, and the sum of final masks."""
        dtype, masks = jnp.promote_types(x.dtype, jnp.float32), self.masks(model, x)
        p = jnp.ones((len(x), *masks.grid), dtype)
        image = jnp.zeros((len(x), *masks.space), dtype)
        return p, jnp.zeros_like(p), jnp.zeros_like(image), image

    def add(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        (p, velocity, _, whole), masks, n = total, self.masks(model, x), self.n_steps
        i = jnp.asarray(i)  # a number that JAX knows would be compiled into each step
        t, area = i % n, jnp.stack([jnp.float32(a) for a in self.areas])[i // n]
        p = jnp.where(t == 0, 1, p)
        full, back = masks(p)
        mask = masks.inner(full)
        change = self.gained(model, state, y, mask, t)
        bound = self.bounded(full, area) * self.weight * jnp.power(GROWTH, t)
        ascent = back(masks.outer(change.astype(full.dtype)) + bound.astype(full.dtype))
        velocity = jnp.where(t == 0, ascent, MOMENTUM * velocity + (1 - MOMENTUM) * ascent)
        p = jnp.clip(p + jnp.asarray(self.learning_rate, p.dtype) * velocity, 0, 1)
        return p, velocity, mask, whole + jnp.where(t == n - 1, mask, 0)

    def bounded(self, full: jax.Array, area: Any) -> jax.Array:
        """The gradient of ``-mean((sort(m) - r)²)`` for masks m with their margins.

        Entries within `TIE` of the least that r keeps share what r is for them: the order of equal
        entries is arbitrary.
        """

        def one(m: jax.Array) -> jax.Array:
            zeros = jnp.floor(m.size * (1 - area) + 0.01).astype(jnp.int32)
            kept = ops.order_statistic(m.ravel(), jnp.minimum(zeros, m.size - 1))
            below, above = m < kept - TIE, m > kept + TIE
            tied = m.size - below.sum() - above.sum()
            share = (m.size - above.sum() - zeros) / tied
            return -2 / m.size * (m - jnp.where(below, 0, jnp.where(above, 1, share)))

        return jax.vmap(one)(full)

    def gained(
        self, model: Model, levels: jax.Array, y: jax.Array, mask: jax.Array, t: Any
    ) -> jax.Array:
        """The gradient of the reward with respect to the masks [N, H, W]."""
        e = self
        if self.reward == "contrastive":
            k = model.n_classes(jax.ShapeDtypeStruct(levels.shape[2:], levels.dtype))
            if k < 2:
                raise ValueError(
                    f'{type(self).__name__}(reward="contrastive") compares classes, and this model '
                    'has one output: reward="score"'
                )
            e = dataclasses.replace(self, output=Contrast(self.output, k))
        channel = model.sample_channel_axis(levels.ndim - 2)
        wide = levels.ndim - 2 if channel != levels.ndim - 3 else levels.ndim - 3
        mirror = jnp.asarray(self.jitter) & (t % 2 == 0)

        def turned(v: jax.Array) -> jax.Array:
            return jnp.where(mirror, jnp.flip(v, wide), v) if self.jitter else v

        def image(mask: jax.Array, sign: int) -> jax.Array:
            mask = mask if sign > 0 else 1 - mask
            mask = mask if channel is None else jnp.expand_dims(mask, channel + 1)
            return turned(between(levels, mask.astype(levels.dtype)))

        total = jnp.zeros_like(mask)
        for sign in VARIANTS[self.variant]:
            shown, back = jax.vjp(lambda m, s=sign: image(m, s), mask)
            total = total + sign * back(e.input_gradient(model, shown, y))[0]
        return total

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: Any
    ) -> jax.Array:
        channel, mean = model.sample_channel_axis(x.ndim - 1), total[3] / len(self.areas)
        return mean if channel is None else jnp.expand_dims(mean, channel + 1)


def between(levels: jax.Array, mask: jax.Array) -> jax.Array:
    """Of images [L, N, ...], those at m (L - 1), interpolated between two levels."""
    at = mask * (len(levels) - 1)
    low = jnp.clip(jnp.floor(at), 0, len(levels) - 1)
    share = at - low
    which = jnp.broadcast_to(low.astype(jnp.int32), levels.shape[1:])[None]
    first = jnp.take_along_axis(levels, which, 0)[0]
    second = jnp.take_along_axis(levels, jnp.minimum(which + 1, len(levels) - 1), 0)[0]
    return (1 - share) * first + share * second


def blurred(x: jax.Array, axes: Sequence[int], sigma: float) -> jax.Array:
    """x with Gaussian blur along axes, cut at 4 σ; beyond the border, x is 0."""
    if sigma <= 0:
        return x
    reach = math.ceil(4 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in axes:
        n = x.shape[axis]
        offset = np.arange(n) - np.arange(n)[:, None]
        inside = np.abs(offset) <= reach
        matrix = np.where(inside, weights[np.clip(offset + reach, 0, 2 * reach)], 0)
        v = jnp.tensordot(x, jnp.asarray(matrix, x.dtype), ((axis,), (1,)))
        x = jnp.moveaxis(v, -1, axis)
    return x
