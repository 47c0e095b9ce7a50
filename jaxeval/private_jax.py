"""Everything that jaxeval uses of JAX's private API and of specific jaxlib versions.

No other file imports from `jax._src`, compares versions of JAX or sets compiler flags of XLA. Look
here for what can be deleted when the minimum version in pyproject.toml is raised.
"""

from __future__ import annotations

import os

import jax

YNNPACK_ON_ONE_CORE = (0, 10, 1) <= jax.__version_info__ < (0, 11)
"""Whether XLA's CPU backend runs most channels-last convolutions on one core.

jaxlib 0.10.1 and later 0.10 versions hand them to YNNPACK, which does so; 0.11 uses all cores.
`jaxeval.cpu.cores` and `jaxeval.cpu.programs.CpuJit` work around it in the affected versions.
"""
WITHOUT_YNNPACK = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""Compiler options for those versions that disable YNNPACK.

It is disabled for all operations, because a fusion of a sum also includes the sum's operands.
"""
EMITTERS = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else {}
"""Fusions are compiled as before 2025, in .6 of the time. A transformer's forward pass and a
LeNet's gradient then take 1.15 times as long, ROAD's queries 1.4 times. 0.11 has no such option.
"""
EFFORT = {
    effort: {
        option: value
        for option, value in level.items()
        if option not in os.environ.get("XLA_FLAGS", "")
    }
    for effort, level in {
        "most": {},
        "less": EMITTERS | {"xla_backend_optimization_level": 1},
    }.items()
}
"""Compiler options for CPUs. "most": XLA's own; "less" compiles in .6 of the time, for programs
that run once for many evaluations. What the user sets stays.
"""


def readable(entry: bytes) -> bool | None:
    """Whether an entry of the persistent compilation cache can be decompressed.

    None if this version of JAX lacks the function; jax 0.10 and 0.11 have it.
    """
    try:
        from jax._src.compilation_cache import decompress_executable
    except ImportError:
        return None
    try:
        decompress_executable(entry)
    except Exception:  # an error of whichever of zstd, zstandard and zlib is installed
        return False
    return True
