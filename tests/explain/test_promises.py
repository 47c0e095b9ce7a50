"""What holds for every explainer: rows on their own, one trace, jit, vmap, bounded memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import explain
from jaxeval.explain import layer, stepped
from jaxeval.explain.stepped import SteppedExplainer
from jaxeval.identity import identity
from jaxeval.model import Model
from jaxeval.types import canonical
from tests import transformers_by_hand

from .helpers import Case, assert_close, every, jitted, keys, linear, make, quickly, run


def hundredfold(z, y):
    return 100 * z[y]


CAMS = tuple(cls.__name__ for cls in explain.FAMILIES["class activation maps"])
ROWS = np.ones((3, 12), np.float32)
SMALL = {"n_steps": 4, "n_samples": 4, "layer": "fc_1", "unit": 3}
"""Settings of every explainer that has them."""
OWN = {
    "Saliency": {"output": "probability"},
    "IntegratedGradients": {"baseline": "uniform"},
    "Occlusion": {"window": 5, "stride": 5, "baseline": "gaussian"},
    "DeepLift": {"baseline": "uniform"},
    "DeepLiftShap": {"background": ROWS},
    "LRP": {"rule": "epsilon_gamma_box"},
    "GradientShap": {"background": ROWS},
    "NoiseGrad": {"n_samples": 3, "explainer": explain.InputXGradient()},
    "FusionGrad": {"n_models": 2, "n_samples": 2},
    "BlurIG": {"max_sigma": 2.0},
    "GuidedIG": {"baseline": "uniform"},
    "InternalInfluence": {"layer": "fc_1/relu"},
    **{name: {"layer": None} for name in CAMS},
    "GuidedGradCAM": {"layer": "conv_1/activation", "output": hundredfold},
    "FeatureAblation": {"patch": 5, "baseline": "uniform"},
    "FeaturePermutation": {"features": np.arange(12) // 4, "background": ROWS, "n_samples": 1},
    "ShapleyValueSampling": {"n_samples": 2, "patch": 4, "baseline": "mean"},
    "KernelShap": {
        "n_samples": 20,
        "features": lambda x: (x > 0).astype(int) + 2 * (jnp.arange(12) > 5),
        "n_features": 4,
    },
    "Lime": {"n_samples": 20},
    "ExtremalPerturbation": {"step_size": 6, "sigma": 5.0},
    "XRAI": {"segments": np.arange(12) // 3},
    "NeuronGradientShap": {"background": ROWS},
    "NeuronDeepLift": {"baseline": "uniform", "layer": "fc_2/relu"},
    "LayerGradientShap": {"background": ROWS},
    "LayerDeepLift": {"baseline": "uniform"},
    "LayerLRP": {"rule": "epsilon_gamma_box", "layer": "fc_1/relu"},
    "LayerFeatureAblation": {"baseline": "mean"},
    "NeuronFeatureAblation": {"patch": 5, "unit": (slice(3, 9),)},
}
"""Settings of single explainers, which try more than the default."""


EVERY = every(SMALL, OWN)


QUICK = (
    *("Gradient", "IntegratedGradients", "SmoothGrad", "GradientShap", "FusionGrad", "GuidedIG"),
    "XRAI",
    *("LRP", "DeepLift", "LayerConductance", "GradCAM", "ScoreCAM", "NeuronConductance"),
    *("NeuronDeepLift", "LayerDeepLift", "GenericAttention", "TransformerAttribution"),
    *("Occlusion", "FeatureAblation", "KernelShap", "RISE", "Random", "Constant", "Sobel"),
)
"""One explainer of every kind; what holds for them is tried on the others in the slow tests."""
quick_ones = pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in EVERY]
)

ATTENTION = tuple(cls.__name__ for cls in explain.FAMILIES["attention"])
IMAGES = ("Occlusion", "IntegratedGradients", "ExtremalPerturbation", *CAMS)
"""Explainers that are tried on images; the others on a table, which is faster."""


def case_of(name, n=3):
    if name in ATTENTION:
        model, x = transformers_by_hand.model(True), transformers_by_hand.inputs(True, n)
        return Case(model, lambda: None, x, np.resize(np.array([0, 3, 2], np.int32), n))
    return make("rgb" if name in IMAGES else "tabular", n)


def shape_of(name, x):
    """The shape of an explainer's maps."""
    if name in (*CAMS, *ATTENTION, "ExtremalPerturbation") and name != "GuidedGradCAM":
        return (len(x), 1, *x.shape[2:])
    if name.startswith(("Layer", "Internal")):
        return (len(x), 32)
    return x.shape


