"""Errors while rewriting a model: the model then runs as written, with one warning.

If the environment variable ``JAXEVAL_STRICT`` is set, as in the tests, they are raised.
"""

from __future__ import annotations

import os

from ..check import warn

STRICT = "JAXEVAL_STRICT"
_warned = False


def fall_back(fault: Exception) -> None:
    """Raise the error in tests; for users, warn the first time."""
    global _warned
    if os.environ.get(STRICT):
        raise fault
    if not _warned:
        _warned = True
        warn(
            "jaxeval failed to rewrite a model for CPUs, and runs it as it is written, which may "
            f"be slower ({type(fault).__name__}: {fault}). Scores are not affected. This is a "
            f"fault of jaxeval: please report it, with the traceback that {STRICT}=1 gives"
        )
