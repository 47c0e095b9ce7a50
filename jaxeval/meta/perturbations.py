"""The tests of a meta-evaluation: what is perturbed, how strongly, and by which draws."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from .. import check
from ..model import Model
from ..ops import draw
from ..trace.params import trained, with_trained

KINDS = ("minor", "disruptive")
"""Perturbations that should not change scores, and perturbations that should make them worse."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MetaTest:
    """Base class of the tests.

    Attributes:
      kinds: the kinds of its perturbations.
      re_explains: whether explainers are called on what is perturbed.
    """

    kinds: ClassVar[tuple[str, ...]] = KINDS

    draws: Any = None

    @property
    def re_explains(self) -> bool:
        return False

    def given(self, kind: str, p: int) -> Any:
        """The caller's draw of perturbation p; None without `draws`."""
        draws = self.draws
        if isinstance(draws, Mapping) and set(draws) == set(KINDS):
            draws = draws[kind]
        return None if draws is None else jax.tree.map(lambda v: v[p] if np.ndim(v) else v, draws)

    def rows(self, start: int, stop: int) -> Self:
        """The test of some of the samples, with their part of the given draws."""
        return self

    def n_given(self) -> dict[str, int]:
        """{part: the number of perturbations that `draws` hold}."""
        leaves = jax.tree_util.tree_leaves_with_path(self.draws)
        return {jax.tree_util.keystr(path): len(v) for path, v in leaves if np.ndim(v)}


def _check_strengths(test: Any) -> None:
    for name in KINDS:
        check.real(test, name, least=0)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ModelNoise(MetaTest):
    r"""Multiplies each trained parameter of the model by normal noise; maps are made anew.

    .. math:: \theta' = \theta (1 + \sigma z), \quad z \sim N(0, 1)

    for every entry. Explainers see the noisy model, and so do the metrics.

    Reference: Hedström et al. 2023, "The meta-evaluation problem in explainable AI", TMLR; Bykov et
    al. 2022 for the noise.

    Args:
      minor, disruptive: σ of minor and of disruptive perturbations.
      draws: z; a pytree with the structure of the model's parameters, whose leaves have a leading
        axis P; or {"minor": ..., "disruptive": ...}. Leaves of parameters that are not trained are
        ignored.

    >>> ModelNoise(minor=0.01).disruptive
    2.0
    """

    minor: float = 0.001
    disruptive: float = 2.0

    def __post_init__(self) -> None:
        _check_strengths(self)

    @property
    def re_explains(self) -> bool:
        return True

    def model(self, model: Model, key: Any, kind: str, p: int) -> Model:
        """The p-th noisy model of a kind. Every one has the same shapes, and compiles nothing."""
        weights, sigma = trained(model), jnp.float32(getattr(self, kind))
        given = self.given(kind, p)
        if given is None:
            new = _noisy(weights, key, jnp.uint32(2 * p + KINDS.index(kind)), sigma)
        else:
            z = trained(dataclasses.replace(model, params=given))
            new = _times(weights, z, sigma)
        return with_trained(model, new)

    def check_draws(self, model: Model) -> None:
        """Check that given draws have the structure and the shapes of the parameters.

        Raises:
          ValueError: they have not.
        """
        for kind in self.kinds:
            given = self.given(kind, 0)
            if given is None:
                continue
            wanted = jax.tree.structure(model.params)
            if jax.tree.structure(given) != wanted:
                raise ValueError(
                    "draws of ModelNoise must have the structure of the model's parameters, "
                    f"{wanted}, with a leading axis P in each leaf, got {jax.tree.structure(given)}"
                )
            shapes = [np.shape(v) for v in trained(dataclasses.replace(model, params=given))]
            if shapes != (own := [np.shape(v) for v in trained(model)]):
                raise ValueError(
                    f"draws of ModelNoise have leaves of the shapes [P, *{shapes}], wanted those "
                    f"of the trained parameters, [P, *{own}]"
                )


@jax.jit
def _times(weights: list[Any], z: list[Any], sigma: Any) -> list[Any]:
    return [
        w * (1 + sigma.astype(w.dtype) * jnp.asarray(n, w.dtype))
        for w, n in zip(weights, z, strict=True)
    ]


