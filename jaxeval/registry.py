"""Tables of classes by name: those of jaxeval, and those that users add with `jaxeval.register`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import jax

from .check import did_you_mean

T = TypeVar("T")
C = TypeVar("C", bound=type)

TABLES: list[Registry[Any]] = []
"""One table for each kind of class that has names."""


class Registry(Mapping[str, type[T]], Generic[T]):
    """{name: class} of all subclasses of `base` that have a name, the first to get one first.

    Read it like a dict; `jaxeval.register` is the way in.
    """

    def __init__(self, kind: str, base: type[T], check: Callable[[Any], None] | None = None):
        """Makes the table known to `enter`.

        Args:
          kind: what the classes are, for messages: "metric".
          base: their base class.
          check: raises TypeError for a class that is not complete; None is `check_complete`.
        """
        self.kind, self.base, self.check = kind, base, check or check_complete
        self._classes: dict[str, type[T]] = {}
        TABLES.append(self)

    def __getitem__(self, name: str) -> type[T]:
        if name not in self._classes:
            raise KeyError(f"no {self.kind} {name!r}{did_you_mean(name, self._classes)}")
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def __repr__(self) -> str:
        return f"<{len(self)} {self.kind}s: {', '.join(self)}>"

    def add(self, cls: type[T]) -> None:
        self.check(cls)
        self._classes[cls.__name__] = cls


def enter(cls: C) -> C:
    """Puts a class into the table of its kind: what `jaxeval.register` does, which says it all."""
    if not isinstance(cls, type):
        raise TypeError(
            f"register takes a class, got {cls!r}. A function needs no name here: give it as "
            '`explainers={"name": function}`, and in a file of a sweep as "package.module:function"'
        )
    table = next((table for table in TABLES if table.base in cls.__mro__), None)
    if table is None:
        bases = ", ".join(table.base.__name__ for table in TABLES)
        raise TypeError(f"register takes a subclass of one of {bases}, got {cls.__name__}")
    taken = next((t[cls.__name__] for t in TABLES if cls.__name__ in t), None)
    if taken is not None and where(taken) != where(cls):
        raise ValueError(
            f"the name {cls.__name__} is taken, by {where(taken)}: give {where(cls)} another name"
        )
    table.add(cls)
    return cls


def make(table: Mapping[str, type], kind: str, name: str, fields: Any = None) -> Any:
    """An instance of a named class.

    Raises:
      ValueError: no such name. TypeError: fields that it does not have.
    """
    if name not in table:
        raise ValueError(f"no {kind} {name!r}, only {', '.join(table)}{did_you_mean(name, table)}")
    cls, fields = table[name], dict(fields or {})
    known = [f.name for f in dataclasses.fields(cls) if f.init]
    for field in fields:
        if field not in known:
            raise TypeError(
                f"{name} has no field {field!r}, only {', '.join(known)}"
                f"{did_you_mean(field, known)}"
            )
    return cls(**fields)


def everything() -> dict[str, type]:
    """{name: class} of all tables."""
    return {name: cls for table in TABLES for name, cls in table.items()}


def where(v: Any) -> str:
    """The full name of a class or function."""
    return f"{v.__module__}.{v.__qualname__}"


def check_complete(cls: type) -> None:
    """A class has all methods that it must have, and is a pytree.

    Raises:
      TypeError: with what is missing.
    """
    defined: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        defined.update(vars(base))
    for name, method in defined.items():
        if getattr(method, "__isabstractmethod__", False):
            arguments = [p for p in inspect.signature(method).parameters if p != "self"]
            raise TypeError(f"the class {cls.__name__} lacks {name}({', '.join(arguments)})")
    if jax.tree_util.all_leaves((object.__new__(cls),)):
        raise TypeError(
            f"the class {cls.__name__} lacks the decorator @jaxeval.pytree, right above the class"
        )
