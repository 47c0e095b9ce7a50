"""A LeNet in torch, what it is asked about, and both libraries on the same seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests import networks

torch = pytest.importorskip("torch", reason="Quantus's bridge needs torch")
theirs = pytest.importorskip("quantus", reason="Quantus's bridge needs Quantus")

import jaxeval_quantus as ours  # noqa: E402

N, SHAPE = 6, (1, 28, 28)


@dataclasses.dataclass(frozen=True)
class Case:
    """A module, a few samples and maps of them."""

    net: Any
    x: np.ndarray
    y: np.ndarray
    a: np.ndarray

    def run(self, library: Any, name: str, fields: Any = None, given: bool = True, **call: Any):
        """Scores of one metric in one library, after the same seed, in batches of 4 and 2."""
        np.random.seed(7)
        torch.manual_seed(0)
        fields = {"disable_warnings": True, "return_aggregate": False} | (fields or {})
        call = {
            "explain_func": library.explain,
            "explain_func_kwargs": {"method": "Gradient"},
            "batch_size": 4,
            "a_batch": self.a.copy() if given else None,  # Quantus writes into some
        } | call
        metric = getattr(library, name)(**fields)
        return metric(model=self.net, x_batch=self.x.copy(), y_batch=self.y, **call)

    def both(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """(ours, Quantus's)."""
        with ours.engine("jaxeval"):
            mine = self.run(ours, name, *args, **kwargs)
        return mine, self.run(theirs, name, *args, **kwargs)


@pytest.fixture(scope="module")
def case() -> Case:
    _, params = networks.lenet(seed=3)
    net = networks.lenet_torch(params)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (N, *SHAPE)).astype(np.float32)
    y = rng.integers(0, 10, N)
    return Case(net, x, y, theirs.explain(net, x, y, method="Gradient"))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty log, and no check of every perturbed sample for whether it changed."""
    monkeypatch.setattr("quantus.helpers.warn.warn_perturbation_caused_no_change", lambda **_: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ours.clear_log()
    yield
    torch.set_num_threads(threads)
    assert ours.settings.chosen == {"engine": "auto", "definitions": "paper"}
