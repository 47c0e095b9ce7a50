"""Which part of a sweep this process computes, and on which devices."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh


class Place(NamedTuple):
    """This process computes the shards with ``lane % world == rank``; `how`: the source of both."""

    rank: int = 0
    world: int = 1
    how: str = "one process"

    def owns(self, lane: int) -> bool:
        return lane % self.world == self.rank


MPI = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "Open MPI"),
    ("PMIX_RANK", "PMIX_SIZE", "PMIx"),
    ("PMI_RANK", "PMI_SIZE", "PMI"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MVAPICH"),
)


def find_place(
    rank: int | None = None, world: int | None = None, env: Mapping[str, str] | None = None
) -> Place:
    """The rank and world as given, or from the environment (SLURM or MPI).

    In a SLURM job array every task of every array element has its own rank. SLURM_NTASKS is also
    set in batch scripts, which run one process: without a step (``srun``) it is ignored.

    Raises:
      ValueError: only one of rank and world is given, or they are invalid.

    >>> find_place(env={"SLURM_PROCID": "1", "SLURM_NTASKS": "4"})
    Place(rank=1, world=4, how='SLURM')
    """
    env = os.environ if env is None else env
    if (rank is None) != (world is None):
        raise ValueError("rank and world go together: give both or none")
    if rank is not None and world is not None:
        return _checked(rank, world, "rank and world as given")
    for rank_name, size_name, how in MPI:
        if rank_name in env and size_name in env:
            return _checked(_number(env, rank_name), _number(env, size_name), how)
    rank, world, how = 0, 1, []
    script = "SLURM_JOB_ID" in env and "SLURM_STEP_ID" not in env
    if "SLURM_PROCID" in env and not script:
        size = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in env else "SLURM_NTASKS"
        if size in env:
            rank, world = _number(env, "SLURM_PROCID"), _number(env, size)
            how.append("SLURM")
    if "SLURM_ARRAY_TASK_ID" in env and "SLURM_ARRAY_TASK_COUNT" in env:
        first = _number(env, "SLURM_ARRAY_TASK_MIN") if "SLURM_ARRAY_TASK_MIN" in env else 0
        step = _number(env, "SLURM_ARRAY_TASK_STEP") if "SLURM_ARRAY_TASK_STEP" in env else 1
        at = (_number(env, "SLURM_ARRAY_TASK_ID") - first) // max(step, 1)
        rank, world = at * world + rank, world * _number(env, "SLURM_ARRAY_TASK_COUNT")
        how.append("SLURM job array")
    return _checked(rank, world, ", ".join(how) or "one process")


def _number(env: Mapping[str, str], name: str) -> int:
    try:
        return int(env[name])
    except ValueError:
        raise ValueError(f"{name}={env[name]!r} is not a number") from None


def _checked(rank: int, world: int, how: str) -> Place:
    if not (world >= 1 and 0 <= rank < world):
        raise ValueError(f"rank must lie in 0..world - 1, got rank {rank} of world {world} ({how})")
    return Place(rank, world, how)


def local_mesh(devices: int | None = None) -> Any:
    """A mesh of this process's devices (the first `devices`), over which samples are sharded.

    Raises:
      ValueError: there are fewer devices.
    """
    there = jax.local_devices()
    if devices is not None and not 1 <= devices <= len(there):
        raise ValueError(f"devices={devices}: this process has {len(there)}")
    return Mesh(np.array(there[:devices]), ("data",))
