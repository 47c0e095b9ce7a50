"""Methods that take features out: captum's maps, exact Shapley values, sklearn's lasso."""

import itertools
import math

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

GROUPS = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 0])


@pytest.mark.parametrize("name", ["lenet", "rgb", "tabular"])
def test_ablation(name):
    case = make(name)
    if name == "tabular":
        e, mask = explain.FeatureAblation(features=GROUPS, baseline=0.2), GROUPS
    else:
        e = explain.FeatureAblation(patch=7, baseline=0.2)
        side = case.x.shape[-1]
        at = np.arange(side) // 7
        mask = at[:, None] * (at[-1] + 1) + at
    theirs = captum("FeatureAblation", case, feature_mask=array(mask)[None], baselines=0.2)
    assert_close(ours(e, case), theirs)


def test_ablation_of_every_entry():
    case = make("tabular")
    assert_close(ours(explain.FeatureAblation(), case), captum("FeatureAblation", case))
    # An entry is a window of size 1.
    window = explain.Occlusion(window=1, baseline="mean")
    assert_close(ours(explain.FeatureAblation(baseline="mean"), case), ours(window, case))


def test_patches_of_channels_and_of_functions():
    case = make("rgb")
    single = explain.FeatureAblation(patch=(1, 6, 9), baseline="mean")
    rows, columns = np.arange(18)[:, None] // 6, np.arange(18) // 9
    ids = np.arange(3)[:, None, None] * 6 + rows * 2 + columns
    a = ours(single, case)
    assert_close(ours(explain.FeatureAblation(features=ids, baseline="mean"), case), a, 1e-6)
    fn = explain.FeatureAblation(
        features=lambda x: jnp.asarray(ids), n_features=18, baseline="mean"
    )
    assert_close(ours(fn, case), a, 1e-6)


def test_features_may_differ_between_samples():
    """A feature is what is above 0: half of the entries, others for each sample."""
    model = Model(lambda p, x: x.sum(1, keepdims=True), channel_axis=None)
    x = np.random.default_rng(0).normal(size=(4, 10)).astype(np.float32)
    e = explain.FeatureAblation(features=lambda x: (x > 0).astype(int), n_features=2)
    up, down = (np.where(keep, x, 0).sum(1, keepdims=True) for keep in (x > 0, x <= 0))
    assert_close(e(model, x, np.zeros(4, int)), np.where(x > 0, up, down), 1e-5)


def test_permutation():
    """With one background sample it is ablation; with more, the mean over them."""
    case = make("tabular")
    background = np.random.default_rng(0).normal(size=(4, 12)).astype(np.float32)
    e = explain.FeaturePermutation(background=background[:1], features=GROUPS)
    wanted = [explain.FeatureAblation(baseline=b, features=GROUPS) for b in background]
    wanted = np.stack([ours(w, case) for w in wanted])
    assert_close(ours(e, case), wanted[0])
    e = explain.FeaturePermutation(background=background, features=GROUPS, n_samples=500)
    error = wanted.std(0) / np.sqrt(500) + 1e-6
    z = (np.asarray(ours(e, case)) - wanted.mean(0)) / error
    assert 0.4 < np.sqrt((z**2).mean()) < 1.7
    theirs = captum(
        "FeaturePermutation",
        case,
        call={"perm_func": lambda x, mask: mask.bool() * array(background[:1]) + ~mask.bool() * x},
        feature_mask=array(GROUPS)[None],
    )
    assert_close(wanted[0], theirs)


def shapley(case, output="logit"):
    """Exact Shapley values of the groups, by all sets of them, from the zero baseline."""
    n = 5
    e = explain.Gradient(output=output)
    sets = np.array(list(itertools.product([0, 1], repeat=n)))
    x = np.concatenate([case.x * s[GROUPS] for s in sets]).astype(np.float32)
    y = np.tile(case.y, len(sets))
    worth = np.asarray(e.scores(case.model, jnp.asarray(x), jnp.asarray(y)))
    worth = dict(zip(map(tuple, sets), worth.reshape(len(sets), -1), strict=True))
    a = np.zeros((len(case.x), n))
    for s, before in worth.items():
        weight = math.factorial(sum(s)) * math.factorial(n - sum(s) - 1) / math.factorial(n) \
            if sum(s) < n else 0  # fmt: skip
        for i in range(n):
            if not s[i]:
                a[:, i] += weight * (worth[(*s[:i], 1, *s[i + 1 :])] - before)
    return a[:, GROUPS]


