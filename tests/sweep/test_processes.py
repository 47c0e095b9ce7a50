"""Many processes, and processes that are killed: no score is lost, none is there twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import jaxeval as je

HERE = Path(__file__).parent
SWEEP = """\
data = { source = "things:data", limit = 20 }
model = "things:linear"
output = "scores"
shard_size = 2
batch_size = 8
seeds = [0, 1]

[explainers]
InputXGradient = {}
slow = { import = "things:slow" }

[metrics.Sparseness]
[metrics.flip]
class = "PixelFlipping"
n_steps = [2, 3]
"""
SHARDS, ROWS = 20, 20 * 2 * 2 * 3
PATIENCE = 600
"""Seconds after which a process hangs, however busy the machine."""


@pytest.fixture
def sweep(tmp_path):
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path / "sweep.toml"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Compiled programs, shared by the processes of these tests."""
    return tmp_path_factory.mktemp("cache")


def start(sweep, cache, *arguments, devices=1, **env):
    """A process that runs the sweep."""
    path = os.pathsep.join([str(HERE), str(Path(je.__file__).parents[1])])
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "OMPI_", "PMI"))}
    return subprocess.Popen(
        [sys.executable, "-m", "jaxeval.cli", "run", str(sweep), "--quiet", *arguments],
        env={
            **clean,
            "PYTHONPATH": os.pathsep.join([path, os.environ.get("PYTHONPATH", "")]),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "XDG_CACHE_HOME": str(cache),
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, code=0):
    out = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == code, out
    return out


def wait_for(store, n, process):
    """Until n shards are there."""
    end = time.monotonic() + PATIENCE
    while len(store.done()) < n:
        ended = process.poll() is not None
        assert len(store.done()) >= n or not ended, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.005)


def assert_whole(store):
    """Every score once, and those that one undisturbed process computes."""
    frame = pd.read_parquet(store.parts)
    assert len(frame) == ROWS
    assert not frame.duplicated(["seed", "explainer", "metric", "sample"]).any()
    assert frame.groupby(["seed", "explainer", "metric"]).size().unique().tolist() == [20]
    for seed in (0, 1):
        got = store.results(seed=seed)
        x = np.random.default_rng(1).normal(size=(21, 6)).astype(np.float32)[:20]
        want = np.asarray(je.Sparseness()(lambda v: v[:, :3], x, a=3 * x))
        np.testing.assert_allclose(got.scores["slow", "Sparseness"], want, atol=1e-6)
    return frame


