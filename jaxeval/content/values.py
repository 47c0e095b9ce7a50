"""Values as plain data: arrays by digest, objects by their state, functions by what they read.

Two values with equal content compute the same, also in another process, as the content does not
depend on addresses, on the order of dicts and sets, or on hash seeds. Values with state that cannot
be read (an open file, a generator) have no content; users wrap them in `Described`.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import json
import logging
import math
import pathlib
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from ..digests import array_digest
from ..trace.jaxprs import words
from . import functions
from .arrays import host_array, is_array
from .described import OpaqueError

MOST = 2000
"""Maximum levels of nesting; deeper values create new objects whenever they are read."""
HARMLESS = (type(threading.Lock()), type(threading.RLock()), logging.Logger)
"""Types with hidden state that does not affect results."""
RESERVED = words("array class code closure dict float function items list tuple")


def content(value: Any, path: str = "the value") -> Any:
    """The content of a value as plain data that JSON can hold; see `Reader`.

    Raises:
      OpaqueError: the value, or a part of it, has state that cannot be read.

    >>> content(functools.partial(pow, exp=np.ones(2, np.float32)))["keywords"]["exp"]["array"]
    'float32[2]'
    """
    return Reader(path).read(value)


def text(value: Any) -> str:
    """Canonical text of plain data."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Reader:
    """Reads values into plain data.

    Attributes:
      libraries: the installed packages found, whose versions are part of a sweep's fingerprint.
    """

    def __init__(self, path: str):
        self.root = path
        self.path: list[str] = []
        self.seen: dict[int, tuple[str, Any]] = {}
        """{id: (object, path of its first occurrence)}; kept alive so that ids stay unique."""
        self.inside: set[int] = set()
        self.libraries: set[str] = set()

    def read(self, v: Any, *steps: Any) -> Any:
        """The content of v, which is found under `steps` from here."""
        self.path.extend(map(str, steps))
        try:
            if len(self.path) > MOST:
                raise OpaqueError(f"{self._here()[:200]}...", "nested without end")
            return self._read(v)
        except RecursionError:
            raise OpaqueError(f"{self._here()[:200]}...", "nested without end") from None
        finally:
            del self.path[len(self.path) - len(steps) :]

    def _here(self) -> str:
        return ".".join([self.root, *self.path])

    def _refuse(self, v: Any) -> OpaqueError:
        kind = type(v)
        name = functions.name_of(kind)
        return OpaqueError(self._here(), f"of the type {name}")

    def _read(self, v: Any) -> Any:
        kind = type(v)
        if v is None or v is Ellipsis or v is NotImplemented or kind in (bool, int, str):
            return v if not (v is Ellipsis or v is NotImplemented) else {"constant": str(v)}
        if kind is float:
            return v if math.isfinite(v) else {"float": repr(v)}
        if kind in (complex, range, slice, type(Ellipsis)):
            return {kind.__name__: repr(v)}
        if kind in (bytes, bytearray, memoryview):
            return {kind.__name__: array_digest(np.frombuffer(v, np.uint8)), "length": len(v)}
        if is_array(v):
            return self._array(v)
        if isinstance(v, (np.dtype, pathlib.PurePath)):
            return {"dtype" if isinstance(v, np.dtype) else "path": str(v)}
        if isinstance(v, enum.Enum):
            return {"enum": f"{functions.name_of(kind)}.{v.name}", "value": self.read(v.value)}
        if kind in (list, tuple, set, frozenset, dict) or kind is types.MappingProxyType:
            return self._once(v, self._container)
        if isinstance(v, types.ModuleType):
            return self._module(v)
        if isinstance(v, HARMLESS):
            return {"class": functions.name_of(kind)}
        if isinstance(v, (types.GenericAlias, types.UnionType, typing.TypeVar)) or (
            kind.__module__ == "typing"
        ):
            return {"type": repr(v)}
        if functions.importable(v) and self._library(v.__module__):
            name = functions.name_of(v)
            return name.rpartition(".")[2] if name.startswith("jaxeval.") else name
        if id(v) in self.seen:
            return {"same as": self.seen[id(v)][0]}
        if not isinstance(v, types.MethodType):  # created anew at every access
            self.seen[id(v)] = ".".join(self.path), v
        return self._object(v)

    def _once(self, v: Any, read: Callable[[Any], Any]) -> Any:
        if id(v) in self.inside:
            return {"same as": "what it is in"}
        self.inside.add(id(v))
        try:
            return read(v)
        finally:
            self.inside.discard(id(v))

    # -- numbers and containers ------------------------------------------------------------------

    def _array(self, v: Any) -> Any:
        if isinstance(v, np.generic) and v.dtype.kind in "iufb":
            return {"number": str(v.dtype), "value": self.read(v.item())}
        if getattr(v, "dtype", None) == np.dtype(object):
            return {"array": f"object{list(v.shape)}", "items": self.read(v.tolist())}
        try:
            array = host_array(v)
        except Exception as e:  # without data (donated, meta), as each library says it
            raise self._refuse(v) from e
        found = {"array": f"{v.dtype}{list(v.shape)}".removeprefix("torch.")}
        if isinstance(v, np.ma.MaskedArray):
            found["mask"] = array_digest(np.ma.getmaskarray(v))
        return {**found, "digest": array_digest(array)}

    def _container(self, v: Any) -> Any:
        if isinstance(v, (list, tuple)):
            items = [self.read(item, i) for i, item in enumerate(v)]
            return items if isinstance(v, tuple) else {"list": items}
        if isinstance(v, (set, frozenset)):
            return {"set": sorted((self.read(item) for item in v), key=text)}
        return self._mapping(v.items())

    def _mapping(self, items: Iterable[tuple[Any, Any]]) -> Any:
        items = list(items)
        if all(type(k) is str for k, _ in items):
            found = {k: self.read(value, k) for k, value in sorted(items, key=lambda kv: kv[0])}
            return {"dict": found} if RESERVED & found.keys() else found
        pairs = [[self.read(k), self.read(value, f"[{k!r}]")] for k, value in items]
        return {"items": sorted(pairs, key=text)}

    # -- functions, classes and modules ----------------------------------------------------------

    def _library(self, module: str | None) -> bool:
        if not functions.is_library(module):
            return False
        root = (module or "").partition(".")[0]
        if root and root not in sys.stdlib_module_names and root not in sys.builtin_module_names:
            self.libraries.add(root)
        return True

    def _module(self, v: types.ModuleType) -> Any:
        if self._library(v.__name__):
            return {"module": v.__name__}
        if id(v) in self.seen:
            return {"same as": self.seen[id(v)][0]}
        self.seen[id(v)] = ".".join(self.path), v
        own = {k: value for k, value in vars(v).items() if not k.startswith("__")}
        return {"module": v.__name__, "holds": self._mapping(own.items())}

    def _function(self, fn: types.FunctionType) -> Any:
        found: dict[str, Any] = {"function": functions.name_of(fn)}
        library = self._library(fn.__module__)
        if not library:
            found["code"] = functions.code_digest(fn.__code__)
        cells = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True)
        parts: dict[str, Any] = {
            "closure": {name: _inside(cell) for name, cell in cells},
            "defaults": fn.__defaults__,
            "kwdefaults": fn.__kwdefaults__,
            "globals": {} if library else functions.referred(fn),
            "attributes": {k: v for k, v in vars(fn).items() if not k.startswith("__")},
        }
        for name, part in parts.items():
            if part:
                found[name] = self.read(part, name)
        return found

    def _class(self, cls: type) -> Any:
        found: dict[str, Any] = {"name": functions.name_of(cls)}
        if self._library(cls.__module__):  # one made by a function of a library
            return found
        fields = vars(cls).get("__dataclass_fields__", {}).values()
        parts = {
            "bases": tuple(base for base in cls.__bases__ if base is not object),
            "members": functions.members(cls),
            "made by": {f.name: f.default_factory for f in fields if callable(f.default_factory)},
        }
        for name, part in parts.items():
            if part:
                found[name] = self.read(part, name)
        return found

    # -- objects ---------------------------------------------------------------------------------

    def _object(self, v: Any) -> Any:
        if isinstance(v, types.FunctionType):
            return self._function(v)
        if isinstance(v, type):
            return self._class(v)
        if isinstance(v, types.MethodType):
            return {"method": self.read(v.__func__, "method"), "of": self.read(v.__self__, "of")}
        if isinstance(v, functools.partial):
            parts = {"partial": v.func, "args": v.args, "keywords": v.keywords, **vars(v)}
            return {k: self.read(part, k) for k, part in parts.items()}
        if isinstance(v, (types.BuiltinFunctionType, types.MethodWrapperType)):
            owner = v.__self__
            found = {"function": functions.name_of(v)}
            plain = owner is None or isinstance(owner, types.ModuleType)
            return found if plain else {**found, "of": self.read(owner, "of")}
        if isinstance(v, (staticmethod, classmethod)):
            return {type(v).__name__: self.read(v.__func__)}
        if isinstance(v, property):
            return {"property": self.read((v.fget, v.fset, v.fdel))}
        if isinstance(v, weakref.ref):
            return {"weakref": self.read(v())}
        found = {"class": self.read(type(v), "class")}
        hook = getattr(type(v), "__fingerprint__", None)
        if hook is not None:
            given = hook(v)
            if isinstance(given, dict):
                return {**found, **{k: self.read(part, k) for k, part in given.items()}}
            return {**found, "fingerprint": self.read(given, "fingerprint")}
        return {**found, **self._state(v)}

    def _state(self, v: Any) -> dict[str, Any]:
        """The state of an object, by the first method known to cover all of it."""
        kind = type(v)
        if dataclasses.is_dataclass(v):
            return self._attributes(v, [f.name for f in dataclasses.fields(v)])
        if hasattr(v, "__wrapped__") and _has_hidden_state(kind):  # jax.jit, functools.cache
            return {"of": self.read(v.__wrapped__, "of")}
        if isinstance(v, jax.tree_util.PyTreeDef):
            data = v.node_data()
            return {
                "node": self.read(data, "node"),
                "children": [self.read(child, i) for i, child in enumerate(v.children())],
            }
        if isinstance(v, Mapping) and self._library(kind.__module__):
            items = {"items": self._once(v, lambda v: self._mapping(v.items()))}
            more = getattr(v, "default_factory", None)
            return items if more is None else {**items, "default": self.read(more, "default")}
        if self._library(kind.__module__) and not jax.tree_util.all_leaves((v,)):
            return self._node(v)
        for builtin in (dict, list, tuple, set, frozenset, str, int, float, complex, bytes):
            if isinstance(v, builtin):
                plain = {"holds": self.read(builtin(v), "holds")}  # type: ignore[call-arg]
                return {**plain, **self._attributes(v)}
        if hasattr(v, "_forward_hooks") and hasattr(v, "_parameters"):  # a torch module
            return self._torch_module(v)
        library = self._library(kind.__module__)
        if _has_hidden_state(kind) or (library and _reduces(kind)):
            return self._reduced(v)
        if library and kind.__getstate__ is not object.__getstate__:  # caches left out, say
            return {"state": self.read(v.__getstate__(), "state")}
        return self._attributes(v)

    def _attributes(self, v: Any, names: Iterable[str] = ()) -> dict[str, Any]:
        """Fields, attributes and slots, without cached values."""
        kind = type(v)
        found = {name: getattr(v, name) for name in names if hasattr(v, name)}
        if not any(functions.name_of(c) in FIELDS_ONLY for c in kind.__mro__):
            own = getattr(v, "__dict__", {}).items()
            found.update({k: value for k, value in own if k not in found and k not in COPIED})
            slots = [s for s in copyreg._slotnames(kind) if s not in found]  # type: ignore[attr]
            found.update({s: getattr(v, s) for s in slots if hasattr(v, s)})
        kept = {
            k
            for c in kind.__mro__
            for k, value in vars(c).items()
            if isinstance(value, functools.cached_property)
        }
        read = {name: self.read(u, name) for name, u in found.items() if name not in kept}
        return {f"attribute {k}" if k == "class" else k: part for k, part in read.items()}

    def _torch_module(self, v: Any) -> dict[str, Any]:
        """A torch module, without its empty registries."""
        found = {}
        for name, value in vars(v).items():
            if name.startswith("_") and isinstance(value, (dict, set)) and not value:
                continue
            if "hooks" in name and isinstance(
                value, dict
            ):  # by numbers that count all hooks of the process
                value = tuple(value.values())
            found[name] = self.read(dict(value) if isinstance(value, dict) else value, name)
        return found

    def _node(self, v: Any) -> dict[str, Any]:
        """One node of a pytree: its children by path, and its auxiliary data."""
        children, tree = jax.tree_util.tree_flatten_with_path(v, is_leaf=lambda u: u is not v)
        node = tree.node_data()
        aux = None if node is None else node[1]
        found = {_key(path): self.read(child, _key(path)) for path, child in children}
        return {"holds": found, "structure": self.read(aux, "structure")}

    def _reduced(self, v: Any) -> dict[str, Any]:
        """The parts that pickle would write for an extension type's object."""
        kind = type(v)
        try:
            reduce = copyreg.dispatch_table.get(kind)
            made = reduce(v) if reduce is not None else v.__reduce_ex__(4)
        except Exception as e:  # classes may raise any error
            raise self._refuse(v) from e
        if isinstance(made, str):
            return {"name": made}
        names = ("made by", "with", "state", "items", "pairs")
        parts: dict[str, Any] = {}
        for name, part in zip(names, made, strict=False):
            if part is not None:
                whole: Any = part
                parts[name] = whole if name in names[:3] else list(whole)
        return {name: self.read(part, name) for name, part in parts.items()}


FIELDS_ONLY = {"flax.linen.module.Module"}
"""Dataclasses whose further attributes are per-process counters or follow from the fields."""


COPIED = frozenset(functools.WRAPPER_ASSIGNMENTS) | {"__type_params__", "__signature__"}
"""Attributes that a wrapper copies from the wrapped function."""


def _inside(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return NotImplemented


def _key(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _reduces(kind: type) -> bool:
    own = (kind.__reduce__, kind.__reduce_ex__)
    return own != (object.__reduce__, object.__reduce_ex__)


def _has_hidden_state(kind: type) -> bool:
    """Whether instances hold more than attributes and slots, by the rule of pickle."""
    if kind.__itemsize__:
        return True
    size = object.__basicsize__ + 8 * (kind.__dictoffset__ > 0) + 8 * (kind.__weakrefoffset__ > 0)
    slots = copyreg._slotnames(kind)  # type: ignore[attr-defined]
    return kind.__basicsize__ > size + 8 * len(slots)
