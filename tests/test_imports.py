"""Imports point one way: who may import whom, in the library and outside of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import jaxeval as je

ROOT = Path(je.__file__).parents[1]
LIBRARY = sorted((ROOT / "jaxeval").rglob("*.py"))
OUTSIDE = sorted(p for top in ("bridges", "benchmarks") for p in (ROOT / top).rglob("*.py"))

ANYONE = {"check", "registry", "shown", "version"}
"""Rooms that import nothing of ours, and that all may import."""

MAY = {
    # nouns and tools
    "types": set(),
    "tokens": set(),
    "words": set(),
    "digests": set(),
    "progress": set(),
    "tolerance": set(),
    "private_jax": set(),
    "cache": {"private_jax"},
    "lifetime": {"types"},
    "identity": {"digests", "types"},
    "ops": {"types"},
    "model": {"identity", "lifetime", "tokens", "types"},
    "classes": {"model"},
    "trace": {"identity", "lifetime", "model", "tokens", "types"},
    "content": {"digests", "trace"},
    "describe": {"digests"},
    "of_flax": {"content", "lifetime", "model", "tokens"},
    "of_sklearn": {"lifetime", "model"},
    "of_equinox": {"lifetime", "model"},
    "of_keras": {"lifetime", "model"},
    "cpu": {"identity", "lifetime", "model", "private_jax", "trace", "types"},
    # what is asked, and what of it is scored
    "perturb": {"model", "ops", "tokens", "trace", "types"},
    "explain": {
        "classes",
        "cpu",
        "identity",
        "lifetime",
        "model",
        "ops",
        "tokens",
        "trace",
        "types",
        "words",
    },
    "metric": {"ops", "tolerance", "types"},
    "metrics": {"explain", "metric", "model", "ops", "perturb", "tolerance", "types"},
    "functional": {"metrics"},
    "names": {"explain", "metrics", "perturb"},
    # who asks: any metric and any perturbation, never a named one
    "engine": {
        "classes",
        "cpu",
        "digests",
        "identity",
        "lifetime",
        "metric",
        "model",
        "ops",
        "perturb",
        "progress",
        "tokens",
        "tolerance",
        "trace",
        "types",
        "words",
    },
    # what comes of it
    "results": {"ops", "types"},
    "plot": {"ops", "results", "types", "words"},
    "by_name": set(),
    "several": {"lifetime", "model"},
    "api": {
        "by_name",
        "describe",
        "engine",
        "metric",
        "progress",
        "results",
        "several",
        "tolerance",
        "types",
    },
    "meta": {
        "api",
        "by_name",
        "describe",
        "engine",
        "metric",
        "model",
        "ops",
        "progress",
        "results",
        "trace",
        "types",
    },
    "data": {"digests", "model", "of_flax", "progress"},
    "sweep": {
        "api",
        "cache",
        "content",
        "data",
        "digests",
        "engine",
        "explain",
        "meta",
        "metric",
        "metrics",
        "ops",
        "perturb",
        "progress",
        "results",
        "trace",
    },
    "report": {"api", "meta", "plot", "results", "sweep"},
    "demo": {"api", "data", "explain", "metric", "metrics", "model", "plot", "results"},
    "gallery": {"api", "data", "explain", "plot", "progress"},
    "scoring": {"api", "cache", "data", "explain", "metrics", "model", "results", "sweep"},
    "completion": {"explain", "metrics"},
    "__main__": {"cli"},
    "cli": {
        "cache",
        "completion",
        "scoring",
        "metric",
        "names",
        "perturb",
        "data",
        "demo",
        "explain",
        "gallery",
        "metrics",
        "report",
        "sweep",
    },
}
"""The rooms of jaxeval, modules and packages alike, and which others each may import."""

WHEN_CALLED = {
    ("metric", "api"): "a metric can be called",
    ("results", "report"): "results can be reported",
    ("meta", "report"): "so can meta-evaluations",
    ("by_name", "explain"): "names stand for explainers",
    ("by_name", "metrics"): "and for metrics",
    ("model", "explain"): "a model lists its layers",
    ("of_flax", "explain"): "and shows what is in them",
    ("of_equinox", "explain"): "and shows what is in them",
    ("of_keras", "explain"): "and shows what is in them",
}
"""Imports against the direction, inside functions, and what for."""

PUBLIC = {"data", "explain", "functional", "meta", "ops", "perturb", "plot", "report"}
"""Rooms whose names without an underscore are public, as are those of `jaxeval` itself."""

BORROWED = {
    ("bridges", "jaxeval.check"): "errors of bridges are worded as the library's are",
    ("bridges", "jaxeval.content"): "the cache of converted modules is keyed by content, too",
    ("bridges", "jaxeval.digests"): "with the same hash",
    ("bridges", "jaxeval.engine.batch_size"): "small batches are padded to what is compiled",
    ("bridges", "jaxeval.cpu"): "a converted module knows when it is rewritten for CPUs",
    ("bridges", "jaxeval.tokens"): "text comes to converted modules as to any model",
    ("bridges", "jaxeval.lifetime"): "a wrapped module is let go like any other model",
    (
        "benchmarks",
        "jaxeval.demo.explainers",
    ): "reference results are those of the demo's explainers",
    ("benchmarks", "jaxeval.cpu"): "what rewriting for CPUs brings is measured",
    ("benchmarks", "jaxeval.engine.TRACES"): "so is how often the engine traces",
}
"""What bridges and benchmarks import that is not public, and what for."""

BASES = ("jaxeval.metrics.bases.", "jaxeval.metrics.shares.")
"""What metrics may share."""

PRIVATE_JAX = "jaxeval/private_jax.py"
"""The one file that may touch `jax._src`."""

FOREIGN = {"torch", "jaxeval_torch", "captum", "quantus", "benchmarks", "tests"}
"""What the library never imports."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "jaxeval").parts[0].removesuffix(".py")


