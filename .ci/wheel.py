"""Builds the wheel and the sdist, and tries the wheel in empty environments: alone, and by extra.

    python .ci/wheel.py [extra ...]      # default: the package alone, and every extra of users

Each environment is a new one, outside of the checkout, with the versions of constraints.txt. `ray`
and `quantus` are large and left to ``python .ci/wheel.py ray quantus``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("", "flax", "plot", "report", "image", "xarray", "completion", "onnx", "demo", "torch")
DATA = ("jaxeval/data/digits_cnn.npz", "jaxeval/report/page.html", "jaxeval/report/page.css")
PACKAGES = ("jaxeval", "jaxeval_torch", "jaxeval_quantus")

CORE = """
import jaxeval as je, numpy as np, sys, tempfile, os
x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
model = je.Model(lambda w, x: x @ w, np.eye(6, 3, dtype=np.float32), channel_axis=None)
metrics = {"flipping": je.PixelFlipping(n_steps=3, baseline=0.0), "sparseness": je.Sparseness()}
explainers = {"IG": je.explain.IntegratedGradients(), "random": je.explain.Random()}
results = je.evaluate(model, x, explainers=explainers, metrics=metrics, progress=False)
assert results.ranking().shape == (2, 3)
file = os.path.join(tempfile.mkdtemp(), "scores.parquet")
assert je.Results.load(results.save(file)).metrics == results.metrics
"""
SMOKE = {
    "": "import importlib.util as u; assert not any(map(u.find_spec, ('torch', 'flax', 'jinja2')))",
    "flax": "import flax.linen as nn, jax\n"
    "m = nn.Dense(3); je.from_flax(m, m.init(jax.random.key(0), x))(x)",
    "plot": "je.plot.curves(results, 'flipping').savefig(file + '.png')",
    "report": "results.report(file + '.html'); results.to_styler().to_html()",
    "image": "je.IROF(n_segments=4)(je.Model(lambda w, x: x.reshape(len(x), -1)[:, :2], 0.0),"
    " np.ones((1, 1, 8, 8), np.float32), [0], np.ones((1, 1, 8, 8), np.float32))",
    "xarray": "assert results.to_xarray().score.shape == (2, 2, 4)",
    "completion": "from jaxeval import cli; assert cli.main(['completion', 'bash']) == 0",
    "onnx": "import jaxeval_torch; from jaxeval_torch import from_onnx; import onnx",
    "demo": "assert je.data.digits_cnn()(je.data.digits().x_test[:2]).shape == (2, 10)",
    "torch": "import torch; from jaxeval_torch import from_torch, captum_explainer\n"
    "net = torch.nn.Linear(6, 3).eval(); from_torch(net, x[:2], channel_axis=None)(x)",
    "quantus": "import jaxeval_quantus as quantus; quantus.Sparseness",
    "ray": "import ray",
}
COMMANDS = (["--version"], ["list", "metrics"], ["score", "--help"])


def run(*command: object, **given: object) -> str:
    own = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=own, **given  # pyright: ignore
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def environment(folder: Path) -> Path:
    """The Python of a new environment."""
    venv.create(folder, with_pip=True)
    return folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def built(folder: Path) -> tuple[Path, Path]:
    """(wheel, sdist), complete."""
    python = environment(folder / "build")
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", "build")
    # From the sdist, so that this is known to be complete, too.
    run(python, "-m", "build", "--outdir", folder / "dist", ROOT)
    (wheel,), (sdist,) = (list((folder / "dist").glob(p)) for p in ("*.whl", "*.tar.gz"))
    with zipfile.ZipFile(wheel) as file:
        inside = set(file.namelist())
        metadata = next(n for n in inside if n.endswith("/METADATA"))
        text = file.read(metadata).decode()
    wanted = {*DATA, *(f"{p}/py.typed" for p in PACKAGES)}
    wanted |= {
        str(p.relative_to(top))
        for name, top in zip(PACKAGES, (ROOT, ROOT / "bridges", ROOT / "bridges"), strict=True)
        for p in (top / name).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    if missing := wanted - inside:
        sys.exit(f"{wheel.name} lacks {sorted(missing)}")
    if not any(n.endswith("licenses/LICENSE") for n in inside):
        sys.exit(f"{wheel.name} has no licence")
    for field in (
        "License-Expression: Apache-2.0",
        "Requires-Python: >=3.11",
        "Keywords",
    ):
        if field not in text:
            sys.exit(f"{wheel.name}: its metadata has no {field!r}")
    with tarfile.open(sdist) as file:
        names = {re.sub(r"^[^/]+/", "", n) for n in file.getnames()}
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "tests/conftest.py"):
        if name not in names:
            sys.exit(f"{sdist.name} lacks {name}")
    return wheel, sdist


def tried(wheel: Path, extra: str, folder: Path) -> None:
    """Installs the wheel with an extra in an empty environment, and uses it."""
    python = environment(folder / (extra or "core"))
    wanted = f"{wheel}[{extra}]" if extra else wheel
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wanted)
    run(python, "-m", "pip", "check")
    run(python, "-c", CORE + SMOKE[extra], cwd=folder)
    for arguments in COMMANDS:
        run(python, "-m", "jaxeval", *arguments, cwd=folder)
        run(python.parent / "jaxeval", *arguments, cwd=folder)
    print(f"{extra or 'the package alone'}: installed, and works")


def main(extras: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel, sdist = built(folder)
        print(f"{wheel.name} and {sdist.name} are complete")
        for extra in extras or EXTRAS:
            tried(wheel, extra, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
