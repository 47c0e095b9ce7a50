"""Attention matrices in the traced model, and methods that follow tokens through them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import explain
from jaxeval.model import Model
from jaxeval.trace import Graph
from jaxeval.trace.attention import attentions
from tests import transformers_by_hand as by_hand

from .helpers import assert_close, make

Y = np.array([0, 2, 1])
kinds = pytest.mark.parametrize("images", [True, False], ids=["ViT", "BERT"])
METHODS = ("AttentionRollout", "GenericAttention", "TransformerAttribution")


def matrices(params, x):
    """Attention matrices [layers, N, heads, T, T] and the gradients of the classes' logits."""
    import torch

    net = by_hand.in_torch(params).double()
    z = net(torch.from_numpy(x.astype(np.float64)))
    seen = [layer.attention.seen for layer in net.layers]
    gradients = torch.autograd.grad(z[range(len(x)), Y].sum(), seen)
    return (np.stack([v.detach().numpy() for v in vs]) for vs in (seen, gradients))


def product(parts):
    total = np.eye(parts[0].shape[-1])
    for m in parts:
        total = m @ total
    return total


def shown(r, images):
    """The class token's row, as the explainers return it with upsample=None."""
    return r[:, 0, 1:].reshape(3, 1, 4, 4) if images else r[:, 0]


def case(images):
    return by_hand.model(images), by_hand.inputs(images)


@kinds
def test_rollout(images):
    model, x = case(images)
    a, _ = matrices(by_hand.draw(images), x)
    eye = np.eye(a.shape[-1])
    for how, normalise in (("mean", True), ("mean", False), ("max", True), ("min", True)):
        m = getattr(a, how)(2) + eye
        m = m / m.sum(-1, keepdims=True) if normalise else m
        e = explain.AttentionRollout(upsample=None, heads=how, normalise=normalise)
        assert_close(e(model, x, Y), shown(product(m), images), 1e-5)
    if not images:
        whole = explain.AttentionRollout(upsample=None)(model, x, Y)
        np.testing.assert_allclose(whole.sum(1), 1, rtol=1e-5)


@kinds
def test_generic_attention(images):
    model, x = case(images)
    a, g = matrices(by_hand.draw(images), x)
    eye = np.eye(a.shape[-1])
    r = product(np.maximum(a * g, 0).mean(2) + eye) - eye
    assert_close(explain.GenericAttention(upsample=None)(model, x, Y), shown(r, images), 1e-5)


def transformer_attribution(params, x):
    """TransformerAttribution in float64, [N, T]: the class token's row."""
    _, g = matrices(params, x)
    eye, rows = np.eye(g.shape[-1]), []
    for i in range(len(x)):
        rules, seed = by_hand.CheferRules(), np.eye(by_hand.CLASSES)[Y[i]]
        _, relevances = by_hand.relevance(params, x[i], lambda z, s=seed: s, rules)
        m = np.maximum(np.stack(relevances) * g[:, i], 0).mean(1)
        rows.append((product(m + eye) - eye)[0])
    return np.stack(rows)[:, 1:] if "patch" in params else np.stack(rows)


def attn_lrp(params, x):
    """AttnLRP in float64."""

    def one(x, y):
        seed = np.eye(by_hand.CLASSES)[y]
        return by_hand.relevance(params, x, lambda z: z * seed, by_hand.Rules())[0]

    return np.stack([one(v, y) for v, y in zip(x, Y, strict=True)])


REFERENCES = {
    "TransformerAttribution": (
        explain.TransformerAttribution(upsample=None),
        transformer_attribution,
    ),
    "AttnLRP": (explain.AttnLRP(), attn_lrp),
}
relevant = pytest.mark.parametrize("name", REFERENCES)


@kinds
@relevant
def test_relevance_through_attention(name, images):
    """In float64, to its rounding."""
    e, reference = REFERENCES[name]
    params, x = by_hand.draw(images), by_hand.inputs(images)
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), params)
        model = Model(by_hand.apply, exact, channel_axis=1 if images else -1)
        a = np.asarray(e(model, jnp.asarray(x, jnp.float64), Y))
    expected = reference(params, x)
    assert_close(a.reshape(expected.shape), expected, 1e-10)


@kinds
@relevant
def test_relevance_through_attention_in_float32(name, images):
    """As near as weights say that differ in their last place: relevance is divided by activations,
    whose rounding grows where they are near 0."""
    e, reference = REFERENCES[name]
    params, x, rng = by_hand.draw(images), by_hand.inputs(images), np.random.default_rng(0)
    expected = reference(params, x)

    def largest(change):
        return np.abs(change).reshape(3, -1).max(1)

    def near(v):
        return np.float32(v * (1 + rng.choice((-1, 1), v.shape) * 2.0**-23))

    moves = [largest(reference(jax.tree.map(near, params), x) - expected) for _ in range(4)]
    a = np.asarray(e(by_hand.model(images), x, Y)).reshape(expected.shape)
    assert (largest(a - expected) <= 1e-5 * largest(expected) + 4 * np.max(moves, 0)).all()


