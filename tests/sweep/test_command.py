"""`jaxeval run` and `jaxeval status`: what they print, refuse and return."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import things

import jaxeval as je
from jaxeval import cache, cli
from jaxeval.report.maps import maps_of_extremes

SWEEP = """\
data = "things:data"
model = "things:linear"
output = "scores"
shard_size = 8
batch_size = 32
seeds = [0, 1]
explainers = ["InputXGradient", "Random"]

[metrics.flip]
class = "PixelFlipping"
baseline = ["black", "mean"]
n_steps = 3

[metrics.FaithfulnessCorrelation]
n_runs = 5
subset_size = 2
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("jaxeval.sweep.command.use_compilation_cache", lambda: None)
    monkeypatch.setattr("jaxeval.sweep.command.delete_broken_entries", lambda: None)
    for name in ("SLURM_PROCID", "SLURM_ARRAY_TASK_ID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path / "sweep.toml"


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, " ".join(out.split()), " ".join(err.split())


def test_one_of_a_kind_is_named_in_the_singular(capsys, file):
    changed = {"shard_size = 8": "shard_size = 30", "seeds = [0, 1]": "seeds = [0]"}
    text = SWEEP.partition("[metrics.Faith")[0]
    for old, new in changed.items():
        text = text.replace(old, new)
    file.write_text(text.replace('["black", "mean"]', '"black"').replace(', "Random"', ""))
    code, out, err = run(capsys, "run", file, "--dry-run")
    assert (code, err) == (0, "")
    assert "1 model x 1 seed x 1 explainer x 1 metric samples" in out
    assert "and 1 attribution per sample" in out
    code, out, err = run(capsys, "run", file, "--dry-run", "--device", "h100")
    assert "batch size 32 on 1 device " in out
    assert "1 shard: " in out
    code, out, _ = run(capsys, "run", file)
    assert "1 shard computed; the sweep is complete" in out


def test_run_status_and_again(capsys, file):
    code, _, err = run(capsys, "status", file)
    assert code == 2
    assert "holds no sweep" in err

    code, out, err = run(capsys, "run", file, "--dry-run")
    assert code == 0
    assert not (file.parent / "scores").exists()
    assert "1 model x 2 seeds x 2 explainers x 3 metrics" in out
    # Two deletions for each of two explainers; random subsets are asked once for both.
    assert "distinct questions 5 per sample" in out
    assert "evaluations 18 outputs and 2 attributions per sample" in out
    assert "samples 21" in out
    assert "shards 6" in out
    assert "device memory about" in out
    assert "estimated time" in out

    code, out, err = run(capsys, "run", file, "--dry-run", "--device", "tpu-v5e:2x2")
    assert code == 0
    assert not (file.parent / "scores").exists()
    assert "nothing was run" in out
    assert "on each of 4 devices" in out
    assert "6 shards" in out
    code, out, err = run(capsys, "run", file, "--device", "h100")
    assert code == 2
    assert "--device is for --dry-run" in err

    code, out, err = run(capsys, "run", file, "--rank", 0, "--world", 2)
    assert code == 0
    assert out.startswith("3 shards computed; the sweep is not complete yet: ")
    code, out, _ = run(capsys, "status", file)
    assert code == 0
    assert "shards 3 of 6 (50%)" in out
    assert "seed 0 2 of 3 shards" in out
    assert "left " in out

    code, out, _ = run(capsys, "run", file, "--quiet")
    assert code == 0
    assert out.startswith("3 shards computed, 3 already finished; the sweep is complete: ")
    code, out, _ = run(capsys, "status", file.parent / "scores")
    assert "shards 6 of 6 (100%)" in out
    assert f"scores {21 * 2 * 2 * 3}" in out

    file.write_text(SWEEP.replace("n_runs = 5", "n_runs = 6"))
    code, _, err = run(capsys, "run", file)
    assert code == 2
    assert "holds the scores of another sweep" in err
    assert "metrics.FaithfulnessCorrelation.is.n_runs: 5 -> 6" in err


def test_the_log_is_lines_of_json(capsys, file):
    run(capsys, "run", file)
    lines = (file.parent / "scores" / "log" / "rank-0000.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [e["event"] for e in events] == ["start", *["shard"] * 6, "end"]
    assert all({"time", "rank", "host", "pid"} <= e.keys() for e in events)
    assert sum(e["scores"] for e in events if e["event"] == "shard") == 21 * 2 * 2 * 3


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("run", "nowhere.toml"), "nowhere.toml"),
        (("run", "{file}", "--rank", "1"), "rank and world go together"),
        (("run", "{file}", "--rank", "2", "--world", "2"), "got rank 2 of world 2"),
        (("run", "{file}", "--devices", "99"), "devices=99: this process has"),
    ],
)
def test_what_is_refused(capsys, file, arguments, wanted):
    code, _, err = run(capsys, *(a.format(file=file) for a in arguments))
    assert code == 2
    assert wanted in err
    assert not (file.parent / "scores").exists()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("rnu", "x.toml"), "Did you mean 'run'?"),
        (("run", "x.toml", "--dryrun"), "Did you mean '--dry-run'?"),
        (("run", "x.toml", "--on", "moon"), "invalid choice: 'moon'"),
        (("run",), "required"),
    ],
)
def test_wrong_arguments(capsys, arguments, wanted):
    with pytest.raises(SystemExit) as exit:
        cli.main(arguments)
    assert exit.value.code == 2
    assert wanted in capsys.readouterr().err


