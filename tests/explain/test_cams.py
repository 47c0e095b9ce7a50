"""Class activation maps: their formulas in NumPy, on torch's activations and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeval import explain
from jaxeval.explain.cam import corners, resized
from jaxeval.explain.eigen_cam import first_eigenvector, first_right
from jaxeval.model import Model

from .helpers import assert_close, keys, make
from .test_backpropagation import array

LAYERS = {"relu_2": "conv_2/relu", "conv_2": "conv_2"}


@functools.cache
def seen(module):
    """A layer's output A and the gradient g of the class's logit, [N, K, P], and the network."""
    import torch

    case, kept = make("lenet"), []
    net = case.torch()

    def keep(module, inputs, output):
        output.retain_grad()
        kept.append(output)

    getattr(net, module).register_forward_hook(keep)
    z = net(array(case.x))
    z[torch.arange(3), torch.from_numpy(case.y).long()].sum().backward()
    a, g = (v.detach().numpy().astype(float).reshape(3, 16, -1) for v in (kept[0], kept[0].grad))
    return case, a, g, case.torch()


def logits(net, x, y):
    z = net(array(np.asarray(x, np.float32))).detach().numpy()
    return z[np.arange(len(x)), y].astype(float)


def grad_cam_pp(a, g, epsilon=0.0):
    with np.errstate(all="ignore"):
        alpha = g**2 / (2 * g**2 + a.sum(2, keepdims=True) * g**3 + epsilon)
    return (np.where(g > 0, alpha * g, 0).sum(2, keepdims=True) * a).sum(1)


REFERENCES = {
    "GradCAM": lambda a, g: (g.mean(2, keepdims=True) * a).sum(1),
    "HiResCAM": lambda a, g: (g * a).sum(1),
    "LayerCAM": lambda a, g: (np.maximum(g, 0) * a).sum(1),
    "GradCAMPlusPlus": grad_cam_pp,
}


def raw(e, case):
    """The signed map of the layer's size, [N, P]."""
    a = np.asarray(e(case.model, case.x, case.y, keys(3)))
    assert a.shape[1] == 1
    return a.reshape(3, -1)


SIGNED = {"upsample": None, "rectify": False}


@pytest.mark.parametrize("module", LAYERS)
@pytest.mark.parametrize("name", REFERENCES)
def test_one_gradient(name, module):
    case, a, g, _ = seen(module)
    e = explain.get(name, layer=LAYERS[module], **SIGNED)
    # Grad-CAM++ divides by sums that may come near 0 before a ReLU.
    assert_close(raw(e, case), REFERENCES[name](a, g), 4e-5 if "PlusPlus" in name else 1e-5)


def test_grad_cam_plus_plus_with_epsilon():
    case, a, g, _ = seen("relu_2")
    e = explain.GradCAMPlusPlus(layer="conv_2/relu", epsilon=0.01, **SIGNED)
    assert_close(raw(e, case), grad_cam_pp(a, g, 0.01), 1e-5)


def test_grad_cam_plus_plus_of_tiny_gradients():
    """g² underflows; the map keeps its form, for a score of tiny gradients has α = 1/2."""
    case, a, g, _ = seen("relu_2")
    e = explain.GradCAMPlusPlus(output=lambda z, y: 1e-25 * z[y], **SIGNED)
    expected = (np.maximum(g, 0).sum(2, keepdims=True) / 2 * a).sum(1)
    np.testing.assert_allclose(raw(e, case) * 1e25, expected, rtol=1e-3, atol=1e-3)


def test_xgrad_cam_sums_to_gradient_times_activation():
    case, a, g, _ = seen("relu_2")
    ours = raw(explain.XGradCAM(**SIGNED), case)
    total = a.sum(2, keepdims=True)
    assert (total == 0).any()  # channels that are not active
    with np.errstate(all="ignore"):
        w = np.where(total == 0, 0, (g * a).sum(2, keepdims=True) / total)
    assert_close(ours, (w * a).sum(1), 1e-5)
    np.testing.assert_allclose(ours.sum(1), (g * a).sum((1, 2)), rtol=1e-4)
    small = explain.XGradCAM(**SIGNED, epsilon=3.0)
    assert_close(raw(small, case), ((g * a).sum(2, keepdims=True) / (total + 3) * a).sum(1), 1e-5)


