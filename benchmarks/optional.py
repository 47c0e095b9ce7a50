"""Packages that may be installed in a state that needs help."""

from __future__ import annotations

import importlib.util
import sys
import types
from importlib.metadata import PackageNotFoundError, version


def mend_torchvision() -> bool:
    """Is torchvision there? Where it was built for another torch, its import is made to work.

    A torchvision for CUDA beside a torch for the CPU (or the other way round) cannot load its
    compiled operators, such as `nms`; then the file that registers their shapes fails, and with it
    the import of torchvision and of whatever looks for it (zennit, transformers, and Quantus where
    zennit is installed). No network here needs them, so that file is left out. To be called
    before anything imports torchvision; where both are of one build, nothing happens.
    """
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        builds = [version(p).partition("+")[2] for p in ("torch", "torchvision")]
    except PackageNotFoundError:
        return False
    if builds[0] != builds[1]:
        name = "torchvision._meta_registrations"
        sys.modules.setdefault(name, types.ModuleType(name))
    return True
