"""How programs are compiled for tests, and how tests are spread over workers."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Most of the time goes into compiling small programs, so they are optimised little: half the time.
# `make test-all` compiles them as users do.
FLAGS = {"--xla_force_host_platform_device_count": 2, "--xla_backend_optimization_level": 0}
for flag, value in FLAGS.items():
    if flag not in (given := os.environ.get("XLA_FLAGS", "")):
        os.environ["XLA_FLAGS"] = f"{given} {flag}={value}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from jax.sharding import Mesh  # noqa: E402

from benchmarks.optional import mend_torchvision  # noqa: E402
from tests.bridges.page import Page  # noqa: E402
from tests.bridges.page import record as record  # noqa: E402

mend_torchvision()  # before Quantus, zennit or transformers import it


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--conversion", type=Path, metavar="FILE", help="write the page of what converts there"
    )


def pytest_configure(config: pytest.Config) -> None:
    if file := config.getoption("--conversion"):
        config.pluginmanager.register(Page(file))


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


MAPPINGS = 30_000
"""Memory mappings of this process from which compiled programs are let go. Each program takes some,
and Linux allows 65,530; beyond them the compiler crashes.
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
