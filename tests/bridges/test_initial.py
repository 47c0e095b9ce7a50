"""MPRT's "reinit" for torch models: the draws of the layers' own `reset_parameters`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
stats = pytest.importorskip("scipy.stats")

from jaxeval_torch import from_torch  # noqa: E402
from jaxeval_torch.initial import initial  # noqa: E402
from torch import nn  # noqa: E402

import jaxeval as je  # noqa: E402
from tests.bridges.nets import build  # noqa: E402

LAYERS = {
    "linear": lambda: nn.Linear(40, 90),
    "conv": lambda: nn.Conv2d(12, 24, 3, groups=2),
    "transposed conv": lambda: nn.ConvTranspose1d(12, 24, 5, groups=3),
    "bilinear": lambda: nn.Bilinear(12, 15, 16),
    "lstm": lambda: nn.LSTM(9, 16, 2, bidirectional=True, proj_size=5),
    "gru": lambda: nn.GRUCell(9, 32),
    "embedding": lambda: nn.Embedding(60, 40, padding_idx=3),
    "attention": lambda: nn.MultiheadAttention(32, 4, add_bias_kv=True),
    "attention, other widths": lambda: nn.MultiheadAttention(32, 4, kdim=20, vdim=12),
    "batch norm": lambda: nn.BatchNorm2d(7),
    "layer norm": lambda: nn.LayerNorm((3, 5)),
    "group norm": lambda: nn.GroupNorm(2, 8),
    "rms norm": lambda: nn.RMSNorm(8),
    "instance norm": lambda: nn.InstanceNorm1d(8, affine=True),
    "slope": lambda: nn.PReLU(4, init=0.3),
}


QUICK = ("linear", "embedding", "batch norm")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in LAYERS]
)
def test_draws_are_those_of_reset_parameters(name):
    layer = LAYERS[name]()
    reset = getattr(layer, "reset_parameters", None) or layer._reset_parameters
    init = initial(nn.Sequential(nn.ReLU(), layer))
    keys = jax.vmap(jax.random.key)(jnp.arange(20))
    params = jax.jit(jax.vmap(lambda k: init(k, None)["params"]))(keys)
    assert sorted(params) == [f"1.{k}" for k in sorted(dict(layer.named_parameters()))]
    torch.manual_seed(0)
    theirs = {k: [] for k in dict(layer.named_parameters())}
    for _ in range(20):
        reset()
        if name.startswith("attention"):
            nn.Linear.reset_parameters(layer.out_proj)
            layer._reset_parameters()  # which sets the inner layer's bias
        for k, p in layer.named_parameters():
            theirs[k].append(p.detach().numpy().copy())
    for k, drawn in theirs.items():
        ours, drawn = np.asarray(params[f"1.{k}"]), np.stack(drawn)
        assert ours.shape == drawn.shape
        if np.ptp(drawn) == 0:
            np.testing.assert_array_equal(ours, drawn)
            continue
        np.testing.assert_array_equal((ours == 0).all(0), (drawn == 0).all(0))
        found = stats.ks_2samp(ours.ravel(), drawn.ravel())
        assert found.pvalue > 1e-3, (k, found)
        assert np.abs(ours).max() == pytest.approx(np.abs(drawn).max(), rel=0.2)
        assert abs(np.corrcoef(ours[0].ravel(), ours[1].ravel())[0, 1]) < 0.5


class OwnWay(nn.Linear):
    def reset_parameters(self):
        nn.init.ones_(self.weight)


def test_layers_that_draw_otherwise_are_left_out():
    net = nn.Sequential(OwnWay(3, 4, bias=False), nn.Linear(4, 2))
    net.register_parameter("scale", nn.Parameter(torch.ones(2)))
    assert [k for k, _ in initial(net).draws] == ["1.bias", "1.weight"]
    assert initial(net) == initial(net)
    assert hash(initial(net)) == hash(initial(net))


def test_values_depend_on_the_key_and_the_name():
    init = initial(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
    a, b = (init(jax.random.key(i), None)["params"] for i in (0, 1))
    assert not np.array_equal(a["0.weight"], b["0.weight"])
    assert not np.array_equal(a["0.weight"], a["1.weight"])
    np.testing.assert_array_equal(
        jax.jit(init)(jax.random.key(0), None)["params"]["0.bias"], a["0.bias"]
    )


@pytest.mark.slow
def test_mprt_draws_layers_anew(graphs):
    net, x = build("residual", 3)
    model = from_torch(net, x, cache=graphs)
    question = je.MPRT(randomise="reinit", order="independent").questions()
    sample = je.Sample(x=jnp.asarray(x[0]), y=0, key=None, position=0, features=x.shape[1:])
    question = question.bind(model, sample)
    names = [layer.name for layer in question.layers]
    new = jax.jit(question.params)(model.params, jax.random.key(0), names.index("1.bn1"))
    np.testing.assert_array_equal(new["params"]["1.bn1.weight"], np.ones(8))
    np.testing.assert_array_equal(new["params"]["1.bn1.bias"], np.zeros(8))
    np.testing.assert_array_equal(new["state"]["1.bn1.running_mean"], net[1].bn1.running_mean)
    np.testing.assert_array_equal(new["params"]["0.weight"], model.params["params"]["0.weight"])


def test_a_parameter_that_nothing_draws_is_named(graphs):
    from tests.bridges.nets import Attention

    torch.manual_seed(3)
    net = Attention().eval()
    assert "position" not in dict(initial(net).draws)
    embedded = nn.Sequential(nn.Linear(5, 4), OwnWay(4, 3))
    model = from_torch(embedded, torch.randn(3, 5), cache=graphs)
    x = np.ones((2, 5), np.float32)
    with pytest.raises(ValueError, match=r"wanted 'params/1\.\w+' .* it makes none"):
        je.MPRT(randomise="reinit")(model, x, explainer=je.explain.Gradient())