STEPPED = [n for n, e in EVERY.items() if isinstance(e, SteppedExplainer)]


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in STEPPED]
)
def test_what_is_made_ready_for_several_steps_is_that_of_each(name, monkeypatch):
    case, e = case_of(name), EVERY[name]
    together = e(case.model, case.x, case.y, keys(3))
    monkeypatch.setattr(stepped, "AHEAD", 1)
    assert_close(e(case.model, case.x, case.y, keys(3)), together, 1e-5)


@pytest.mark.parametrize(("steps", "size", "width"), [(20, 1, 20), (20, 100, 10), (7, 300, 3),
                                                      (5, 1001, 1), (3, 0, 3)])  # fmt: skip
def test_steps_are_made_ready_in_even_parts(steps, size, width, monkeypatch):
    monkeypatch.setattr(stepped, "AHEAD", 1000)
    assert stepped.evenly(steps, size) == width


@pytest.mark.parametrize("name", quickly(EVERY))
def test_rows_do_not_see_each_other(name):
    """A row stays as it is when all others become something else."""
    case, e, k = case_of(name), EVERY[name], keys(3)
    full = jitted(e, case.model, case.x, case.y, k)
    assert full.shape == shape_of(name, case.x)
    assert full.dtype == jnp.float32
    x, y = -2 * case.x, (case.y + 1) % 4
    x[1], y[1] = case.x[1], case.y[1]
    others = jitted(e, case.model, x, y, keys(3, 1).at[1].set(k[1]))
    np.testing.assert_array_equal(others[1], full[1])


@quick_ones
def test_eager_and_vmap_agree_with_jit(name):
    case, e = case_of(name), EVERY[name]
    k = keys(3)
    full = jitted(e, case.model, case.x, case.y, k)
    assert_close(run(e, case.model, case.x, case.y, k), full, 1e-5)
    assert_close(jax.jit(lambda x: e(case.model, x, case.y, k))(case.x), full, 1e-5)
    alone = jax.vmap(lambda x, y, k: e(case.model, x[None], y[None], k[None])[0])
    assert_close(alone(case.x, case.y, k), full, 1e-5)


@pytest.mark.parametrize("name", ["IntegratedGradients", "SmoothGrad", "Random", "Occlusion"])
def test_randomness_comes_from_the_key(name):
    case, e = make("tabular"), EVERY[name]
    a, again, other = (
        np.asarray(jitted(e, case.model, case.x, case.y, keys(3, seed))) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, again)
    assert (np.abs(a - other) > 0).mean() > 0.9


