"""Explainers from composites and attributors of zennit."""

from __future__ import annotations

import dataclasses
from typing import Any

import jaxeval as je

from ..logits import Logits
from .base import check_outputs, host


def zennit_explainer(
    composite: Any,
    module: Any,
    *,
    output: str | int | None = None,
    outputs: str | None = None,
    device: Any = None,
) -> je.Host:
    """Wrap rules of zennit as an explainer for `jaxeval.evaluate`.

    Args:
      composite: a zennit composite (``EpsilonPlusFlat()``), used with zennit's Gradient
        attributor, or a function ``module -> attributor``, such as
        ``lambda m: SmoothGrad(m, noise_level=0.1, n_iter=20)``.
      module, output, outputs, device: as for `captum_explainer`.

    Relevance at the output is the one-hot vector of the explained class.
    """
    check_outputs("zennit_explainer", outputs)
    alone = Logits(module, None, output)
    return host(Zennit(composite, alone), module, device, False, alone, outputs)


@dataclasses.dataclass(frozen=True)
class Zennit:
    composite: Any
    alone: Logits

    def __call__(self, module: Any, inputs: Any, targets: Any) -> Any:
        import torch
        from zennit.attribution import Gradient  # pyright: ignore[reportMissingImports]

        attributor: Any
        if hasattr(self.composite, "register"):
            attributor = Gradient(self.alone, self.composite)
        else:
            attributor = self.composite(self.alone)
        with attributor:
            return attributor(
                inputs, lambda out: torch.nn.functional.one_hot(targets, out.shape[1]).to(out)
            )[1]
