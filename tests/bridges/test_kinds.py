"""Modules of any precision, of token ids and of several inputs: converted, or refused with advice
that works."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from jaxeval_torch import from_torch, wrap_torch  # noqa: E402

import jaxeval as je  # noqa: E402
from tests.close import MARGIN, reaction  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
nn = torch.nn
X = np.random.default_rng(0).normal(size=(4, 1, 12, 12)).astype(np.float32)
Y = np.array([0, 1, 2, 0])


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.GELU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    ).eval().to(dtype)  # fmt: skip


@functools.cache
def single():
    return from_torch(network(), X, cache=False)


DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
    "float32": torch.float32,
}


@pytest.mark.parametrize("example", ["float32", "own", "float64"])
@pytest.mark.parametrize("name", DTYPES)
def test_modules_of_any_precision_convert(name, example):
    dtype = DTYPES[name]
    net = network(dtype)
    given = torch.tensor(X).to({"own": dtype, "float32": torch.float32}.get(example, torch.float64))
    model = from_torch(net, given, cache=False)
    right = network()(torch.tensor(X)).detach().numpy()
    eps = torch.finfo(dtype if dtype is not torch.float64 else torch.float32).eps
    for x in (X, jnp.asarray(X, jnp.float16) if name == "float16" else X):
        z = np.asarray(model(x), np.float32)
        np.testing.assert_allclose(z, right, rtol=0, atol=16 * eps * np.abs(right).max())
    assert isinstance(model.example, jax.ShapeDtypeStruct)
    assert model.example.dtype == np.float32
    wrapped = np.asarray(wrap_torch(net)(X), np.float32)
    np.testing.assert_allclose(wrapped, right, rtol=0, atol=16 * eps * np.abs(right).max())


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_modules_are_explained_and_scored(name):
    """As those of single precision, but for what rounding the weights to half of it changes."""
    model, eps = from_torch(network(DTYPES[name]), X, cache=False), torch.finfo(DTYPES[name]).eps
    e, flip = je.explain, je.PixelFlipping(n_steps=4)
    explainers = (e.Gradient(), e.LRP(), e.GradCAM(), e.DeepLift())
    answers = [lambda m, e=e: je.attribute(e, m, X, Y) for e in explainers]
    answers.append(lambda m: je.score(flip, m, X, Y, a=X).score)
    for answer in answers:
        got = np.asarray(answer(model))
        assert got.dtype == np.float32
        moves = reaction(answer, single(), eps=eps).max()
        np.testing.assert_allclose(got, answer(single()), rtol=0, atol=MARGIN * moves)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_modules_show_their_layers(name):
    model = from_torch(network(DTYPES[name]), X, cache=False, exact_layers=True)
    assert model.hidden is not None
    layers = model.hidden(model.params, X)[1]
    right, seen = {}, torch.tensor(X)
    for i, part in enumerate(network()):
        right[str(i)] = seen = part(seen)
    assert set(layers) == set(right)
    eps = torch.finfo(DTYPES[name]).eps
    for k, v in right.items():
        wanted = v.detach().numpy()
        a = np.asarray(layers[k], np.float32)
        np.testing.assert_allclose(a, wanted, rtol=0, atol=8 * eps * np.abs(wanted).max())


def test_a_graph_that_is_wrong_does_not_pass_in_half_precision(monkeypatch):
    from jaxeval_torch import ConversionError, convert

    net = network(torch.bfloat16)
    own = convert.to_onnx

    def wrong(picked, *given):
        with torch.no_grad():
            picked.module[0].bias += 1  # after torch has answered
        return own(picked, *given)

    monkeypatch.setattr(convert, "to_onnx", wrong)
    with pytest.raises(ConversionError, match="differs from the module"):
        from_torch(net, X, cache=False)


# Token ids.

TOKENS = np.random.default_rng(0).integers(0, 20, (4, 7))


def of_tokens():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(20, 5), nn.Flatten(), nn.Linear(35, 3)).eval()


def every_entry(model, x):
    """Every way to explain a model, as functions of nothing."""
    metric, e = je.PixelFlipping(n_steps=3, baseline=0.0), je.explain.Occlusion(window=1)
    a = np.ones((4, 7), np.float32)
    return {
        "score": lambda: je.score(metric, model, x, Y, a=a),
        "evaluate": lambda: je.evaluate(
            model, x, Y, explainers={"e": e}, metrics={"m": metric}, progress=False
        ),
        "attribute": lambda: je.attribute(e, model, x, Y),
        "explainer": lambda: e(model, x, Y),
        "as_function": lambda: je.as_function(metric, model),
    }


ENTRIES = ("score", "evaluate", "attribute", "explainer", "as_function")


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("floats", [False, True])
def test_token_ids_are_refused(entry, floats):
    model = from_torch(of_tokens(), TOKENS)
    x = TOKENS.astype(np.float32) if floats else TOKENS
    with pytest.raises(TypeError, match=r"whole numbers .*Tokens"):
        every_entry(model, x)[entry]()


def test_ids_as_floats_are_no_ids():
    model = from_torch(of_tokens(), TOKENS)
    assert model(TOKENS).shape == (4, 3)
    with pytest.raises(TypeError, match=r"whole numbers .*got float32\[4, 7\]"):
        model(TOKENS.astype(np.float32))


def test_the_advice_for_token_ids_works():
    net = of_tokens()
    embedding, rest = net[0], net[1:]
    ids = torch.tensor(TOKENS)
    x = embedding(ids).detach().numpy()
    model = from_torch(rest, embedding(ids), channel_axis=-1)
    right = from_torch(net, TOKENS)(TOKENS)
    np.testing.assert_allclose(model(x), right, rtol=1e-4, atol=1e-5)
    a = je.attribute(je.explain.InputXGradient(reduce_channels="sum"), model, x, Y)
    assert a.shape == (4, 7, 1)
    padding = np.zeros((4, 7), bool)
    padding[1, 5:] = True
    metric = je.PixelFlipping(n_steps=3, baseline=0.0)
    assert np.isfinite(je.score(metric, model, x, Y, a=a, padding=padding).score).all()


# Several inputs.


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(6, 3), nn.Linear(2, 3)

    def forward(self, u, v):
        return torch.tanh(self.a(u)) + self.b(v)


U = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
V = np.random.default_rng(2).normal(size=(4, 2)).astype(np.float32)


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_first_of_several_inputs_is_refused(entry):
    model = from_torch(Two().eval(), (U, V))
    assert model((U, V)).shape == (4, 3)
    with pytest.raises(
        TypeError, match=r"tuple or dict of inputs .*\[1, 6\], \[1, 2\].*single array"
    ):
        every_entry(model, U)[entry]()


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_several_inputs_are_explained_together(form):
    x = {"u": U, "v": V} if form == "dict" else (U, V)
    model = from_torch(Two().eval(), x)
    a = je.attribute(je.explain.Gradient(), model, x, Y)
    wanted = jax.grad(lambda x: model(x)[np.arange(4), Y].sum())(x)
    parts = [(a[k], wanted[k]) for k in x] if form == "dict" else zip(a, wanted, strict=True)
    for got, right in parts:
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-6)


def test_the_advice_for_several_inputs_works():
    model = from_torch(Two().eval(), (U, V))
    v, k = V[:1], U.shape[1]
    shared = je.Model(
        lambda p, x: model.apply(p, (x, jnp.broadcast_to(v, (len(x), *v.shape[1:])))),
        model.params,
        channel_axis=None,
    )
    both = je.Model(
        lambda p, x: model.apply(p, (x[:, :k], x[:, k:])), model.params, channel_axis=None
    )
    e = je.explain.Gradient()
    w = jax.grad(lambda u: model((u, jnp.broadcast_to(V[:1], V.shape)))[np.arange(4), Y].sum())(U)
    for batch_size in (3, 4):
        np.testing.assert_allclose(
            je.attribute(e, shared, U, Y, batch_size=batch_size), w, rtol=1e-4, atol=1e-6
        )
        x = np.concatenate([U, V], 1)
        a = je.attribute(e, both, x, Y, batch_size=batch_size)
        wanted = jax.grad(lambda u, v: model((u, v))[np.arange(4), Y].sum(), (0, 1))(U, V)
        np.testing.assert_allclose(a, np.concatenate(wanted, 1), rtol=1e-4, atol=1e-6)


def test_whole_numbers_are_no_x():
    model = je.Model(lambda p, x: x[:, :3], channel_axis=None)
    with pytest.raises(TypeError, match=r"x must be floating-point.*embeddings"):
        je.attribute(je.explain.Gradient(), model, TOKENS, Y)
