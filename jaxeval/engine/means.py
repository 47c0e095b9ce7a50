"""The mean score of a cell to a tolerance: all samples go through the same rounds.

Each round asks more of every sample, until the Monte-Carlo error of the mean over the data set is
small enough. Areas ask steps at random, twice independently, in proportion to how much they count;
draws go on. What the samples are does not enter: the mean is that of these samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import ops
from ..metric import limit_of
from ..tolerance import BUDGET, CONVERGED, HEAVY, Tolerance
from . import kernels
from .asking import Open, finished
from .block import Answered, BlockState
from .questions import Cell, Subscription
from .rounds import curve_of
from .until import reduced

GROUPS = 8
"""Groups of draws of the jackknife, which takes the bias of correlations away."""
TOO_MANY = 0.05
"""Share of samples from which on a mean of correlations is not trusted, as their bias does not
average out: those with less than a quarter of the effective draws that `ops.wanted_draws` wants.
"""


class Given(NamedTuple):
    """A cell's score [rows] as its mean needs it, and what is said of it; see `Outcome`."""

    score: np.ndarray
    error: np.ndarray
    effective: np.ndarray
    asked: np.ndarray
    status: int


Part = tuple[BlockState, list[tuple[Open, Subscription]]]
"""A block of a cell, with its open questions by slot."""


def ask_means(states: list[BlockState]) -> None:
    """Ask what is open in all blocks until the mean of every cell is sure enough."""
    parts: dict[Cell, list[Part]] = {}
    for state in states:
        of_state: dict[Cell, list[tuple[Open, Subscription]]] = {}
        for question in state.open:
            for s in (s for own in question.asking.q.by.values() for s in own):
                limit = limit_of(state.plan.cells[s.cell])
                if limit is not None and limit.per == "mean":
                    of_state.setdefault(s.cell, []).append((question, s))
        for cell, slots in of_state.items():
            slots.sort(key=lambda slot: slot[1].slot)
            parts.setdefault(cell, []).append((state, slots))
    unsure = {cell: mean_of(cell, own) for cell, own in parts.items()}
    means = dict(unsure)
    while unsure:
        wanted: dict[int, tuple[Open, np.ndarray]] = {}
        for mean in unsure.values():
            for question, steps in mean.wanted():
                before = wanted.get(id(question), (question, np.zeros_like(steps)))[1]
                wanted[id(question)] = question, before | steps
        for question, steps in wanted.values():
            question.ask(steps)
        unsure = {cell: mean for cell, mean in unsure.items() if not mean.sure()}
    for mean in means.values():
        mean.finish()
    for state in states:
        for question in state.open:
            finished(question.asking, question.steps, question.known)


def mean_of(cell: Cell, parts: list[Part]) -> Mean:
    """What is known of the mean of a cell."""
    metric = parts[0][0].plan.cells[cell]
    return (MeanOfDraws if metric.steps_are == "draws" else MeanOfCurves)(cell, parts)


class Mean:
    """The mean of one cell, while its questions are asked."""

    def __init__(self, cell: Cell, parts: list[Part]):
        self.cell, self.parts = cell, parts
        self.metric: Any = parts[0][0].plan.cells[cell]
        limit = limit_of(self.metric)
        assert limit is not None
        self.limit: Tolerance = limit
        self.z = ops.normal_quantile(limit.confidence)
        self.met = True
        self.left = self.rounds()
        self.k = next(self.left)

    def rounds(self) -> Iterator[int]:
        """The numbers of steps or draws of each round."""
        raise NotImplementedError

    def wanted(self) -> Iterator[tuple[Open, np.ndarray]]:
        """The steps [rows, S] of each open question that this round needs."""
        raise NotImplementedError

    def enough(self, half: float, score: float) -> bool:
        """Whether a half width is; if not, go on to the next round, if there is one."""
        self.met = half <= float(self.limit.at(score))
        if not self.met and (k := next(self.left, None)) is not None:
            self.k = k
            return False
        return True

    def sure(self) -> bool:
        """Decide whether the last round was enough."""
        raise NotImplementedError

    def given(self, n: int) -> Given:
        """The scores of the n-th block."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write the answers of all blocks."""
        for n, (state, slots) in enumerate(self.parts):
            given = self.given(n)
            for question, s in slots:
                answered = self.answered(state, question, s, given if s.slot == 0 else None)
                state.done.setdefault(self.cell, {})[s.slot] = answered
            state.steps.setdefault(self.cell, []).append(int(given.asked.sum()))

    def answered(self, state: BlockState, question: Open, s: Subscription, given: Any) -> Answered:
        raise NotImplementedError


def half_width(squares: list[np.ndarray], effective: list[np.ndarray], z: float) -> float:
    """The half width of the mean over samples, from the variance of each one's score.

    Enlarged, as for one sample, where fewer than 30 draws decide it.

    Args:
      squares: the variances, a block each, NaN where the score is undefined.
      effective: the effective draws of each.
    """
    v, e = np.concatenate(squares), np.concatenate(effective)
    v, e = v[~np.isnan(v)], e[~np.isnan(v)]
    if not len(v):
        return 0.0
    if not v.any():
        return np.inf  # nothing was seen to vary, which few steps do not show
    deciding = v.sum() ** 2 / (v**2 / np.maximum(e, 1)).sum()
    return float(z * np.sqrt(v.sum()) / len(v) * np.sqrt(max(1.0, ops.ENOUGH / deciding)))


