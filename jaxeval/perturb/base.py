"""Base classes and helpers of perturbations: a question about one sample, asked in steps."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..check import Function
from ..model import Model
from ..ops import draw
from ..registry import Registry
from ..types import Answer, Query, Sample, pytree, static

HostExtra = Callable[[np.ndarray, "int | None"], np.ndarray]


@pytree
class Perturbation:
    """One question. For each sample: one `plan`, then `n_steps` queries made by `apply`.

    Attributes:
      reads: what it uses besides x, y and the sample's key: a subset of {"a", "features" (only
        the attribution's shape), "output" (the answer on the clean sample), "mask"} and names of
        extras. The engine withholds everything else, so explainers can share the answers to a
        question that does not read the attribution.
      changes_params: whether it changes the model's parameters (see `params`) or the whole model
        (see `model`), in addition to or instead of the input.
      takes_padding: whether it supports padded samples, i.e. never selects or counts padding as
        features. The engine restores the clean x at padding in every query (unless
        `changes_params`), so a perturbation need not keep padding unchanged itself.
      takes_ids: whether x may be token ids: it replaces features by a baseline, which then is an id
        or stands for a deletion, and computes nothing from x.
    """

    reads: ClassVar[Any] = frozenset()
    changes_params: ClassVar[bool] = False
    takes_padding: ClassVar[bool] = False
    takes_ids: ClassVar[bool] = False

    def host_extras(self) -> dict[str, HostExtra]:
        """Extras computed on the host, once per image, unless the caller provides them.

        Returns {name: a hashable function (x [...], channel_axis) -> array}; the array must have
        the same shape for all images. The names must also be listed in `reads`. A function with
        ``in_threads = True`` is called in several threads, for the next block while the device
        works on this one.
        """
        return {}

    def bind(self, model: Any, sample: Sample) -> Perturbation:
        """This question for a given model and sample shape (leaves of `sample` are shapes, dtypes).

        Override to check that the question fits them (raise ValueError) and to fill in fields that
        depend on them.
        """
        return self

    @abstractmethod  # no ABC: `jaxeval.register` refuses a class without it
    def n_steps(self, sample: Sample) -> int:
        """The number of queries, computed from shapes and static fields only."""
        raise NotImplementedError(f"{type(self).__name__}.n_steps")

    def fewest(self, sample: Sample) -> int:
        """The minimum number of features a sample must have; called after `bind`."""
        return 1

    def plan(self, sample: Sample, reference: Answer) -> Any:
        """What all steps of this sample share: a pytree, kept on the device."""
        return None

    def count(self, sample: Sample, plan: Any) -> Any:
        """How many of the `n_steps` are valid for this sample; the first ones are."""
        return self.n_steps(sample)

    def same(self, sample: Sample, plan: Any) -> Any:
        """Which queries are the same: a label for each step, integers [S].

        Queries with the same label are the same: x bit for bit, y and `aux`. Label -1 is the clean
        sample. The engine asks one query of each label, and uses the answer for all. If the caller
        gives a draw for each step, `same_draws` is called instead. None: nothing is known to be
        equal.
        """
        return None

    def apply(self, sample: Sample, plan: Any, step: Any) -> Query:
        """The query of one step."""
        return Query(x=sample.x, y=sample.y)

    def params(self, params: Any, key: Any, step: Any) -> Any:
        """The parameters of one step, shared by all samples; used if `changes_params`."""
        return params

    def model(self, model: Model, key: Any, step: Any) -> Model:
        """The model of one step; used if `changes_params`. A new `apply` compiles a new program."""
        return dataclasses.replace(model, params=self.params(model.params, key, step))


PERTURBATIONS = Registry("perturbation", Perturbation)
"""Every perturbation by the name of its class; `jaxeval.register` adds one."""


@pytree
class RandomPerturbation(Perturbation):
    """A perturbation with random draws, which the caller can provide as `draws=`.

    `draws` has shape [S, *draw] (shared by all samples) or [N, S, *draw], with S the number of
    steps; if `draws_per` is "sample" (one draw for all steps), [*draw] or [N, *draw]. The engine
    passes the draw of the current sample and step to `plan` or `apply` as `sample.draw`.

    `counted_by` is the static field that says how many draws there are, if nothing else depends on
    it: the first draws of two numbers are then the same, with the same labels of `same`, and are
    asked once.
    """

    draws_per: ClassVar[str] = "step"
    counted_by: ClassVar[str | None] = None
    draws: Any = None

    @property
    def of_one(self) -> Perturbation:
        """The question with one draw, by which questions that differ in their number are equal."""
        name = self.counted_by
        own = name is None or self.draws is not None
        return self if own else dataclasses.replace(self, **{str(name): 1})

    @abstractmethod
    def draw_shape(self, sample: Sample) -> tuple[int | None, ...]:
        """The shape of one draw; None for an axis of any length."""
        raise NotImplementedError(f"{type(self).__name__}.draw_shape")

    def draw_range(self, sample: Sample) -> tuple[Any, Any] | None:
        """(minimum, maximum) of integer draws; None for real-valued draws."""
        return None

    @abstractmethod
    def n_draws(self, sample: Sample) -> int:
        """The number of steps when no `draws` are given."""
        raise NotImplementedError(f"{type(self).__name__}.n_draws")

    def same_draws(self, draws: np.ndarray) -> np.ndarray | None:
        """`same` of draws that the caller gives, [S, *draw]; on the host."""
        return None

    def n_steps(self, sample: Sample) -> int:
        if self.draws is None or self.draws_per == "sample":
            return self.n_draws(sample)
        return int(np.shape(self.draws)[-len(self.draw_shape(sample)) - 1])

    def draws_lead(self, sample: Sample) -> bool:
        """Whether the given draws have a leading sample axis."""
        return np.ndim(self.draws) > len(self.draw_shape(sample)) + (self.draws_per == "step")

    def check_draws(self, sample: Sample, n: int) -> None:
        """Check the dtype, shape and range of the given draws, for n samples.

        Raises:
          TypeError, ValueError: the message says what was given and what is expected.
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


