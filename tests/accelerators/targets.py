"""Compilers for devices that are not there: four chips of a TPU v5e, and an H100.

To be imported in a process of its own, first of all: it sets the environment that they need.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

GIB = 2**30
LIMITS = {"tpu": 16 * GIB, "cuda": 80 * GIB * 3 // 4}
"""Bytes that programs may use: all of a v5e's, and what JAX takes of an H100 by default."""
CHIPS = {"tpu": 4, "cuda": 1}
H100 = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "shared_memory_per_block": 49152,
    "shared_memory_per_core": 233472,
    "threads_per_core_limit": 2048,
    "core_count": 132,
    "fpus_per_core": 128,
    "block_dim_limit_x": 2**31 - 1,
    "block_dim_limit_y": 65535,
    "block_dim_limit_z": 65535,
    "memory_bandwidth": 3_352_320_000_000,
    "l2_cache_size": 50 * 2**20,
    "clock_rate_ghz": 1.98,
    "device_memory_size": 84_942_979_072,
    "shared_memory_per_block_optin": 232448,
    "registers_per_core_limit": 65536,
    "registers_per_block_limit": 65536,
}
"""What XLA wants to know of an NVIDIA H100."""


def environment(target: str, folder: Path) -> dict[str, str]:
    """The environment of a process that compiles for a target; `folder` holds its packages."""
    found = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": ""}
    flags = f"--xla_force_host_platform_device_count={CHIPS[target]}"
    if target == "tpu":
        found |= {
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_ACCELERATOR_TYPE": "v5litepod-4",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
            # By default, products of float32 in the highest precision take minutes to compile.
            "JAX_OPTIMIZATION_LEVEL": "O0",
        }
    else:
        nvcc = folder / "nvidia" / "cuda_nvcc"
        flags += f" --xla_gpu_autotune_level=0 --xla_gpu_cuda_data_dir={nvcc}"
        # Which tiles suit a product is measured on a device; those of Triton that XLA takes without
        # one do not exist for some small products.
        flags += " --xla_gpu_enable_triton_gemm=false"
        found |= {
            "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
            "PATH": f"{nvcc / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
    path = [os.environ.get("PYTHONPATH", ""), str(folder)]
    return {**found, "XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def mesh(target: str) -> Any:
    """The devices that programs are compiled for."""
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import Mesh

    if target == "tpu":
        found = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    else:
        numbers = " ".join(f"{name}: {v}" for name, v in H100.items())
        config = (
            f"gpu_device_info {{ {numbers} cuda_compute_capability {{ major: 9 }} }} "
            'platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 } '
            "runtime_version { major: 12 minor: 8 } "
            'device_description_str: "NVIDIA H100 80GB HBM3"'
        )
        found = topologies.get_topology_desc(
            platform="cuda", topology_name="", target_config=config, topology="1x1x1"
        )
    return Mesh(np.array(found.devices).reshape(-1), ("data",))