ROOMS = {room_of(path) for path in LIBRARY} - {"__init__"}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(absolute name, whether only when called) of every import outside of TYPE_CHECKING."""
    package = path.relative_to(ROOT).parent.parts

    def visit(node: ast.AST, lazy: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                up = package[: len(package) - child.level + 1] if child.level else ()
                module = ".".join((*up, *filter(None, [child.module])))
                yield from ((f"{module}.{alias.name}", lazy) for alias in child.names)
            else:
                inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                yield from visit(child, lazy or inside)

    yield from visit(ast.parse(path.read_text()), False)


def attributes(path: Path) -> Iterator[str]:
    """Absolute names of what is taken from `jaxeval` by a dot."""
    tree = ast.parse(path.read_text())
    called = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "jaxeval"
    }
    for node in ast.walk(tree):
        dotted: list[str] = []
        while isinstance(node, ast.Attribute):
            dotted.append(node.attr)
            node = node.value
        if dotted and isinstance(node, ast.Name) and node.id in called:
            yield ".".join(["jaxeval", *reversed(dotted)])


# -- the library ---------------------------------------------------------------------------------


def test_every_room_is_listed():
    new, gone = ROOMS - set(MAY) - ANYONE, (set(MAY) | ANYONE) - ROOMS
    assert not new, f"say in MAY of tests/test_imports.py what {sorted(new)} may import"
    assert not gone, f"{sorted(gone)} are no more: remove them from tests/test_imports.py"


def test_no_room_imports_itself_by_way_of_others():
    TopologicalSorter(MAY).prepare()


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_imports_point_one_way(path):
    here = room_of(path)
    for name, lazy in imports(path):
        top, *rest = name.split(".")
        assert top not in FOREIGN, f"the library imports {name}"
        if top != "jaxeval" or here == "__init__":
            continue
        there = rest[0] if rest else "__init__"
        if there == here or there in ANYONE or (lazy and (here, there) in WHEN_CALLED):
            continue
        assert there in MAY.get(here, set()), (
            f"{here} imports {name}: move what both need into a room that {here} may import, "
            f"{sorted(MAY.get(here, set()) | ANYONE)}, or let it be passed in. If the room is "
            "right to, and no circle comes of it, add it to MAY in tests/test_imports.py"
        )


METRICS = sorted((ROOT / "jaxeval" / "metrics").glob("*/*.py"))


@pytest.mark.parametrize("path", METRICS, ids=name_of)
def test_no_metric_imports_another(path):
    for name, _ in imports(path):
        ours = name.startswith("jaxeval.metrics.") and path.stem != "__init__"
        assert not ours or name.startswith(BASES), (
            f"{name}: move what two metrics need to ops, perturb or metrics/bases.py"
        )


# -- outside of it -------------------------------------------------------------------------------


def is_public(name: str) -> bool:
    """Of `jaxeval` itself or of a public room, and no part of it with an underscore."""
    _, *rest = name.split(".")
    own = all(not part.startswith("_") or part == "__version__" for part in rest)
    return own and (not rest or rest[0] in PUBLIC or rest[0] not in ROOMS)


def borrowed(top: str, name: str) -> tuple[str, str] | None:
    """The exception that allows a name."""
    found = [(t, n) for t, n in BORROWED if t == top and f"{name}.".startswith(f"{n}.")]
    private = any(part.startswith("_") for part in name.split("."))
    return found[0] if found and not private else None


def taken(path: Path) -> set[str]:
    """What a file takes of the library."""
    names = [*attributes(path), *(name for name, _ in imports(path))]
    return {name for name in names if name.split(".")[0] == "jaxeval"}


@pytest.mark.parametrize("path", OUTSIDE, ids=name_of)
def test_bridges_and_benchmarks_use_public_names(path):
    top = path.relative_to(ROOT).parts[0]
    for name in taken(path):
        assert is_public(name) or borrowed(top, name), (
            f"{name} is not public: use what `jaxeval` or its rooms {sorted(PUBLIC)} export, or "
            "export it, or say in BORROWED of tests/test_imports.py what it is needed for"
        )


def test_what_is_borrowed_is_needed():
    needed = {
        borrowed(path.relative_to(ROOT).parts[0], name)
        for path in OUTSIDE
        for name in taken(path)
        if not is_public(name)
    }
    left = set(BORROWED) - needed
    assert not left, f"nobody needs {sorted(left)}: remove it from BORROWED"


def test_private_parts_of_jax_are_in_one_file():
    users = {name_of(path) for path in (*LIBRARY, *OUTSIDE) if "jax._src" in path.read_text()}
    assert users <= {PRIVATE_JAX}, f"{sorted(users)}: only {PRIVATE_JAX} may touch jax._src"
