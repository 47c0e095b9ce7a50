"""The inputs of a module, and which part of its output holds the logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from .tensors import to_torch


def named_inputs(example: Any) -> tuple[dict[str, torch.Tensor], tuple[str, ...] | None]:
    """The example's tensors by name, and the keywords if it is a dict."""
    names = None
    if isinstance(example, Mapping):
        parts, names = list(example.values()), tuple(map(str, example))
    else:
        parts = list(example) if isinstance(example, (tuple, list)) else [example]
    tensors = []
    for part in parts:
        if not hasattr(part, "shape") or not hasattr(part, "dtype"):
            raise TypeError(
                "the example must be a tensor or array with a leading sample axis, or a tuple or "
                f"dict of them, got a part of type {type(part).__name__}"
            )
        tensors.append(part.detach() if isinstance(part, torch.Tensor) else to_torch(part))
    sizes = [list(t.shape) for t in tensors]
    if not tensors or any(t.ndim < 1 or len(t) != len(tensors[0]) or not len(t) for t in tensors):
        raise ValueError(
            f"the parts of the example must have one leading sample axis, got the shapes {sizes}"
        )
    return dict(zip(names or [f"x{i}" for i in range(len(parts))], tensors, strict=True)), names


OUTPUTS = ("logits", "probabilities", "binary", "values")
"""The kinds of a module's outputs [N, K], as for `jaxeval.Model`."""


class Logits(torch.nn.Module):
    """A module with positional inputs that returns only its logits [N, K].

    With ``outputs="binary"``, one logit z [N, 1] (or [N]) becomes [-z, z]: that of class 1 is z.
    """

    most: int = -1
    """The largest class that is explained."""

    def __init__(
        self,
        module: torch.nn.Module,
        names: tuple[str, ...] | None,
        output: str | int | None,
        outputs: str = "logits",
    ):
        super().__init__()
        self.outputs = outputs
        self.module = module
        self.names = names
        self.output = output
        self.training = False  # without changing the mode of the wrapped module

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        if self.names is None:
            answer = self.module(*given)
        else:
            answer = self.module(**dict(zip(self.names, given, strict=True)))
        z = pick(answer, self.output, self.outputs)
        if self.outputs == "binary":
            if z.shape[1] != 1:
                raise ValueError(
                    f'outputs="binary" is one logit per sample [N, 1] or [N], got {list(z.shape)}'
                )
            z = torch.cat([-z, z], 1)
        if self.outputs == "probabilities" and z.shape[1] == 1:
            raise ValueError(
                'outputs="probabilities" needs one per class [N, K], got one output [N, 1]: give '
                'outputs="binary" (one logit, that of class 1) or "values"'
            )
        if self.most >= z.shape[1]:
            raise ValueError(
                f"y holds the class {self.most}, but the model has {z.shape[1]} outputs "
                f"(0..{z.shape[1] - 1})"
            )
        return z

    def __fingerprint__(self) -> dict[str, object]:
        # The other fields follow from the explained model and its y.
        return {"module": self.module, "names": self.names, "output": self.output}

    def as_given(self, parts: list[Any]) -> Any:
        """Inputs in the form of the example: an array, a tuple or a dict."""
        if self.names is not None:
            return dict(zip(self.names, parts, strict=True))
        return tuple(parts) if len(parts) > 1 else parts[0]


def pick(answer: Any, output: str | int | None, outputs: str = "logits") -> torch.Tensor:
    """The logits [N, K] in a module's output; for "binary" and "values", [N] becomes [N, 1]."""
    parts = _parts(answer)
    single = outputs in ("binary", "values")
    if single and (output is not None or not any(map(_fits, parts.values()))):
        parts = {k: v[:, None] if _is_single(v) else v for k, v in parts.items()}
    if output is not None:
        if output not in parts:
            raise ValueError(
                f"output={output!r}: the module's output has no such part, only "
                f"{', '.join(map(repr, parts))}"
            )
        found = parts[output]
        if not _fits(found):
            raise ValueError(f"output={output!r}: expected logits [N, K], got {_describe(found)}")
        return found
    if _fits(parts.get("logits")):
        return parts["logits"]
    for part in parts.values():
        if _fits(part):
            return part
    raise ValueError(
        "the module must return floating-point logits [N, K]; it returned "
        + ", ".join(f"{k!r}: {_describe(v)}" for k, v in parts.items())
        + (
            '. For one number per sample, [N], give outputs="binary" (the logit of class 1) or '
            'outputs="values"'
            if any(map(_is_single, parts.values()))
            else ""
        )
    )


def _parts(answer: Any) -> dict[Any, Any]:
    if isinstance(answer, Mapping):
        return dict(answer)
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        return {f.name: getattr(answer, f.name) for f in dataclasses.fields(answer)}
    if isinstance(answer, (tuple, list)):  # named tuples have fields
        return dict(zip(getattr(answer, "_fields", range(len(answer))), answer, strict=True))
    return {0: answer}


def _is_single(v: Any) -> bool:
    return isinstance(v, torch.Tensor) and v.ndim == 1 and v.dtype.is_floating_point


def _fits(v: Any) -> bool:
    return isinstance(v, torch.Tensor) and v.ndim == 2 and v.dtype.is_floating_point


def _describe(v: Any) -> str:
    if isinstance(v, torch.Tensor):
        return f"{str(v.dtype).removeprefix('torch.')}{list(v.shape)}"
    return type(v).__name__
