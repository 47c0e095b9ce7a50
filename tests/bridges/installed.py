"""Packages that may be installed in a state that needs help."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest


def mend_torchvision() -> bool:
    """Is torchvision there? Its compiled operators, which no network here uses, may be missing.

    Then its import fails, and with it that of packages that look for it.
    """
    try:
        import torchvision
    except ImportError:
        return False
    except RuntimeError:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        missing = "torchvision._meta_registrations"
        sys.modules[missing] = types.ModuleType(missing)
        import torchvision  # noqa: F401
    return True


def torchvision() -> Any:
    """torchvision, or the test is skipped."""
    if not mend_torchvision():
        pytest.skip("torchvision is not installed")
    return sys.modules["torchvision"]
