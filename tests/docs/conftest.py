"""What tests register is forgotten again."""

from collections.abc import Iterator

import pytest

from jaxeval import registry


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tables of names, which are as before afterwards."""
    with monkeypatch.context() as patch:
        for table in registry.TABLES:
            patch.setattr(table, "_classes", dict(table))
        yield
