"""Functions, classes and modules: which are the user's own code, and what that code refers to."""

from __future__ import annotations

import dis
import functools
import importlib
import importlib.metadata
import importlib.util
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..digests import hasher
from ..trace.jaxprs import words

PYTHON = f"python {sys.version_info.major}.{sys.version_info.minor}"
OURS = ("jaxeval", "jaxeval_torch")


@functools.cache
def _folders() -> tuple[str, ...]:
    """Where installed packages and the standard library lie."""
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({str(Path(paths[name])) + "/" for name in names})


@functools.cache
def is_library(module: str | None) -> bool:
    """Whether a module is installed, and so known by its name and version, or the user's own.

    >>> is_library("numpy.linalg"), is_library("json"), is_library("__main__")
    (True, True, False)
    """
    if not module:
        return True  # what C extensions make
    root = module.partition(".")[0]
    if root == "__main__":
        return False
    if root in sys.stdlib_module_names or root in sys.builtin_module_names or root in OURS:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        file = getattr(sys.modules.get(root), "__file__", None)
    if file is None:
        return False
    path = str(Path(file))
    installed = "site-packages" in path or "dist-packages" in path
    return installed or path.startswith(_folders())


@functools.cache
def version(package: str) -> str:
    """The version of an installed package; of this one, of which a checkout changes, its sources.

    >>> version("no such package")
    'unknown'
    """
    module = sys.modules.get(package)
    if package in OURS and module is not None:
        running, root = hasher(), Path(str(module.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            running.update(f"{file.relative_to(root).as_posix()}|".encode())
            running.update(file.read_bytes())
        return running.hexdigest()[:16]
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(module, "__version__", "unknown"))


def name_of(v: Any) -> str:
    """The ``module.qualified_name`` of a class or function."""
    name = getattr(v, "__qualname__", None) or getattr(v, "__name__", None) or type(v).__qualname__
    module = getattr(v, "__module__", None)
    return name if module in (None, "builtins") else f"{module}.{name}"


def importable(v: Any) -> bool:
    """Whether this very object is what its module has under its name."""
    module, name = getattr(v, "__module__", None), getattr(v, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is v


def code_digest(code: types.CodeType) -> str:
    """What a function does, whatever the file, the line and the comments it stands in.

    Compiled code differs between versions of Python, which is therefore named.
    """
    running = hasher()
    _add(running, code)
    return f"{PYTHON}, {running.hexdigest()}"


def _add(running: Any, const: Any) -> None:
    if isinstance(const, types.CodeType):
        c = const
        running.update(c.co_code + c.co_exceptiontable)
        names = (c.co_names, c.co_varnames, c.co_freevars, c.co_cellvars)
        counts = (c.co_argcount, c.co_posonlyargcount, c.co_kwonlyargcount, c.co_flags)
        running.update(repr((names, counts)).encode())
        for inner in c.co_consts:
            _add(running, inner)
    elif isinstance(const, (tuple, frozenset)):
        running.update(f"{type(const).__name__} {len(const)}".encode())
        for inner in sorted(const, key=repr) if isinstance(const, frozenset) else const:
            _add(running, inner)
    else:
        running.update(f"{type(const).__name__} {const!r}".encode())


Loaded = tuple[str, tuple[str, ...]]


def loads(code: types.CodeType) -> Iterator[tuple[str, Loaded]]:
    """("global" or "import", (name, the attributes taken from it)) of all that code reads.

    >>> list(loads((lambda x: math.sqrt(x) + helper(x)).__code__))
    [('global', ('math', ('sqrt',))), ('global', ('helper', ()))]
    """
    instructions = list(dis.get_instructions(code))
    for i, op in enumerate(instructions):
        if op.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            chain = []
            for after in instructions[i + 1 :]:
                if after.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                    chain.append(after.argval)
                elif after.opname not in ("CACHE", "EXTENDED_ARG"):
                    break
            yield "global", (op.argval, tuple(chain))
        elif op.opname == "IMPORT_NAME":
            before = [o for o in instructions[:i] if o.opname not in ("CACHE", "EXTENDED_ARG")]
            level, names = before[-2].argval, before[-1].argval
            yield "import", ("." * level + op.argval, tuple(names or ()))
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from loads(inner)


MISSING: Any = object()


def referred(fn: types.FunctionType) -> dict[str, Any]:
    """{name: value} of the globals and imports that a function's code reads.

    An attribute of a module is found by its own name, so that a module is not read as a whole for
    one function of it.
    """
    found: dict[str, Any] = {}
    for kind, (name, chain) in loads(fn.__code__):
        if kind == "global":
            value = fn.__globals__.get(name, MISSING)
        else:
            value = _imported(name, fn.__globals__.get("__package__"))
        if value is MISSING:
            continue  # a builtin, or not defined yet
        if kind == "import" and chain:
            found.update(_followed(value, name, (part,)) for part in chain)
        else:
            found.update([_followed(value, name, chain if kind == "global" else ())])
    return dict(sorted(found.items()))


def _imported(name: str, package: str | None) -> Any:
    try:
        absolute = importlib.util.resolve_name(name, package or "") if name[0] == "." else name
        return sys.modules.get(absolute) or importlib.import_module(absolute)
    except Exception:  # any code may run on import; the function may expect that it fails
        return MISSING


def _followed(value: Any, name: str, chain: tuple[str, ...]) -> tuple[str, Any]:
    for part in chain:
        if not isinstance(value, types.ModuleType) or is_library(value.__name__):
            break
        inner = getattr(value, part, MISSING)
        if inner is MISSING:
            break
        name, value = f"{name}.{part}", inner
    return name, value


GENERATED = words(
    "__dict__ __weakref__ __doc__ __module__ __qualname__ __annotations__ __annotate__ __slots__ "
    "__dataclass_params__ __dataclass_fields__ __match_args__ __abstractmethods__ _abc_impl "
    "__firstlineno__ __static_attributes__ __parameters__ __orig_bases__ __type_params__ "
    "__annotations_cache__ __annotate_func__ __signature__ __slotnames__"
)
"""Attributes that Python adds to classes."""


OF_DATACLASSES = words(
    "__init__ __repr__ __eq__ __lt__ __le__ __gt__ __ge__ __hash__ __setattr__ __delattr__ "
    "__replace__"
)
"""Methods generated from a dataclass's fields."""


def members(cls: type) -> dict[str, Any]:
    """{name: value} of the attributes written by a class's author."""
    made = (types.MemberDescriptorType, types.GetSetDescriptorType)
    found = {}
    for name, value in vars(cls).items():
        code = getattr(getattr(value, "__wrapped__", value), "__code__", None)
        generated = name in OF_DATACLASSES and "__dataclass_fields__" in vars(cls)
        generated = generated and (code is None or code.co_filename == "<string>")
        if name not in GENERATED and not isinstance(value, made) and not generated:
            found[name] = value
    return found