def test_hires_cam_is_faithful_before_a_linear_layer():
    rng = np.random.default_rng(0)
    params = {
        "conv": jnp.asarray(rng.normal(size=(4, 1, 3, 3)), jnp.float32),
        "w": jnp.asarray(rng.normal(size=(4 * 36, 3)), jnp.float32),
    }

    def apply(p, x):
        h = jax.nn.relu(jax.lax.conv(x, p["conv"], (1, 1), "VALID"))
        return h.reshape(len(h), -1) @ p["w"]

    model, x, y = Model(apply, params), rng.normal(size=(3, 1, 8, 8)), np.arange(3)
    x = x.astype(np.float32)
    a = explain.HiResCAM(**SIGNED)(model, x, y)
    np.testing.assert_allclose(a.sum((1, 2, 3)), model(x)[y, y], rtol=1e-4)


def unit(v):
    low = v.min(axis=(2, 3), keepdims=True)
    width = v.max(axis=(2, 3), keepdims=True) - low
    return np.where(width > 0, (v - low) / np.where(width > 0, width, 1), 0)


@pytest.mark.parametrize("aligned", [False, True])
def test_score_cam(aligned):
    import torch

    case, a, _, net = seen("relu_2")
    up = torch.nn.functional.interpolate(
        array(a.reshape(3, 16, 8, 8)), size=(28, 28), mode="bilinear", align_corners=aligned
    ).numpy()
    masks = unit(up)
    assert (masks.max((2, 3)) == 0).any()
    scores = np.stack([logits(net, case.x * m[:, None], case.y) for m in masks.swapaxes(0, 1)], 1)
    w = np.exp(scores - scores.max(1, keepdims=True))
    w /= w.sum(1, keepdims=True)
    e = explain.ScoreCAM(align_corners=aligned, **SIGNED)
    assert_close(raw(e, case), (w[:, :, None] * a).sum(1), 1e-5)
    e = explain.ScoreCAM(align_corners=aligned, weights="score", **SIGNED)
    assert_close(raw(e, case), (scores[:, :, None] * a).sum(1), 1e-5)


def test_score_cam_fills_with_the_baseline():
    case, a, _, net = seen("relu_2")
    up = np.asarray(jax.image.resize(a.reshape(3, 16, 8, 8), (3, 16, 28, 28), "bilinear"))
    filled = [m[:, None] * case.x + (1 - m[:, None]) * 0.3 for m in unit(up).swapaxes(0, 1)]
    scores = np.stack([logits(net, v, case.y) for v in filled], 1)
    e = explain.ScoreCAM(weights="score", baseline=0.3, **SIGNED)
    assert_close(raw(e, case), (scores[:, :, None] * a).sum(1), 1e-5)


@pytest.mark.parametrize("relative", [True, False])
def test_ablation_cam(relative):
    import torch

    case, a, _, net = seen("relu_2")
    h = array(np.asarray(a, np.float32).reshape(3, 16, 8, 8))
    full = logits(net, case.x, case.y)

    def without(k):
        changed = h.clone()
        changed[:, k] = 0
        with torch.no_grad():
            for name in ("pool_2", "flatten", "fc_1", "relu_3", "fc_2", "relu_4", "fc_3"):
                changed = getattr(net, name)(changed)
        return changed.numpy()[np.arange(3), case.y]

    w = full[:, None] - np.stack([without(k) for k in range(16)], 1)
    w = w / full[:, None] if relative else w
    e = explain.AblationCAM(relative=relative, **SIGNED)
    assert_close(raw(e, case), (w[:, :, None] * a).sum(1), 1e-5)


