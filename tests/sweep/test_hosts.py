"""Two hosts of four devices each, simulated: one dies, the other goes on, and nothing is lost."""

from __future__ import annotations

import json
import signal

import pytest

import jaxeval as je
from tests.sweep.test_processes import SHARDS, SWEEP, assert_whole, finish, start, wait_for

SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}


@pytest.fixture
def sweep(tmp_path):
    # Four samples in a shard: one on each of four devices.
    (tmp_path / "sweep.toml").write_text(SWEEP.replace("shard_size = 2", "shard_size = 4"))
    return tmp_path / "sweep.toml"


@pytest.mark.slow
def test_one_of_two_hosts_dies(sweep, tmp_path_factory):
    cache, store = tmp_path_factory.mktemp("cache"), je.Store(sweep.parent / "scores")
    # As `srun` starts them: nothing on the command line says who they are.
    hosts = [
        start(sweep, cache, devices=4, SLURM_PROCID=str(rank), **SLURM, **more)
        for rank, more in ((0, {}), (1, {"CALLS": "3"}))  # the second is killed in its work
    ]
    finish(hosts[1], code=-signal.SIGKILL)
    finish(hosts[0])
    there = len(store.done())
    assert SHARDS // 4 <= there < SHARDS // 2  # those of the first host, and some of the second's
    logs = [json.loads(line) for line in (store.folder / "log/rank-0000.jsonl").open()]
    assert len(logs[0]["devices"]) == 4
    assert logs[0]["told_by"] == "SLURM"
    # The scheduler starts the second again, which does only what is missing of its own.
    finish(start(sweep, cache, devices=4, SLURM_PROCID="1", **SLURM))
    assert len(store.done()) == SHARDS // 2
    wait_for(store, SHARDS // 2, hosts[0])
    assert_whole(store)