def test_attn_lrp_is_a_setting_of_lrp():
    model, x = case(images=False)
    same = explain.LRP(attention="uniform")(model, x, Y)
    np.testing.assert_array_equal(explain.AttnLRP()(model, x, Y), same)


def test_relevance_is_conserved_where_it_does_not_reach_softmax():
    """Without biases, and with all relevance of attention given to the values (CP-LRP)."""
    model, x = by_hand.model(False, bias=0), by_hand.inputs(False)
    a = explain.AttnLRP(rule=explain.Epsilon(epsilon=1e-9), attention="values")(model, x, Y)
    np.testing.assert_allclose(a.sum((1, 2)), model(x)[np.arange(3), Y], rtol=1e-3)


# -- finding attention -------------------------------------------------------------------------


def einsum(p, x):
    n, t, d = x.shape
    q, k, v = (by_hand.fc(p[name], x).reshape(n, t, by_hand.HEADS, -1) for name in "qkv")
    a = jax.nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", q, k) / q.shape[-1] ** 0.5)
    return by_hand.fc(p["o"], jnp.einsum("nhqk,nkhd->nqhd", a, v).reshape(n, t, d))


def merged(p, x):
    """Samples and heads on one axis."""
    n, t, d = x.shape
    q, k, v = (
        by_hand.split(by_hand.fc(p[name], x)).reshape(n * by_hand.HEADS, t, -1) for name in "qkv"
    )
    z = jax.lax.batch_matmul(q, k.mT) / q.shape[-1] ** 0.5
    e = jnp.exp(z - z.max(-1, keepdims=True))
    h = jax.lax.batch_matmul(e / e.sum(-1, keepdims=True), v)
    h = h.reshape(n, by_hand.HEADS, t, -1).transpose(0, 2, 1, 3)
    return by_hand.fc(p["o"], h.reshape(n, t, d))


def guarded(p, x):
    """Masked before the softmax, and cleared of NaN and a mask after it."""
    q, k, v = (by_hand.split(by_hand.fc(p[name], x)) for name in "qkv")
    z = jnp.where(jnp.ones(x.shape[1], bool), q @ k.mT / q.shape[-1] ** 0.5, -1e9)
    a = jax.nn.softmax(z.astype(jnp.float32))
    a = jnp.where(jnp.isnan(a), 0.0, a)
    a = jnp.where(jnp.ones(x.shape[1], bool), a, 0.0).astype(x.dtype)
    return by_hand.fc(p["o"], (a @ v).transpose(0, 2, 1, 3).reshape(x.shape))


def library(p, x):
    n, t, d = x.shape
    q, k, v = (by_hand.fc(p[name], x).reshape(n, t, by_hand.HEADS, -1) for name in "qkv")
    return by_hand.fc(p["o"], jax.nn.dot_product_attention(q, k, v).reshape(n, t, d))


@pytest.mark.parametrize("attended", [einsum, merged, guarded, library])
@pytest.mark.parametrize("name", METHODS)
def test_attention_is_found_however_it_is_written(name, attended):
    model, x = case(False)
    other = dataclasses.replace(model, apply=lambda p, x: by_hand.apply(p, x, attended))
    assert len(attentions(Graph(other, x[:1]))) == 2
    e = explain.get(name)
    assert_close(e(other, x, Y), e(model, x, Y), 1e-5)


def test_attention_of_flax():
    import flax.linen as linen

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            for _ in range(2):
                x = x + linen.MultiHeadDotProductAttention(2)(linen.LayerNorm()(x))
                x = x + linen.Dense(8)(linen.gelu(linen.Dense(12)(linen.LayerNorm()(x))))
            return linen.Dense(3)(x.mean(1))

    x = by_hand.inputs(False)
    model = je.from_flax(Net(), Net().init(jax.random.key(0), x), channel_axis=-1)
    a = explain.TransformerAttribution(token=None)(model, x, Y)
    assert a.shape == (3, 5, 1)
    assert np.abs(np.asarray(a)).max() > 1e-3
    rows = [explain.AttentionRollout(token=i, upsample=None)(model, x, Y) for i in range(5)]
    mean = explain.AttentionRollout(token=None, upsample=None)(model, x, Y)
    np.testing.assert_allclose(mean, np.mean(rows, 0), atol=1e-6)


