"""Kept graphs: modules that compute different things have different keys, others have not."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from jaxeval_torch import cache, export  # noqa: E402
from jaxeval_torch.logits import Logits  # noqa: E402

from tests.bridges.nets import hooked, patched  # noqa: E402

FACTOR = 1.0


def helper(x):
    return x * FACTOR


class Net(torch.nn.Module):
    def __init__(self, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(5, 3)
        self._settings = {"max": 50.0, "table": torch.ones(3), "do": "nothing", **settings}
        self.register_buffer("shift", self._settings["table"] * 0, persistent=False)

    def forward(self, x):
        x = helper(torch.clamp(self.fc(x), max=self._settings["max"]))
        if self._settings["do"] == "tanh":
            x = torch.tanh(x)
        return x * self._settings["table"] + self.shift


def key(net):
    with torch.no_grad():
        program = export.capture(Logits(net.eval(), None, None), [torch.ones(2, 5)])
    return cache.key(program, export.OPSET)


def normed(eps):
    return torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.LayerNorm(3, eps=eps))


PAIRS = {
    "a number in a private dict": lambda v: Net(max=float(v)),
    "a tensor in a private dict": lambda v: Net(table=torch.full((3,), float(v))),
    "a choice": lambda v: Net(do="tanh" if v == 2 else "nothing"),
    "a forward pass that was replaced": lambda v: patched(Net(), v),
    "a hook": lambda v: hooked(Net(), v),
    "a setting of a layer": lambda v: normed(v * 1e-5),
    "a number that differs in its last digits": lambda v: Net(max=1 + v * 1e-15),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_other_computations_have_other_keys(kind):
    make = PAIRS[kind]
    assert key(make(1)) == key(make(1))
    assert key(make(1)) != key(make(2))


def test_a_global_of_a_helper_function_is_seen(monkeypatch):
    before = key(Net())
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    assert key(Net()) != before


def test_weights_are_no_part_of_it():
    net, other = Net(), Net()
    with torch.no_grad():
        other.fc.weight.mul_(2)
    assert key(net) == key(other)
    assert key(Net().double().float()) == key(net)
