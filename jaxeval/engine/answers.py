"""Checks of a model's outputs: of the declared kind, and independent of the other rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from .. import ops
from ..check import warn
from ..classes import check_classes
from ..metric import scores_plainly

if TYPE_CHECKING:
    from .data import Data
    from .job import Job

NO_PREDICTION = (
    "y must say which of the model's {} outputs is explained, an index for each sample: a model of "
    "plain values predicts no class"
)
ROUNDING = 1e-2
"""How far from 1 the sum of a row of probabilities may be: bfloat16 rounds each by up to 2^-9."""


def check_shape(out: Any, n: int, kind: str) -> None:
    """Check that outputs are floats [N, K], with K = 1 for a binary model.

    Raises:
      ValueError: they are not; the message says what was given and what is needed.
    """
    shape = getattr(out, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != n or not shape[1] or not _floating(out):
        got = f"{out.dtype}{list(shape)}" if shape is not None else type(out).__name__
        more = ""
        if shape is None or len(shape) > 2:
            more = (
                ". Say what is explained by a function of the output, jaxeval.Model(lambda p, x: "
                'value(model(p, x)), params, outputs="values") with value [N, 1]: for segmentation '
                "the mean logit of a class over an area, for detection the score of a box: see "
                "docs/fields.md"
            )
        raise ValueError(
            f"the model must give floating-point logits [N, K]; for N = {n} it gave {got}{more}"
        )
    if kind == "binary" and shape[1] != 1:
        raise ValueError(
            f'Model(outputs="binary") has one logit, that of class 1, but this model gives '
            f"{shape[1]} outputs: leave outputs out for the logits of {shape[1]} classes"
        )


def _floating(out: Any) -> bool:
    return jnp.issubdtype(out.dtype, jnp.floating)


def check_kind(outputs: np.ndarray, kind: str) -> None:
    """Check that outputs [N, K] on clean samples are plausible for their declared kind.

    Raises:
      ValueError: "logits" that are probabilities, or "probabilities" that are not; the message
        says what to do.
    """
    outputs = np.asarray(outputs, np.float64)
    inside = bool(((outputs >= 0) & (outputs <= 1)).all())
    summed = np.abs(outputs.sum(1) - 1).max() <= ROUNDING
    if kind == "logits" and outputs.shape[1] > 1 and inside and summed:
        raise ValueError(
            "the model's outputs all lie in [0, 1] and each row sums to 1: these are "
            "probabilities, not logits, and a second softmax would flatten them. Give "
            'Model(outputs="probabilities"), or a model without its last softmax; where they are '
            'plain numbers, Model(outputs="values")'
        )
    if kind == "probabilities" and not (inside and summed):
        row = outputs[0 if not inside else int(np.abs(outputs.sum(1) - 1).argmax())]
        raise ValueError(
            'Model(outputs="probabilities"): rows must lie in [0, 1] and sum to 1, but one is '
            f"{np.array2string(row[:6], precision=4, threshold=6)}, with the sum {row.sum():.4g}. "
            'Give outputs="logits" for the logits of classes, outputs="values" for plain numbers, '
            "such as scores of labels that do not exclude each other"
        )
    if kind == "binary" and inside and len(outputs) > 1:
        warn(
            'the outputs of this model all lie in [0, 1]. outputs="binary" means the logit of '
            "class 1, before the sigmoid; of a model that ends in a sigmoid give p as "
            'Model(outputs="probabilities") with the two columns 1 - p and p'
        )


def check_answers(job: Job, logits: Any, real: np.ndarray) -> None:
    """Check that the model's first outputs are of the declared kind and include the classes y.

    Args:
      logits: the engine's logits [rows, K]; `real` marks the rows that are samples.

    Raises:
      ValueError: they are not; the message says what to do.
    """
    kind, k = job.model.outputs, logits.shape[-1]
    outputs = np.asarray(ops.as_outputs(logits, kind))[real]
    asking = [m for m in job.metrics.values() if "output" in m.asks]
    if not asking or not all(map(scores_plainly, asking)):
        check_kind(outputs, kind)
    if job.data.y is not None:
        check_classes(job.data.y, k)
    elif kind == "values" and k > 1:
        raise ValueError(NO_PREDICTION.format(k))
    for name, metric in job.metrics.items():
        try:
            ops.check_output(metric.output, kind, outputs.shape[-1])
        except ValueError as e:
            raise ValueError(f"metric {name!r}: {e}") from e


# -- rows that influence each other ----------------------------------------------------------------


def company(data: Data, rows: int, copies: int = 1) -> tuple[np.ndarray, Any]:
    """x and the inputs of a batch of `rows` that begins with `copies` of the first row of the data.

    The rest are rows of x shifted up and down to its largest and smallest entries; of token ids,
    just other rows.
    """
    x = data.x
    which = np.resize(np.arange(1, min(rows, len(x))) if min(rows, len(x)) > 1 else [0], rows)
    which[:copies] = 0
    first, others, inputs = x[0], x[which], data.inputs_of(which)
    if x.dtype.kind in "iu":
        return others, inputs
    far = (2 * np.abs(first).max() + 1).astype(x.dtype)
    others[0::2] += far
    others[1::2] -= far
    others[:copies] = first
    return others, inputs


def check_alone(clean: Any, other: Any, dtype: Any, copies: int = 1) -> None:
    """Check that the first row of `clean` has the same output in `other`, with `copies` in front.

    Raises:
      ValueError: the rows of a batch influence each other.
    """
    # Sliced on the host: on the device, each slice would compile a program.
    clean = np.asarray(clean)[:1].astype(np.float64)
    other = np.asarray(other)[:copies].astype(np.float64)
    coarsest = float(np.finfo(np.float32).eps)
    if jnp.issubdtype(dtype, jnp.floating):
        coarsest = max(coarsest, float(jnp.finfo(dtype).eps))
    scale = np.abs(clean[np.isfinite(clean)]).max(initial=0)
    off = np.abs(other - clean)
    off = np.where((other == clean) | (np.isnan(other) & np.isnan(clean)), 0, off)
    if not off.max(initial=0) <= 3 * np.sqrt(coarsest) * scale:
        raise ValueError(
            "the model's rows influence each other: its output on the first sample changes by up "
            f"to {off.max():.3g} (the largest is {scale:.3g}) with the other rows of the batch, or "
            "with its position, so scores would depend on the batch. Switch batch normalisation "
            "and dropout to inference mode (from_flax: pass the flag of your module, such as "
            "train=False), and draw no random numbers in the model"
        )
