"""``jaxeval score``, ``jaxeval completion``, ``python -m jaxeval``, and what commands lack."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import jaxeval as je
from jaxeval import cli, completion


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr("jaxeval.scoring.use_compilation_cache", lambda: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A linear model with softmax as an ONNX file, data, and maps: f_y(x) = softmax(x w)_y."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    folder = tmp_path_factory.mktemp("linear")
    rng = np.random.default_rng(0)
    w = rng.normal(size=(6, 3)).astype(np.float32)
    x = rng.normal(size=(8, 6)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Softmax", ["h"], ["p"], axis=-1),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, [None, 6])],
        [helper.make_tensor_value_info("p", kind, [None, 3])],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "net.onnx")
    y = (x @ w).argmax(1)
    np.savez(folder / "data.npz", x=x, y=y)
    np.save(folder / "mine.npy", x * w[:, y].T)
    return folder, w, x, y


def score(folder, *arguments):
    names = [str(folder / "net.onnx"), str(folder / "data.npz"), "--outputs", "probabilities"]
    return cli.main(["score", *names, "--channel-axis", "none", *arguments])


def test_scores_of_an_onnx_model_are_those_of_python(linear, capsys, tmp_path):
    folder, w, x, y = linear
    out = tmp_path / "s.parquet"
    code = score(
        folder,
        *("--explainers", "InputXGradient", "Saliency(output='probability')"),
        *("--maps", f"mine={folder / 'mine.npy'}", "--metrics", "Sparseness"),
        *("PixelFlipping(n_steps=[3, 6], baseline=0.0)", "--out", str(out)),
    )
    assert code == 0
    printed = capsys.readouterr().out
    assert "3 explainers x 3 metrics, 8 samples" in printed
    assert "mean rank" in printed
    found = je.Results.load(out)
    assert found.metrics == ("Sparseness", "PixelFlipping(n_steps=3)", "PixelFlipping(n_steps=6)")
    # By hand: all features removed one by one, the largest contribution first.
    a = x * w[:, y].T
    for i in range(len(x)):
        left, p = x[i].copy(), []
        for feature in np.argsort(-a[i], kind="stable"):
            left[feature] = 0
            e = np.exp(left @ w)
            p.append(e[y[i]] / e.sum())
        curve = found["mine", "PixelFlipping(n_steps=6)"].curve[i]
        np.testing.assert_allclose(curve[-6:], p, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--metrics", "Sparseness"), "give explainers"),
        (("--explainers", "Salincy", "--metrics", "Sparseness"), "Did you mean 'Saliency'"),
        (("--explainers", "Saliency", "--metrics", "Sparsenes"), "Did you mean 'Sparseness'"),
        (("--explainers", "Saliency", "--metrics", "Sparseness("), "write Name or Name(setting"),
        (
            ("--explainers", "Saliency", "--metrics", "PixelFlipping(n_step=3)"),
            "Did you mean 'n_steps'",
        ),
        (("--explainers", "Saliency(3)", "--metrics", "Sparseness"), "write Name or Name(setting"),
        (("--maps", "mine", "--metrics", "Sparseness"), "NAME=FILE.npy"),
        (("--maps", "mine=none.npy", "--metrics", "Sparseness"), "none.npy"),
    ],
)
def test_wrong_input_ends_with_2_and_says_what_is_wanted(linear, capsys, arguments, wanted):
    assert score(linear[0], *arguments) == 2
    assert wanted in capsys.readouterr().err


def test_a_missing_model_and_missing_data_end_with_2(linear, capsys, tmp_path):
    names = ["--explainers", "Saliency", "--metrics", "Sparseness"]
    pytest.importorskip("onnx")
    assert cli.main(["score", str(tmp_path / "no.onnx"), str(linear[0] / "data.npz"), *names]) == 2
    assert "no.onnx" in capsys.readouterr().err
    assert cli.main(["score", "digits", str(tmp_path / "no.npz"), *names]) == 2
    assert "no.npz" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "gallery"])
def test_what_a_command_lacks_is_said_at_once(monkeypatch, capsys, tmp_path, command):
    own = importlib.util.find_spec
    lacking = ("flax", "sklearn")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in lacking else own(name, *a)
    )
    out = tmp_path / "new" / "maps.png"
    assert cli.main([command, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert f"`jaxeval {command}` needs Flax and scikit-learn: pip install" in error
    assert "jaxeval[demo]" in error
    assert not out.parent.exists()


def test_the_module_is_the_command():
    run = [sys.executable, "-m", "jaxeval", "--version"]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"jaxeval {je.__version__}"


def test_the_help_says_what_exit_codes_mean(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert [code for code in ("0", "1", "2", "130") if f"\n  {code}  " in text] == [
        *("0", "1", "2", "130")
    ]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_knows_every_command(capsys, shell):
    pytest.importorskip("shtab")
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    commands = re.findall(r"\w+", cli.parser().format_usage().partition("{")[2])
    assert all(command in text for command in ("demo", *commands))


def test_bash_completes_names_of_metrics(capsys, tmp_path):
    pytest.importorskip("shtab")
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    cli.main(["completion", "bash"])
    file = tmp_path / "jaxeval.bash"
    file.write_text(capsys.readouterr().out)
    script = (
        f"source {file}; COMP_WORDS=(jaxeval score --metrics PixelF); COMP_CWORD=3; "
        "_shtab_jaxeval; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.split() == ["PixelFlipping"]


def test_completion_without_its_package_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == 1
    assert 'pip install "jaxeval[completion]"' in capsys.readouterr().err


def test_onnx_models_need_no_torch(linear):
    folder = linear[0]
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from jaxeval import cli\n"
        f"sys.exit(cli.main(['score', {str(folder / 'net.onnx')!r}, {str(folder / 'data.npz')!r}, "
        "'--outputs', 'probabilities', '--channel-axis', 'none', '--explainers', 'Saliency', "
        "'--metrics', 'Sparseness']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Sparseness" in done.stdout