def kill_at_random(sweep, cache, times, seed):
    """Kill it again and again, each time at another point, until it has been killed `times`."""
    store, rng = je.Store(sweep.parent / "scores"), random.Random(seed)
    for i in range(times):
        process = start(sweep, cache)
        # Some die on the way to the first shard of their own, most after it.
        before = len(store.done())
        if i % 5 != 4:
            wait_for(store, min(before + 1, SHARDS - 1), process)
        time.sleep(rng.uniform(0, 0.06 if times > 5 else 0.2))
        process.kill()
        process.communicate()
        for key in store.done():  # all that is there is whole
            assert len(je.Results.load(store.path(key)).index) == 2
        assert len(store.done()) >= before
        if len(store.done()) >= SHARDS - 1:  # begin anew with half of it, to be killed again
            for key in rng.sample(sorted(store.done()), SHARDS // 2):
                store.path(key).unlink()
    finish(start(sweep, cache))
    return store


def test_killed_twice(sweep, cache):
    assert_whole(kill_at_random(sweep, cache, 2, seed=0))


@pytest.mark.slow
def test_killed_twenty_times(sweep, cache):
    assert_whole(kill_at_random(sweep, cache, 20, seed=1))


@pytest.mark.slow
def test_two_processes_do_it_together_and_one_is_killed(sweep, cache):
    store = je.Store(sweep.parent / "scores")
    finish(start(sweep, cache, "--dry-run"))  # compiles, so that both begin alike
    assert not store.folder.exists()
    first = start(sweep, cache, SLURM_PROCID="0", SLURM_NTASKS="2")
    second = start(sweep, cache, "--rank", "1", "--world", "2", CALLS="4")
    finish(second, -signal.SIGKILL)
    assert "not complete yet" in finish(first)
    done = store.done()
    mine = {f"b{b:07d}-m0-s{b % 2}" for b in range(10)}
    assert mine <= done
    assert len(done) < SHARDS
    before = {key: store.path(key).stat().st_mtime_ns for key in done}
    out = finish(start(sweep, cache, "--rank", "1", "--world", "2"))
    assert f"{SHARDS - len(done)} shards computed" in " ".join(out.split())
    assert "the sweep is complete" in " ".join(out.split())
    assert all(store.path(k).stat().st_mtime_ns == t for k, t in before.items())
    assert_whole(store)


@pytest.mark.slow
def test_two_processes_that_do_the_same(sweep, cache):
    """Without ranks both do everything: a waste, and no harm."""
    both = [start(sweep, cache) for _ in range(2)]
    for process in both:
        finish(process)
    assert_whole(je.Store(sweep.parent / "scores"))


@pytest.mark.slow
def test_a_run_that_dies_is_started_again_with_less(sweep, cache):
    text = SWEEP.replace("things:slow", "things:fatal").replace("seeds = [0, 1]", "")
    sweep.write_text(text.replace("shard_size = 2\n", "shard_size = 20\n"))
    out = " ".join(finish(start(sweep, cache, "--restarts", "3")).split())
    assert "was killed by SIGABRT: restarting with a batch size of 4" in out
    assert "was killed by SIGABRT: restarting with a batch size of 2" in out
    assert "a batch size of 1" not in out
    assert "the sweep is complete" in out
    sweep.write_text(sweep.read_text().replace('"scores"', '"others"'))
    assert "was killed by SIGABRT" in finish(start(sweep, cache, "--restarts", "1"), 134)


@pytest.mark.slow
def test_one_two_and_four_devices_give_the_same_scores(sweep, cache):
    frames = []
    for devices in (1, 2, 4):
        output = f"on{devices}"
        file = sweep.with_name(f"{output}.toml")
        file.write_text(SWEEP.replace('"scores"', f'"{output}"'))
        finish(start(file, cache, devices=devices))
        frame = pd.read_parquet(sweep.parent / output / "parts")
        keys = ["seed", "explainer", "metric", "sample"]
        frames.append(frame.sort_values(keys).reset_index(drop=True))
        assert len(je.Store(sweep.parent / output).results(seed=0).settings["devices"]) == devices
    for other in frames[1:]:
        np.testing.assert_array_equal(frames[0]["score"], other["score"])


@pytest.mark.slow
def test_ray_with_a_worker_killed(sweep, cache, monkeypatch):
    ray = pytest.importorskip("ray")
    psutil = pytest.importorskip("psutil")
    import threading

    from jaxeval.sweep.on_ray import run_on_ray

    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(HERE))
    described = je.Sweep.from_file(sweep)
    store = je.Store(described.output)
    killed = []

    def kill_a_worker():
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and not killed:
            if len(store.done() if store.parts.exists() else ()) >= 3:
                for log in (store.folder / "log").glob("ray-*-*.jsonl"):
                    pid = int(log.stem.rsplit("-", 1)[1])
                    if psutil.pid_exists(pid):
                        os.kill(pid, 9)
                        killed.append(pid)
                        return
            time.sleep(0.01)

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    watcher = threading.Thread(target=kill_a_worker)
    try:
        watcher.start()
        found = run_on_ray(described, progress=False)
    finally:
        watcher.join()
        ray.shutdown()
    assert killed
    assert found.complete
    assert not found.failed
    assert_whole(store)
    again = je.run(described, progress=False)
    assert (again.computed, again.complete) == (0, True)