@jax.jit
def _noisy(weights: list[Any], key: Any, p: Any, sigma: Any) -> list[Any]:
    # Each array has draws of its own: one array for all would be a further copy of the parameters.
    key = draw.fold_in(key, p)
    z = [draw.normal(draw.fold_in(key, i), w.shape) for i, w in enumerate(weights)]
    return _times(weights, z, sigma)


def _rows(test: Any, start: int, stop: int) -> Any:
    """The same test with the draws [P, N, ...] of some samples."""
    return dataclasses.replace(test, draws=jax.tree.map(lambda v: v[:, start:stop], test.draws))


MAPS = ("kept", "own")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class InputNoise(MetaTest):
    r"""Adds uniform noise to the inputs.

    .. math:: x' = \max(x + r u, \min x), \quad u \sim U(-1, 1)

    for every entry; the floor is the smallest entry of the sample itself.

    Reference: Hedström et al. 2023, "The meta-evaluation problem in explainable AI", TMLR.

    Args:
      minor, disruptive: r of minor and of disruptive perturbations, in the unit of x.
      maps: "kept": the map of the clean x is scored on the noisy x; "own": the map of the noisy x.
      draws: u [P, N, ...] in the shape of x; or {"minor": ..., "disruptive": ...}.

    >>> InputNoise(maps="own").minor
    0.001
    """

    minor: float = 0.001
    disruptive: float = 5.0
    maps: str = "kept"

    def __post_init__(self) -> None:
        _check_strengths(self)
        check.one_of(self, "maps", MAPS)

    @property
    def re_explains(self) -> bool:
        return self.maps == "own"

    def rows(self, start: int, stop: int) -> Self:
        return _rows(self, start, stop)

    def inputs(
        self, x: np.ndarray, valid: Any, key: Any, ids: np.ndarray, kind: str, p: int
    ) -> np.ndarray:
        """The p-th noisy inputs of a kind, [n, ...].

        Args:
          valid: which entries are not padding, as bool that broadcasts to x; None: all.
          ids: the samples' ids [n], to which the draws belong; given draws are those of x.
        """
        u = self.given(kind, p)
        if u is None:
            step = jnp.uint32(2 * p + KINDS.index(kind))
            u = np.asarray(_uniform(x.shape[1:], key, jnp.asarray(ids, jnp.uint32), step))
        axes = tuple(range(1, x.ndim))
        floor = x.min(axes, keepdims=True)
        if valid is not None:
            floor = np.where(valid, x, np.inf).min(axes, keepdims=True).astype(x.dtype)
        noisy = np.maximum(x + (getattr(self, kind) * u).astype(x.dtype), floor)
        return noisy if valid is None else np.where(valid, noisy, x)

    def check_draws(self, x: np.ndarray) -> None:
        """Check that given draws have the shape of x.

        Raises:
          ValueError: they have not.
        """
        for kind in self.kinds:
            given = self.given(kind, 0)
            if given is not None and np.shape(given) != x.shape:
                raise ValueError(
                    f"draws of InputNoise must be u [P, {', '.join(map(str, x.shape))}], got "
                    f"{['P', *np.shape(given)]}"
                )


def _uniform(shape: tuple[int, ...], key: Any, ids: Any, step: Any) -> Any:
    return _uniform_rows(int(np.prod(shape)), key, ids, step).reshape(len(ids), *shape)


