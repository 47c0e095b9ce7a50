"""Torch modules as JAX models: logits, gradients, batches, names, and the module left alone."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from jaxeval_torch import ConversionError, convert, from_torch  # noqa: E402

import jaxeval as je  # noqa: E402
from tests.bridges.agree import (  # noqa: E402
    answers,
    converted,
    gradients_off,
    logits_off,
    relative,
)
from tests.bridges.nets import (  # noqa: E402
    NETS,
    TITLES,
    Answers,
    Attention,
    Branches,
    Conditional,
    Out,
    build,
)

QUICK = ("lstm", "residual")


def nets(quick):
    return [pytest.param(n, marks=() if n in quick else pytest.mark.slow) for n in NETS]


@pytest.mark.parametrize("name", nets(QUICK))
def test_logits_are_torchs_for_any_batch_under_jit_and_vmap(name, record, tmp_path):
    net, x = build(name, 5)
    model, seconds = converted(net, x[:2], cache=tmp_path)
    off, allowed = logits_off(model, net, x, (1, 3, 5))
    size = " x ".join(map(str, x.shape[1:]))
    record("small", TITLES[name], input=size, converts=True, logits=off, seconds=seconds)
    assert off < allowed


@pytest.mark.parametrize("name", nets(("mlp",)))
@pytest.mark.parametrize("exact", [False, True], ids=["folded", "exact"])
def test_gradients_are_torchs_in_float64(name, exact, graphs, record):
    net, x = build(name, 3)
    off = gradients_off(net, x, parameters=True, cache=graphs, exact_layers=exact)
    if not exact:
        record("small", TITLES[name], gradients=off)
    assert off < 1e-6


@pytest.mark.parametrize("name", ["residual", pytest.param("gru", marks=pytest.mark.slow)])
def test_parameters_have_torchs_names_and_values(name, graphs):
    net, x = build(name)
    params = from_torch(net, x, cache=graphs).params
    assert sorted(params["params"]) == sorted(dict(net.named_parameters()))
    floats = {k for k, b in net.named_buffers() if b.is_floating_point()}
    assert set(params["state"]) == floats
    for key, value in {**params["params"], **params["state"]}.items():
        np.testing.assert_array_equal(value, net.state_dict()[key].numpy())


def test_weights_are_arguments(graphs):
    net, x = build("residual", seed=0)
    other, _ = build("residual", seed=1)
    model = from_torch(net, x, cache=graphs)
    values = {k: jnp.asarray(v.numpy()) for k, v in other.state_dict().items()}
    params = {part: {k: values[k] for k in model.params[part]} for part in model.params}
    assert relative(model.apply(params, x.numpy()), answers(other, x)) < 1e-5


def test_folding_differs_by_rounding_only(graphs):
    net, x = build("residual")
    folded, exact = (from_torch(net, x, cache=graphs, exact_layers=e) for e in (False, True))
    ops = [
        str(jax.make_jaxpr(m.apply)(m.params, x.numpy())).count(" mul ") for m in (folded, exact)
    ]
    assert ops[0] <= ops[1]
    assert relative(folded(x.numpy()), exact(x.numpy())) < 1e-5
    assert folded.hidden is None


def test_equal_architectures_share_compiled_programs(graphs):
    (a, x), (b, _) = build("mlp", seed=0), build("mlp", seed=1)
    one, two = from_torch(a, x, cache=graphs), from_torch(b, x, cache=graphs)
    assert one.apply == two.apply
    assert hash(one.apply) == hash(two.apply)
    net, x = build("residual")
    assert one.apply != from_torch(net, x, cache=graphs).apply


# Inputs and answers of other kinds.


def tokens():
    torch.manual_seed(3)
    ids = torch.randint(0, 50, (4, 9))
    mask = (torch.arange(9) < torch.tensor([[9], [4], [7], [1]])).long()
    return Attention().eval(), ids, mask


@pytest.mark.parametrize("form", [dict, pytest.param(tuple, marks=pytest.mark.slow)])
def test_tokens_with_a_mask(form, graphs):
    net, ids, mask = tokens()
    given = {"ids": ids, "mask": mask} if form is dict else form((ids, mask))
    as_jax = lambda *v: dict(zip(("ids", "mask"), v, strict=True)) if form is dict else v  # noqa: E731
    model = from_torch(net, given, cache=graphs)
    with torch.no_grad():
        right = net(ids, mask)["logits"].numpy()
    for n in (1, 4):
        x = as_jax(ids[:n].numpy(), mask[:n].numpy())
        assert relative(jax.jit(model.apply)(model.params, x), right[:n]) < 1e-5
    # Padding has no influence.
    other = ids.clone()
    other[mask == 0] = 1
    x = as_jax(other.numpy(), mask.numpy())
    assert relative(jax.jit(model.apply)(model.params, x), right) < 1e-5
    # Other forms of input are refused.
    says = "keys ids, mask, got the keys ids" if form is dict else "takes 2 inputs, got 1"
    with pytest.raises(TypeError, match=says):
        model.apply(model.params, {"ids": ids.numpy()} if form is dict else ids.numpy())


@pytest.mark.parametrize(
    ("wrap", "output"),
    [
        (lambda z: {"other": z * 2, "scores": z}, "scores"),
        pytest.param(lambda z: {"logits": z, "other": z * 2}, None, marks=pytest.mark.slow),
        pytest.param(lambda z: (z, z * 2), None, marks=pytest.mark.slow),
        pytest.param(lambda z: (z * 2, z), 1, marks=pytest.mark.slow),
        (lambda z: Out(torch.softmax(z, -1), z), "scores"),
        pytest.param(lambda z: (z[:, None, :] * 2, z), None, marks=pytest.mark.slow),
    ],
)
def test_answers_of_many_forms(wrap, output):
    torch.manual_seed(0)
    net, x = Answers(wrap).eval(), torch.randn(3, 5)
    model = from_torch(net, x, output=output, cache=False)
    assert relative(model(x.numpy()), net.fc(x).detach().numpy()) < 1e-6


@pytest.mark.parametrize(
    ("wrap", "output", "says"),
    [
        (lambda z: {"a": z[0], "b": "text"}, None, r"'a': float32\[3\], 'b': str"),
        (lambda z: {"a": z}, "logits", "no such part, only 'a'"),
        (lambda z: {"a": z[0]}, "a", r"expected logits \[N, K\], got float32\[3\]"),
    ],
)
def test_answers_without_logits_are_refused(wrap, output, says):
    with pytest.raises(ValueError, match=says):
        from_torch(Answers(wrap), torch.randn(3, 5), output=output, cache=False)


# What is refused.


def test_a_branch_on_data_is_refused_and_the_message_says_what_to_do(record):
    net = Branches().train()
    with pytest.raises(ConversionError, match="branches on the values") as e:
        from_torch(net, torch.randn(2, 5), cache=False)
    assert "wrap_torch" in str(e.value)
    assert net.training
    assert net.fc.training
    record("refused", "`if` on the values of the input", input="5", converts=False)


@pytest.mark.slow
def test_a_fixed_number_of_rows_is_refused_and_the_message_says_what_to_do():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.start, self.fc = torch.nn.Parameter(torch.ones(1, 4)), torch.nn.Linear(8, 3)

        def forward(self, x):
            return self.fc(torch.cat([self.start.expand(len(x), 4), x], 1))

    with pytest.raises(ConversionError, match=r"write x\.shape\[0\] in place of len\(x\)"):
        from_torch(Net(), torch.randn(2, 4), cache=False)


def test_a_branch_that_torch_can_export_is_taken_by_the_data():
    torch.manual_seed(0)
    net, x = Conditional().eval(), torch.randn(4, 5).abs()
    model = from_torch(net, x, cache=False)
    apply = jax.jit(model.apply)
    for given in (x, -x):
        assert relative(apply(model.params, given.numpy()), answers(net, given)) < 1e-5


def test_other_logits_are_refused_with_the_numbers(monkeypatch, graphs):
    net, x = build("mlp")
    moved = convert.to_jax
    monkeypatch.setattr(convert, "to_jax", lambda t: moved(t) * 1.01)
    with pytest.raises(ConversionError, match=r"differ by up to .* row \d: \[.*\] instead of"):
        from_torch(net, x, cache=graphs)


@pytest.mark.parametrize(
    ("module", "example", "error", "says"),
    [
        (lambda x: x, torch.zeros(2, 5), TypeError, "torch.nn.Module, got function"),
        (torch.nn.Linear(5, 3), "text", TypeError, "part of type str"),
        (torch.nn.Linear(5, 3), torch.zeros(0, 5), ValueError, "leading sample axis"),
        (torch.nn.Linear(5, 3), (torch.zeros(2, 5), torch.zeros(3)), ValueError, "leading sample"),
    ],
)
def test_wrong_arguments_are_refused(module, example, error, says):
    with pytest.raises(error, match=says):
        from_torch(module, example, cache=False)


# The module stays as it was.


def test_the_module_is_left_as_it_was(graphs):
    net, x = build("residual")
    net.train()
    net[1].bn1.eval()
    net[0].weight.requires_grad_(False)
    net[5].bias.grad = torch.ones(4)
    x.requires_grad_()
    before, given = copy.deepcopy(net), x.detach().clone()
    model = from_torch(net, x, cache=graphs, exact_layers=True)
    assert [m.training for m in net.modules()] == [m.training for m in before.modules()]
    assert [p.requires_grad for p in net.parameters()] == [
        p.requires_grad for p in before.parameters()
    ]
    for (key, a), b in zip(net.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    assert torch.equal(net[5].bias.grad, torch.ones(4))
    assert not net[1]._forward_hooks
    assert torch.equal(x, given)
    assert x.requires_grad
    # It was converted as it answers in evaluation mode, and later changes do not reach it.
    right = answers(net.eval(), x.detach())
    with torch.no_grad():
        net[5].weight.zero_()
    assert relative(model(x.detach().numpy()), right) < 1e-5


# The cache.


def test_a_kept_graph_is_used_again_with_other_weights(tmp_path, monkeypatch):
    net, x = build("mlp", seed=0)
    first = from_torch(net, x, cache=tmp_path)
    files = list(tmp_path.iterdir())
    assert len(files) == 1
    assert files[0].stat().st_size < 20_000  # no weights in it
    monkeypatch.setattr(convert, "to_onnx", None)  # would fail
    other, _ = build("mlp", seed=1)
    second = from_torch(other, x, cache=tmp_path)
    assert first.apply == second.apply
    assert relative(second(x.numpy()), answers(other, x)) < 1e-5


@pytest.mark.slow
def test_another_architecture_is_another_graph(tmp_path):
    x = torch.randn(3, 5)
    for make in (torch.nn.LeakyReLU, lambda: torch.nn.LeakyReLU(0.1)):
        net = torch.nn.Sequential(torch.nn.Linear(5, 5), make(), torch.nn.Linear(5, 3))
        model = from_torch(net, x, cache=tmp_path)
        assert relative(model(x.numpy()), answers(net, x)) < 1e-5
    assert len(list(tmp_path.iterdir())) == 2


class Clamped(torch.nn.Module):
    """Its bound is in a private dict, which its weights do not tell."""

    def __init__(self, most):
        super().__init__()
        self.fc = torch.nn.Linear(5, 3)
        self._config = {"max": most}

    def forward(self, x):
        return torch.clamp(self.fc(x), max=self._config["max"])


def test_a_kept_graph_is_of_no_module_that_computes_something_else(tmp_path):
    # The example does not reach the bounds, so that comparing with torch would notice nothing.
    torch.manual_seed(0)
    loose, tight = Clamped(50.0).eval(), Clamped(10.0).eval()
    tight.load_state_dict(loose.state_dict())
    from_torch(loose, torch.randn(3, 5), cache=tmp_path)
    far = 200 * torch.randn(20, 5)
    model = from_torch(tight, torch.randn(3, 5), cache=tmp_path)
    assert model(far.numpy()).max() == 10
    assert relative(model(far.numpy()), answers(tight, far)) < 1e-5
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_a_broken_file_is_replaced(tmp_path):
    net, x = build("mlp")
    from_torch(net, x, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"no graph")
    model = from_torch(net, x, cache=tmp_path)
    assert relative(model(x.numpy()), answers(net, x)) < 1e-5
    assert file.stat().st_size > 100


@pytest.mark.slow
def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXEVAL_CACHE", str(tmp_path / "a"))
    net, x = build("mlp")
    from_torch(net, x, cache=False)
    assert not (tmp_path / "a").exists()
    from_torch(net, x)
    assert len(list((tmp_path / "a").iterdir())) == 1


# With the engine.


def test_metrics_and_explainers_take_it(graphs):
    net, x = build("mlp", 4)
    model = from_torch(net, x, cache=graphs)
    results = je.evaluate(
        model,
        x.numpy(),
        explainers={"Saliency": je.explain.Saliency(), "X": je.explain.InputXGradient()},
        metrics={"flip": je.PixelFlipping(n_steps=4), "max": je.MaxSensitivity(n_samples=2)},
        progress=False,
    )
    assert np.isfinite(results.to_dataframe()["score"]).all()


@pytest.mark.slow
def test_a_module_answers_alike_called_once_or_again():
    """One module, two names, shared weights."""
    torch.manual_seed(0)
    shared = torch.nn.Linear(5, 5)
    net = torch.nn.Sequential(shared, torch.nn.Tanh(), shared, torch.nn.Linear(5, 3)).eval()
    x = torch.randn(3, 5)
    model = from_torch(net, x, cache=False, exact_layers=True)
    assert relative(model(x.numpy()), answers(net, x)) < 1e-5
    assert len(model.params["params"]) == 4
    hidden = model.hidden(model.params, x.numpy())[1]
    with torch.no_grad():
        assert relative(hidden["0"], shared(x).numpy()) < 1e-5
        assert relative(hidden["0@2"], shared(torch.tanh(shared(x))).numpy()) < 1e-5
