"""`jaxeval meta`: shards of perturbations, resumed, and equal to `meta_evaluate`."""

from __future__ import annotations

import numpy as np
import pytest
import things

import jaxeval as je
from jaxeval import cli

SWEEP = """\
data = "things:data"
model = "things:linear"
output = "scores"
shard_size = 11
explainers = ["InputXGradient", "Gradient"]

[metrics.flip]
class = "PixelFlipping"
baseline = "zero"
n_steps = 3

[metrics.correlation]
class = "FaithfulnessCorrelation"
baseline = "zero"
n_runs = 5
subset_size = 2

[metrics.Sparseness]

[meta]
n_perturbations = 2
groups = 1

[meta.tests.model]
class = "ModelNoise"
disruptive = 3.0

[meta.tests.InputNoise]
disruptive = 4.0

[meta.tests.MapNoise]
levels = [0.0, 1.0]
"""

HOSTED = """\
import jaxeval as je

def model():
    return je.Model(lambda _, x: x[:, :3], {}, host=True, channel_axis=None)
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("jaxeval.sweep.command.use_compilation_cache", lambda: None)
    monkeypatch.setattr("jaxeval.sweep.command.delete_broken_entries", lambda: None)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path / "sweep.toml"


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, " ".join(err.split())


def test_shards_of_two_processes_are_the_whole(capsys, file, monkeypatch):
    """2 blocks x (1 clean + 2 kinds x 2 of two tests + 2 of the maps) shards."""
    code, out, _ = run(capsys, "meta", file, "--rank", 0, "--world", 2)
    assert code == 0
    assert out.startswith("11 shards computed; the sweep is not complete yet")
    folder = file.parent / "scores" / "meta"
    code, out, _ = run(capsys, "status", folder)
    assert "11 of 22 (50%)" in out
    pages = []
    monkeypatch.setattr(je.MetaResults, "report", lambda meta, path: pages.append(path))
    code, out, _ = run(capsys, "meta", file, "--rank", 1, "--world", 2, "-o", "page.html")
    assert code == 0
    assert [str(p) for p in pages] == ["page.html"]
    assert "11 shards computed; the sweep is complete" in out
    assert "MetaResults: 3 metrics x 2 explainers x 3 tests x 2 perturbations" in out
    before = (folder / "parts" / "b0000001-m0-s0-t1-minor-p0001.parquet").stat()
    code, out, _ = run(capsys, "meta", file)
    assert "0 shards computed, 22 already finished" in out
    after = (folder / "parts" / "b0000001-m0-s0-t1-minor-p0001.parquet").stat()
    assert before.st_mtime_ns == after.st_mtime_ns

    found = je.sweep.meta_results(file.parent / "scores")
    sweep = je.Sweep.from_file(file)
    made = {m: s.made for m, s in sweep.metric_settings.items()}
    explainers = {e: s.made for e, s in sweep.explainer_settings.items()}
    data = things.data()
    whole = je.meta_evaluate(
        things.linear(), data["x"], data["y"], explainers=explainers, metrics=made,
        tests=sweep.meta.tests, n_perturbations=2, groups=1, progress=False,
    )  # fmt: skip
    assert list(whole.tests) == ["model", "InputNoise", "MapNoise"]
    assert found.scores.keys() == whole.scores.keys()
    for k, v in whole.scores.items():
        np.testing.assert_allclose(found.scores[k], v, rtol=1e-4, atol=1e-5)
    for k, v in whole.predicted.items():
        np.testing.assert_array_equal(found.predicted[k], v)
    assert found.reasons == whole.reasons
    assert found.directions == whole.directions
    np.testing.assert_array_equal(found.index, whole.index)


SEVERAL = """\
data = "things:data"
model = "things:linear"
output = "scores"
explainers = ["InputXGradient"]
metrics = ["Sparseness"]
seeds = [3, 4]

[meta]
n_perturbations = 1
groups = 1
tests = ["MapNoise"]
"""


def test_several_seeds_have_files_of_their_own(capsys, file, monkeypatch):
    file.write_text(SEVERAL)
    code, out, _ = run(capsys, "meta", file, "--dry-run")
    assert code == 0
    assert "shards" in out
    assert not (file.parent / "scores").exists()
    pages = []
    monkeypatch.setattr(je.MetaResults, "report", lambda meta, path: pages.append(str(path)))
    code, out, _ = run(capsys, "meta", file, "-o", "page.html")
    assert code == 0
    assert "4 shards computed; the sweep is complete" in out
    assert pages == ["page-meta-m0-s0.html", "page-meta-m0-s1.html"]
    first, second = (je.sweep.meta_results(file.parent / "scores", seed=s) for s in (0, 1))
    assert first.settings["key"] != second.settings["key"]
    key = ("Sparseness", "MapNoise", "levels")
    assert not np.array_equal(first.scores[key], second.scores[key])


def test_the_report_of_a_sweep_has_its_meta_evaluation(file, monkeypatch):
    from jaxeval.report import command

    assert command.meta_of(file.parent / "scores") is None
    own = file.parent / "scores" / "meta" / "meta.parquet"
    own.parent.mkdir(parents=True)
    own.touch()
    monkeypatch.setattr(je.MetaResults, "load", lambda path: path)
    assert command.meta_of(file.parent / "scores") == own
    assert command.meta_of(file.parent / "scores", file) == file


def test_the_scores_of_the_sweep_do_not_depend_on_the_table(file):
    plans = []
    for text in (SWEEP, SWEEP.split("[meta]")[0]):
        file.write_text(text)
        plans.append(je.sweep.Plan(je.Sweep.from_file(file)).manifest()["fingerprint"])
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    ("old", "new", "named", "match"),
    [
        ("groups = 1", "group = 1", "group = 1", "Did you mean 'groups'"),
        ("groups = 1", "groups = 3", "n_perturbations = 2", "must be a multiple of groups"),
        ("groups = 1", "groups = 1\nseeds = 'new'", "seeds = 'new'", "must be one of 'fresh'"),
        ('"ModelNoise"', '"ModelNois"', 'class = "ModelNois"', "Did you mean 'ModelNoise'"),
        ("disruptive = 4", "disruptiv = 4", "disruptiv = 4.0", "Did you mean 'disruptive'"),
        ("0.0, 1.0", "0.0", "[meta.tests.MapNoise]", "at least two"),
    ],
)
def test_wrong_tables_are_refused_with_their_line(capsys, file, old, new, named, match):
    text = SWEEP.replace(old, new)
    assert text != SWEEP
    file.write_text(text)
    code, _, err = run(capsys, "meta", file)
    assert code == 2
    assert f"sweep.toml:{text.splitlines().index(named) + 1}: " in err
    assert match in err


def test_what_cannot_be_tested_is_refused(capsys, file):
    file.write_text(SWEEP.split("[meta]")[0])
    code, _, err = run(capsys, "meta", file)
    assert code == 2
    assert "no table [meta]" in err
    (file.parent / "hosted.py").write_text(HOSTED)
    file.write_text(SWEEP.replace("things:linear", "hosted:model"))
    code, _, err = run(capsys, "meta", file)
    assert code == 2
    assert "test 'model' changes the model's parameters, which a host model does not show" in err
