"""Packages that may be installed in a state that needs help."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest


def torchvision() -> Any:
    """torchvision; its compiled operators, which no classifier here uses, may be missing."""
    try:
        import torchvision
    except ImportError:
        pytest.skip("torchvision is not installed")
    except RuntimeError:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        missing = "torchvision._meta_registrations"
        sys.modules[missing] = types.ModuleType(missing)
        import torchvision
    return torchvision
