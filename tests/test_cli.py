"""The command: what it prints, what it refuses, and where it keeps compiled programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxeval as je
from jaxeval import cli, demo, gallery


def run(capsys, *arguments):
    code = cli.main(arguments)
    return code, capsys.readouterr().out


def refused(capsys, *arguments):
    """The error message of arguments that are refused."""
    with pytest.raises(SystemExit) as exit:
        cli.main(arguments)
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_version_of_the_installed_command():
    done = subprocess.run(
        [sys.executable, "-m", "jaxeval.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"jaxeval {je.__version__}"


def test_list_metrics_says_what_each_one_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    code, text = run(capsys, "list", "metrics")
    assert code == 0
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    for name, metric in je.METRICS.items():
        assert ("↑" if metric.direction == "higher" else "↓") in lines[name]
        assert metric.reference[:20] in lines[name]
        assert metric.family in lines
        for asked in metric.asks | metric.needs:
            assert asked in lines[name]


def test_list_explainers_says_what_each_one_is(capsys):
    code, text = run(capsys, "list", "explainers")
    assert code == 0
    for name in je.explain.EXPLAINERS:
        assert name in text
    assert "n_steps=50" in text
    assert "The absolute gradient" in text


@pytest.mark.parametrize("width", [60, 80, 100])
def test_tables_fit_the_terminal(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for what in cli.LISTS:
        _, text = run(capsys, "list", what)
        assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("dmeo",), "Did you mean 'demo'?"),
        (("lst", "metrics"), "Did you mean 'list'?"),
        (("list", "metric"), "Did you mean 'metrics'?"),
        (("list", "explainer"), "Did you mean 'explainers'?"),
        (("list",), "required"),
        (("demo", "--sample", "5"), "Did you mean '--samples'?"),
        (("demo", "--batchsize", "5"), "Did you mean '--batch-size'?"),
        (("demo", "twice"), "unrecognized arguments: twice"),
        (("demo", "--samples", "many"), "--samples: must be a whole number in 2..596, got 'many'"),
        (("demo", "--samples", "597"), "--samples: must be a whole number in 2..596, got '597'"),
        (("demo", "--batch-size", "0"), "--batch-size: must be a whole number"),
        (("demo", "--seed", "-1"), "--seed: must be a whole number"),
        (("demo", "--seed"), "--seed"),
        (("galery",), "Did you mean 'gallery'?"),
        (("completion", "fish"), "Did you mean 'zsh'?"),
        (("gallery", "--out", "maps"), "must end in .png, .pdf or .svg, got 'maps'"),
    ],
)
def test_wrong_arguments_are_refused_in_words(capsys, arguments, wanted):
    assert wanted in refused(capsys, *arguments)


def test_folder_that_cannot_be_is_refused_before_the_work(capsys, tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert "cannot write to" in refused(capsys, "demo", "--out", str(file))
    assert "cannot write to" in refused(capsys, "gallery", "--out", str(file / "maps.png"))


def test_without_a_command_it_says_what_there_is(capsys):
    assert cli.main([]) == 2
    assert "list" in capsys.readouterr().err


@pytest.fixture
def own_config(monkeypatch):
    """Changes of JAX's compilation cache are undone."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_demo_gets_its_arguments(capsys, monkeypatch, tmp_path, own_config):
    given = []
    monkeypatch.setattr(demo, "run", lambda *a: given.append(a))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "new" / "demo"
    code, _ = run(
        capsys, "demo", "--out", str(out), "--samples", "9", "--batch-size", "4", "--seed", "3"
    )
    assert code == 0
    assert given[0][:4] == (out, 9, 4, 3)
    assert out.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache" / "jaxeval")
    assert (tmp_path / "cache" / "jaxeval").is_dir()


def test_demo_defaults():
    given = cli.parser().parse_args(["demo"])
    assert (given.out, given.samples, given.batch_size, given.seed) == (Path("demo"), 500, None, 0)


