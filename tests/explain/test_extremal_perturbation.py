"""Extremal perturbation: its masks by loops, and its ascent by torch's SGD."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxeval import explain
from jaxeval.explain import smooth_masks
from jaxeval.explain.extremal_perturbation import between, blurred
from jaxeval.explain.smooth_masks import Masks
from jaxeval.model import Model

from .helpers import assert_close, linear, make
from .test_backpropagation import array


def by_loops(p, space, step, sigma):
    """The mask with its margin, from parameters [H', W']."""
    radius, padding = 1 + -(-sigma // step), 1 + -(-2 * sigma // step)
    size = [step * (n + 2 * (padding - radius) - 1) + 1 for n in p.shape]
    full = np.zeros(size)
    for i, j in np.ndindex(*size):
        values = []
        for ky, kx in np.ndindex(2 * radius + 1, 2 * radius + 1):
            q = i // step + ky - padding, j // step + kx - padding
            within = 0 <= q[0] < p.shape[0] and 0 <= q[1] < p.shape[1]
            z = np.hypot(i - sigma - step * q[0], j - sigma - step * q[1]) / sigma
            values.append(np.exp(-2 * max(z - 0.5, 0) ** 2) * (p[q] if within else 0))
        v = np.array(values)
        w = np.exp(20 * v)
        full[i, j] = (v * w).sum() / w.sum()
    return full


def test_masks():
    p = np.arange(49.0).reshape(7, 7) / 48
    masks = Masks((28, 28), 4, 4.0)
    assert masks.grid == (7, 7)
    assert masks.size == (33, 33)
    full = masks(jnp.asarray(p[None], jnp.float32)).full
    image = masks.inner(full)
    expected = by_loops(p, (28, 28), 4, 4)
    np.testing.assert_allclose(full[0], expected, atol=1e-5)
    np.testing.assert_allclose(image[0], expected[4:32, 4:32], atol=1e-5)
    wide = Masks((6, 15), 3, 2.0)
    p = np.random.default_rng(0).uniform(size=wide.grid)
    expected = by_loops(p, (6, 15), 3, 2)
    np.testing.assert_allclose(wide(jnp.asarray(p[None], jnp.float32)).full[0], expected, atol=1e-5)


def test_masks_in_64_bits():
    wide = Masks((6, 15), 3, 2.0)
    p = np.random.default_rng(0).uniform(size=wide.grid)
    with jax.enable_x64(True):
        full = np.asarray(wide(jnp.asarray(p[None])).full[0])
    np.testing.assert_allclose(full, by_loops(p, (6, 15), 3, 2), atol=1e-12)


def test_the_table_is_small():
    """Not one entry for each pixel of a large image, which 32 settings would be kept of."""
    masks = Masks((512, 512), 16, 48.0)
    assert sum(v.nbytes for v in vars(masks).values() if isinstance(v, np.ndarray)) < 2**20


def test_no_number_stays_with_its_sample():
    masks = Masks((12, 12), 2, 2.0)
    p = np.random.default_rng(0).uniform(size=(3, *masks.grid)).astype(np.float32)
    expected = masks(jnp.asarray(p)).full
    p[1, 2, 2] = np.nan
    mask = masks(jnp.asarray(p))
    full = mask.full
    back = masks.back(jnp.asarray(p), mask, masks.inner(full) * 0 + 1, jnp.ones_like(full))
    np.testing.assert_array_equal(full[jnp.array([0, 2])], expected[jnp.array([0, 2])])
    assert np.isnan(full[1]).any()
    assert np.isnan(back).any((1, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize("n", [6, 7])
def test_blocks_of_samples(monkeypatch, n):
    """Four samples at a time, or blocks of one size if there are such."""
    masks = Masks((6, 15), 3, 2.0)
    monkeypatch.setattr(smooth_masks, "CACHED", 4 * len(masks.values) * masks.rows * masks.stride)
    rng = np.random.default_rng(0)
    p = jnp.asarray(rng.uniform(size=(n, *masks.grid)), jnp.float32)
    inner = jnp.asarray(rng.normal(size=(n, *masks.space)), jnp.float32)
    outer = jnp.asarray(rng.normal(size=(n, *masks.size)), jnp.float32)
    mask = masks(p)
    back = masks.back(p, mask, inner, outer)
    for i in range(n):
        one = masks(p[i : i + 1])
        np.testing.assert_array_equal(mask.full[i], one.full[0])
        alone = masks.back(p[i : i + 1], one, inner[i : i + 1], outer[i : i + 1])[0]
        np.testing.assert_allclose(back[i], alone, rtol=1e-6, atol=1e-6 * np.abs(alone).max())


@pytest.mark.parametrize(("space", "step", "sigma"), [((28, 28), 4, 4.0), ((6, 15), 3, 2.0)])
def test_the_derivative_of_masks(space, step, sigma):
    """Against differences in float64 of the loops."""
    masks, rng = Masks(space, step, sigma), np.random.default_rng(0)
    p, change = rng.uniform(size=masks.grid), rng.normal(size=masks.size)
    given = jnp.asarray(p[None], jnp.float32)
    inner, outer = rng.normal(size=masks.space), jnp.asarray(change[None], jnp.float32)
    got = masks.back(given, masks(given), jnp.asarray(inner[None], jnp.float32), outer)[0]
    change += np.asarray(masks.outer(jnp.asarray(inner[None])))[0]
    for at in [(0, 0), (1, 3), tuple(n - 1 for n in masks.grid)]:
        step_ = np.zeros(masks.grid)
        step_[at] = 1e-5
        both = [by_loops(p + s * step_, space, step, int(sigma)) for s in (1, -1)]
        expected = ((both[0] - both[1]) / 2e-5 * change).sum()
        np.testing.assert_allclose(got[at], expected, rtol=2e-4, atol=2e-4)


def test_the_bound_shares_among_equal_entries():
    """Of nine entries, r keeps two: the largest, and one of three equal ones."""
    m = jnp.array([[[0.1, 0.5, 0.2], [0.5, 0.9, 0.5], [0.0, 0.3, 0.4]]])
    got = explain.ExtremalPerturbation().bounded(m, 2 / 9)[0]
    r = np.array([[0, 1 / 3, 0], [1 / 3, 1, 1 / 3], [0, 0, 0]])
    np.testing.assert_allclose(got, -2 / 9 * (m[0] - r), rtol=1e-5, atol=1e-7)


def test_blur_and_levels():
    import torch

    x = np.random.default_rng(0).normal(size=(2, 3, 9, 12)).astype(np.float32)
    w = torch.exp(-0.5 * (torch.arange(-6, 7) / 1.5) ** 2)
    kernel = (w[:, None] * w / w.sum() ** 2).expand(3, 1, 13, 13)
    expected = torch.nn.functional.conv2d(array(x), kernel, padding=6, groups=3).numpy()
    assert_close(blurred(jnp.asarray(x), (2, 3), 1.5), expected, 1e-5)
    levels = jnp.stack([jnp.full((1, 1, 2, 2), v) for v in (0.0, 10.0, 30.0)])
    mask = jnp.array([[[[0.0, 0.25], [0.75, 1.0]]]])
    np.testing.assert_allclose(between(levels, mask)[0, 0], [[0, 5], [20, 30]])


def in_torch(case, n_steps, area, variant, jitter, contrastive):
    """The masks by autograd and torch.optim.SGD."""
    import torch

    net, step, sigma = case.torch(), 4, 4
    ours = Masks((28, 28), step, float(sigma))
    phase = np.arange(33) % step
    kernel = torch.from_numpy(ours.kernel[phase][:, phase]).float().reshape(33, 33, -1)
    near = np.arange(33)[:, None] // step + np.arange(ours.window)
    p = torch.ones(3, 7, 7, requires_grad=True)
    optimiser = torch.optim.SGD([p], lr=0.01, momentum=0.9, dampening=0.9)
    x, y = array(case.x), torch.from_numpy(case.y).long()
    reference = np.ones(33 * 33)
    reference[: int(33 * 33 * (1 - area))] = 0

    def wanted(m):
        """1 for the largest entries, shared among those that equal the least of them."""
        ordered = np.sort(m)
        least = ordered[int((reference == 0).sum())]
        first, last = (ordered < least - 2**-14).sum(), (ordered <= least + 2**-14).sum()
        tied = (m >= least - 2**-14) & (m <= least + 2**-14)
        return np.where(tied, reference[first:last].mean(), m > least)

    def score(v):
        z = net(v)
        own = z[range(3), y]
        if not contrastive:
            return own
        others = z.clone()
        others[range(3), y] = -torch.inf
        return own - others.max(1)[0]

    for t in range(n_steps):
        optimiser.zero_grad()
        padded = torch.nn.functional.pad(p, (ours.padding,) * 4)
        v = padded[:, near][:, :, :, near].movedim(3, 2).reshape(3, 33, 33, -1) * kernel
        full = (v * (20 * v).softmax(-1)).sum(-1)
        mask = full[:, 4:32, 4:32]

        def shown(m, t=t):
            return torch.flip(x * m[:, None], (3,)) if jitter and t % 2 == 0 else x * m[:, None]

        reward = score(shown(mask)) if variant != "delete" else 0
        reward = reward - score(shown(1 - mask)) if variant != "preserve" else reward
        flat = full.reshape(3, -1)
        share = np.stack([wanted(m) for m in flat.detach().numpy()])
        off = (flat - torch.from_numpy(share)).square().mean(1)
        (-(reward - 300 * 1.0035**t * off).sum()).backward()
        optimiser.step()
        p.data.clamp_(0, 1)
    return mask.detach().numpy()


@pytest.mark.parametrize(
    ("variant", "jitter", "reward"),
    [
        pytest.param("preserve", True, "score", marks=pytest.mark.slow),
        ("delete", False, "contrastive"),
        pytest.param("dual", True, "score", marks=pytest.mark.slow),
    ],
)
def test_ascent(variant, jitter, reward):
    case = make("lenet")
    e = explain.ExtremalPerturbation(
        areas=0.3,
        n_steps=3,
        perturbation="fade",
        variant=variant,
        jitter=jitter,
        reward=reward,
        step_size=4,
        sigma=4.0,
    )
    expected = in_torch(case, 3, 0.3, variant, jitter, reward == "contrastive")
    a = e(case.model, case.x, case.y)
    # The order of nearly equal entries of a mask, and so some of its gradient, is that of rounding.
    off = np.abs(np.asarray(a)[:, 0] - expected)
    assert np.quantile(off, 0.9) < 2e-4
    assert off.max() < 0.02
    assert np.ptp(expected) > 0.03


def test_several_areas_are_averaged():
    case = make("lenet")
    settings = {"n_steps": 3, "step_size": 7, "sigma": 7.0}
    both = explain.ExtremalPerturbation(areas=(0.1, 0.4), **settings)
    each = [dataclasses.replace(both, areas=(a,)) for a in (0.1, 0.4)]
    mean = sum(e(case.model, case.x, case.y) for e in each) / 2
    assert_close(both(case.model, case.x, case.y), mean, 1e-5)


def test_the_mask_finds_what_matters():
    """A score that reads one corner; the mask has its area."""
    model = Model(lambda p, x: x[:, :, :8, :8].mean((1, 2, 3))[:, None] * 20)
    e = explain.ExtremalPerturbation(areas=0.25, n_steps=150, perturbation="fade")
    a = e(model, jnp.ones((1, 1, 24, 24)), jnp.array([0]))[0, 0]
    assert a[:6, :6].mean() > 0.8
    assert a[16:, 16:].mean() < 0.2
    last = Model(lambda p, x: model.apply(p, jnp.moveaxis(x, -1, 1)), channel_axis=-1)
    same = e(last, jnp.ones((1, 24, 24, 1)), jnp.array([0]))
    np.testing.assert_allclose(same[0, :, :, 0], a, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"areas": (0.1, 1.5)}, ValueError, "areas.*at most 1"),
        ({"variant": "keep"}, ValueError, "'preserve', 'delete', 'dual'"),
        ({"perturbation": "noise"}, ValueError, "'blur', 'fade'"),
        ({"n_levels": 1}, ValueError, "n_levels=1.*at least 2"),
        ({"sigma": 0}, ValueError, "sigma=0.*above 0"),
        ({"learning_rate": 0}, ValueError, "learning_rate=0"),
    ],
)
def test_wrong_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        explain.ExtremalPerturbation(**settings)


def test_images_are_needed():
    model = linear(shape=(12,))
    with pytest.raises(ValueError, match=r"needs images.*\[N, 12\]"):
        explain.ExtremalPerturbation(n_steps=1)(
            model, np.ones((1, 12), np.float32), np.zeros(1, int)
        )


def test_rewards_compare_classes_scores():
    """The contrast of probabilities is not that of logits; one output has no other class."""
    model = linear(shape=(1, 12, 12))
    x, y = np.ones((1, 1, 12, 12), np.float32), np.array([0])
    e = explain.ExtremalPerturbation(
        n_steps=3, perturbation="fade", reward="contrastive", learning_rate=0.5, weight=0.0
    )
    as_probability = dataclasses.replace(e, output="probability")
    assert np.abs(e(model, x, y) - as_probability(model, x, y)).max() > 1e-3
    one = Model(lambda p, x: x.sum((1, 2, 3))[:, None], outputs="values")
    with pytest.raises(ValueError, match=r"this model has one output: reward=\"score\""):
        e(one, x, y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_size": 7, "sigma": 3.0}, "sigma must be at least 3.5"),
        ({"step_size": 1, "sigma": 0.2}, "sigma must be at least 1"),
        ({"step_size": 30}, "sigma must be at least 15"),
    ],
)
def test_points_of_masks_reach_all_pixels(settings, message):
    x = np.ones((1, 1, 9, 9), np.float32)
    with pytest.raises(ValueError, match=message):
        explain.ExtremalPerturbation(n_steps=1, **settings)(linear(shape=(1, 9, 9)), x, [0])


def test_masks_are_not_smaller_than_the_image():
    model, x = linear(shape=(1, 12, 12)), np.ones((1, 1, 12, 12), np.float32)
    e = explain.ExtremalPerturbation(n_steps=1, step_size=4, sigma=6.0)
    with pytest.raises(ValueError, match=r"images \[12, 12\]; a sigma that is a multiple.*as 8"):
        e(model, x, np.array([0]))
    assert dataclasses.replace(e, sigma=8.0)(model, x, np.array([0])).shape == x.shape


def test_tiny_images_have_masks():
    x = np.ones((1, 1, 3, 3), np.float32)
    a = explain.ExtremalPerturbation(n_steps=1)(linear(shape=(1, 3, 3)), x, np.array([0]))
    np.testing.assert_allclose(a, 1, atol=0.02)


def test_no_area_is_refused():
    with pytest.raises(ValueError, match="at least one share"):
        explain.ExtremalPerturbation(areas=())
