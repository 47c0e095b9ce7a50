"""One row of the table: how one of Quantus's metrics is asked of the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ..batch import Batch


@dataclasses.dataclass(frozen=True)
class Row:
    """A metric of Quantus.

    Args:
      run: `Batch` -> what the metric's `evaluate_batch` returns; None: Quantus's own code runs.
      explains: Quantus's loop runs, and all that takes time in it is `explain`, which is jaxeval's.
      own: for such a metric, what replaces `evaluate_batch`: (metric, its arguments) -> its result.
      mixin: a class with methods that replace others of the metric's.
      paper: what Quantus does otherwise than the paper, for metrics whose score is the paper's; ""
        where the score is Quantus's.
      whole: whether the score is one of the whole data set, which is then one batch.
      in_torch: whether it asks for one or two outputs of each sample, which stay torch's.
    """

    run: Callable[[Batch], Any] | None = None
    _: dataclasses.KW_ONLY
    explains: bool = False
    own: Callable[[Any, dict[str, Any]], Any] | None = None
    mixin: type | None = None
    paper: str = ""
    whole: bool = False
    in_torch: bool = False