@functools.partial(jax.jit, static_argnums=0)
def _uniform_rows(size: int, key: Any, ids: Any, step: Any) -> Any:
    """Draws [n, size] from (-1, 1), of samples with these ids."""

    def one(own: Any) -> Any:
        return draw.uniform(draw.fold_in(draw.fold_in(key, own), step), (size,))

    return jax.vmap(one)(ids)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MapNoise(MetaTest):
    r"""Blends the maps with their own permuted entries; the model and the inputs stay.

    .. math:: a_t = (1 - t) \frac{a}{\mathrm{rms}(a)} + t \frac{\pi(a)}{\mathrm{rms}(a)}

    with a random permutation π of the features of each sample and perturbation; padding is none. A
    metric that measures anything about the map should say that it gets worse as t rises.

    Args:
      levels: t, ascending, within [0, 1]; at least two.
      draws: the permutations, integers [P, N, F], for maps of F features: entry k of the permuted
        map is entry ``draws[p, n, k]`` of the flattened map. {explainer: permutations} where maps
        have different features.

    >>> MapNoise().levels
    (0.0, 0.25, 0.5, 0.75, 1.0)
    """

    kinds: ClassVar[tuple[str, ...]] = ("levels",)

    levels: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)

    def __post_init__(self) -> None:
        levels = tuple(float(t) for t in self.levels)
        if len(levels) < 2 or list(levels) != sorted(set(levels)):
            raise ValueError(f"levels must be ascending and at least two, got {self.levels!r}")
        if levels[0] < 0 or levels[-1] > 1:
            raise ValueError(f"levels must lie within [0, 1], got {self.levels!r}")
        object.__setattr__(self, "levels", levels)

    def rows(self, start: int, stop: int) -> Self:
        return _rows(self, start, stop)

    def permutations(
        self,
        explainer: str,
        shape: tuple[int, ...],
        key: Any,
        ids: np.ndarray,
        p: int,
        counts: np.ndarray | None = None,
    ) -> np.ndarray:
        """π [n, F] of the p-th perturbation, for maps [n, F] of one explainer.

        Args:
          counts: which features are no padding, bool [n, F]; the others stay in their places.
        """
        draws = self.draws
        if isinstance(draws, Mapping):
            draws = draws[explainer]
        if draws is not None:
            return _among(np.asarray(draws)[p], counts)
        u = _uniform((int(np.prod(shape)),), key, jnp.asarray(ids, jnp.uint32), jnp.uint32(p))
        return _among(np.argsort(np.asarray(u), axis=1, kind="stable"), counts)

    def blended(
        self, maps: np.ndarray, order: np.ndarray, level: float, counts: np.ndarray | None = None
    ) -> np.ndarray:
        """a_t [n, ...]; a map of zeros stays one. `counts` as in `permutations`."""
        flat = maps.reshape(len(maps), -1).astype(np.float64)
        squares = flat**2 if counts is None else np.where(counts, flat, 0) ** 2
        n = flat.shape[1] if counts is None else counts.sum(1, keepdims=True)
        rms = np.sqrt(squares.sum(1, keepdims=True) / n)
        flat = flat / np.where(rms > 0, rms, 1)
        mixed = (1 - level) * flat + level * np.take_along_axis(flat, order, 1)
        return mixed.reshape(maps.shape).astype(maps.dtype)

    def check_draws(self, features: Mapping[str, tuple[int, ...]], n: int) -> None:
        """Check that given draws are permutations of the explainers' features.

        Raises:
          ValueError: they are not.
        """
        if self.draws is None:
            return
        for explainer, shape in features.items():
            draws, size = self.draws, int(np.prod(shape))
            if isinstance(draws, Mapping):
                if explainer not in draws:
                    raise ValueError(f"draws of MapNoise lack explainer {explainer!r}")
                draws = draws[explainer]
            draws = np.asarray(draws)
            if (
                draws.shape[1:] != (n, size)
                or draws.dtype.kind not in "iu"
                or (np.sort(draws, axis=2) != np.arange(size)).any()
            ):
                raise ValueError(
                    f"draws of MapNoise for explainer {explainer!r} must be permutations of its "
                    f"features, integers [P, {n}, {size}], got {draws.dtype}{list(draws.shape)}"
                )


def _among(order: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """Permutations [n, F] that permute only the features that `counts`, in the same order."""
    if counts is None:
        return order
    # The k-th feature that counts gets the k-th entry of the order that counts.
    kept = np.take_along_axis(counts, order, 1)
    first = np.take_along_axis(order, np.argsort(~kept, axis=1, kind="stable"), 1)
    rank = np.maximum(np.cumsum(counts, axis=1) - 1, 0)
    own = np.take_along_axis(first, rank, 1)
    return np.where(counts, own, np.arange(order.shape[1]))
