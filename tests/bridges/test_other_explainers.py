"""Explainers of zennit, shap and LIME, and any function of torch."""

from __future__ import annotations

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
captum = pytest.importorskip("captum.attr")

from jaxeval_torch import (  # noqa: E402
    captum_explainer,
    lime_explainer,
    shap_explainer,
    torch_explainer,
    wrap_torch,
    zennit_explainer,
)

import jaxeval as je  # noqa: E402
from tests.bridges.explained import both, close, keys  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("answers", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_a_function_of_tensors_is_an_explainer_for_evaluate(case, answers):
    model, net, x, y = case
    calls = []

    def gradient(module, inputs, targets):
        assert module is net
        assert not module.training
        calls.append(len(inputs))
        inputs.requires_grad_()
        module(inputs).gather(1, targets[:, None]).sum().backward()
        return inputs.grad.abs()

    net.train()
    try:
        results = je.evaluate(
            model if answers == "jax" else wrap_torch(net),
            x,
            y,
            explainers={
                "torch": torch_explainer(gradient, net),
                "captum": captum_explainer("Saliency", net),
                "jax": je.explain.Saliency(),
            },
            metrics={"flip": je.PixelFlipping(n_steps=3), "max": je.MaxSensitivity(n_samples=2)},
            key=0,
            batch_size=4,
            progress=False,
        ).to_dataframe()
        table = results.pivot_table("score", ["metric", "sample"], "explainer")
        np.testing.assert_allclose(table["torch"], table["jax"], rtol=1e-4)
        np.testing.assert_allclose(table["captum"], table["jax"], rtol=1e-4)
        assert all(m.training for m in net.modules())
        assert all(p.grad is None for p in net.parameters())
        assert max(calls) == 4  # a batch a call
    finally:
        net.eval()


def test_what_an_explainer_writes_to_changes_no_array(case):
    _, net, x, y = case
    given = jax.numpy.asarray(x)
    e = torch_explainer(lambda m, v, t: v.zero_(), net)
    assert not np.asarray(e(None, given, y, keys())).any()
    np.testing.assert_array_equal(given, x)


def test_metrics_that_change_parameters_refuse_them(case):
    model, net, x, y = case
    with pytest.raises((TypeError, ValueError), match=r"host|parameters|Host"):
        je.MPRT()(model, x, y, explainer=captum_explainer("Saliency", net))


def test_zennit(case):
    pytest.importorskip("zennit")
    from zennit.attribution import SmoothGrad
    from zennit.composites import EpsilonPlus
    from zennit.core import Composite

    net, x, y = both(case)
    x.requires_grad_()
    (right,) = torch.autograd.grad(net(x).gather(1, y[:, None]).sum(), x)
    close(zennit_explainer(Composite(), net)(None, case[2], case[3], keys()), right)
    a = zennit_explainer(EpsilonPlus(), net)(None, case[2], case[3], keys())
    assert a.shape == case[2].shape
    assert np.abs(np.asarray(a) - right.numpy()).max() > 0
    smooth = zennit_explainer(lambda m: SmoothGrad(m, noise_level=0.1, n_iter=3), net)
    assert smooth(None, case[2], case[3], keys()).shape == case[2].shape


@pytest.mark.parametrize(
    "name",
    ["DeepExplainer", pytest.param("GradientExplainer", marks=pytest.mark.slow), "KernelExplainer"],
)
def test_shap_of_a_linear_model(tabular, name):
    """Its values are w (x - mean of the background), whatever the method."""
    pytest.importorskip("shap")
    net, x, y, background = tabular
    right = net[0].weight.detach().numpy()[y] * (x - background.mean(0))
    settings = {} if name == "DeepExplainer" else {"nsamples": 64 if "K" in name else 2000}
    e = shap_explainer(name, net, background, **settings)
    a = np.asarray(e(None, x, y, keys(3)))
    tolerance = 0.15 if name == "GradientExplainer" else 1e-3  # one draws from the background
    close(a, right, tolerance)
    np.testing.assert_array_equal(e(None, x, y, keys(3)), a)


def test_lime_of_tables_and_images(case, tabular):
    lime = pytest.importorskip("lime.lime_tabular")
    from lime.lime_image import LimeImageExplainer

    net, x, y, background = tabular
    e = lime_explainer(
        lime.LimeTabularExplainer(background, discretize_continuous=False), net, num_samples=400
    )
    state = np.random.get_state()[1].copy()
    a = np.asarray(e(None, x, y, keys(3)))
    assert a.shape == x.shape
    np.testing.assert_array_equal(e(None, x, y, keys(3)), a)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert (np.sign(a) == np.sign(net[0].weight.detach().numpy()[y])).mean() > 0.6

    _, net, x, y = case
    tiles = np.arange(9).reshape(3, 3).repeat(6, 0).repeat(6, 1)
    e = lime_explainer(
        LimeImageExplainer(), net, num_samples=30, segmentation_fn=lambda image: tiles
    )
    a = np.asarray(e(None, x[:2], y[:2], keys(2)))
    assert a.shape == (2, 1, 18, 18)
    for row in a[:, 0]:
        assert [len(np.unique(row[tiles == i])) for i in range(9)] == [1] * 9
        assert len(np.unique(row)) == 9
    np.testing.assert_array_equal(e(None, x[1:2], y[1:2], keys(2)[1:]), a[1:])
