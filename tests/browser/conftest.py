"""A real browser, Chromium without a window: that of the system, or Playwright's own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as made:
        own = next(filter(None, map(shutil.which, NAMES)), None)
        try:
            found = made.chromium.launch(executable_path=own, args=["--no-sandbox"])
        except playwright.Error as e:
            pytest.skip(f"no Chromium (apt install chromium): {str(e).splitlines()[0]}")
        yield found
        found.close()
