"""Compiled programs that are freed together with the functions they call.

`jax.jit` keeps compiled programs as long as the jitted function lives, and with them every static
argument, such as a model's `apply` and everything it closes over. Here, programs refer to their
static functions weakly, and are cached per function: when the caller drops a model, its programs,
their constants and the model itself are freed.
"""

from __future__ import annotations

import collections
import contextvars
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
    """A callable that holds weak references to the functions it calls, listed in `owners`."""

    __slots__ = ()

    @property
    def owners(self) -> tuple[Weak, ...]:
        raise NotImplementedError


class Weak(Held):
    """A weak reference to a function, callable like the function; equal functions share one.

    Attributes:
      memo: a cache of values derived from the function, cleared when it is freed.
    """

    __slots__ = ("__weakref__", "keys", "lasts", "living", "memo", "name")
    by_id: ClassVar[dict[int, tuple[weakref.ref[Any], Weak]]] = {}
    by_value: ClassVar[dict[int, tuple[int, Weak]]] = {}
    """{id(weak): (hash of the function, weak)}, for functions that are compared by value."""
    lasting: ClassVar[collections.OrderedDict[Any, Weak]] = collections.OrderedDict()
    """{architecture: weak}, least recently used first; see `lasting`."""
    made: ClassVar[dict[Any, Any]] = {}
    """{(program, owners): jitted function}; each owner's `keys` lists its entries."""

    def __init__(self, name: str):
        self.living: dict[int, weakref.ref[Any]] = {}
        self.memo: dict[Any, Any] = {}
        self.keys: set[Any] = set()
        self.lasts = False
        """Whether programs are kept when no equal function is alive, for a future equal one."""
        self.name = name

    def get(self) -> Any:
        """The function, or a living function equal to it."""
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
        """Add `fn`, which is equal to the functions referred to so far."""
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
        """Drop everything cached for the function."""
        self.memo.clear()
        for key in tuple(self.keys):
            for owner in key[1]:
                owner.keys.discard(key)
            self.made.pop(key, None)
        self.by_value.pop(id(self), None)