@pytest.mark.parametrize(
    ("ours_", "name"),
    [
        (explain.ShapleyValueSampling(n_samples=400, features=GROUPS), "ShapleyValueSampling"),
        (explain.KernelShap(n_samples=2000, features=GROUPS), "KernelShap"),
    ],
    ids=["sampling", "kernel"],
)
def test_shapley_values(ours_, name):
    import captum.attr
    import torch

    case = make("tabular")
    exact = shapley(case)
    a = np.asarray(ours(ours_, case))
    np.testing.assert_allclose(a, exact, atol=0.06 * np.abs(exact).max())
    e, y = explain.Gradient(), jnp.asarray(case.y)
    total = e.scores(case.model, jnp.asarray(case.x), y)
    total -= e.scores(case.model, jnp.zeros(case.x.shape), y)
    first = [np.flatnonzero(g == GROUPS)[0] for g in range(5)]
    np.testing.assert_allclose(a[:, first].sum(1), total, atol=1e-4)
    torch.manual_seed(0)
    np.random.seed(0)
    theirs = getattr(captum.attr, name)(case.torch()).attribute(
        array(case.x[:1]),
        target=int(case.y[0]),
        feature_mask=array(GROUPS)[None],
        n_samples=300 if name == "KernelShap" else 200,
    )
    np.testing.assert_allclose(a[:1], theirs.detach(), atol=0.25 * np.abs(exact).max())


def test_a_single_feature_has_it_all():
    case = make("tabular")
    one = np.zeros(12, int)
    whole = ours(explain.FeatureAblation(features=one), case)
    for cls in (explain.ShapleyValueSampling, explain.KernelShap):
        assert_close(ours(cls(features=one, n_samples=3), case), whole, 1e-4)


def test_kernel_shap_of_fewer_sets_than_features_keeps_the_sum():
    case = make("lenet")
    a = np.asarray(ours(explain.KernelShap(n_samples=20, patch=4), case))
    e, y = explain.Gradient(), jnp.asarray(case.y)
    total = e.scores(case.model, jnp.asarray(case.x), y)
    total -= e.scores(case.model, jnp.zeros(case.x.shape), y)
    np.testing.assert_allclose(a[:, :, ::4, ::4].sum((1, 2, 3)), total, atol=1e-3)


@pytest.mark.parametrize("alpha", [0.01, 0.3])
def test_lasso_is_sklearns(alpha):
    from sklearn.linear_model import Lasso

    from jaxeval.explain.lime import lasso

    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(60, 8)), rng.normal(size=8) * (np.arange(8) < 4)
    y = x @ w + 0.1 * rng.normal(size=60)
    wanted = Lasso(alpha=alpha, fit_intercept=False, tol=1e-8).fit(x, y).coef_
    gram, product = (jnp.asarray(v, jnp.float32) for v in (x.T @ x / 60, x.T @ y / 60))
    found = jax.jit(lasso)(gram, product, alpha)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_array_equal(np.abs(found) > 1e-6, np.abs(wanted) > 1e-6)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_lime_with_given_draws(distance):
    """The regression as sklearn solves it on the same sets, with weights in NumPy."""
    from sklearn.linear_model import Lasso

    case = make("tabular")
    draws = np.random.default_rng(0).integers(0, 2, (80, 5))
    settings = {"distance": distance, "width": 2.0, "alpha": 0.02}
    e = explain.Lime(features=GROUPS, draws=draws, baseline=0.1, **settings)
    a = np.asarray(ours(e, case))
    for x, y, found in zip(case.x, case.y, a, strict=True):
        moved = np.where(draws[:, GROUPS] == 1, x, 0.1).astype(np.float32)
        score = np.asarray(case.model(jnp.asarray(moved)))[:, y]
        if distance == "euclidean":
            d = np.sqrt(((moved - x) ** 2).sum(1))
        else:
            d = 1 - moved @ x / (np.linalg.norm(moved, axis=1) * np.linalg.norm(x))
        fit = Lasso(alpha=0.02, tol=1e-8).fit(draws, score, sample_weight=np.exp(-(d**2) / 4))
        np.testing.assert_allclose(found, fit.coef_[GROUPS], atol=1e-4)