def doubling(first: int, most: int) -> Iterator[int]:
    """first, 1.5 first, 2 first, 3 first, ... up to `most`, which is the last.

    >>> list(doubling(2, 14))
    [2, 3, 4, 6, 8, 12, 14]
    """
    k = first
    while k < most:
        yield k
        if (between := k + k // 2) > k and between < most:
            yield between
        k *= 2
    yield most


class MeanOfDraws(Mean):
    """The mean of scores of random draws: all samples use the first k."""

    def rounds(self) -> Iterator[int]:
        first = 32 if self.metric.first_draws > 32 else 2  # correlations need more
        return doubling(first, self.parts[0][1][0][1].n_steps)

    def mask(self, question: Open) -> np.ndarray:
        steps = np.arange(question.asking.room)
        return (steps < self.k) & (steps < question.steps.counts[:, None])

    def wanted(self) -> Iterator[tuple[Open, np.ndarray]]:
        for _, [(question, _)] in self.parts:
            question.asking.grow(self.k)
            mask = self.mask(question)
            full = np.zeros(question.known.shape, bool)
            full[:, : mask.shape[1]] = mask
            yield question, full

    def outcome(self, part: Part, mask: np.ndarray) -> Any:
        state, [(question, s)] = part
        source = question.source(mask.shape[1])
        given = ((question.measured(s)[0],),), ((state.evaluator.put(mask),),), ((source,),)
        return reduced(state, self.cell.attributor, [self.cell], *given)[0]

    def sure(self) -> bool:
        self.outcomes = [self.outcome(p, self.mask(p[1][0][0])) for p in self.parts]
        scores, self.squares, effective = [], [], []
        for outcome, (state, _) in zip(self.outcomes, self.parts, strict=True):
            e = np.asarray(outcome.effective, np.float64)
            guard = np.sqrt(np.maximum(1, ops.ENOUGH / e))
            quantile = float(ops.students_quantile(self.k - 1, self.z))
            se = np.asarray(outcome.error, np.float64) / (quantile * guard)
            real = state.block.real & ~np.isnan(outcome.score)
            self.squares.append(np.where(real, se**2, np.nan))
            effective.append(e)
            scores.append(np.asarray(outcome.score, np.float64)[real])
        every = np.concatenate(scores)
        half = half_width(self.squares, effective, self.z)
        return self.enough(half, every.mean() if len(every) else 0.0)

    def given(self, n: int) -> Given:
        (_, [(question, _)]), outcome = self.parts[n], self.outcomes[n]
        score, mask = np.asarray(outcome.score, np.float64), self.mask(question)
        if self.metric.first_draws > 32:  # a correlation: without its bias, by the jackknife
            group = np.arange(mask.shape[1]) % GROUPS
            without = [self.outcome(self.parts[n], mask & (group != j)) for j in range(GROUPS)]
            left = np.mean([np.asarray(o.score, np.float64) for o in without], 0)
            score = GROUPS * score - (GROUPS - 1) * left
        asked = mask.sum(1)
        error = self.z * np.sqrt(self.squares[n])
        return Given(score, error, np.asarray(outcome.effective), asked, self.status)

    @property
    def status(self) -> int:
        if self.metric.first_draws > 32:
            wanted = float(ops.wanted_draws(self.k)) / 4
            few = [
                np.asarray(o.effective)[s.block.real & ~np.isnan(o.score)] < wanted
                for o, (s, _) in zip(self.outcomes, self.parts, strict=True)
            ]
            every = np.concatenate(few)
            if len(every) and every.mean() > TOO_MANY:
                return HEAVY
        return CONVERGED if self.met else BUDGET

    def answered(self, state: BlockState, question: Open, s: Subscription, given: Any) -> Answered:
        buffer, flags = question.measured(s)
        mask = self.mask(question)
        source = question.source(mask.shape[1])
        return Answered(buffer, state.evaluator.put(mask), source, flags, given=given)


def van_der_corput(k: int) -> np.ndarray:
    """The first k numbers of the van der Corput sequence in base 2.

    >>> van_der_corput(4).tolist()
    [0.0, 0.5, 0.25, 0.75]
    """
    found = np.zeros(k)
    for i in range(k):
        n, scale = i, 0.5
        while n:
            found[i] += scale * (n % 2)
            n, scale = n // 2, scale / 2
    return found


class MeanOfCurves(Mean):
    """The mean of areas: two independent estimates of each, from k random steps."""

    def __init__(self, cell: Cell, parts: list[Part]):
        self.weights = [self.linear(cell, part) for part in parts]
        self.starts = [starts(np.asarray(jax.random.key_data(p[0].samples[cell.attributor].key)))
                       for p in parts]  # fmt: skip
        super().__init__(cell, parts)

    def linear(self, cell: Cell, part: Part) -> tuple[np.ndarray, list[np.ndarray]]:
        """(the score [rows] of zeros, the weight of each step [rows, S] by slot)."""
        state, slots = part
        put = state.evaluator.put
        scored = state.scored(cell.attributor, [cell.metric])
        s = dataclasses.replace(state.samples[cell.attributor], a=None)
        valid = tuple(put(np.arange(q.known.shape[1]) < q.steps.counts[:, None]) for q, _ in slots)
        given = (scored.metrics, s, scored.maps, state.reference, valid)
        zero, found = jax.device_get(kernels.weights(state.mesh, None, *given))
        return zero.astype(np.float64), [np.asarray(w, np.float64) for w in found]

    @property
    def most(self) -> int:
        return max(q.known.shape[1] for _, slots in self.parts for q, _ in slots)

    def rounds(self) -> Iterator[int]:
        # Twice k steps; where that would be all, all are asked, and nothing is unknown.
        yield from (k for k in doubling(1, self.most) if 2 * k < self.most)
        yield self.most

    @property
    def all_(self) -> bool:
        return 2 * self.k >= self.most

    def picked(self, n: int, slot: int) -> np.ndarray:
        """The steps of the two estimates of the n-th block [rows, 2, k]."""
        weights = np.abs(self.weights[n][1][slot])
        cumulated = np.cumsum(np.nan_to_num(weights), 1)
        at = (self.starts[n][..., None] + van_der_corput(self.k)) % 1 * cumulated[:, -1:, None]
        return np.stack(
            [
                np.minimum(np.searchsorted(row, own, side="right"), len(row) - 1)
                for row, own in zip(cumulated, at, strict=True)
            ]
        )

    def steps(self, n: int, slot: int, question: Open) -> np.ndarray:
        valid = np.arange(question.known.shape[1]) < question.steps.counts[:, None]
        if self.all_:
            return valid
        picked = self.picked(n, slot)
        wanted = np.zeros(valid.shape, bool)
        np.put_along_axis(wanted, picked.reshape(len(picked), -1), True, 1)
        return wanted & valid

    def wanted(self) -> Iterator[tuple[Open, np.ndarray]]:
        for n, (_, slots) in enumerate(self.parts):
            for question, s in slots:
                yield question, self.steps(n, s.slot, question)

    def estimates(self, n: int) -> np.ndarray:
        """The estimates of the scores of the n-th block [rows, 2]; equal if all steps are asked."""
        (_, slots), (zero, weights) = self.parts[n], self.weights[n]
        found = np.repeat(zero[:, None], 2, 1)
        for question, s in slots:
            w = weights[s.slot]
            source, _ = question.steps.sources(w.shape[1])
            y = np.take_along_axis(np.asarray(question.measured(s)[0], np.float64), source, 1)
            if self.all_:
                found += np.where(w != 0, w * y, 0).sum(1, keepdims=True)
                continue
            picked = self.picked(n, s.slot)
            flat = picked.reshape(len(picked), -1)
            terms = np.take_along_axis(np.sign(w) * y, flat, 1).reshape(picked.shape)
            found += np.abs(w).sum(1, keepdims=True) * terms.mean(2)
        return found

    def sure(self) -> bool:
        self.pairs = [self.estimates(n) for n in range(len(self.parts))]
        squares = [
            np.where(state.block.real, (pair[:, 0] - pair[:, 1]) ** 2 / 4, np.nan)
            for pair, (state, _) in zip(self.pairs, self.parts, strict=True)
        ]
        if self.all_:
            return self.enough(0.0, 0.0)
        return self.enough(half_width(squares, [np.ones(len(v)) for v in squares], self.z), 0.0)

    def given(self, n: int) -> Given:
        pair, (_, slots) = self.pairs[n], self.parts[n]
        asked: Any = sum(
            question.steps.to_ask(self.steps(n, s.slot, question)).sum(1) for question, s in slots
        )
        error = self.z * np.abs(pair[:, 0] - pair[:, 1]) / 2
        effective = np.full(len(pair), float(min(2 * self.k, self.most)))
        return Given(pair.mean(1), error, effective, asked, CONVERGED)

    def answered(self, state: BlockState, question: Open, s: Subscription, given: Any) -> Answered:
        put, (buffer, flags) = state.evaluator.put, question.measured(s)
        n = [p[0] for p in self.parts].index(state)
        curve = curve_of(question.steps, question.known.shape[1], 1.0)
        curve.learn(self.steps(n, s.slot, question), np.asarray(buffer))
        valid = put(curve.valid)
        source = None if question.steps.source is None else put(curve.own.astype(np.int32))
        filled = put(curve.filled().astype(buffer.dtype))
        return Answered(filled, valid, source, flags, given=given)


def starts(keys: np.ndarray) -> np.ndarray:
    """Two independent uniform numbers [rows, 2] of each sample's key [rows, words]."""
    seeds = [np.random.SeedSequence([int(v) for v in row]) for row in keys]
    return np.array([seed.generate_state(2, np.uint64) / 2.0**64 for seed in seeds])
