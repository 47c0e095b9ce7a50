"""Relative attributing propagation: the rules in NumPy, on layers as matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeval import explain
from jaxeval.model import Model

from .helpers import assert_close, make


def matrix(f, shape):
    """The matrix of a linear function of samples of this shape, [inputs, outputs]."""
    size = int(np.prod(shape))
    basis = np.eye(size, dtype=np.float32).reshape(size, *shape)
    return np.asarray(f(basis)).reshape(size, -1).astype(np.float64)


def ratio(a, b):
    return np.where(b == 0, 0, a / np.where(b == 0, 1, b))


def flows(x, w, r, convolution):
    """x >= 0: four flows, less their excess."""
    up, down = np.maximum(w, 0), np.maximum(-w, 0)
    plus, minus = (x @ up) * (r != 0), (x @ down) * (r != 0)
    gains, losses = np.maximum(r, 0), np.minimum(r, 0)
    share = ratio(minus, plus + minus)
    total = x * (up @ ratio(gains, plus))
    total += x * (down @ ratio(gains * share, minus))
    total += x * (down @ ratio(losses * share, minus))
    total += x * ((down @ ratio(losses, minus)) if convolution else (up @ ratio(losses, plus)))
    live = total != 0
    return np.where(live, total - (total.sum() - r.sum()) / max(live.sum(), 1), 0)


def back(x, w, r, convolution, consistent=False):
    """Positive inputs, and then the sizes of the negative ones in the same way.

    Consistent: the products of negative inputs by their own sign, and convolutions as matrices.
    """
    convolution = convolution and not consistent
    total = flows(np.maximum(x, 0), w, r, convolution)
    if not (x < 0).any():
        return total
    return total + flows(np.maximum(-x, 0), -w if consistent else w, r, convolution)


def start(x, w, b, consistent=False):
    """The step from the score back to the inputs of the last layer, with the weights of a class."""
    c = x * w
    gains, losses = c[c > 0].sum(), c[c < 0].sum()
    for side, its in ((c > 0, gains), (c < 0, losses)):
        takes = side if consistent else side & (x > 0)
        part = b * its / (gains + losses)
        c = c + (takes * x * w / (x * w)[takes].sum() * part if takes.any() else 0)
    return np.abs(c) / np.abs(c).sum() * c.sum()


def pooled_back(h, shape, r):
    """Relevance of a 2 x 2 max pooling, to the first of the largest entries."""
    c, height, width = shape
    out = np.zeros(shape)
    for k, i, j in np.ndindex(c, height // 2, width // 2):
        window = h.reshape(shape)[k, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        p, q = np.unravel_index(window.argmax(), (2, 2))
        out[k, 2 * i + p, 2 * j + q] = r.reshape(c, height // 2, width // 2)[k, i, j]
    return out.ravel()


def of_lenet(params, x, y):
    """The map of one sample x [1, 28, 28]."""
    from tests import networks

    conv_1 = matrix(
        lambda v: jax.lax.conv(v, params["conv_1"]["weight"], (1, 1), "VALID"), (1, 28, 28)
    )
    conv_2 = matrix(
        lambda v: jax.lax.conv(v, params["conv_2"]["weight"], (1, 1), "VALID"), (6, 12, 12)
    )
    p = jax.tree.map(np.float64, params)
    seen = [x.ravel().astype(np.float64)]
    h_1 = np.maximum(seen[0] @ conv_1 + np.repeat(p["conv_1"]["bias"], 24 * 24), 0)
    p_1 = np.asarray(networks.max_pool(jnp.asarray(h_1.reshape(1, 6, 24, 24)))).ravel()
    h_2 = np.maximum(p_1 @ conv_2 + np.repeat(p["conv_2"]["bias"], 8 * 8), 0)
    p_2 = np.asarray(networks.max_pool(jnp.asarray(h_2.reshape(1, 16, 8, 8)))).ravel()
    h_3 = np.maximum(p_2 @ p["fc_1"]["weight"].T + p["fc_1"]["bias"], 0)
    h_4 = np.maximum(h_3 @ p["fc_2"]["weight"].T + p["fc_2"]["bias"], 0)
    z = h_4 @ p["fc_3"]["weight"].T + p["fc_3"]["bias"]
    r = start(h_4, p["fc_3"]["weight"][y], p["fc_3"]["bias"][y])
    r = back(h_3, p["fc_2"]["weight"].T, r, False)
    r = back(p_2, p["fc_1"]["weight"].T, r, False)
    r = back(p_1, conv_2, pooled_back(h_2, (16, 8, 8), r), True)
    return back(seen[0], conv_1, pooled_back(h_1, (6, 24, 24), r), True).reshape(x.shape), z[y]


@pytest.mark.parametrize("signs", ["positive", "both"])
def test_as_in_the_authors_code(signs):
    case = make("lenet")
    x = np.abs(case.x) if signs == "positive" else case.x
    a = np.asarray(explain.RAP()(case.model, x, case.y))
    for i in range(3):
        expected, score = of_lenet(case.model.params, x[i], case.y[i])
        assert_close(a[i], expected, 1e-5)
        # With inputs of both signs, the relevance is there twice.
        total = (1 if signs == "positive" else 2) * score
        np.testing.assert_allclose(a[i].sum(), total, rtol=1e-4)


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("hidden", [True, False])
def test_a_last_layer_with_inputs_of_both_signs(hidden, consistent):
    rng = np.random.default_rng(5)
    w, v = rng.normal(size=(6, 7)), rng.normal(size=(7 if hidden else 6, 3))
    b, c = rng.normal(size=7), rng.normal(size=3)

    def apply(p, x):
        return (x @ p["w"] + p["b"] if hidden else x) @ p["v"] + p["c"]

    params = jax.tree.map(jnp.float32, {"w": w, "b": b, "v": v, "c": c})
    x, y = rng.normal(size=(4, 6)), np.array([0, 1, 2, 0])
    x[3] = np.abs(x[3])
    model = Model(apply, params, channel_axis=None)
    a = np.asarray(explain.RAP(consistent=consistent)(model, np.float32(x), y))
    for i in range(4):
        h = x[i] @ w + b if hidden else x[i]
        r = start(h, v[:, y[i]], c[y[i]], consistent)
        if consistent:
            np.testing.assert_allclose(r.sum(), h @ v[:, y[i]] + c[y[i]])
        assert_close(a[i], back(x[i], w, r, False, consistent) if hidden else r, 1e-5)


def test_relevance_of_a_positive_score_has_both_signs():
    case = make("tabular")
    x = np.abs(case.x)
    y = np.asarray(case.model(x)).argmax(1)
    a = np.asarray(explain.RAP()(case.model, x, y))
    np.testing.assert_allclose(a.sum(1), case.model(x)[np.arange(3), y], rtol=1e-4)
    assert (a < 0).any()


def colours(norm):
    rng = np.random.default_rng(0)
    params = {
        "conv": jnp.asarray(rng.normal(size=(4, 3, 3, 3)), jnp.float32),
        "s": jnp.asarray(rng.uniform(0.5, 2, (4, 1, 1)), jnp.float32),
        "w": jnp.asarray(rng.normal(size=(4 * 16, 3)), jnp.float32),
    }

    def apply(p, x):
        h = jax.lax.conv(x, p["conv"], (1, 1), "VALID")
        h = jax.nn.relu(h * p["s"] - 0.1 if norm else h)
        return h.reshape(len(h), -1) @ p["w"]

    return Model(apply, params), rng.normal(size=(2, 3, 6, 6)).astype(np.float32)


def test_a_first_convolution_of_three_channels_has_bounds():
    model, x = colours(norm=False)
    y, w = np.array([0, 2]), model.params["conv"]
    full = matrix(lambda v: jax.lax.conv(v, w, (1, 1), "VALID"), (3, 6, 6))
    a = np.asarray(explain.RAP()(model, x, y))
    for i in range(2):
        v = x[i].ravel().astype(np.float64)
        h = np.maximum(v @ full, 0)
        last = np.float64(model.params["w"])[:, y[i]]
        r = np.abs(h * last) / np.abs(h * last).sum() * (h @ last)
        up, down = np.maximum(full, 0), np.minimum(full, 0)
        low, high = np.full_like(v, v.min()), np.full_like(v, v.max())
        s = r / (v @ full - low @ up - high @ down + 1e-9)
        expected = v * (full @ s) - low * (up @ s) - high * (down @ s)
        assert_close(a[i], expected.reshape(3, 6, 6), 1e-5)
    assert np.abs(a - explain.RAP(box=False)(model, x, y)).max() > 1e-2


def test_an_image_of_one_colour_gets_nothing_from_the_bounds():
    """Its bounds are its values, so all contributions are 0; rounding is not divided by 1e-9."""
    model, x = colours(norm=False)
    a = explain.RAP()(model, np.full_like(x, 0.1), np.array([0, 2]))
    np.testing.assert_array_equal(a, 0)


def test_batch_normalisation_passes_relevance():
    """A positive scale does not change what is in proportion."""
    model, x = colours(norm=True)
    a = explain.RAP(box=False)(model, np.abs(x), np.array([0, 2]))
    score = model(np.abs(x))[np.arange(2), np.array([0, 2])]
    np.testing.assert_allclose(a.sum((1, 2, 3)), score, rtol=1e-4)


@pytest.mark.parametrize("order", ["before", "after"])
def test_batch_normalisation_stops_relevance_where_its_input_is_0(order):
    """Units of a ReLU that are 0, or those of a convolution that sees zeros only."""
    rng = np.random.default_rng(2)
    params = {
        "conv": jnp.asarray(rng.normal(size=(4, 1, 3, 3)), jnp.float32),
        "mean": jnp.asarray(rng.normal(size=(4, 1, 1)), jnp.float32),
        "s": jnp.asarray(rng.normal(size=(4, 1, 1)), jnp.float32),
        "shift": jnp.asarray(rng.normal(size=(4, 1, 1)), jnp.float32),
        "w": jnp.asarray(rng.normal(size=(4 * 16, 3)), jnp.float32),
    }

    def apply(p, x):
        def norm(h):
            return (h - p["mean"]) * p["s"] + p["shift"]

        h = jax.lax.conv(x, p["conv"], (1, 1), "VALID")
        h = jax.nn.relu(norm(h)) if order == "before" else norm(jax.nn.relu(h))
        return h.reshape(len(h), -1) @ p["w"]

    x, y = np.abs(rng.normal(size=(2, 1, 6, 6))).astype(np.float32), np.array([0, 2])
    x[:, :, :4] = 0
    a = np.asarray(explain.RAP()(Model(apply, params), x, y))
    full = matrix(lambda v: jax.lax.conv(v, params["conv"], (1, 1), "VALID"), (1, 6, 6))
    mean, s, shift = (np.repeat(np.float64(params[k]), 16) for k in ("mean", "s", "shift"))
    for i in range(2):
        v = x[i].ravel().astype(np.float64)
        seen = v @ full if order == "before" else np.maximum(v @ full, 0)
        h = (seen - mean) * s + shift
        h = np.maximum(h, 0) if order == "before" else h
        r = start(h, np.float64(params["w"])[:, y[i]], 0)
        assert np.abs(r[seen == 0]).max() > 1e-3
        assert_close(a[i].ravel(), back(v, full, np.where(seen == 0, 0, r), True), 1e-5)


def test_operations_without_a_rule_are_named():
    model = Model(lambda p, x: jax.nn.softmax(x @ p), jnp.eye(3), channel_axis=None)
    with pytest.raises(explain.Unsupported, match=r"RAP has no rule for div \(.*test_rap"):
        explain.RAP()(model, np.ones((1, 3), np.float32), np.zeros(1, int))
    binary = Model(lambda p, x: x @ p, jnp.ones((3, 1)), channel_axis=None, outputs="binary")
    with pytest.raises(ValueError, match="class 0 of a binary model"):
        explain.RAP()(binary, np.ones((1, 3), np.float32), np.zeros(1, int))