def test_lime_in_distribution():
    import captum.attr
    import torch

    case = make("tabular")
    torch.manual_seed(0)
    theirs = captum.attr.Lime(case.torch()).attribute(
        array(case.x[:1]), target=int(case.y[0]), feature_mask=array(GROUPS)[None], n_samples=600
    )
    a = np.asarray(ours(explain.Lime(n_samples=2000, features=GROUPS), case))[:1]
    np.testing.assert_allclose(a, theirs, atol=0.12 * np.abs(a).max())


def test_rise_is_its_formula():
    case = make("rgb", n=2)
    e, k = explain.RISE(n_samples=6, cells=4, probability=0.4, baseline=0.3), keys(2)
    a = np.asarray(jitted(e, case.model, case.x, case.y, k))
    wanted = np.zeros(case.x.shape)
    for n, s in itertools.product(range(2), range(6)):
        m = np.asarray(e.mask(jax.random.fold_in(k[n], s), (3, 18, 18), 0))
        z = case.model(jnp.asarray(m * case.x[n] + (1 - m) * 0.3)[None].astype(jnp.float32))
        wanted[n] += m * float(jax.nn.softmax(z[0])[case.y[n]]) / (6 * 0.4)
    assert_close(a, wanted)


def test_masks_are_enlarged_grids():
    import torch

    e, key = explain.RISE(cells=4, probability=0.4), jax.random.key(3)
    mask = np.asarray(e.mask(key, (3, 18, 14), 0))
    assert mask.shape == (1, 18, 14)
    grid, place = jax.random.split(key)
    cells = array(np.asarray(jax.random.bernoulli(grid, 0.4, (4, 4)), np.float32))
    large = torch.nn.functional.interpolate(cells[None, None], (25, 20), mode="bilinear")
    i, j = np.floor(np.asarray(jax.random.uniform(place, (2,))) * [5, 4]).astype(int)
    np.testing.assert_allclose(mask, large[0, :, i : i + 18, j : j + 14], atol=1e-6)
    many = jax.vmap(lambda k: e.mask(k, (16, 16), None))(keys(500))
    np.testing.assert_allclose(many.mean(), 0.4, atol=0.02)


def test_random_sets_need_keys():
    case = make("tabular")
    for name in ("ShapleyValueSampling", "KernelShap", "Lime", "RISE", "FeaturePermutation"):
        with pytest.raises(TypeError, match=f"{name}.*is random: give it keys"):
            explain.get(name)(case.model, case.x, case.y)


@pytest.mark.parametrize("name", ["FeatureAblation", "ShapleyValueSampling", "Lime", "RISE"])
def test_channel_last_is_the_same_map_transposed(name):
    case, k = make("rgb"), keys(3)
    last = Model(
        lambda p, x: case.model.apply(p, jnp.moveaxis(x, -1, 1)), case.model.params, channel_axis=-1
    )
    settings = {"patch": 6} if name != "RISE" else {}
    if name != "FeatureAblation":
        settings["n_samples"] = 3
    e = explain.get(name, baseline=0.2, **settings)
    a = jitted(e, last, np.moveaxis(case.x, 1, -1), case.y, k)
    assert_close(np.moveaxis(np.asarray(a), -1, 1), jitted(e, case.model, case.x, case.y, k))
