"""What of JAX and jaxlib is used that is not public, and in which versions it is there.

No other file imports from `jax._src`, compares versions of JAX or sets a flag of XLA's compiler.
When the lowest version that pyproject.toml allows goes up, what can go is found here.
"""

from __future__ import annotations

import jax

YNNPACK_ON_ONE_CORE = (0, 10, 1) <= jax.__version_info__ < (0, 11)
"""Whether jaxlib hands channels-last convolutions to YNNPACK, which runs most of them on one core.

jaxlib 0.10.1 began to, and 0.11 runs them on all cores. Without these versions `jaxeval.cpu.cores`
and the class `jaxeval.cpu.programs.CpuJit` have no use.
"""
WITHOUT_YNNPACK = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""Compiler options that leave nothing to YNNPACK, for those versions: of sums, at which it is good,
it takes what they are of, too.
"""


def readable(entry: bytes) -> bool | None:
    """Whether the bytes of an entry of the persistent compilation cache can be unpacked.

    None where this version of JAX has no such function: jax 0.10 and 0.11 have it.
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