def weakly(fn: Any) -> Any:
    """A callable that calls `fn` through a weak reference.

    Callables that cannot be weakly referenced (C functions) are returned unchanged.
    """
    known = Weak.by_id.get(id(fn))
    if known is not None and known[0]() is fn:
        return known[1]
    if isinstance(fn, Held):
        return fn.weak if isinstance(fn, Wrapper) else fn
    if isinstance(fn, types.MethodType):  # every attribute access makes a new one
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
    """Like `weakly`, for a function without weights that shares programs with all equal ones.

    The programs of the last `LASTING` architectures are kept after the functions are freed, e.g.
    for loops that build an equal model for every checkpoint.

    Args:
      architecture: a hashable value that fully determines what `fn` computes, without a reference
        to it; None if there is no such value.
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
"""Number of architectures whose programs are kept without a living model; they hold no weights."""


def _equal(fn: Any) -> Weak | None:
    """The `Weak` shared by functions equal to `fn`; None if `fn` is not compared by value."""
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
    """The function behind a `Weak`; anything else is returned unchanged."""
    return fn.get() if isinstance(fn, Weak) else fn


@dataclasses.dataclass(frozen=True)
class Method(Held):
    """A bound method with a weak reference to its object."""

    of: Any
    fn: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return target(self.fn)(target(self.of), *args, **kwargs)

    @property
    def owners(self) -> tuple[Weak, ...]:
        return tuple(v for v in (self.of, self.fn) if isinstance(v, Weak))


class Wrapper(Held):
    """Base of dataclasses that call another function, in the field `HOLDS`.

    Equal instances share programs.
    """

    HOLDS: ClassVar[str] = "fn"

    @functools.cached_property
    def weak(self) -> Any:
        """A copy that refers to the wrapped function weakly."""
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
    """A mutable cache for values derived from a function, dropped when the function is freed."""
    weak = weakly(fn)
    owners = weak.owners if isinstance(weak, Held) else ()
    memo = owners[0].memo if owners else _FOREVER
    return memo.setdefault(weak, {})


def traceable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """An equivalent function to pass to JAX's tracing; JAX's caches for it are freed with `fn`.

    `fn` itself, if held weakly, would not do: it is also a static argument in other JAX caches,
    which would keep alive what was traced.
    """
    if not isinstance(fn, Held):
        return fn
    known = remembered(fn)
    if "traceable" not in known:
        known["traceable"] = _anew(weakly(fn))
    return known["traceable"]


_FOREVER: dict[Any, Any] = {}
"""Cache for functions that cannot be weakly referenced (C functions, which are never freed)."""


PLAIN: set[type] = {type(None), bool, int, float, str, dict, np.ndarray, Mesh}
"""Types that never contain static functions. Array types are added when first seen."""


def loosened(v: Any, owners: dict[Weak, None]) -> Any:
    """The value with its static functions replaced by weak ones; these are added to `owners`."""
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


WATCHER: contextvars.ContextVar[Any] = contextvars.ContextVar("watcher", default=None)
"""An object whose ``called(jit, args)`` is called instead of every `Jit` (`engine.rehearsal`)."""


class Jit:
    """`jax.jit` whose compiled programs are freed with the static functions in their arguments.

    These are callables passed as static arguments or held in static fields of models, explainers
    and metrics.
    """

    def __init__(self, fn: Callable[..., Any], **settings: Any):
        functools.update_wrapper(self, fn)
        self._fn, self._settings = fn, settings
        self._shared = self._make()

    def _make(self) -> Any:
        return jax.jit(_anew(self._fn), **self._settings)

    def _of(self, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """(jitted function for the callables in these arguments, arguments with weak callables)"""
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
        if (watcher := WATCHER.get()) is not None:
            return watcher.called(self, args)
        made, args = self._of(args)
        return made(*args)

    @property
    def static(self) -> tuple[int, ...]:
        """The positions of static arguments."""
        given = self._settings.get("static_argnums", ())
        return (given,) if isinstance(given, int) else tuple(given)

    def lower(self, *args: Any) -> Any:
        """The program for these arguments, not compiled (`jax.stages.Lowered`)."""
        made, args = self._of(args)
        return made.lower(*args)

    def portable(self, *args: Any) -> tuple[Any, tuple[Any, ...]]:
        """(jitted function without options for CPUs, arguments for it)."""
        return self._of(args)

    def eval_shape(self, *args: Any) -> Any:
        """The shapes and dtypes of the result, without computing it."""
        made, args = self._of(args)
        return made.eval_shape(*args)

    def trace(self, *args: Any) -> Any:
        """What JAX has traced of it (`jax.stages.Traced`)."""
        made, args = self._of(args)
        return made.trace(*args)


def _anew(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A new function object that calls `fn`: JAX's caches are keyed by function object."""

    def again(*args: Any) -> Any:
        return fn(*args)

    return again if isinstance(fn, Held) else functools.wraps(fn)(again)


def jit(*, static_argnums: Any = ()) -> Callable[[Callable[..., Any]], Jit]:
    """Decorator: like `jax.jit`, with programs that are freed with their functions (see `Jit`)."""
    return functools.partial(Jit, static_argnums=static_argnums)


@dataclasses.dataclass(frozen=True, eq=False)
class Unhashable(Wrapper):
    """Wraps a callable without a hash (e.g. an Equinox module); compares by object identity."""

    fn: Callable[..., Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable) and self.fn is other.fn

    def __hash__(self) -> int:
        return id(self.fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)


def hashable(fn: Any) -> Any:
    """The callable itself, or wrapped so that it is hashable: usable in static fields."""
    if isinstance(fn, Held):
        return fn
    try:
        hash(fn)
    except TypeError:
        return Unhashable(fn)
    return fn
