"""Which shards are a process's own, as it is told or as SLURM and MPI tell it."""

from __future__ import annotations

import pytest

from jaxeval.sweep.place import Place, find_place, local_mesh

STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
ARRAY = {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize(
    ("env", "rank", "world"),
    [
        ({}, 0, 1),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, 2, 8),
        ({**STEP, "SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, 2, 8),
        ({**STEP, "SLURM_PROCID": "2", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "4"}, 2, 4),
        # A batch script has the job's number of tasks, and is one process.
        ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 0, 1),
        ({**ARRAY, "SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, 2, 4),
        ({**ARRAY, **STEP, "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, 5, 8),
        ({**ARRAY, "SLURM_ARRAY_TASK_STEP": "2"}, 1, 4),
        ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}, 3, 4),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, 0, 2),
    ],
)
def test_the_environment_tells(env, rank, world):
    assert find_place(env=env)[:2] == (rank, world)
    assert find_place(1, 3, env)[:2] == (1, 3)


@pytest.mark.parametrize(
    ("args", "env", "message"),
    [
        ((1, None), {}, "rank and world go together"),
        ((3, 3), {}, "got rank 3 of world 3"),
        ((None, None), {"PMI_RANK": "x", "PMI_SIZE": "2"}, "PMI_RANK='x' is not a number"),
    ],
)
def test_half_a_place_is_refused(args, env, message):
    with pytest.raises(ValueError, match=message):
        find_place(*args, env)


def test_every_shard_has_one_owner():
    places = [Place(rank, 3) for rank in range(3)]
    assert all(sum(p.owns(lane) for p in places) == 1 for lane in range(20))


def test_devices(two_devices):
    assert local_mesh(1).devices.size == 1
    assert local_mesh().devices.size >= 2
    with pytest.raises(ValueError, match="this process has"):
        local_mesh(99)