def test_ablation_cam_of_a_score_that_is_small_beside_its_terms():
    """Rounding of the score is that of the map: a factor, without which the map is exact."""
    import torch

    n, case, net = 60, make("lenet"), make("lenet").torch().double()
    x, y = np.random.default_rng(11).uniform(-1, 1, (n, 1, 28, 28)), np.arange(n) % 10
    kept = {}
    for name in ("relu_2", "relu_4"):
        getattr(net, name).register_forward_hook(
            lambda m, i, out, name=name: kept.update({name: out})
        )
    with torch.no_grad():
        full = net(torch.from_numpy(np.float32(x)).double())
        a, h = kept["relu_2"], kept["relu_4"]
        gone = []
        for k in range(16):
            rest = a.clone()
            rest[:, k] = 0
            for name in ("pool_2", "flatten", "fc_1", "relu_3", "fc_2", "relu_4", "fc_3"):
                rest = getattr(net, name)(rest)
            gone.append(full - rest)
        terms = (h * net.fc_3.weight[y]).abs().sum(1).numpy()
    drops, score = torch.stack(gone, 1).numpy()[np.arange(n), :, y], full.numpy()[np.arange(n), y]

    def error(relative, w):
        e = explain.AblationCAM(relative=relative, **SIGNED)
        expected = np.einsum("nk,nkij->nij", w, a.numpy())
        wrong = np.asarray(e(case.model, np.float32(x), y))[:, 0] - expected
        return np.abs(wrong).max((1, 2)) / np.abs(expected).max((1, 2))

    eps = np.finfo(np.float32).eps
    assert (error(False, drops) < 1e-5).all()
    assert (terms / np.abs(score)).max() > 100
    assert (error(True, drops / score[:, None]) < 1e-5 + 4 * eps * terms / np.abs(score)).all()


def test_ablation_cam_of_a_score_of_zero():
    """The share of a score of 0 is undefined; it is 0 where no channel changes the score."""
    params = {"conv": jnp.ones((2, 1, 1, 1)), "w": jnp.array([1.0, -1.0])}

    def apply(p, x):
        z = jax.lax.conv(x, p["conv"], (1, 1), "VALID").mean((2, 3)) @ p["w"]
        return jnp.stack([z, 0 * z], 1)

    a = explain.AblationCAM()(Model(apply, params), jnp.ones((2, 1, 2, 2)), jnp.array([0, 1]))
    assert np.isnan(a[0]).all()
    np.testing.assert_array_equal(a[1], 0)


@pytest.mark.parametrize("centred", [False, True])
def test_eigen_cam(centred):
    case, a, _, _ = seen("relu_2")
    m = a.swapaxes(1, 2)
    m = m - m.mean(1, keepdims=True) if centred else m
    ours = raw(explain.EigenCAM(centred=centred, **SIGNED), case)
    for i in range(3):
        values, vectors = np.linalg.eigh(m[i].T @ m[i])
        cam = m[i] @ vectors[:, -1]
        cam *= np.sign(cam @ a[i].sum(0))
        assert values[-2] < 0.98 * values[-1]
        # Rounding turns the vector by its size over the gap of the squared singular values.
        turned = 1e-6 / (1 - values[-2] / values[-1])
        np.testing.assert_allclose(ours[i], cam, atol=(1e-5 + turned) * np.abs(cam).max())
    if not centred:
        assert ours.min() > -1e-5 * ours.max()  # by Perron and Frobenius
    kept = raw(explain.EigenCAM(centred=centred, sign="svd", **SIGNED), case)
    np.testing.assert_allclose(np.abs(kept), np.abs(ours), atol=1e-5 * np.abs(ours).max())


@pytest.mark.parametrize("shape", [(2, 9, 4), (2, 4, 9)])
@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
def test_the_first_singular_vector(shape, scale):
    m = np.random.default_rng(0).uniform(size=shape) * scale
    v = np.asarray(first_right(jnp.asarray(m, jnp.float32)))
    expected = np.linalg.svd(m)[2][:, 0]
    np.testing.assert_allclose(np.abs((v * expected).sum(1)), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("gap", [0.5, 1e-2, 1e-4])
def test_the_first_eigenvector_by_its_gap(gap):
    """Rounding turns it by eps over the gap; a matrix beside it changes nothing."""
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0]
    square = (q * [1, 1 - gap, *np.linspace(0.3, 0, 18)]) @ q.T
    given = jnp.asarray(np.stack([square, np.eye(20), np.full((20, 20), np.nan)]), jnp.float32)
    found = first_eigenvector(given)
    v = np.asarray(found[0], float)
    np.testing.assert_allclose(v * np.sign(v @ q[:, 0]), q[:, 0], atol=1e-6 / gap)
    np.testing.assert_array_equal(found[0], first_eigenvector(given[:1])[0])
    np.testing.assert_allclose(np.linalg.norm(found[1]), 1, rtol=1e-6)  # any vector
    assert np.isnan(found[2]).all()


