"""What a perturbation is: a question about one sample, asked in steps."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..model import Model
from ..ops import draw
from ..registry import Registry
from ..types import Answer, Query, Sample, pytree, static

HostExtra = Callable[[np.ndarray, "int | None"], np.ndarray]


@pytree
class Perturbation:
    """One question: per sample it plans once and then asks `n_steps` queries.

    Attributes:
      reads: what it looks at beside x, y and the sample's key: a subset of {"a", "features"
        (the attribution's shape only), "output" (the answer on the clean sample), "mask"} and
        names of extras. The engine withholds everything else, which is what lets explainers
        share the answers to a question that does not read the attribution.
      changes_params: it changes the model's parameters (see `params`), or the model as a whole
        (see `model`), beside or instead of the input.
      takes_padding: whether it leaves out padding where samples have some. The engine puts the
        clean x back there in every query (but where `changes_params`), so this is about which
        features are chosen, and how many.
    """

    reads: ClassVar[Any] = frozenset()
    changes_params: ClassVar[bool] = False
    takes_padding: ClassVar[bool] = False

    def host_extras(self) -> dict[str, HostExtra]:
        """Extras that are computed on the host, once per image, unless the caller gives them.

        {name: a hashable function (x [...], channel_axis) -> array of one shape for all images};
        a perturbation also names them in `reads`.
        """
        return {}

    def bind(self, model: Any, sample: Sample) -> Perturbation:
        """This question for one model and shape of sample, whose leaves are shapes and dtypes.

        Here a perturbation checks that it fits (ValueError) and fills in what depends on them.
        """
        return self

    @abstractmethod  # no ABC: `jaxeval.register` refuses a class without it
    def n_steps(self, sample: Sample) -> int:
        """How many queries, from shapes and static fields alone."""
        raise NotImplementedError(f"{type(self).__name__}.n_steps")

    def fewest(self, sample: Sample) -> int:
        """How many features every sample must have, once bound."""
        return 1

    def plan(self, sample: Sample, reference: Answer) -> Any:
        """What all steps of this sample share: a pytree kept on the device."""
        return None

    def count(self, sample: Sample, plan: Any) -> Any:
        """How many of the `n_steps` this sample really has."""
        return self.n_steps(sample)

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        """The query of one step."""
        return Query(x=sample.x, y=sample.y)

    def params(self, params: Any, key: Any, step: Any) -> Any:
        """The parameters of one step, shared by all samples, where `changes_params`."""
        return params

    def model(self, model: Model, key: Any, step: Any) -> Model:
        """The model of one step, where `changes_params`; a new `apply` is a new program."""
        return dataclasses.replace(model, params=self.params(model.params, key, step))


PERTURBATIONS = Registry("perturbation", Perturbation)
"""Every perturbation by the name of its class; `jaxeval.register` adds one."""


@pytree
class RandomPerturbation(Perturbation):
    """A perturbation with random draws, which the caller may give instead: `draws=`.

    Given draws have the shape [S, *draw] (shared by all samples) or [N, S, *draw], S the number
    of steps; or [*draw] or [N, *draw] where one draw serves all steps (`draws_per` "sample").
    The engine hands `plan` or `apply` the right one as `sample.draw`.
    """

    draws_per: ClassVar[str] = "step"
    draws: Any = None

    @abstractmethod
    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        """The shape of one draw; None where any length will do."""
        raise NotImplementedError(f"{type(self).__name__}.draw_shape")

    def draw_range(self, sample: Sample) -> tuple[Any, Any] | None:
        """(least, most) of draws that are whole numbers; None for real numbers."""
        return None

    @abstractmethod
    def n_draws(self, sample: Sample) -> int:
        """The number of steps where the draws are our own."""
        raise NotImplementedError(f"{type(self).__name__}.n_draws")

    def n_steps(self, sample: Sample) -> int:
        if self.draws is None or self.draws_per == "sample":
            return self.n_draws(sample)
        return int(np.shape(self.draws)[-len(self.draw_shape(sample)) - 1])

    def draws_lead(self, sample: Sample) -> bool:
        """Whether given draws have a leading sample axis."""
        return np.ndim(self.draws) > len(self.draw_shape(sample)) + (self.draws_per == "step")

    def check_draws(self, sample: Sample, n: int) -> None:
        """Given draws are numbers of the right shape and range, for all or for each of n samples.

        Raises:
          TypeError, ValueError: with what was given and what is wanted.
        """
        if self.draws is None:
            return
        draws, own = np.asarray(self.draws), self.draw_shape(sample)
        axes = [*("S" * (self.draws_per == "step")), *("n" if k is None else str(k) for k in own)]
        wanted = f"[{', '.join(axes)}] for all samples, or [{', '.join([str(n), *axes])}]"
        given = f"draws of shape {list(draws.shape)}"
        if draws.dtype.kind not in "biufV":
            raise TypeError(f"draws must be numbers, got {draws.dtype}")
        tail = draws.shape[draws.ndim - len(own) :]
        if draws.ndim - len(axes) not in (0, 1) or any(
            k is not None and k != m for k, m in zip(own, tail, strict=False)
        ):
            raise ValueError(f"{given} do not fit: wanted {wanted}")
        if draws.ndim > len(axes) and len(draws) != n:
            raise ValueError(f"{given} have {len(draws)} rows for {n} samples: wanted {wanted}")
        if self.draws_per == "step" and 0 in draws.shape:
            raise ValueError(f"{given} hold nothing: wanted {wanted}")
        bounds = self.draw_range(sample)
        if bounds is None:
            if not np.isfinite(draws.astype(np.float64)).all():
                raise ValueError("draws hold NaN or infinite values")
        elif draws.dtype.kind not in "iu":
            raise ValueError(f"draws must be whole numbers, got {draws.dtype}")
        elif (draws < bounds[0]).any() or (draws > bounds[1]).any():
            raise ValueError(
                f"draws must lie in {bounds[0]} to {bounds[1]}, got {draws.min()} to {draws.max()}"
            )


ORDERS = ("morf", "lerf", "random")


@pytree
class Ordered(RandomPerturbation):
    """A removal in the order of `a`, or in one that is blind to it.

    "morf": the most relevant first, "lerf": the least, "random": any order, which `draws` may
    give: a permutation [n] or [N, n] of what is removed.
    """

    draws_per: ClassVar[str] = "sample"
    blind_reads: ClassVar[frozenset[str]] = frozenset()
    """What it reads in random order."""

    order: str = static("morf")

    @property
    def reads(self) -> frozenset[str]:
        return self.blind_reads if self.order == "random" else frozenset({"a"})

    @abstractmethod
    def n_ordered(self, sample: Sample) -> int:
        """How many things have a place in the order."""
        raise NotImplementedError(f"{type(self).__name__}.n_ordered")

    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        return (self.n_ordered(sample),)

    def draw_range(self, sample: Sample) -> tuple[Any, Any]:
        return 0, self.n_ordered(sample) - 1

    def check_draws(self, sample: Sample, n: int) -> None:
        if self.draws is not None and self.order != "random":
            raise ValueError(
                f'draws= give the order of removal, which needs order="random", not {self.order!r}'
            )
        super().check_draws(sample, n)
        if self.draws is not None and (np.diff(np.sort(self.draws, -1)) == 0).any():
            raise ValueError(
                "draws must be an order of all that is removed, but one names something twice"
            )

    def random_places(self, sample: Sample, where: Any) -> Any:
        """Places [n] in the given or a random order; what `where` does not mark comes last."""
        order, n = sample.draw, self.n_ordered(sample)
        if order is None:
            order = jax.random.permutation(sample.key, n)
        place = ops.places(order)
        if where is None:
            return place
        return ops.places(ops.ascending(jnp.where(where, place, n)))


def step_key(sample: Sample, step: Any) -> Any:
    """The random key of one step of one sample."""
    return draw.fold_in(draw.fold_in(sample.key, 0), step)


def places(sample: Sample, order: str) -> Any:
    """The place [F] of each feature in the order of `a`, "morf" or "lerf"; padding comes last."""
    if order == "morf":
        return ops.places(ops.descending(sample.filled(-jnp.inf)))
    return ops.places(ops.ascending(sample.filled(jnp.inf)))


def behind(keys: Any, where: Any) -> Any:
    """Random keys (uint32), of which those that `where` does not mark are larger than the rest."""
    last = jnp.uint32(2**32 - 1)
    return jnp.where(where, jnp.minimum(keys, last - 1), last)


def counts(sample: Sample) -> Any:
    """For `bind`: the number of features, or each that a sample with padding may have, 0..F."""
    return np.arange(sample.n_features + 1) if sample.valid is not None else sample.n_features


def of_count(sample: Sample, v: Any) -> Any:
    """What was made of `counts`, for this sample."""
    return v if sample.valid is None else jnp.asarray(v)[sample.n_valid]


def one_baseline(sample: Sample, baseline: Any, key: Any = None) -> Any:
    """A baseline of x without its padding; `key` for a random one."""
    return ops.baseline(sample.x, baseline, sample.channel_axis, key, sample.valid)


def plan_baseline(sample: Sample, baseline: Any) -> Any:
    """What of a baseline all steps share: nothing where it is drawn anew in each."""
    return None if ops.is_random(baseline) else one_baseline(sample, baseline)


def removed_baseline(sample: Sample, baseline: Any, steps: Callable[[], Any]) -> Any:
    """The baseline of what goes step by step and stays away, drawn once per sample.

    "uniform_value" is one value a step: what goes together has one value, and keeps it. `steps`
    gives the step in which each entry of x goes, an array that broadcasts to x.
    """
    key = jax.random.fold_in(sample.key, 2)
    if not (isinstance(baseline, str) and baseline == "uniform_value"):
        return one_baseline(sample, baseline, key)
    step = jnp.maximum(steps(), 0)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, step.ravel())
    values = jax.vmap(lambda k: one_baseline(sample, baseline, k))(keys)
    return values.reshape(step.shape)


def step_baseline(sample: Sample, baseline: Any, planned: Any, step: Any) -> Any:
    """The baseline of one step: the planned one, or a fresh draw."""
    if planned is not None:
        return planned
    return one_baseline(sample, baseline, draw.fold_in(step_key(sample, step), 1))


def check_baseline(baseline: Any, sample: Sample) -> None:
    """A baseline fits one input: an array broadcasts to it, and a background has its shape."""
    wanted = tuple(sample.x.shape)
    if isinstance(baseline, str):
        if baseline in ops.BACKGROUND_BASELINES:
            raise ValueError(
                f"baseline={baseline!r} needs samples: give background=, an array [B, *{wanted}]"
            )
        return
    if isinstance(baseline, ops.Background):
        given = np.shape(baseline.rows)
        if given[1:] != wanted:
            raise ValueError(
                f"background of shape {given} does not fit: wanted samples [B, *{wanted}]"
            )
        return
    shape = np.shape(baseline)
    try:
        fits = np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"baseline of shape {shape} does not broadcast to one input of shape {wanted}"
        )