def test_shards_that_fail_make_the_command_fail(capsys, file):
    file.write_text(SWEEP.replace("things:data", "things:spoilt"))
    code, out, _ = run(capsys, "run", file, "--quiet")
    assert code == 1
    assert "2 failed" in out
    assert "b0000001-m0-s0" in out


def entry_of_the_cache(folder):
    """What JAX writes of a compiled program."""
    program = "import jax; jax.jit(lambda x: x + 1)(1.0)"
    settings = {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_ENABLE_COMPILATION_CACHE": "true",
    }
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, **settings})
    return next(folder.glob("*-cache")).read_bytes()


def test_broken_entries_of_the_cache_are_deleted(tmp_path, monkeypatch, recwarn):
    import warnings

    before = {
        name: getattr(jax.config, name)
        for name in ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    }
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        folder = cache.use_compilation_cache()
        assert folder is not None
        broken, good, other = (folder / f"{n}-cache" for n in ("jit_f-1", "jit_f-2", "jit_g-1"))
        for file in (broken, other):
            file.write_bytes(b"half of")
        good.write_bytes(entry_of_the_cache(tmp_path / "own"))
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            cache.delete_broken_entries()
            warnings.warn(
                "Error reading persistent compilation cache entry for 'jit_f': ValueError: x",
                stacklevel=1,
            )
        assert not broken.exists()
        assert good.exists()
        assert other.exists()
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def test_sweeps_are_public():
    assert je.Sweep is je.sweep.Sweep
    assert issubclass(je.SweepError, ValueError)


def test_a_report_of_the_description_shows_the_best_and_worst_samples(capsys, file):
    run(capsys, "run", file, "--quiet")
    page = file.parent / "page.html"
    code, out, err = run(capsys, "report", file, "-o", page)
    assert (code, err) == (0, "")
    assert "2 explainers x 3 metrics" in out
    text = page.read_text(encoding="utf-8")
    for explainer in ("InputXGradient", "Random"):
        assert f"Inputs and maps of {explainer}: best samples " in text
    code, _, err = run(capsys, "report", file, "-o", page, "--metric", "Flop")
    assert code == 1
    assert "no metric 'Flop'" in err


@pytest.mark.parametrize("named", [False, True])
def test_maps_of_extremes_are_those_that_were_scored(tmp_path, named):
    data = things.data()
    index = np.arange(things.N) * 7 % 100 if named else np.arange(things.N)
    sweep = je.Sweep(
        data={**data, "index": index} if named else data,
        model=things.linear(),
        output=tmp_path / "scores",
        shard_size=8,
        batch_size=16,
        explainers={
            "ixg": je.explain.InputXGradient(),
            "random": je.explain.Random(),
            "stored": data["x"] ** 2,
        },
        metrics={"sparse": je.Sparseness()},
    )
    results = je.Store(je.run(sweep, progress=False).store.folder).results()
    found = maps_of_extremes(sweep, results, "sparse", n=2)
    rows = [results.index.tolist().index(i) for i in found["index"]]
    assert 4 <= len(rows) <= 12
    np.testing.assert_array_equal(found["x"], data["x"][rows])
    np.testing.assert_array_equal(found["attributions"]["stored"], data["x"][rows] ** 2)
    for explainer, a in found["attributions"].items():
        scores = je.evaluate(
            things.linear(), found["x"], data["y"][rows], explainers={"a": a},
            metrics={"m": je.Sparseness()}, progress=False,
        )  # fmt: skip
        wanted = results[explainer, "sparse"].score[rows]
        np.testing.assert_allclose(scores["a", "m"].score, wanted, atol=1e-6)
