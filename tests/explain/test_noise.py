"""Methods that draw noise, samples or ways: captum's with the same draws, and in distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeval import explain
from jaxeval.model import Model

from .helpers import assert_close, jitted, keys, make
from .test_backpropagation import array
from .test_captum import captum, ours

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting ")


def test_squares_and_variances_with_given_draws():
    case = make("rgb")
    draws = np.random.default_rng(5).normal(size=(6, 3, 18, 18)).astype(np.float32)
    std = 0.2 * np.ptp(case.x, axis=(1, 2, 3), keepdims=True)
    maps = np.stack([captum("Saliency", case, x=case.x + std * d, abs=False) for d in draws])
    given = {"noise_level": 0.2, "draws": draws}
    assert_close(ours(explain.SmoothGradSquared(**given), case), 0 * maps[0] + (maps**2).mean(0))
    assert_close(100 * ours(explain.VarGrad(**given), case), 100 * maps.var(0))


@pytest.mark.parametrize("kind", ["smoothgrad_sq", "vargrad"])
def test_noise_tunnel_in_distribution(kind):
    import captum.attr
    import torch

    case, n = make("tabular", n=1), 2000
    std = float(0.3 * np.ptp(case.x))
    torch.manual_seed(0)
    theirs = captum.attr.NoiseTunnel(captum.attr.Saliency(case.torch())).attribute(
        array(case.x), nt_type=kind, nt_samples=n, stdevs=std, abs=False, target=int(case.y[0])
    )
    cls = explain.SmoothGradSquared if kind == "smoothgrad_sq" else explain.VarGrad
    a = np.asarray(ours(cls(n_samples=n, noise_level=0.3), case))
    np.testing.assert_allclose(a, theirs.numpy(), atol=0.1 * a.max())


def test_gradient_shap_in_distribution():
    """Means of 4000 draws, here and in captum, next to the spread of a single one."""
    import captum.attr
    import torch

    case, n = make("tabular", n=1), 4000
    background = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    std = float(0.2 * np.ptp(case.x))
    torch.manual_seed(0)
    theirs = captum.attr.GradientShap(case.torch()).attribute(
        array(case.x), array(background), n_samples=n, stdevs=std, target=int(case.y[0])
    )
    e = explain.GradientShap(background=background, n_samples=n, noise_level=0.2)
    a = np.asarray(ours(e, case))
    single = explain.GradientShap(background=background, n_samples=1, noise_level=0.2)
    x, y = np.repeat(case.x, 500, 0), np.repeat(case.y, 500)
    spread = np.asarray(jitted(single, case.model, x, y, keys(500))).std(0)
    z = (a - theirs.detach().numpy()) / (spread * np.sqrt(2 / n))
    assert 0.3 < np.sqrt((z**2).mean()) < 1.7


def test_expected_gradients_are_complete_in_expectation():
    case = make("tabular")
    background = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
    e = explain.ExpectedGradients(background=background, n_samples=2000)
    a = np.asarray(ours(e, case)).sum(1)
    y = jnp.asarray(case.y)
    before = [e.scores(case.model, jnp.broadcast_to(b, case.x.shape), y) for b in background]
    total = e.scores(case.model, jnp.asarray(case.x), y) - np.mean(before, 0)
    np.testing.assert_allclose(a, total, atol=0.25 * np.std(before, 0).max())
    still = explain.GradientShap(background=background, n_samples=2000, noise_level=0.0)
    assert_close(ours(still, case), ours(e, case), 1e-5)


def test_noise_on_weights():
    """The gradient of w x is w, times factors of mean 1 and the stated spread."""
    w = np.random.default_rng(0).uniform(1, 2, (6, 3)).astype(np.float32)
    model = Model(lambda p, x: x @ p["params"]["w"] + p["state"]["shift"][:3], channel_axis=None,
                  params={"params": {"w": w}, "state": {"shift": w[0].repeat(2)}})  # fmt: skip
    x, y, n = np.ones((2, 6), np.float32), np.array([0, 2]), 500
    a = np.asarray(jitted(explain.NoiseGrad(n_samples=n, noise_level=0.3), model, x, y, None))
    z = (a / w[:, y].T - 1) / (0.3 / np.sqrt(n))
    assert 0.5 < np.sqrt((z**2).mean()) < 1.5
    other = explain.NoiseGrad(n_samples=n, noise_level=0.3, seed=1)
    assert np.abs(a - jitted(other, model, x, y, None)).max() > 1e-4
    # What is no trained weight keeps its value.
    e = explain.NoiseGrad()
    noisy = e.noisy(model, e.noisy_weights(model, 0.3, 0)).params
    assert np.abs(noisy["params"]["w"] - w).min() > 0
    np.testing.assert_array_equal(noisy["state"]["shift"], model.params["state"]["shift"])


def test_fusion_is_smooth_and_noise():
    case = make("tabular")
    still = explain.FusionGrad(n_models=1, n_samples=8, weight_level=0.0, noise_level=0.15)
    assert_close(ours(still, case), ours(explain.SmoothGrad(n_samples=8), case), 1e-5)
    quiet = explain.FusionGrad(n_models=5, n_samples=1, noise_level=0.0)
    assert_close(ours(quiet, case), ours(explain.NoiseGrad(n_samples=5), case), 1e-5)
    of_product = explain.NoiseGrad(
        n_samples=5, explainer=lambda m, x, y, k: explain.InputXGradient()(m, x, y)
    )
    assert_close(ours(of_product, case), case.x * ours(explain.NoiseGrad(n_samples=5), case), 1e-5)


def test_blur_is_a_gaussian():
    from jaxeval.explain.blur_ig import blurred

    x = np.zeros((1, 2, 41, 31), np.float32)
    x[0, :, 20, 15] = 1
    b = np.asarray(blurred(x, 3.0, 0))
    rows, columns = np.arange(41) - 20, np.arange(31) - 15
    wanted = np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * (9 + 1 / 12))) / (2 * np.pi * 9)
    np.testing.assert_allclose(b[0, 0], wanted, atol=3e-4)
    np.testing.assert_allclose(b.sum((2, 3)), 1, atol=1e-4)
    np.testing.assert_allclose(blurred(x, 0.0, 0), x, atol=1e-6)


@pytest.mark.parametrize(
    "output", ["logit", pytest.param("log_probability", marks=pytest.mark.slow)]
)
def test_ways_are_complete(output):
    from jaxeval.explain.blur_ig import blurred

    case = make("rgb")
    y = jnp.asarray(case.y)
    for e, start in (
        (explain.BlurIG(n_steps=60, max_sigma=20.0, output=output), blurred(case.x, 20.0, 0)),
        (explain.GuidedIG(n_steps=100, output=output), jnp.zeros(case.x.shape)),
    ):
        a = np.asarray(ours(e, case)).sum((1, 2, 3))
        total = e.scores(case.model, jnp.asarray(case.x), y) - e.scores(case.model, start, y)
        np.testing.assert_allclose(a, total, atol=0.03)


def test_guided_way_of_all_entries_is_the_straight_line():
    case = make("rgb")
    e = explain.GuidedIG(n_steps=40, fraction=1.0)
    line = explain.IntegratedGradients(n_steps=40, method="riemann_left")
    assert_close(ours(e, case), ours(line, case), 1e-2)


def test_guided_way_moves_small_gradients_first():
    """f = x0 + x1²: from 0, x1 has the smaller gradient and goes first."""
    from jaxeval.explain.guided_ig import advance

    x, b, g = jnp.array([1.0, 1.0]), jnp.zeros(2), jnp.array([1.0, 0.0])
    np.testing.assert_allclose(advance(b, g, x, b, 0.25, 0.4, 1.0), [0, 0.5], atol=1e-6)
    np.testing.assert_allclose(advance(b, g, x, b, 0.25, 0.4, 0.1), [0.15, 0.35], atol=1e-6)
    np.testing.assert_allclose(advance(b, g, x, b, 0.75, 0.4, 1.0), [0.5, 1], atol=1e-6)
    np.testing.assert_allclose(advance(b, g, x, b, 1.0, 0.4, 0.02), [1, 1], atol=1e-6)


def test_draws_need_keys():
    case = make("tabular")
    for e in (
        explain.GradientShap(),
        explain.ExpectedGradients(),
        explain.FusionGrad(),
        explain.VarGrad(),
    ):
        with pytest.raises(TypeError, match=f"{type(e).__name__}.*is random: give it keys"):
            e(case.model, case.x, case.y)
    assert jax.tree.leaves(explain.NoiseGrad()(case.model, case.x, case.y))
