"""Compiled programs that go when the functions in them go.

JAX keeps what it compiles for as long as the compiled function lives, and with it every static
argument: a model's `apply`, and all that it closes over. Here a program's static functions are held
weakly, and what is compiled of a function belongs to it: when the caller drops a model, its
programs, the constants in them and the model itself are freed.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import types
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np
from jax.sharding import Mesh

from .types import PYTREES


class Held:
    """A function that does not keep alive what it calls; `owners` are what it must not outlive."""

    __slots__ = ()

    @property
    def owners(self) -> tuple[Weak, ...]:
        raise NotImplementedError


class Weak(Held):
    """A weak reference to a function, called as the function itself: one for all equal ones.

    Attributes:
      memo: what is worth remembering of the function, for as long as it lives.
    """

    __slots__ = ("__weakref__", "keys", "lasts", "living", "memo", "name")
    by_id: ClassVar[dict[int, tuple[weakref.ref[Any], Weak]]] = {}
    by_value: ClassVar[dict[int, tuple[int, Weak]]] = {}
    """{id: (hash, it)} of those whose functions are compared by value."""
    lasting: ClassVar[collections.OrderedDict[Any, Weak]] = collections.OrderedDict()
    """{what says all of a function: it}; the oldest go first."""
    made: ClassVar[dict[Any, Any]] = {}
    """{(program, owners): what is compiled for them}; each owner's `keys` name what to drop."""

    def __init__(self, name: str):
        self.living: dict[int, weakref.ref[Any]] = {}
        self.memo: dict[Any, Any] = {}
        self.keys: set[Any] = set()
        self.lasts = False
        """What is compiled stays when no function is left: for an equal one that may come."""
        self.name = name

    def get(self) -> Any:
        """The function, or one that is equal to it."""
        for ref in tuple(self.living.values()):
            if (fn := ref()) is not None:
                return fn
        raise ReferenceError(f"{self.name} is gone: keep the model or explainer that calls it")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.get()(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<weak {self.name}>"

    @property
    def owners(self) -> tuple[Weak, ...]:
        return (self,)

    def add(self, fn: Any) -> None:
        """Let `fn`, which is equal, stand for the others when they are gone."""
        at, itself, by_id = id(fn), weakref.ref(self), self.by_id

        def gone(ref: Any) -> None:
            weak = itself()
            if weak is not None and weak.living.get(at) is ref:
                del weak.living[at]
                if not weak.living and not weak.lasts:
                    weak.clear()
            if at in by_id and by_id[at][0] is ref:
                del by_id[at]

        self.living[at] = ref = weakref.ref(fn, gone)
        by_id[at] = ref, self

    def clear(self) -> None:
        """Forget all that was made of the function."""
        self.memo.clear()
        for key in tuple(self.keys):
            for owner in key[1]:
                owner.keys.discard(key)
            self.made.pop(key, None)
        self.by_value.pop(id(self), None)


def weakly(fn: Any) -> Any:
    """A function that calls `fn` and does not keep it alive.

    What cannot be referenced weakly (C functions) comes back as it is.
    """
    known = Weak.by_id.get(id(fn))
    if known is not None and known[0]() is fn:
        return known[1]
    if isinstance(fn, Held):
        return fn.weak if isinstance(fn, Wrapper) else fn
    if isinstance(fn, types.MethodType):  # made anew whenever it is looked at
        return Method(weakly(fn.__self__), weakly(fn.__func__))
    if (architecture := getattr(type(fn), "__architecture__", None)) is not None:
        return lasting(architecture(fn), fn)
    weak = _equal(fn) or Weak(getattr(fn, "__qualname__", type(fn).__qualname__))
    try:
        weak.add(fn)
    except TypeError:
        return fn
    return weak


def lasting(architecture: Any, fn: Any) -> Any:
    """As `weakly`, of a function without weights, whose programs serve all equal ones.

    Those are kept when it is gone, as an equal one is made for every checkpoint, say.

    Args:
      architecture: a hashable value that says all of what `fn` computes, and holds none of it; None
        where nothing does.
    """
    if architecture is None:
        weak = _equal(fn) or Weak(type(fn).__qualname__)
    elif architecture in Weak.lasting:
        weak = Weak.lasting[architecture]
        Weak.lasting.move_to_end(architecture)
    else:
        weak = Weak.lasting[architecture] = Weak(type(fn).__qualname__)
        weak.lasts = True
        if len(Weak.lasting) > LASTING:
            _, oldest = Weak.lasting.popitem(last=False)
            oldest.lasts = False
            if not oldest.living:
                oldest.clear()
    if id(fn) not in weak.living:
        weak.add(fn)
    return weak


LASTING = 16
"""Architectures of which programs are kept though no such model lives; they hold no weights."""


def _equal(fn: Any) -> Weak | None:
    """What already stands for equal functions, where they are compared by value."""
    if type(fn).__eq__ is object.__eq__ or isinstance(fn, types.FunctionType):
        return None
    try:
        number = hash(fn)
    except TypeError:
        return None
    for known, weak in tuple(Weak.by_value.values()):
        if known == number and weak.living and (weak.get() == fn) is True:
            return weak
    weak = Weak(getattr(fn, "__qualname__", type(fn).__qualname__))
    Weak.by_value[id(weak)] = number, weak
    return weak


def target(fn: Any) -> Any:
    """What is held, or the thing itself where it is not."""
    return fn.get() if isinstance(fn, Weak) else fn


@dataclasses.dataclass(frozen=True)
class Method(Held):
    """A bound method whose object is held weakly."""

    of: Any
    fn: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return target(self.fn)(target(self.of), *args, **kwargs)

    @property
    def owners(self) -> tuple[Weak, ...]:
        return tuple(v for v in (self.of, self.fn) if isinstance(v, Weak))


class Wrapper(Held):
    """A dataclass that calls another function, named in `HOLDS`; equal ones share programs."""

    HOLDS: ClassVar[str] = "fn"

    @functools.cached_property
    def weak(self) -> Any:
        """The same around the function held weakly."""
        held = weakly(getattr(self, self.HOLDS))
        if held is getattr(self, self.HOLDS):
            return self
        made: Any = self
        return dataclasses.replace(made, **{self.HOLDS: held})

    @property
    def owners(self) -> tuple[Weak, ...]:
        held = getattr(self, self.HOLDS)
        return held.owners if isinstance(held, Held) else ()


def remembered(fn: Any) -> dict[Any, Any]:
    """What is remembered of a function, to be read and written, until it is gone."""
    weak = weakly(fn)
    owners = weak.owners if isinstance(weak, Held) else ()
    memo = owners[0].memo if owners else _FOREVER
    return memo.setdefault(weak, {})


def traceable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, for JAX to trace: what JAX remembers of it goes with it.

    Not `fn` itself, where that is held weakly: static arguments in JAX's other caches hold what
    holds it, and would keep what was traced.
    """
    if not isinstance(fn, Held):
        return fn
    known = remembered(fn)
    if "traceable" not in known:
        known["traceable"] = _anew(weakly(fn))
    return known["traceable"]


_FOREVER: dict[Any, Any] = {}
"""Of functions that cannot be referenced weakly: those of C, which live as long as the process."""


PLAIN: set[type] = {type(None), bool, int, float, str, dict, np.ndarray, Mesh}
"""Types in which no static function is. Those of arrays are added when they are met."""


def loosened(v: Any, owners: dict[Weak, None]) -> Any:
    """The value with all static functions in it held weakly; notes whose they are."""
    kind = type(v)
    if kind in PLAIN:
        return v
    if kind in PYTREES:
        static, changed = PYTREES[kind], {}
        for name, value in vars(v).items():
            inner = type(value)
            if inner in PLAIN or not (name in static or inner in PYTREES or inner is tuple):
                continue
            new = loosened(value, owners)
            if new is not value:
                changed[name] = new
        if not changed:
            return v
        node = object.__new__(kind)
        vars(node).update(vars(v))
        vars(node).update(changed)
        return node
    if kind is tuple:
        new = tuple([loosened(item, owners) for item in v])
        return v if all(map(_is, new, v)) else new
    if callable(v) and not isinstance(v, type):
        weak = weakly(v)
        if isinstance(weak, Held):
            owners.update(dict.fromkeys(weak.owners))
        return weak
    if kind.__module__.partition(".")[0] in ("jax", "jaxlib", "numpy"):
        PLAIN.add(kind)
    return v


def _is(a: Any, b: Any) -> bool:
    return a is b


class Jit:
    """`jax.jit` of a function; what it compiles goes with the static functions in the arguments.

    Functions are arguments that are static, and static fields of models, explainers and metrics.
    """

    def __init__(self, fn: Callable[..., Any], **settings: Any):
        functools.update_wrapper(self, fn)
        self._fn, self._settings = fn, settings
        self._shared = self._make()

    def _make(self) -> Any:
        return jax.jit(_anew(self._fn), **self._settings)

    def _of(self, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """(what `_make` made for the functions in these arguments, the arguments with them weak)"""
        owners: dict[Weak, None] = {}
        args = tuple([loosened(v, owners) for v in args])
        if not owners:
            return self._shared, args
        key = self, tuple(owners)
        made = Weak.made.get(key)
        if made is None:
            Weak.made[key] = made = self._make()
            for owner in owners:
                owner.keys.add(key)
        return made, args

    def __call__(self, *args: Any) -> Any:
        made, args = self._of(args)
        return made(*args)

    def eval_shape(self, *args: Any) -> Any:
        """The shapes of what it would give."""
        made, args = self._of(args)
        return made.eval_shape(*args)

    def trace(self, *args: Any) -> Any:
        """What JAX has traced of it (`jax.stages.Traced`)."""
        made, args = self._of(args)
        return made.trace(*args)


def _anew(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Another function that does the same: JAX keeps what it compiles by function."""

    def again(*args: Any) -> Any:
        return fn(*args)

    return again if isinstance(fn, Held) else functools.wraps(fn)(again)


def jit(*, static_argnums: Any = ()) -> Callable[[Callable[..., Any]], Jit]:
    """Decorator: `jax.jit` with the same settings, whose programs go with their functions."""
    return functools.partial(Jit, static_argnums=static_argnums)


@dataclasses.dataclass(frozen=True, eq=False)
class Unhashable(Wrapper):
    """A callable that has no hash (an Equinox module, say), told from others by identity."""

    fn: Callable[..., Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable) and self.fn is other.fn

    def __hash__(self) -> int:
        return id(self.fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)


def hashable(fn: Any) -> Any:
    """The callable, as one that can be part of the structure of a pytree."""
    if isinstance(fn, Held):
        return fn
    try:
        hash(fn)
    except TypeError:
        return Unhashable(fn)
    return fn
