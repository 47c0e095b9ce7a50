"""Gather the wheels that a machine with CUDA's JAX and torch lacks for `accelerator.py`.

``python benchmarks/accelerator_wheels.py [--to .wheels] [PACKAGE ...]`` downloads them for Python
3.12 on Linux; on the machine without a network then:

    python -m pip install --no-index --no-deps --target site .wheels/*.whl
    PYTHONPATH=site:.:bridges python benchmarks/accelerator.py

By default these are what JAX, torch and the usual scientific packages do not bring: pass others by
name. Packages are fetched without what they need, as the machine's own versions must stay.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

PACKAGES = ("quantus==0.6.0", "captum", "cachetools")
"""Quantus, and what it needs beside OpenCV, scikit-image, pandas and matplotlib."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def command(packages: list[str], to: Path, python: str) -> list[str]:
    """pip's, for wheels only."""
    fixed = ["--no-deps", "--only-binary=:all:", "--implementation", "cp"]
    platforms = [f"--platform={p}" for p in PLATFORMS]
    return [
        sys.executable, "-m", "pip", "download", *fixed, "--python-version", python, *platforms,
        "--dest", str(to), *packages,
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", default=list(PACKAGES))
    parser.add_argument("--to", type=Path, default=Path(".wheels"))
    parser.add_argument("--python", default="3.12")
    given = parser.parse_args()
    done = subprocess.run(command(given.packages, given.to, given.python))
    if done.returncode == 0:
        sizes = {p.name: p.stat().st_size / 2**20 for p in sorted(given.to.glob("*.whl"))}
        print("\n".join(f"{size:6.1f} MiB  {name}" for name, size in sizes.items()))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
