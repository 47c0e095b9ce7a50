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
    """x >= 0 and w of both signs (or both turned): four flows, less their excess."""
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


def back(x, w, r, convolution):
    total = flows(np.maximum(x, 0), w, r, convolution)
    return total + (flows(np.maximum(-x, 0), -w, r, convolution) if (x < 0).any() else 0)


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
    c = np.abs(h_4 * p["fc_3"]["weight"][y])
    r = c / c.sum() * z[y]
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


def test_operations_without_a_rule_are_named():
    model = Model(lambda p, x: jax.nn.softmax(x @ p), jnp.eye(3), channel_axis=None)
    with pytest.raises(explain.Unsupported, match=r"RAP has no rule for div \(.*test_rap"):
        explain.RAP()(model, np.ones((1, 3), np.float32), np.zeros(1, int))
    binary = Model(lambda p, x: x @ p, jnp.ones((3, 1)), channel_axis=None, outputs="binary")
    with pytest.raises(ValueError, match="class 0 of a binary model"):
        explain.RAP()(binary, np.ones((1, 3), np.float32), np.zeros(1, int))
