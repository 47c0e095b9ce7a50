"""Bad input fails early, before any compilation, and the error says what to do."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

import jaxeval as je
from jaxeval.engine import TRACES
from tests.contracts.bad_data import DATA, SMOOTH
from tests.contracts.bad_settings import SETTINGS
from tests.contracts.runs import score, traced_since
from tests.world import N

BAD = DATA | SETTINGS


@pytest.mark.parametrize("what", BAD)
def test_bad_input_fails_early_and_says_why(what, compiled):
    call, error, says = BAD[what]
    before = TRACES.copy()
    with pytest.raises(error) as caught:
        call()
    assert not traced_since(before), "it was found out after compilation"
    assert not any(name.startswith("jit(forward") for name in compiled)
    assert re.search(says, str(caught.value), re.DOTALL), str(caught.value)


def test_superpixels_without_scikit_image(monkeypatch):
    """The error says what to install, and what else to give."""
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    metric = je.IROF(n_segments=7)
    with pytest.raises(ImportError, match=r'pip install "jaxeval\[image\]".*extras='):
        score(metric, None, SMOOTH)
    own = np.arange(64).reshape(8, 8) // 8 + np.zeros((N, 1, 1), int)
    assert score(metric, None, SMOOTH, extras={"segments": own}).n_undefined == 0
