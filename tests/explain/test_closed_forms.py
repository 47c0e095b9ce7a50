"""Maps that can be written down, and what they must sum to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxeval import explain
from jaxeval.model import Model

from .helpers import assert_close, jitted, keys, linear, make

N = 3


@pytest.fixture
def batch():
    x = np.random.default_rng(0).normal(size=(N, 3, 5, 4)).astype(np.float32)
    return linear(), x, np.array([0, 3, 1]), keys(N)


def weights(batch):
    model, _, y, _ = batch
    return np.moveaxis(np.asarray(model.params["w"])[..., y], -1, 0)


def test_linear_gradients(batch):
    _, x, _, _ = batch
    w = weights(batch)
    assert_close(explain.Gradient()(*batch), w, 1e-6)
    assert_close(explain.Saliency()(*batch), np.abs(w), 1e-6)
    assert_close(explain.InputXGradient()(*batch), w * x, 1e-6)
    assert_close(explain.SmoothGrad(n_samples=3)(*batch), w, 1e-6)


@pytest.mark.parametrize("baseline", ["zero", "white", 0.7])
def test_linear_integrated_gradients(batch, baseline):
    _, x, _, _ = batch
    b = {"zero": 0.0, "white": x.max((1, 2, 3), keepdims=True), 0.7: 0.7}[baseline]
    a = explain.IntegratedGradients(n_steps=3, baseline=baseline)(*batch)
    assert_close(a, weights(batch) * (x - b), 1e-5)


def test_linear_occlusion_is_the_mean_of_its_windows(batch):
    _, x, _, _ = batch
    fall = weights(batch) * (x - 0.5)
    a = explain.Occlusion(window=(3, 2, 4), stride=(1, 2, 1), baseline=0.5)(*batch)
    # Rows 0-1, 2-3 and, over the border, 4.
    sums = [fall[:, :, r].sum((1, 2, 3)) for r in (slice(0, 2), slice(2, 4), slice(4, 5))]
    rows = np.stack([sums[0], sums[0], sums[1], sums[1], sums[2]], 1)
    assert_close(a, np.broadcast_to(rows[:, None, :, None], x.shape), 1e-5)


@pytest.mark.parametrize("name", ["lenet", "rgb", "tabular"])
@pytest.mark.parametrize("output", ["logit", "log_probability"])
def test_integrated_gradients_are_complete(name, output):
    case = make(name)
    e = explain.IntegratedGradients(n_steps=200 if name != "rgb" else 20, output=output)
    a = np.asarray(jitted(e, case.model, case.x, case.y, None))

    def score(x):
        return np.asarray(e.scores(case.model, jnp.asarray(x), jnp.asarray(case.y)))

    total = score(case.x) - score(np.zeros_like(case.x))
    # ReLU networks have kinks on the way, which no quadrature resolves fully.
    tolerance = 2e-5 if name == "rgb" else 2e-3
    np.testing.assert_allclose(a.reshape(N, -1).sum(1), total, atol=tolerance)


def test_output_is_the_explained_score(batch):
    model, x, y, _ = batch
    p = jax.nn.softmax(model(jnp.asarray(x)))[jnp.arange(N), y]
    logit = np.asarray(explain.Gradient()(*batch))
    for output, factor in (
        (lambda z, y: 2 * z[y], 2 * np.ones(N)),
        ("logit", np.ones(N)),
    ):
        a = explain.Gradient(output=output)(*batch)
        assert_close(a, logit * factor[:, None, None, None], 1e-6)
    log_p = explain.Gradient(output="log_probability")(*batch)
    assert_close(
        explain.Gradient(output="probability")(*batch), log_p * p[:, None, None, None], 1e-4
    )


def test_smoothgrad_noise_has_the_stated_spread():
    """The gradient of Σ x³/3 is (x + σε)², with the mean x² + σ²."""
    model = Model(lambda p, x: (x**3 / 3).sum((1, 2))[:, None])
    x = np.random.default_rng(0).uniform(0, 2, (2, 20, 20)).astype(np.float32)
    n = 400
    a = jitted(explain.SmoothGrad(n_samples=n), model, x, np.zeros(2, int), keys(2))
    std = 0.15 * np.ptp(x, axis=(1, 2), keepdims=True)
    error = np.sqrt((2 * std**4 + 4 * x**2 * std**2) / n)
    z = (np.asarray(a) - (x**2 + std**2)) / error
    assert 0.9 < np.sqrt((z**2).mean()) < 1.1
    assert abs(z.mean()) < 0.2


def test_random_is_uniform_and_its_own(batch):
    model, x, y, k = batch
    flat = np.zeros((4, 1, 50, 50))
    a = np.asarray(explain.Random()(model, flat, np.zeros(4, int), keys(4)))
    assert a.min() >= 0
    assert a.max() < 1
    np.testing.assert_allclose(a.mean((1, 2, 3)), 0.5, atol=0.02)
    assert np.abs(np.corrcoef(a.reshape(4, -1)) - np.eye(4)).max() < 0.1
    np.testing.assert_array_equal(explain.Random()(*batch), explain.Random()(model, 2 * x, y, k))


def test_constant(batch):
    np.testing.assert_array_equal(explain.Constant(value=3)(*batch), np.full((N, 3, 5, 4), 3.0))


@pytest.mark.parametrize("mode", ["nearest", "reflect"])  # the same thing for three taps
def test_sobel_is_scipys(batch, mode):
    _, x, _, _ = batch
    expected = np.zeros_like(x)
    for i in np.ndindex(x.shape[:2]):
        expected[i] = np.hypot(*(scipy.ndimage.sobel(x[i], axis, mode=mode) for axis in (0, 1)))
    assert_close(explain.Sobel()(*batch), expected, 1e-6)


def test_sobel_of_a_series():
    x = np.random.default_rng(0).normal(size=(2, 3, 9)).astype(np.float32)
    expected = [[np.abs(scipy.ndimage.sobel(row, mode="nearest")) for row in v] for v in x]
    assert_close(explain.Sobel()(Model(lambda p, x: x), x, np.zeros(2, int)), expected, 1e-6)


def test_channel_last_is_the_same_map_transposed(batch):
    model, x, y, k = batch
    last = Model(lambda p, x: model.apply(p, jnp.moveaxis(x, -1, 1)), model.params, channel_axis=-1)
    for e in (
        explain.Sobel(),
        explain.Occlusion(window=2, stride=2, baseline="channel_mean"),
        explain.IntegratedGradients(n_steps=3, baseline="channel_mean", reduce_channels="sum"),
        explain.Saliency(reduce_channels="max"),
    ):
        a = e(last, np.moveaxis(x, 1, -1), y, k)
        assert_close(np.moveaxis(np.asarray(a), -1, 1), e(*batch), 1e-5)


def test_pixel_maps(batch):
    full = np.asarray(explain.Gradient()(*batch))
    for how in ("sum", "mean", "max"):
        a = explain.Gradient(reduce_channels=how)(*batch)
        assert_close(a, getattr(full, how)(1, keepdims=True), 1e-6)
