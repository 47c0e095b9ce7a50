"""Layers of converted modules, by the modules' names: MPRT, RRS, layer attribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from jaxeval_torch import from_torch  # noqa: E402

import jaxeval as je  # noqa: E402
from tests.bridges.agree import answers, relative  # noqa: E402
from tests.bridges.nets import LeNet, build  # noqa: E402
from tests.close import EPS, MARGIN, assert_close, of_smallest  # noqa: E402


@pytest.fixture
def residual(graphs):
    net, x = build("residual")
    return net, x, from_torch(net, x, cache=graphs, exact_layers=True)


def bound(metric, model, x):
    """The layers that a metric randomises, in its order."""
    sample = je.Sample(x=jnp.asarray(x[0]), y=0, key=None, position=0, features=x.shape[1:])
    return metric.questions().bind(model, sample)


def test_layers_have_torchs_outputs(residual):
    net, x, model = residual
    logits, hidden = model.hidden(model.params, x.numpy())
    assert relative(logits, answers(net, x)) < 1e-5
    names = "0 1.conv1 1.bn1 1.act 1.conv2 1.bn2 1.act@2 1 2 3 4 5"
    assert list(hidden) == names.split()
    seen = {}
    for name, part in net.named_modules():
        part.register_forward_hook(lambda m, i, o, name=name: seen.setdefault(name, []).append(o))
    answers(net, x)
    for name, value in hidden.items():
        base, _, time = name.partition("@")
        assert relative(value, seen[base][int(time or 1) - 1].detach().numpy()) < 1e-5


def test_layers_are_listed_by_torchs_names(residual):
    net, x, model = residual
    found = model.layers()
    _, hidden = model.hidden(model.params, x[:1].numpy())
    weighted = [name for name, part in net.named_modules() if hasattr(part, "weight")]
    assert {name: found[name] for name in weighted} == {n: hidden[n].shape for n in weighted}


@pytest.mark.slow
def test_a_pooling_called_twice_is_two_layers(graphs):
    net, x = build("lenet")
    assert isinstance(net, LeNet)
    model = from_torch(net, x, cache=graphs, exact_layers=True)
    hidden = model.hidden(model.params, x.numpy())[1]
    assert list(hidden) == ["conv1", "pool", "conv2", "pool@2", "flatten", "fc1", "fc2", "fc3"]
    assert hidden["pool"].shape == (4, 6, 12, 12)
    assert hidden["pool@2"].shape == (4, 16, 4, 4)
    randomised = bound(je.MPRT(), model, x.numpy()).layers
    assert [layer.name for layer in randomised] == ["fc3", "fc2", "fc1", "conv2", "conv1"]
    assert set(randomised[0].leaves) == {"params/fc3.bias", "params/fc3.weight"}


def test_mprt_randomises_layers_by_name(residual):
    _, x, model = residual
    names = [layer.name for layer in bound(je.MPRT(), model, x.numpy()).layers]
    assert names == ["5", "1.bn2", "1.conv2", "1.bn1", "1.conv1", "0"]
    metric = je.MPRT(randomise="reinit", layers=["1.conv1", "5"])
    question = bound(metric, model, x.numpy())
    assert question.stages == ("5", "1.conv1")
    old = model.params["params"]
    draw = jax.jit(question.params)
    for step, changed in enumerate(({"5"}, {"5", "1.conv1"})):
        new = draw(model.params, jax.random.key(0), step)["params"]
        different = {k.rpartition(".")[0] for k in new if not np.array_equal(new[k], old[k])}
        assert different == changed
    out = je.score(metric, model, x.numpy(), explainer=je.explain.Gradient(), key=0)
    assert out.curve.shape == (4, 2)
    assert (np.abs(out.curve) < 1).all()


def test_rrs_looks_at_layers_by_name(residual):
    net, x, model = residual
    noise = np.random.default_rng(0).uniform(-0.01, 0.01, (2, *x.shape[1:]))
    metric = je.RRS(layers=("1.act@2", "4"), draws=noise.astype(np.float32), normalise=None)

    def lifted(model, x, y, keys):
        """A map around 1, as the metric divides by its entries."""
        return 1000 * je.explain.InputXGradient()(model, x, y, keys) + 1

    scores = np.asarray(metric(model, x.numpy(), np.zeros(4, int), explainer=lifted))

    seen = []
    handle = net[1].act.register_forward_hook(lambda m, i, o: seen.append(o.detach().numpy()))

    def both(v):
        """(map, activations) of one row, in torch."""
        seen.clear()
        t = torch.as_tensor(v, dtype=torch.float32)[None].requires_grad_()
        logits = net(t)
        (g,) = torch.autograd.grad(logits[0, 0], t)
        pooled = net[:5](t).detach().numpy()
        return 1000 * (g * t).detach().numpy() + 1, np.concatenate(
            [seen[1].ravel(), pooled.ravel()]
        )

    def change(now, then):
        safe = np.where(then == 0, 1e-6, then)
        return np.linalg.norm(((now - then) / safe).ravel())

    try:
        for i in range(4):
            a, h = both(x[i])
            ratios = []
            for e in noise:
                b, k = both(x[i].numpy() + e)
                with torch.no_grad():
                    moved = torch.as_tensor(x[i].numpy() + e, dtype=torch.float32)[None]
                    same = net(moved).argmax() == net(x[i : i + 1]).argmax()
                if same:
                    ratios.append(change(b, a) / max(change(k, h), 1e-6))
            right = max(ratios) if ratios else np.nan
            # Of both denominators, and of the difference of two maps.
            rounding = of_smallest(a) + of_smallest(h[None])
            rounding += MARGIN * EPS * np.linalg.norm(a) / np.linalg.norm(b - a)
            assert_close(scores[i : i + 1], [right], rounding)
    finally:
        handle.remove()


def test_an_unknown_layer_is_refused_with_the_known_ones(residual):
    _, x, model = residual
    maps = je.explain.Gradient()
    for metric in (je.RRS(layers=("1.conv3",)), je.MPRT(layers=["1.conv3"])):
        with pytest.raises(ValueError, match=r"1\.conv3.* 1\.conv1"):
            metric(model, x.numpy(), explainer=maps)


@pytest.mark.parametrize("name", ["1.conv1", "1.bn2"])
def test_layer_attribution_is_captums(residual, name):
    captum = pytest.importorskip("captum.attr")
    net, x, model = residual
    y = torch.tensor([0, 1, 2, 3])
    assert name in je.explain.layers(model, x.numpy())
    layer = net.get_submodule(name)
    right = captum.LayerGradCam(net, layer).attribute(x, y).detach()
    e = je.explain.GradCAM(layer=name, rectify=False, upsample=None)
    ours = e(model, x.numpy(), y.numpy(), None)
    np.testing.assert_allclose(ours, right, rtol=0, atol=1e-5 * right.abs().max())
    right = captum.LayerActivation(net, layer).attribute(x).detach()
    _, hidden = model.hidden(model.params, x.numpy())
    np.testing.assert_allclose(hidden[name], right, rtol=0, atol=1e-5 * right.abs().max())
