"""Sweeps on a Ray cluster: one task per shard, written like everywhere else."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
from typing import Any

from ..cache import delete_broken_entries, use_compilation_cache
from .describe import Sweep
from .lines import SweepError
from .log import Log, Progress
from .plan import Plan, Shard
from .runner import Done, Runner

RETRIES = 3
"""How often Ray retries a shard whose worker died."""

_runners: dict[str, Runner] = {}


def shard_task(
    sweep: Sweep, fingerprint: str, shard: Shard, options: dict[str, Any], make: Any = Plan
) -> dict[str, int]:
    """Compute one shard in this worker, which keeps the model and its programs for later shards."""
    known = f"{fingerprint} {sweep.output}"
    if known not in _runners:
        use_compilation_cache()
        delete_broken_entries()
        _runners.clear()
        name = f"ray-{socket.gethostname()}-{os.getpid()}"
        _runners[known] = Runner(make(sweep), progress=False, log=name, **options)
    runner = _runners[known]
    plan, done = runner.plan, Done(runner.store)
    if runner.store.path(shard.key).exists():
        return {"found": 1}
    wanted = plan.source.blocks(plan.size, lambda block: block == shard.block)
    _, batch = next(wanted)
    runner.do(shard, batch, shard.block * plan.size, done, keep_going=False)
    return {"computed": done.computed, "doubled": done.doubled}


def run_on_ray(
    sweep: Sweep,
    *,
    batch_size: int | None = None,
    progress: bool = True,
    any_code: bool = False,
    num_cpus: float = 1,
    num_gpus: float | None = None,
    address: str | None = None,
    make: type[Plan] = Plan,
) -> Done:
    """Run or resume a sweep on a Ray cluster.

    Ray distributes the shards to its workers, reassigns those of a worker or node that died, and
    uses nodes that join later. A shard whose computation raises an error is not retried: it is left
    out, as in `run`. If this process dies, start it again.

    Args:
      num_cpus, num_gpus: resources per task; None: one GPU if the cluster has any.
      address: of the cluster; None: from RAY_ADDRESS, or a local one.
      make: the class of the plan.

    Raises:
      ImportError: Ray is not installed.
      SweepError: the data is a stream.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Tasks without a GPU must not see one; the default in newer versions of Ray.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports]
        from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        raise ImportError('a sweep on Ray needs Ray: pip install "jaxeval[ray]"') from e
    sweep = dataclasses.replace(sweep, output=os.path.abspath(sweep.output))
    plan = make(sweep)
    if plan.n is None:
        raise sweep.located(
            SweepError(
                "on Ray every task reads its own samples, so the data must support len() and "
                "indexing, which a stream does not",
                ("data",),
            )
        )
    fingerprint = plan.begin(any_code)["fingerprint"]
    there = plan.store.done()
    shards = plan.shards() or []
    missing = [shard for shard in shards if shard.key not in there]
    done = Done(plan.store, found=len(shards) - len(missing))
    log, bar = Log(plan.store.folder / "log", name="ray"), Progress(progress)
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    try:
        if num_gpus is None:
            num_gpus = 1 if ray.cluster_resources().get("GPU") else 0
        env = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        if not num_gpus:
            env["JAX_PLATFORMS"] = "cpu"  # else JAX would use every GPU of the node
        task = ray.remote(shard_task).options(
            num_cpus=num_cpus, num_gpus=num_gpus, max_retries=RETRIES, runtime_env={"env_vars": env}
        )
        # Fingerprints of functions may differ after pickling, so hashes are computed here.
        options = {"batch_size": batch_size, "hashes": plan.hashes()}
        given = ray.put(dataclasses.replace(sweep))  # without cached models and data
        log("start on ray", shards=len(shards), there=done.found)
        bar.start(len(missing), done.found)
        waiting = {
            task.remote(given, fingerprint, shard, options, make): shard for shard in missing
        }
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            for reference in ready:
                shard = waiting.pop(reference)
                try:
                    for name, value in ray.get(reference).items():
                        setattr(done, name, getattr(done, name) + value)
                    bar.advance(plan.size)
                except RayError as e:
                    done.failed[shard.key] = str(e).strip().splitlines()[-1]
                    log("failed", shard=shard.key, error=str(e)[-2000:])
                    bar.say(f"{shard.key} failed: {done.failed[shard.key]}")
    finally:
        bar.stop()
        if ours:
            ray.shutdown()
    there = plan.store.done()
    done.complete = all(shard.key in there for shard in shards)
    log("end on ray", computed=done.computed, failed=len(done.failed), complete=done.complete)
    return done