def test_gallery_gets_its_arguments(capsys, monkeypatch, tmp_path, own_config):
    given = []
    monkeypatch.setattr(gallery, "run", lambda *a: given.append(a) or {"A": 1, "B": 2})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "new" / "maps.png"
    code, text = run(capsys, "gallery", "--out", str(out), "--seed", "3")
    assert code == 0
    assert given == [(out, 3)]
    assert out.parent.is_dir()
    assert "2 explainers, written to" in text


def test_what_is_missing_is_said_without_a_traceback(capsys, monkeypatch, tmp_path, own_config):
    def run_without_flax(*_):
        raise ImportError('the digits network needs Flax: pip install "jaxeval[demo]"')

    monkeypatch.setattr(demo, "run", run_without_flax)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.main(["demo", "--out", str(tmp_path / "demo")]) == 1
    assert 'pip install "jaxeval[demo]"' in capsys.readouterr().err


def test_interrupt_ends_quietly(capsys, monkeypatch, tmp_path, own_config):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.main(["demo", "--out", str(tmp_path / "demo")]) == 130


def test_cache_of_the_user_is_left_alone(monkeypatch, tmp_path, own_config):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cli.use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
    assert not (tmp_path / "cache").exists()


def test_cache_limit_of_the_user_is_left_alone(monkeypatch, tmp_path, own_config):
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(before))
    assert cli.use_compilation_cache() == tmp_path / "jaxeval"
    assert jax.config.jax_persistent_cache_min_compile_time_secs == before


def test_cache_without_a_place_is_left_off(monkeypatch, tmp_path, own_config):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cli.use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_given_cache_folder_is_used_or_an_error(monkeypatch, tmp_path, own_config):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "before"))
    assert je.use_compilation_cache(tmp_path / "mine") == tmp_path / "mine"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        je.use_compilation_cache(tmp_path / "file" / "folder")


@pytest.mark.parametrize("command", ["run", "meta", "status", "report"])
def test_a_file_that_is_not_there_is_named(command, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main([command, "none.toml"]) == (1 if command == "report" else 2)
    assert capsys.readouterr().err == "jaxeval: there is no none.toml\n"


def test_what_the_demonstration_lacks_is_said_by_the_names_of_packages(capsys, monkeypatch):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err == (
        "jaxeval: `jaxeval demo` needs Flax and Matplotlib and scikit-learn: "
        'pip install "jaxeval[demo]"\n'
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("score", "m.onnx", "d.npz", "--metrics", "SRG"), "none"), (("report", "s.parquet"), "auto")],
    ids=["score", "report"],
)
def test_an_axis_that_is_no_number_is_refused(capsys, arguments, word):
    error = refused(capsys, *arguments, "--channel-axis", "last")
    assert f"must be a whole number or \"{word}\", got 'last'" in error


@pytest.mark.parametrize("command", ["run", "meta"])
def test_a_folder_is_no_sweep(command, capsys, tmp_path):
    assert cli.main([command, str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"jaxeval: {tmp_path} is a folder: a sweep is a .toml, .yaml or .yml file\n"
    )


def test_models_are_found_in_the_current_folder(capsys, monkeypatch, tmp_path):
    """By the installed command, whose path does not begin with that folder."""
    (tmp_path / "model_that_is_here.py").write_text("def net(): return lambda x: x")
    np.save(tmp_path / "x.npy", 3 * np.eye(3, dtype=np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.setattr("jaxeval.scoring.use_compilation_cache", lambda: None)
    chosen = ["--explainers", "Random", "--metrics", "Sparseness"]
    assert cli.main(["score", "model_that_is_here:net", "x.npy", *chosen]) == 0
    assert "Sparseness" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "digits", "digits", "--metrics", "SRG", "--report", "s.html"),
        ("meta", "sweep.toml", "-o", "m.html"),
        ("report", "s.parquet"),
    ],
    ids=lambda given: given[0],
)
def test_what_a_page_lacks_is_said_before_anything_is_computed(capsys, monkeypatch, arguments):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert cli.main(arguments) == 1
    what = "jaxeval report" if arguments[0] == "report" else arguments[-1]
    assert capsys.readouterr().err == (
        f'jaxeval: `{what}` needs Jinja2 and Matplotlib: pip install "jaxeval[report]"\n'
    )
