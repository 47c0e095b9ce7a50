"""Attribution by the smooth mask of a given area that keeps (or removes) the score best."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import check, ops
from ..model import Model
from ..types import pytree, static
from .smooth_masks import Mask, Masks
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


class Ascent(NamedTuple):
    """Where the ascent is: parameters, their velocity, masks, and the images' gradients."""

    p: jax.Array
    velocity: jax.Array
    mask: Mask
    changes: list[jax.Array]


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
        """An `Ascent` and the sum of the final masks."""
        dtype, masks = jnp.promote_types(x.dtype, jnp.float32), self.masks(model, x)
        p = jnp.ones((len(x), *masks.grid), dtype)
        changes = [jnp.zeros_like(x) for _ in VARIANTS[self.variant]]
        begun = Ascent(p, jnp.zeros_like(p), masks.zeros(p), changes)
        return begun, jnp.zeros((len(x), *masks.space), dtype)

    def ahead(self, model: Model, x: jax.Array) -> int:
        return 1

    def ready(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        """The mask of a step, from the gradients of the one before, and the images to ask about."""
        before, (masks, n) = total[0], (self.masks(model, x), self.n_steps)
        i = jnp.asarray(i)  # a number that JAX knows would be compiled into each step
        t, area = i % n, jnp.stack([jnp.float32(a) for a in self.areas])[i // n]
        change = self.gained(model, state, masks.inner(before.mask.full), before.changes, t - 1)
        bound = self.bounded(before.mask.full, area) * self.weight * jnp.power(GROWTH, t - 1)
        ascent = masks.back(before.p, before.mask, change, bound)
        velocity = jnp.where(t <= 1, ascent, MOMENTUM * before.velocity + (1 - MOMENTUM) * ascent)
        p = jnp.clip(before.p + jnp.asarray(self.learning_rate, ascent.dtype) * velocity, 0, 1)
        p = jnp.where(t == 0, 1, p)
        mask = masks(p)
        shown = self.images(model, state, masks.inner(mask.full), t)
        return p, velocity, mask, shown

    def add(
        self, total: Any, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, i: Any
    ) -> Any:
        (_, (p, velocity, mask, shown)), last = state, i % self.n_steps == self.n_steps - 1
        e = self
        if self.reward == "contrastive":
            k = model.n_classes(jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
            if k < 2:
                raise ValueError(
                    f'{type(self).__name__}(reward="contrastive") compares classes, and this model '
                    'has one output: reward="score"'
                )
            e = dataclasses.replace(self, output=Contrast(self.output, k))
        changes = [e.input_gradient(model, v, y) for v in shown]
        final = jnp.where(last, self.masks(model, x).inner(mask.full), 0)
        return Ascent(p, velocity, mask, changes), total[1] + final

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

    def images(self, model: Model, levels: jax.Array, mask: jax.Array, t: Any) -> list[jax.Array]:
        """What the model is asked about in step t, for each sign of the variant."""
        return [self.turned(model, between(levels, m), t) for m in self.shares(model, levels, mask)]

    def gained(
        self, model: Model, levels: jax.Array, mask: jax.Array, changes: list[jax.Array], t: Any
    ) -> jax.Array:
        """The gradient of the reward with respect to the masks [N, H, W], from that of `images`."""
        total, channel = jnp.zeros_like(mask), model.sample_channel_axis(levels.ndim - 2)
        for m, change in zip(self.shares(model, levels, mask), changes, strict=True):
            # Of "delete", neither the score's sign nor the mask's: they cancel.
            change = self.turned(model, change, t) * slope(levels, m)
            total += change if channel is None else change.sum(channel + 1)
        return total

    def shares(self, model: Model, levels: jax.Array, mask: jax.Array) -> list[jax.Array]:
        """What is kept of each pixel, for each sign of the variant."""
        channel = model.sample_channel_axis(levels.ndim - 2)
        mask = mask if channel is None else jnp.expand_dims(mask, channel + 1)
        kept = [mask if sign > 0 else 1 - mask for sign in VARIANTS[self.variant]]
        return [m.astype(levels.dtype) for m in kept]

    def turned(self, model: Model, v: jax.Array, t: Any) -> jax.Array:
        """Images of step t: every second one is mirrored with `jitter`."""
        if not self.jitter:
            return v
        wide = v.ndim - 2 if model.sample_channel_axis(v.ndim - 1) == v.ndim - 2 else v.ndim - 1
        return jnp.where(t % 2 == 0, jnp.flip(v, wide), v)

    def finish(
        self, model: Model, x: jax.Array, y: jax.Array, keys: Any, state: Any, total: Any
    ) -> jax.Array:
        channel, mean = model.sample_channel_axis(x.ndim - 1), total[1] / len(self.areas)
        return mean if channel is None else jnp.expand_dims(mean, channel + 1)


def beside(levels: jax.Array, mask: jax.Array) -> tuple[jax.Array, ...]:
    """Of images [L, N, ...], those below and above m (L - 1), and the share of the second."""
    last = len(levels) - 1
    at = mask * last
    low = jnp.clip(jnp.floor(at), 0, last)
    first = second = jnp.broadcast_to(levels[last], levels.shape[1:])
    for i in range(last):  # to look at every level takes less time than to gather two
        here = low == i
        first = jnp.where(here, levels[i], first)
        second = jnp.where(here, levels[i + 1], second)
    return first, second, at - low


def between(levels: jax.Array, mask: jax.Array) -> jax.Array:
    """Of images [L, N, ...], those at m (L - 1), interpolated between two levels."""
    first, second, share = beside(levels, mask)
    return (1 - share) * first + share * second


def slope(levels: jax.Array, mask: jax.Array) -> jax.Array:
    """The derivative of `between` with respect to the mask."""
    first, second, _ = beside(levels, mask)
    return (second - first) * (len(levels) - 1)


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
