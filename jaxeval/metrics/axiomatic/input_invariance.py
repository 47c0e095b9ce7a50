"""Input invariance: is the map unchanged by a constant shift that the model compensates for?"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import check, ops
from ...metric import DirectionBy, Metric
from ...perturb import Offset
from ...types import Answer, Outcome, Query, Sample, pytree, static


def input_invariance(
    a: Float[Array, "*features"], shifted: Float[Array, "*features"]
) -> Float[Array, ""]:
    """max |a - shifted|.

    >>> import jax.numpy as jnp
    >>> float(input_invariance(jnp.array([1.0, 2.0]), jnp.array([1.0, 2.5])))
    0.5
    """
    return ops.linf(a, shifted)


@pytree
class InputInvariance(Metric):
    r"""Largest change of the map when inputs are shifted and the model compensates for the shift.

    .. math:: \max_i \big| \phi(x; f)_i - \phi(x + m; g)_i \big|, \quad g(x + m) = f(x)

    g subtracts m from its input before the first layer of f. For a first layer w x + b this equals
    the bias b - w m, as in the paper; the subtraction works for every model, whatever its first
    layer is. Both networks give the same outputs, so their explanations should be equal. Rounding
    errors of x + m - m, about 1e-7 |m|, remain and may switch a ReLU. Lower is better, 0 is
    optimal. Never NaN.

    Args:
      shift: m, added to every entry of every input.
      satisfied: score 1 if the change is at most `tolerance`, else 0 (higher is better).
      tolerance: in units of the normalised map: by default, of its largest magnitude.

    Outcome: score [].
    """

    family = "axiomatic"
    direction = DirectionBy("satisfied", "lower", **{"True": "higher"})
    asks = frozenset({"attribution"})
    takes_padding = True
    reference = "Kindermans et al. 2017, The (un)reliability of saliency methods"

    shift: Any = -1.0
    satisfied: bool = static(False)
    tolerance: Any = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        check.real(self, "shift")
        check.one_of(self, "satisfied", (True, False))
        check.real(self, "tolerance", least=0)

    def questions(self) -> Offset:
        return Offset(shift=self.shift)

    def measure(self, sample: Sample, reference: Answer, query: Query, answer: Answer) -> Any:
        return input_invariance(sample.a, answer.attribution)

    def reduce(self, sample: Sample, reference: Answer, measured: Any, valid: Any) -> Outcome:
        change = measured[0]
        if not self.satisfied:
            return Outcome(score=change)
        return Outcome(score=(change <= self.tolerance).astype(jnp.float32))