def test_a_model_without_attention_is_refused():
    small = make("tabular")
    for name in METHODS:
        with pytest.raises(ValueError, match=f"{name} needs a model with attention: in this one"):
            explain.get(name)(small.model, small.x, small.y)


def test_attention_over_other_tokens_is_refused():
    model = Model(lambda p, x: (jax.nn.softmax(x[:, :2] @ x.mT) @ x).sum(1), channel_axis=-1)
    with pytest.raises(ValueError, match=r"self-attention over the same tokens.*are 2 x 5"):
        explain.AttentionRollout()(model, by_hand.inputs(False), Y)


def test_relevance_cannot_start_at_a_class_without_an_output():
    def apply(p, x):
        return (jax.nn.softmax(x @ x.mT) @ x)[:, 0, :1]

    model = Model(apply, channel_axis=-1, outputs="binary")
    for y in ([0, 0, 0], [1, 1, 1]):  # class 1 got nothing, and class 0 the relevance of class 1
        with pytest.raises(ValueError, match="class 0 of a binary model has none"):
            explain.TransformerAttribution()(model, by_hand.inputs(False), np.array(y))


# -- maps --------------------------------------------------------------------------------------


def test_maps_have_the_size_of_the_image():
    model, x = case(True)
    small = explain.GenericAttention(upsample=None)(model, x, Y)
    a = explain.GenericAttention(upsample="nearest")(model, x, Y)
    np.testing.assert_array_equal(a, np.kron(small, np.ones((2, 2))))
    a = explain.GenericAttention()(model, x, Y)
    assert_close(a, jax.image.resize(small, x.shape, "bilinear"), 1e-6)
    last = Model(
        lambda p, x: by_hand.apply(p, jnp.moveaxis(x, -1, 1)), model.params, channel_axis=-1
    )
    same = explain.GenericAttention()(last, np.moveaxis(x, 1, -1), Y)
    np.testing.assert_allclose(np.moveaxis(np.asarray(same), -1, 1), a, atol=1e-6)


@pytest.mark.parametrize(
    ("n", "space", "special", "grid"),
    [
        (197, (224, 224), None, (14, 14)),
        (198, (224, 224), None, (14, 14)),
        (201, (224, 224), None, (14, 14)),
        (196, (224, 224), None, (14, 14)),
        (9, (4, 8), None, (2, 4)),
        (17, (8, 8), 1, (4, 4)),
        (17, (8, 8), 0, None),
        (5, (5,), None, (5,)),
        (6, (10,), None, (5,)),
        (7, (7, 7, 7), None, None),
        (12, (224, 224), None, (3, 3)),
    ],
)
def test_grids(n, space, special, grid):
    assert explain.AttentionRollout(n_special=special).grid(n, space) == grid


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"token": 17}, ValueError, r"token=17\): the model has 17 tokens"),
        ({"n_special": 0}, ValueError, r"17 tokens cannot be placed.*upsample=None"),
        ({"upsample": "cubic"}, ValueError, "'bilinear', 'nearest'"),
        ({"token": 1.5}, TypeError, "token=1.5"),
        ({"heads": "sum"}, ValueError, "heads='sum'.*'mean', 'max', 'min'"),
    ],
)
def test_wrong_settings_are_named(settings, error, message):
    model, x = case(True)
    with pytest.raises(error, match=message):
        explain.AttentionRollout(**settings)(model, x, Y)


@pytest.mark.parametrize("name", METHODS)
def test_maps_serve_metrics(name):
    model, x = case(name == "GenericAttention")
    scores = je.PixelFlipping(n_steps=4)(model, x, Y, explainer=explain.get(name))
    assert np.isfinite(scores).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_map_is_that_of_its_sample(name):
    model, x = case(True)
    e = explain.get(name)
    whole = e(model, x, Y)
    for i in range(3):
        assert_close(e(model, x[i : i + 1], Y[i : i + 1])[0], whole[i], 1e-5)


def test_no_more_work_than_needed():
    """A pass for rollout, a gradient for the others (and one pass back for relevance)."""
    model, x = case(True)
    given = model, x, Y, None

    def flops(f, *given):
        cost = jax.jit(f).lower(*given).compile().cost_analysis()
        return (cost[0] if isinstance(cost, list) else cost)["flops"]

    forward, gradient = (
        flops(model.apply, model.params, x),
        flops(explain.Gradient().attribute, *given),
    )
    assert flops(explain.AttentionRollout().attribute, *given) < 1.1 * forward
    assert flops(explain.GenericAttention().attribute, *given) < 1.1 * gradient