REMOVAL_ORDERS = ("morf", "lerf", "random")


@pytree
class Ordered(RandomPerturbation):
    """Removal in the order of the attribution `a`, or in random order.

    `order`: "morf": most relevant first; "lerf": least relevant first; "random": a uniformly
    random order, independent of `a`, or the permutation given as `draws`, [n] or [N, n].
    """

    draws_per: ClassVar[str] = "sample"
    blind_reads: ClassVar[frozenset[str]] = frozenset()
    """The value of `reads` for order="random"."""

    order: str = static("morf")

    @property
    def reads(self) -> frozenset[str]:
        return self.blind_reads if self.order == "random" else frozenset({"a"})

    @abstractmethod
    def n_ordered(self, sample: Sample) -> int:
        """The number of items to order (features or patches)."""
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
                "draws must be permutations of what is removed, but one names something twice"
            )

    def random_places(self, sample: Sample, where: Any) -> Any:
        """Position [n] of each item in the given or a random order; those not in `where` last."""
        order, n = sample.draw, self.n_ordered(sample)
        if order is None:
            order = jax.random.permutation(sample.key, n)
        place = ops.places(order)
        if where is None:
            return place
        return ops.places(ops.ascending(jnp.where(where, place, n)))


def step_key(sample: Sample, step: Any) -> Any:
    """The PRNG key of one step of one sample."""
    return draw.fold_in(draw.fold_in(sample.key, 0), step)


def feature_places(sample: Sample, order: str) -> Any:
    """Position [F] of each feature in the order ("morf" or "lerf") of `a`; padding comes last."""
    if order == "morf":
        return ops.places(ops.descending(sample.filled(-jnp.inf)))
    return ops.places(ops.ascending(sample.filled(jnp.inf)))


def exclude(keys: Any, where: Any) -> Any:
    """Random uint32 keys, set to the maximum where `where` is False, so that these sort last."""
    last = jnp.uint32(2**32 - 1)
    return jnp.where(where, jnp.minimum(keys, last - 1), last)


def feature_counts(sample: Sample) -> Any:
    """The number of features F; with padding, all numbers 0..F that a sample may have.

    For tables computed on the host in `bind`; `at_count` looks up a sample's entry.
    """
    return np.arange(sample.n_features + 1) if sample.valid is not None else sample.n_features