@pytest.mark.parametrize(
    "pair",
    [
        [explain.IntegratedGradients(n_steps=3, baseline=b) for b in (0.1, np.float32(0.5))],
        [explain.SmoothGrad(n_samples=3, noise_level=v) for v in (0.1, 0)],
        [explain.SmoothGrad(draws=np.full((3, 12), v)) for v in (0.0, 1.0)],
        [explain.Occlusion(window=5, stride=5, baseline=b) for b in (0.1, 2)],
        [explain.Constant(value=v) for v in (1, 2.5)],
        [explain.DeepLift(baseline=v) for v in (0, 0.5)],
        [explain.DeepLiftShap(background=np.full((2, 12), v)) for v in (0.0, 0.5)],
        [explain.LRP(rule=explain.Gamma(gamma=v)) for v in (0, 0.5)],
        [explain.GradientShap(n_samples=2, noise_level=v) for v in (0, 1)],
        [explain.NoiseGrad(n_samples=2, noise_level=v) for v in (0, 1)],
        [explain.FusionGrad(n_models=2, n_samples=2, weight_level=v) for v in (0, 1)],
        [explain.BlurIG(n_steps=2, max_sigma=v) for v in (1, 2)],
        [explain.GuidedIG(n_steps=2, fraction=v) for v in (0.2, 0.9)],
        [explain.LayerConductance(layer="fc_1", n_steps=2, baseline=v) for v in (0, 0.5)],
        [explain.FeatureAblation(baseline=v) for v in (0, 1)],
        [explain.FeatureAblation(features=np.arange(12) // v, n_features=6) for v in (2, 4)],
        [explain.Lime(n_samples=20, alpha=v) for v in (0.01, 0.5)],
        [explain.RISE(n_samples=4, probability=v) for v in (0.2, 0.7)],
        [explain.LRP(layers={"fc_2": explain.AlphaBeta(alpha=v)}) for v in (1, 2)],
    ],
    ids=lambda pair: type(pair[0]).__name__,
)
def test_a_number_never_retraces(pair):
    traces = []

    @jax.jit
    def call(e, model, x, y, k):
        traces.append(e)
        return e(model, x, y, k)

    case = make("tabular")

    def leaf(v):
        whole = isinstance(v, np.ndarray) and v.dtype.kind == "i"
        return jnp.asarray(v, jnp.int32 if whole else jnp.float32)

    float32 = [jax.tree.map(leaf, e) for e in pair]
    maps = [call(e, case.model, case.x, case.y, keys(3)) for e in float32]
    assert len(traces) == 1
    assert np.abs(maps[0] - maps[1]).max() > 1e-4


def test_numbers_of_one_dtype_share_a_trace_after_canonical():
    e = [explain.SmoothGrad(noise_level=v) for v in (0.2, np.float32(0.2))]
    assert identity(e[0]) == identity(e[1])
    assert jax.tree.structure(canonical(e[0])) == jax.tree.structure(canonical(e[1]))


def test_vmap_over_a_field():
    case = make("tabular")

    def at(b):
        e = explain.IntegratedGradients(n_steps=3, baseline=b)
        return e(case.model, case.x, case.y)

    levels = jnp.array([0.0, 0.5])
    assert_close(jax.vmap(at)(levels), jnp.stack([at(0.0), at(0.5)]), 1e-5)


@pytest.mark.parametrize("name", quickly(EVERY))
def test_the_model_sees_one_batch_at_a_time(name):
    case, sizes = case_of(name), []

    def apply(params, x):
        if len(x) != layer.ROWS:  # the shape of a layer, for which nothing is evaluated
            sizes.append(len(x))
        return case.model.apply(params, x)

    spy = Model(apply, case.model.params, channel_axis=case.model.channel_axis)
    e, k = EVERY[name], keys(3)
    jax.make_jaxpr(run)(e, spy, case.x, case.y, k)
    assert set(sizes) <= {3, 1}  # 1: a baseline that all samples share
    # A loop is traced, not unrolled; also where all that is given is constant.
    assert len(sizes) <= 3
    sizes.clear()
    jax.make_jaxpr(lambda: e(spy, case.x, case.y, k))()
    assert len(sizes) <= 4  # one of them for the number of classes


@pytest.mark.parametrize("name", quickly(EVERY))
def test_outside_jit_an_explainer_compiles_itself_once(name):
    case, traces = case_of(name), []

    def apply(params, x):
        traces.append(x)
        return case.model.apply(params, x)

    axis = case.model.channel_axis
    spy = Model(apply, case.model.params, channel_axis=axis)
    first = EVERY[name](spy, case.x, case.y, keys(3))
    n = len(traces)
    # Its classes and operations, the input, the baseline, a step; and the layer that is ablated.
    assert n <= 5 + 2 * (name == "LayerFeatureAblation")  # the layer's shape, and its output
    assert all(isinstance(x, jax.core.Tracer) for x in traces)
    other = Model(apply, jax.tree.map(lambda w: 2 * w, spy.params), channel_axis=axis)
    EVERY[name](other, case.x, case.y, keys(3, 1))
    np.testing.assert_array_equal(EVERY[name](spy, case.x, case.y, keys(3)), first)
    assert len(traces) == n


@pytest.mark.parametrize("name", ["LRP", "DeepLift", "GuidedIG", "KernelShap", "GradCAM"])
def test_any_batch_size_and_number_of_devices(name, two_devices):
    case, e = case_of(name, 5), EVERY[name]
    whole = je.attribute(e, case.model, case.x, case.y, batch_size=6)
    parts = je.attribute(e, case.model, case.x, case.y, batch_size=2)
    assert_close(parts, whole, 1e-5)
    shared = je.attribute(e, case.model, case.x, case.y, batch_size=3, mesh=two_devices)
    assert_close(shared, whole, 1e-5)


def test_parameters_are_arguments():
    """A compiled explainer serves any weights of the network."""
    case = make("tabular")
    e = explain.IntegratedGradients(n_steps=3)
    twice = jax.tree.map(lambda w: w * 1.5, case.model.params)
    other = Model(case.model.apply, twice, hidden=case.model.hidden, channel_axis=None)
    n = jitted._cache_size()
    first = jitted(e, case.model, case.x, case.y, None)
    second = jitted(e, other, case.x, case.y, None)
    assert jitted._cache_size() <= n + 1
    assert np.abs(first - second).max() > 1e-3


HOSTED = {
    "Occlusion": explain.Occlusion(window=2, stride=2),
    "FeatureAblation": explain.FeatureAblation(patch=2),
    "KernelShap": explain.KernelShap(n_samples=30, patch=3),
    "RISE": explain.RISE(n_samples=4, cells=2),
    "Sobel": explain.Sobel(),
}
"""Explainers that ask for outputs only, or for nothing."""
MORE_HOSTED = {
    "Occlusion of windows": explain.Occlusion(
        window=(1, 5, 2), stride=(1, 1, 2), baseline="uniform", output="probability"
    ),
    "FeaturePermutation": explain.FeaturePermutation(features=np.arange(4)),
    "ShapleyValueSampling": explain.ShapleyValueSampling(n_samples=2, patch=3),
    "Lime": explain.Lime(n_samples=30, patch=3),
    "Random": explain.Random(),
}


@pytest.mark.parametrize(
    ("host", "explainers"),
    [
        ("numpy", HOSTED),
        ("jax", {"Occlusion": HOSTED["Occlusion"]}),
        pytest.param("jax", {**HOSTED, **MORE_HOSTED}, marks=pytest.mark.slow),
        pytest.param("numpy", MORE_HOSTED, marks=pytest.mark.slow),
    ],
    ids=["numpy", "jax", "jax, all", "numpy, others"],
)
def test_host_models(host, explainers):
    model = linear(shape=(3, 5, 4))
    w, c = np.asarray(model.params["w"]).reshape(60, -1), np.asarray(model.params["c"])
    kind = np.ndarray if host == "numpy" else jax.Array

    def answer(params, x):
        assert isinstance(x, kind)
        return np.asarray(x).reshape(len(x), -1) @ w + c

    outside = Model(answer, host=host)
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    y, k = np.array([1, 2]), keys(2)
    for e in explainers.values():
        assert_close(e(outside, x, y, k), jitted(e, model, x, y, k), 1e-4)
    for e in (explain.Saliency(), explain.IntegratedGradients(), explain.SmoothGrad()):
        with pytest.raises(TypeError, match=f"{type(e).__name__} needs.*host.*Occlusion"):
            e(outside, x, y, k)


def test_low_precision_sums_in_float32():
    model = Model(lambda p, x: x.sum(1, keepdims=True), channel_axis=None)
    x = jnp.ones((1, 4), jnp.bfloat16)
    a = explain.SmoothGrad(n_samples=2000)(model, x, jnp.array([0]), keys(1))
    assert a.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(a, np.float32), 1.0, rtol=0.01)


def test_arguments_stay_as_they_were():
    case = make("tabular")
    x = case.x.copy()
    explain.Occlusion(window=3)(case.model, x, case.y)
    np.testing.assert_array_equal(x, case.x)
