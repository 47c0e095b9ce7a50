"""Bad input is refused by name, with what was given and what was wanted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxeval as je
from jaxeval import explain
from jaxeval.model import Model

from .helpers import keys, linear


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: explain.get("integrated_gradient"), ValueError, "Did you mean 'IntegratedGrad"),
        (lambda: explain.get("IG"), ValueError, "Did you mean 'IntegratedGradients'"),
        (lambda: explain.get("shap"), ValueError, "mean 'KernelShap', 'GradientShap' or 'DeepL"),
        (lambda: explain.get("qqq"), ValueError, "no explainer 'qqq', only Gradient"),
        (lambda: explain.get(3), TypeError, "got int"),
        (lambda: explain.get("SmoothGrad", n_sample=3), TypeError, "Did you mean 'n_samples'"),
        (lambda: explain.Saliency(output="logits"), ValueError, "output.*Did you mean 'logit'"),
        (lambda: explain.Saliency(output=3), TypeError, "output=3.*one of"),
        (lambda: explain.Saliency(reduce_channels="median"), ValueError, "'sum', 'mean', 'max'"),
        (lambda: explain.IntegratedGradients(n_steps=0), ValueError, "n_steps=0.*at least 1"),
        (lambda: explain.IntegratedGradients(n_steps=2.5), TypeError, "n_steps=2.5.*whole number"),
        (
            lambda: explain.IntegratedGradients(n_steps=True),
            TypeError,
            "n_steps=True.*whole",
        ),
        (
            lambda: explain.IntegratedGradients(n_steps=1, method="riemann_trapezoid"),
            ValueError,
            "at least 2",
        ),
        (
            lambda: explain.IntegratedGradients(method="trapezoid"),
            ValueError,
            "Did you mean 'riemann_trapezoid'",
        ),
        (lambda: explain.IntegratedGradients(baseline="blak"), ValueError, "Did you mean 'black'"),
        (lambda: explain.IntegratedGradients(baseline=None), TypeError, "baseline=None"),
        (
            lambda: explain.IntegratedGradients(baseline=[[0.0], [0.0, 1.0]]),
            TypeError,
            "baseline.*array",
        ),
        (lambda: explain.Occlusion(baseline=float("nan")), ValueError, "baseline.*finite"),
        (lambda: explain.SmoothGrad(noise_level=-0.1), ValueError, "noise_level.*at least 0"),
        (lambda: explain.SmoothGrad(noise_level="big"), TypeError, "noise_level.*number"),
        (lambda: explain.SmoothGrad(n_samples=0), ValueError, "n_samples.*at least 1"),
        (lambda: explain.SmoothGrad(draws=np.ones(3)), ValueError, r"draws.*\(3,\)"),
        (
            lambda: explain.ExpectedGradients(draws={"background": [0, 1], "alpha": [0.1, 0.2]}),
            ValueError,
            "draws.*'background' has the number 1, and `background` the rows 0 to 0",
        ),
        (
            lambda: explain.ExpectedGradients(
                background=np.ones((3, 4)), draws={"background": [-1], "alpha": [0.1]}
            ),
            ValueError,
            "the number -1, and `background` the rows 0 to 2",
        ),
        (
            lambda: explain.ExpectedGradients(draws={"background": [0.5], "alpha": [0.1]}),
            TypeError,
            "draws.*whole numbers.*float64",
        ),
        (lambda: explain.Occlusion(window=0), ValueError, "window.*at least 1.*got 0"),
        (lambda: explain.Occlusion(window=(3, 1.5)), TypeError, "window.*whole numbers"),
        (lambda: explain.Occlusion(stride=()), ValueError, "stride"),
        (lambda: explain.DeepLift(pooling="crossmax"), ValueError, "Did you mean 'cross_max'"),
        (lambda: explain.DeepLift(baseline="blak"), ValueError, "Did you mean 'black'"),
        (lambda: explain.DeepLiftShap(background=np.ones(3)), ValueError, r"background.*\(3,\)"),
        (lambda: explain.LRP(rule="epsilonplus"), ValueError, "Did you mean 'epsilon_plus'"),
        (lambda: explain.LRP(rule=3), TypeError, "rule=3"),
        (lambda: explain.LRP(first="epsilon_plus"), ValueError, "first='epsilon_plus'"),
        (lambda: explain.LRP(layers={"a": "flatt"}), ValueError, "Did you mean 'flat'"),
        (lambda: explain.LRP(layers="flat"), TypeError, "name: rule"),
        (lambda: explain.LRP(addition="coppy"), ValueError, "Did you mean 'copy'"),
        (lambda: explain.Gamma(gamma=-1), ValueError, "gamma=-1.*at least 0"),
        (lambda: explain.Epsilon(epsilon=-1), ValueError, "epsilon=-1.*at least 0"),
        (lambda: explain.FeatureAblation(features=np.ones(3)), TypeError, "whole numbers.*float64"),
        (lambda: explain.FeatureAblation(features=np.array([-1])), ValueError, "from 0 on"),
        (lambda: explain.FeatureAblation(features=np.array([3]), n_features=3), ValueError, "3"),
        (lambda: explain.FeatureAblation(features=lambda x: x), ValueError, "needs n_features"),
        (lambda: explain.Lime(features=np.arange(3), patch=2), ValueError, "not both"),
        (lambda: explain.FeaturePermutation(baseline=1), ValueError, "background"),
        (lambda: explain.Lime(patch=0), ValueError, "patch.*at least 1.*got 0"),
        (lambda: explain.Lime(draws=np.ones(3)), ValueError, r"draws.*\[S, F\].*\(3,\)"),
        (lambda: explain.Lime(distance="cos"), ValueError, "'cosine', 'euclidean'"),
        (lambda: explain.RISE(probability=1.5), ValueError, "probability=1.5.*at most 1"),
        (lambda: explain.GuidedIG(fraction=2), ValueError, "fraction=2.*at most 1"),
        (lambda: explain.BlurIG(max_sigma=0), ValueError, "max_sigma=0.*above 0"),
        (lambda: explain.NoiseGrad(explainer=3), TypeError, "explainer.*got 3"),
        (lambda: explain.NoiseGrad(seed=-1), ValueError, "seed=-1"),
        (lambda: explain.LayerActivation(layer=3), TypeError, "name of a layer, got 3"),
        (lambda: explain.GradCAM(upsample="cubic"), ValueError, "'bilinear', 'nearest'"),
        (lambda: explain.GuidedGradCAM(upsample=None), TypeError, "upsample=None"),
        (lambda: explain.LayerConductance(derivative="d"), ValueError, "'exact', 'differences'"),
        (lambda: explain.Constant(value=float("inf")), ValueError, "value=inf.*finite"),
        (lambda: explain.Constant(value=np.ones(2)), TypeError, "value.*number"),
    ],
)
def test_fields(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("explainer", "changes", "error", "message"),
    [
        ("Saliency", {"x": np.zeros((2, 3, 5, 4), int)}, TypeError, "x must hold floating"),
        ("Saliency", {"y": np.zeros(2)}, TypeError, "y must hold class numbers"),
        ("Saliency", {"y": np.zeros(3, int)}, ValueError, r"\(2, 3, 5, 4\) and \(3,\)"),
        ("Saliency", {"x": np.zeros(2)}, ValueError, r"x \[N, ...\]"),
        ("Random", {"k": None}, TypeError, r"Random noise is random: give it keys"),
        ("SmoothGrad", {"k": None}, TypeError, "give it keys"),
        ("SmoothGrad", {"k": keys(3)}, TypeError, "2 typed random keys"),
        ("SmoothGrad", {"k": np.zeros(2)}, TypeError, "2 typed random keys.*got float64"),
        ("SmoothGrad", {"k": 0}, TypeError, "2 typed random keys.*got.*int"),
    ],
)
def test_calls(explainer, changes, error, message):
    given = {"x": np.ones((2, 3, 5, 4), np.float32), "y": np.zeros(2, int), "k": keys(2)} | changes
    with pytest.raises(error, match=message):
        explain.get(explainer)(linear(), *given.values())


@pytest.mark.parametrize("name", ["Gradient", "LRP", "Occlusion", "KernelShap", "Random"])
@pytest.mark.parametrize("y", [4, -1])
def test_classes(name, y):
    e, x, k = explain.get(name), np.ones((2, 3, 5, 4), np.float32), keys(2)
    message = rf"^{name}: y holds the class {y}, but the model has 4 outputs \(0..3\)"
    for given in (np.array([0, y]), jnp.array([0, y]), [0, y]):
        with pytest.raises(ValueError, match=message):
            e(linear(), x, given, k)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda x: e(linear(), x, np.array([0, y]), k))(x)
    jax.jit(lambda y: e(linear(), x, y, k))(jnp.array([0, y]))  # which cannot know


@pytest.mark.parametrize("y", [4, -1])
def test_classes_of_a_function_of_one_sample(y):
    f = je.as_function(je.PixelFlipping(n_steps=2, baseline=0.0), linear())
    x, key = jnp.ones((3, 5, 4)), jax.random.key(0)
    for given in (y, np.int64(y), jnp.array(y)):
        with pytest.raises(ValueError, match=rf"as_function: y holds the class {y}.*4 outputs"):
            f(x, given, x, key)
    with pytest.raises(ValueError, match="as_function: y holds the class"):
        jax.jit(lambda x: f(x, y, x, key).score)(x)


def test_classes_of_a_model_that_shows_none_before_it_answers():
    def answer(params, x):
        return np.zeros((len(x), 3), np.float32)

    for host in ("numpy", "jax"):
        e, model = explain.Occlusion(window=1), Model(answer, host=host, channel_axis=None)
        with pytest.raises(ValueError, match=r"Occlusion: y holds the class 3.*3 outputs"):
            e(model, np.ones((2, 4), np.float32), np.array([0, 3]))
        e(model, np.ones((2, 4), np.float32), np.array([0, 2]))


def test_a_model_is_traced_once_for_its_classes():
    traces = []

    def apply(params, x):
        traces.append(x)
        return x[:, :2]

    model, x = Model(apply, channel_axis=None), np.ones((2, 4), np.float32)
    explain.Random()(model, x, np.array([0, 1]), keys(2))
    n = len(traces)
    for _ in range(3):
        explain.Random()(model, x, np.array([0, 1]), keys(2))
    assert len(traces) == n


@pytest.mark.parametrize(
    ("e", "message"),
    [
        (explain.SmoothGrad(draws=np.ones((2, 5, 4))), r"draws.*\[S, 3, 5, 4\].*got \(2, 5, 4\)"),
        (
            explain.IntegratedGradients(baseline=np.ones((1, 3, 5, 4))),
            r"baseline.*got shape \(1, 3, 5, 4\)",
        ),
        (explain.IntegratedGradients(baseline=np.ones(7)), r"baseline.*\(3, 5, 4\).*\(7,\)"),
        (explain.DeepLiftShap(background=np.ones((2, 7))), r"background.*\[B, 3, 5, 4\].*\(2, 7\)"),
        (explain.LRP(layers={"v": "flat"}), "no layer 'v', only w"),
        (explain.FeatureAblation(features=np.arange(7)), r"features.*\(3, 5, 4\), got \(7,\)"),
        (
            explain.FeatureAblation(features=np.zeros((2, 3, 5, 4), int)),
            r"got \(2, 3, 5, 4\).*function of the sample",
        ),
        (explain.FeatureAblation(patch=(2, 2)), "one number for each axis"),
        (explain.Lime(draws=np.ones((2, 7)), patch=2), r"draws.*\[S, 6\] for 6 features"),
        (explain.Occlusion(window=5), "window=5.*larger than a sample"),
        (explain.Occlusion(window=(2, 2)), "one number for each axis"),
        (explain.Occlusion(window=2, stride=3), "stride=3.*leaves entries uncovered"),
    ],
)
def test_shapes(e, message):
    with pytest.raises(ValueError, match=message):
        e(linear(), np.ones((2, 3, 5, 4), np.float32), np.zeros(2, int), keys(2))


def test_random_baselines_need_keys():
    e = explain.IntegratedGradients(baseline="uniform")
    with pytest.raises(TypeError, match="with baseline='uniform' is random: give it keys"):
        e(linear(), np.ones((2, 3, 5, 4), np.float32), np.zeros(2, int))


def test_no_channels_to_reduce():
    e = explain.Gradient(reduce_channels="sum")
    with pytest.raises(ValueError, match=r"reduce_channels='sum'.*\[N, 6\] has no channel axis"):
        e(linear(shape=(6,)), np.ones((2, 6), np.float32), np.zeros(2, int), keys(2))


def test_traced_fields_are_not_checked():
    @jax.jit
    def make(v):
        explain.IntegratedGradients(baseline=v)
        explain.Constant(value=v)
        return explain.SmoothGrad(noise_level=v).noise_level

    assert make(jnp.float32(-1)) == -1


def test_get():
    assert set(explain.EXPLAINERS) == {cls.__name__ for cls in explain.EXPLAINERS.values()}
    e = explain.get("Occlusion", window=3, baseline="mean")
    assert isinstance(e, explain.Occlusion)
    assert (e.window, e.baseline) == (3, "mean")


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        explain.Explainer()  # type: ignore[abstract]