def test_equal_values_leave_a_vector_of_either():
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    square = (q * [1, 1, 0.5, 0.1, 0, 0, 0, 0]) @ q.T
    with jax.enable_x64(True):
        v = np.asarray(first_eigenvector(jnp.asarray(square[None])))[0]
    np.testing.assert_allclose(np.linalg.norm(q[:, :2].T @ v), 1, rtol=1e-12)


def test_eigen_cam_of_an_inactive_layer():
    model = Model(lambda p, x: jax.nn.relu(jax.lax.conv(x, p["c"], (1, 1), "SAME")).sum((2, 3)))
    model = Model(model.apply, {"c": -jnp.ones((2, 1, 1, 1))})
    a = explain.EigenCAM()(model, jnp.ones((1, 1, 3, 3)), jnp.array([0]))
    np.testing.assert_array_equal(a, 0)


@pytest.mark.parametrize("e", [explain.HiResCAM(), explain.GradCAM(), explain.EigenCAM()], ids=str)
def test_rectified_and_scaled_as_grad_cam(e):
    """ReLU, to [0, 1], resized with half-pixel centres, ReLU, to [0, 1]."""
    import dataclasses

    import torch

    def scaled(v):
        v = v - v.min((1, 2, 3), keepdims=True)
        return v / (1e-7 + v.max((1, 2, 3), keepdims=True))

    case = make("lenet")
    cam = raw(dataclasses.replace(e, **SIGNED), case).reshape(3, 1, 8, 8)
    up = torch.nn.functional.interpolate(
        array(scaled(np.maximum(cam, 0))), (28, 28), mode="bilinear"
    )
    a = dataclasses.replace(e, normalise="minmax")(case.model, case.x, case.y)
    np.testing.assert_allclose(a, scaled(np.maximum(up.numpy(), 0)), atol=1e-5)
    a = dataclasses.replace(e, rectify=True)(case.model, case.x, case.y)
    up = torch.nn.functional.interpolate(array(np.maximum(cam, 0)), (28, 28), mode="bilinear")
    assert_close(a, up.numpy(), 1e-5)


def test_corners_stay_in_place():
    v = jnp.array([[0.0, 3.0, 6.0]])
    np.testing.assert_allclose(corners(v, 1, 7)[0], np.arange(7.0))
    np.testing.assert_allclose(corners(v, 1, 1)[0], [0])


def test_the_default_layer_is_after_the_activation_function():
    case = make("lenet")
    for name in ("HiResCAM", "ScoreCAM", "EigenCAM"):
        a = explain.get(name)(case.model, case.x, case.y)
        b = explain.get(name, layer="conv_2/relu")(case.model, case.x, case.y)
        np.testing.assert_array_equal(a, b)


def flops(f, *given):
    cost = jax.jit(f).lower(*given).compile().cost_analysis()
    return (cost[0] if isinstance(cost, list) else cost)["flops"]


def test_no_more_work_than_needed():
    """A gradient; or a pass for the layer, and one for each channel (from the layer on)."""
    case = make("lenet")
    given = case.model, case.x, case.y, None
    forward = flops(case.model.apply, case.model.params, case.x)
    gradient = flops(explain.Gradient().attribute, *given)
    for name in ("GradCAM", "HiResCAM", "LayerCAM", "XGradCAM", "GradCAMPlusPlus"):
        e = explain.get(name)
        assert flops(e.attribute, *given) < gradient
    for name, most in (("ScoreCAM", 1.05), ("AblationCAM", 0.6)):
        e = explain.get(name)
        assert e.steps(case.model, case.x) == 16
        assert flops(e.prepare, *given) < 1.05 * forward
        state = jax.jit(e.prepare)(*given)
        total = e.zero(*given, state)
        if name == "ScoreCAM":
            state = state, e.ready(total, *given, state, 0)
        assert flops(e.add, total, *given, state, 0) < most * forward


