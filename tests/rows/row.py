"""A row: what the contract tests need to know of one metric.

A new metric needs one row, in the file of its family beside this one: small settings; its
reference, a NumPy function of one sample in the same file, written from the definition and
independent of the library; other settings worth a comparison; and, if it draws at random, draws to
give it. The metric as a reference is given it, `m`, holds the settings; nothing else of it is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import jaxeval as je
from jaxeval.metric import asks_of
from tests.draws import Draws
from tests.world import World


@dataclasses.dataclass(frozen=True)
class Row:
    """One metric.

    Attributes:
      metric: small settings, cheap and with nothing at its default that hides a mistake.
      reference: (metric, sample) -> score, or (score, curve).
      variants: name -> fields that differ, each compared with the reference.
      draws: makes draws for all samples; None for a metric that takes none.
      per_sample_draws: draws may have a leading sample axis.
      recover: own draws from the questions asked.
      random: another key gives other scores.
      asked: the reference can judge questions as they were asked, without draws.
      numbers: fields whose change must not retrace, beside those that hold a number: (from, to).
      in_world: fields that differ in a world.
      skip: worlds for which it is not defined.
      same_bits: on any number of devices. False: XLA fuses it differently, and it is rounded so.
      rtol, atol: how close to the reference.
      rounding: (world, maps) -> how far float32 may be off, relative to the scores [N], where that
        depends on the sample.
    """

    metric: Any
    reference: Callable[..., Any]
    variants: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    draws: Draws | None = None
    per_sample_draws: bool = True
    recover: Callable[..., Any] | None = None
    random: bool = False
    asked: bool = False
    numbers: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    in_world: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    skip: frozenset[str] = frozenset()
    same_bits: bool = True
    rtol: float = 1e-4
    atol: float = 1e-5
    rounding: Callable[[World, Any], Any] | None = None

    def tolerance(self, w: World, maps: Any, share: float = 1) -> Any:
        """Of scores, relative: `share` of rtol, or as much as rounding explains."""
        least = share * self.rtol
        return least if self.rounding is None else np.maximum(least, self.rounding(w, maps))

    @property
    def explains(self) -> bool:
        """It explains changed inputs or models, so it needs an explainer."""
        return "attribution" in self.metric.asks

    @property
    def over_data(self) -> bool:
        """It is defined over a whole data set; its reference takes all samples at once."""
        return type(self.metric).aggregate is not je.Metric.aggregate

    @property
    def on_host(self) -> bool:
        """The host finishes its scores, so it is no function for a compiled program."""
        return type(self.metric).finish is not je.Metric.finish

    @property
    def changes_params(self) -> bool:
        return any(p.changes_params for p in asks_of(self.metric))


BASELINES: dict[str, Mapping[str, Any]] = {
    f"baseline {b}": {"baseline": b} for b in ("white", "mean", "channel_mean", "zero", "blur", 0.3)
} | {"baseline per entry": {"baseline": np.linspace(-1, 1, 8, dtype=np.float32)}}
WHITE = {"white": {"baseline": "white"}}
