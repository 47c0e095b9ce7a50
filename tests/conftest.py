"""How programs are compiled for tests, which tests run, and how they are spread over workers."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import platform
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Most of the time goes into compiling small programs, so they are optimised little, by older
# emitters and in one piece: a third of the time. `make test-all` compiles them as users do.
given = os.environ.get("XLA_FLAGS", "")
FLAGS = {"--xla_force_host_platform_device_count": "2"}
if "--xla_backend_optimization_level" not in given:
    FLAGS["--xla_backend_optimization_level"] = "0"
    if version("jaxlib").startswith("0.10."):  # an unknown flag ends the process
        FLAGS["--xla_cpu_use_fusion_emitters"] = "false"
        FLAGS["--xla_cpu_parallel_codegen_split_count"] = "1"
for flag, value in FLAGS.items():
    if flag not in given:
        os.environ["XLA_FLAGS"] = given = f"{given} {flag}={value}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAXEVAL_STRICT", "1")  # what fails is not made up for

import hypothesis  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from jax.sharding import Mesh  # noqa: E402

from benchmarks.optional import mend_torchvision  # noqa: E402
from tests.bridges.page import Page  # noqa: E402
from tests.bridges.page import record as record  # noqa: E402

mend_torchvision()  # before Quantus, zennit or transformers import it

# The same examples in every run, and none that fails because the machine is busy.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--conversion", type=Path, metavar="FILE", help="write the page of what converts there"
    )
    parser.addoption(
        "--only",
        metavar="ROW[,ROW]",
        help="nothing but what is promised of these metrics: rows of tests/rows",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rows: of every row of tests/rows; kept by --only")
    if file := config.getoption("--conversion"):
        config.pluginmanager.register(Page(file))
    if rows := config.getoption("--only"):
        from tests import cases

        try:
            cases.only(rows.split(","))
        except ValueError as error:
            raise pytest.UsageError(f"--only {rows}: {error}") from None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --only, files without tests of rows are not imported."""
    if not config.getoption("--only") or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text()
    return None if "mark.rows" in text or '"row"' in text else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --only, tests of these rows: those with a `row`, or marked to be of every row."""
    if not config.getoption("--only"):
        return
    from tests.cases import ROWS

    def kept(item: pytest.Item) -> bool:
        row = getattr(getattr(item, "callspec", None), "params", {}).get("row")
        return row in ROWS or (row is None and item.get_closest_marker("rows") is not None)

    config.hook.pytest_deselected(items=[item for item in items if not kept(item)])
    items[:] = [item for item in items if kept(item)]


def pytest_collection_finish() -> None:
    """The garbage collector need not look through all imported modules time and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests with one "@group" in their ids share an expensive run, so they share a worker, too."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            found = re.search(r"@\w+", nodeid)
            return found.group() if found else nodeid

    return ByGroup(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the tests ran with."""
    names = "jax", "jaxlib", "numpy", "scipy", "pandas", "pyarrow"
    found = [f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in names)]
    terminalreporter.write_line(f"{', '.join(found)}; XLA_FLAGS={os.environ['XLA_FLAGS']}")


@functools.cache
def has_float16() -> bool:
    """XLA's compiler for CPUs takes float16 apart with instructions that came after SSE4.2."""
    try:
        jax.jit(lambda x: x + 1)(np.float16(1)).block_until_ready()
    except jax.errors.JaxRuntimeError:
        return False
    return True


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """A test that needs float16 is skipped where there is none."""
    try:
        return (yield)
    except Exception as error:
        link: BaseException | None = error
        while link and "Failed to materialize symbols" not in str(link):
            link = link.__cause__ or link.__context__
        if link and not has_float16():
            pytest.skip("XLA has no float16 for this processor")
        raise


MAPPINGS = 20_000
"""Memory mappings of this process from which compiled programs are let go. Each program takes some
twenty, and 4 MB. Linux allows 65,530 mappings; beyond them the compiler crashes.
"""
_finished = itertools.count()


@pytest.fixture(autouse=True)
def few_programs() -> Iterator[None]:
    """A worker runs hundreds of tests, of which each compiles programs of its own."""
    yield
    maps = Path("/proc/self/maps")
    if next(_finished) % 20 or not maps.exists():
        return
    with maps.open("rb") as lines:
        crowded = sum(1 for _ in lines) > MAPPINGS
    if crowded:
        jax.clear_caches()


@pytest.fixture(scope="session")
def two_devices() -> Mesh:
    """A mesh of two devices."""
    devices = jax.devices()
    if len(devices) < 2:
        pytest.skip("needs two devices")
    return Mesh(np.array(devices[:2]), ("data",))


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where converted torch modules keep their graphs: a folder that all workers of a run share."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "graphs"
