"""`Described`: a user-given fingerprint for values whose state cannot be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


class OpaqueError(TypeError):
    """A value whose state cannot be read.

    Attributes:
      path: its path of names.
    """

    def __init__(self, path: str, what: str):
        super().__init__(
            f"{path} is {what}, whose state cannot be read, so that a change of it would go "
            "unnoticed. Wrap the function that uses it, with a fingerprint that you change "
            'whenever its results change: je.Described(fn, fingerprint="v1")'
        )
        self.path = path


@dataclasses.dataclass(frozen=True)
class Described:
    """A callable that sweeps identify by a given fingerprint instead of by its content.

    For a model's `apply`, an explainer, an output or a transform with state that cannot be read,
    such as an open file or a handle of another program. Calls are passed on to the function.

    Args:
      fn: the callable.
      fingerprint: a text that represents everything its results depend on. Change it whenever the
        results change: sweeps do not check it.

    User-defined classes may instead have a method ``__fingerprint__()``, whose value (of any
    readable kind) represents an instance's state.

    >>> double = Described(lambda x: 2 * x, fingerprint="twice, v1")
    >>> double(4), double.fingerprint
    (8, 'twice, v1')
    """

    fn: Callable[..., Any]
    fingerprint: str

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise TypeError(f"Described(fn) takes a callable, got {type(self.fn).__name__}")
        if not isinstance(self.fingerprint, str) or not self.fingerprint:
            raise TypeError(
                "Described(fn, fingerprint=...) takes a text that is not empty, got "
                f"{self.fingerprint!r}"
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __fingerprint__(self) -> str:
        return self.fingerprint