@pytest.mark.parametrize("aligned", [False, True])
def test_score_cam_of_constant_channels(aligned):
    """Their masks are 0, although resizing a constant leaves differences in the last places."""
    constants = np.array([0, 0.7, -0.1, 0.37, 1.3, 0.45], np.float32)
    kernel = np.eye(6, 1, dtype=np.float32).reshape(6, 1, 1, 1)
    params = {"conv": {"kernel": kernel, "bias": constants.reshape(6, 1, 1)}}

    def apply(p, x):
        h = jax.lax.conv(x, p["conv"]["kernel"], (2, 3), "VALID") + p["conv"]["bias"]
        return jnp.stack([x.mean((1, 2, 3)), h.mean((1, 2, 3))], 1)

    x = np.random.default_rng(0).normal(size=(2, 1, 17, 22)).astype(np.float32)
    model, y, seen = Model(apply, params), np.zeros(2, int), x[:, :, ::2, ::3]
    e = explain.ScoreCAM(layer="conv", weights="score", align_corners=aligned, **SIGNED)
    how = "corners" if aligned else "bilinear"
    mask = unit(np.asarray(resized(e, model, x, jnp.asarray(seen), 1, how)))
    # Masked by a constant channel, the image is 0, and so is its score.
    score = (x * mask).mean((1, 2, 3), keepdims=True)
    assert_close(e(model, x, y), score * seen, 1e-5)


def softplus(v):
    return np.logaddexp(0, v).sum((2, 3))


def test_ablation_cam_with_a_baseline():
    """What a channel becomes is one of the layer: a number, an array, or a function of it."""
    rng = np.random.default_rng(0)
    params = {"conv": jnp.asarray(rng.normal(size=(3, 1, 2, 2)), jnp.float32)}

    def apply(p, x):
        h = jax.lax.conv(x, p["conv"], (1, 1), "VALID")
        return jnp.stack([jax.nn.softplus(h).sum((1, 2, 3)), h.sum((1, 2, 3))], 1)

    x = rng.normal(size=(2, 1, 4, 4)).astype(np.float32)
    model, y = Model(apply, params), np.array([0, 0])
    h = np.asarray(jax.lax.conv(x, params["conv"], (1, 1), "VALID"), float)
    fills = {"zero": 0.0, -1e7: -1e7, (1, 2, 3): np.array([1, 2, 3]).reshape(3, 1, 1)}
    for given, fill in fills.items():
        b = np.reshape(given, (3, 1, 1)) if isinstance(given, tuple) else given
        lost = softplus(h) - softplus(np.broadcast_to(fill, h.shape))
        expected = (lost[:, :, None, None] * h).sum(1, keepdims=True)
        e = explain.AblationCAM(layer="conv", baseline=b, relative=False, **SIGNED)
        assert_close(e(model, x, y), expected, 1e-5)
    low = explain.AblationCAM(
        layer="conv", baseline=lambda a: a.min() - 1e7, relative=False, **SIGNED
    )
    lost = softplus(h)[:, :, None, None]
    assert_close(low(model, x, y), (lost * h).sum(1, keepdims=True), 1e-5)


@pytest.mark.parametrize("axis", [0, 4, -4, 1.0])
def test_the_channel_axis_is_one_of_the_layer(axis):
    case = make("lenet")
    for name in ("GradCAM", "EigenCAM", "LayerFeatureAblation"):
        e = explain.get(name, layer="conv_2", layer_channel_axis=axis)
        with pytest.raises(ValueError, match=r"layer_channel_axis.*axes 1 to 3.*\(or -3 to -1\)"):
            e(case.model, case.x, case.y)
