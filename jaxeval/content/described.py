"""What cannot be read, and what the user says of it instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


class OpaqueError(TypeError):
    """Something whose state cannot be read.

    Attributes:
      path: the names that lead to it.
    """

    def __init__(self, path: str, what: str):
        super().__init__(
            f"{path} is {what}, whose state cannot be read, so that a change of it would go "
            "unnoticed. Wrap the function that uses it, and give it fingerprint=, a text of "
            'your own to change whenever its answers do: je.Described(fn, fingerprint="v1")'
        )
        self.path = path


@dataclasses.dataclass(frozen=True)
class Described:
    """A callable that sweeps know by a text instead of by what is in it.

    For a model's `apply`, an explainer, an output or a transform that holds what cannot be read,
    such as an open file or the handle of another program. It is called as the function itself.

    Args:
      fn: the callable.
      fingerprint: stands for all that decides its answers. Change it whenever they change: a sweep
        believes it.

    Classes of your own may have a method ``__fingerprint__()`` instead, whose value (of any kind
    that can be read) stands for an instance's state.

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