def at_count(sample: Sample, v: Any) -> Any:
    """The entry of a table over `feature_counts` for this sample."""
    return v if sample.valid is None else jnp.asarray(v)[sample.n_valid]


def sample_baseline(sample: Sample, baseline: Any, key: Any = None) -> Any:
    """The baseline of x, computed without its padding; random baselines need `key`."""
    return ops.baseline(sample.x, baseline, sample.channel_axis, key, sample.valid)


def plan_baseline(sample: Sample, baseline: Any) -> Any:
    """The baseline if all steps share it; None if it is random, with a new draw for each step."""
    return None if ops.is_random(baseline) else sample_baseline(sample, baseline)


def removed_baseline(sample: Sample, baseline: Any, steps: Callable[[], Any]) -> Any:
    """The baseline for cumulative removal; a random one is drawn once per sample.

    "uniform_value" draws one value per step: features removed in the same step share it and keep
    it in later steps. `steps()` returns the step in which each entry of x is removed, as an array
    that broadcasts to x.
    """
    key = jax.random.fold_in(sample.key, 2)
    if not (isinstance(baseline, str) and baseline == "uniform_value"):
        return sample_baseline(sample, baseline, key)
    step = jnp.maximum(steps(), 0)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, step.ravel())
    values = jax.vmap(lambda k: sample_baseline(sample, baseline, k))(keys)
    return values.reshape(step.shape)


def step_baseline(sample: Sample, baseline: Any, planned: Any, step: Any) -> Any:
    """The baseline of one step: the result of `plan_baseline`, or a new draw if that is None."""
    if planned is not None:
        return planned
    return sample_baseline(sample, baseline, draw.fold_in(step_key(sample, step), 1))


def changed_entries(sample: Sample, values: Any) -> Any:
    """Mask [*x] of the entries of x that differ, in any bit, from `values`; False at padding."""
    new = jnp.broadcast_to(values, sample.x.shape)
    new, old = (jnp.asarray(v, jnp.result_type(new, sample.x)) for v in (new, sample.x))
    if jnp.issubdtype(new.dtype, jnp.floating):
        whole = jnp.dtype(f"uint{8 * new.dtype.itemsize}")
        new, old = (jax.lax.bitcast_convert_type(v, whole) for v in (new, old))
    changed = new != old
    return changed if sample.valid is None else changed & sample.valid


def changed_features(sample: Sample, values: Any) -> Any:
    """Mask [F] of the features that `Sample.replace_features` changes, in any bit."""
    return sample.any_entry(changed_entries(sample, values)).ravel()


def equal_removals(sizes: Any, place: Any, changed: Any, insert: bool = False) -> Any:
    """`Perturbation.same` for steps that remove the first `sizes` [S] items of an order.

    Queries are equal if the items that come between them change nothing. With `insert`, the first
    items are restored instead.

    Args:
      place: position [n] of each item in the order.
      changed: which items the removal changes, bool [n].
    """
    in_order = jnp.zeros_like(changed).at[place].set(changed)
    removed = jnp.cumsum(jnp.concatenate([jnp.zeros(1, jnp.int32), in_order]), dtype=jnp.int32)
    clean = removed[-1] if insert else 0
    removed = removed[jnp.minimum(sizes, len(changed))]
    return jnp.where(removed == clean, -1, removed)


def check_positions(sample: Sample, why: str) -> None:
    """Check that the attribution has a feature at every position of the input.

    Raises:
      ValueError: it has one feature for all positions along an axis, as a map per channel has.
    """
    shape, axis = tuple(sample.x.shape), sample.channel_axis
    if len(sample.features) < len(shape):
        return
    pairs = enumerate(zip(sample.features, shape, strict=True))
    if any(f < n and i != axis for i, (f, n) in pairs):
        raise ValueError(
            f"{why}, but a map of shape {tuple(sample.features)} for inputs {shape} has one "
            "feature for all positions along an axis: give a map with a value at each position, or "
            "use metrics that remove features, such as PixelFlipping"
        )


def check_baseline(baseline: Any, sample: Sample) -> None:
    """Check that an array baseline broadcasts to one input and a background has its shape."""
    wanted = tuple(sample.x.shape)
    if isinstance(baseline, Function):
        jax.eval_shape(lambda x: ops.baseline(x, baseline, sample.channel_axis), sample.x)
        return
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
