"""The same network, the same inputs: captum's maps, to 1e-4 of the largest attribution."""

import jax
import numpy as np
import pytest

from jaxeval import explain
from jaxeval.explain.integrated_gradients import METHODS

from .helpers import NAMES, assert_close, jitted, keys, make

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor")


def captum(name, case, x=None, call=None, **kwargs):
    import captum.attr
    import torch

    method = getattr(captum.attr, name)(case.torch(), **(call or {}))
    x = torch.from_numpy(np.array(case.x if x is None else x))
    a = method.attribute(x, target=torch.from_numpy(case.y.astype(np.int64)), **kwargs)
    return a.detach().numpy()


def ours(explainer, case):
    return jitted(explainer, case.model, case.x, case.y, keys(len(case.x)))


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_the_same(name):
    import torch

    case = make(name)
    with torch.no_grad():
        logits = case.torch()(torch.from_numpy(case.x)).numpy()
    assert_close(case.model(case.x), logits, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name):
    case = make(name)
    assert_close(ours(explain.Gradient(), case), captum("Saliency", case, abs=False))
    assert_close(ours(explain.Saliency(), case), captum("Saliency", case))
    assert_close(ours(explain.InputXGradient(), case), captum("InputXGradient", case))


@pytest.mark.parametrize("name", NAMES)
def test_integrated_gradients_defaults(name):
    case = make(name)
    assert_close(ours(explain.IntegratedGradients(), case), captum("IntegratedGradients", case))


@pytest.mark.parametrize("method", METHODS)
def test_integrated_gradients_methods(method):
    case = make("tabular")
    e = explain.IntegratedGradients(n_steps=5, method=method, baseline=0.4)
    theirs = captum("IntegratedGradients", case, n_steps=5, method=method, baselines=0.4)
    assert_close(ours(e, case), theirs)


@pytest.mark.parametrize("baseline", ["black", "mean", "array"])
def test_integrated_gradients_baselines(baseline):
    import torch

    case = make("rgb")
    axes = (1, 2, 3)
    b = {
        "black": case.x.min(axes, keepdims=True),
        "mean": case.x.mean(axes, keepdims=True),
        "array": np.random.default_rng(1).normal(size=(1, 3, 18, 18)).astype(np.float32),
    }[baseline]
    theirs = captum(
        "IntegratedGradients",
        case,
        n_steps=8,
        baselines=torch.from_numpy(np.array(np.broadcast_to(b, case.x.shape))),
    )
    given = b[0] if baseline == "array" else baseline
    assert_close(ours(explain.IntegratedGradients(n_steps=8, baseline=given), case), theirs)


def test_integrated_gradients_without_the_inputs():
    case = make("tabular")
    theirs = captum("IntegratedGradients", case, call={"multiply_by_inputs": False}, n_steps=6)
    e = explain.IntegratedGradients(n_steps=6, multiply_by_inputs=False)
    assert_close(ours(e, case), theirs)


@pytest.mark.parametrize(
    ("name", "window", "stride", "shape", "strides"),
    [
        ("lenet", 4, 4, (1, 4, 4), (1, 4, 4)),  # divides
        ("lenet", 6, 5, (1, 6, 6), (1, 5, 5)),  # the last windows reach over the border
        ("rgb", 7, 4, (3, 7, 7), 4),
        ("rgb", 5, 5, (3, 5, 5), 5),
        ("rgb", (1, 5, 3), (1, 5, 2), (1, 5, 3), (1, 5, 2)),  # channel by channel
        ("rgb", (2, 16, 4), (1, 9, 3), (2, 16, 4), (1, 9, 3)),
        ("tabular", 5, 3, (5,), (3,)),
        ("tabular", 1, 1, (1,), 1),
    ],
)
def test_occlusion(name, window, stride, shape, strides):
    case = make(name)
    e = explain.Occlusion(window=window, stride=stride, baseline=0.2)
    theirs = captum("Occlusion", case, sliding_window_shapes=shape, strides=strides, baselines=0.2)
    assert_close(ours(e, case), theirs)


def test_occlusion_with_the_samples_minimum():
    import torch

    case = make("rgb")
    low = np.broadcast_to(case.x.min((1, 2, 3), keepdims=True), case.x.shape)
    theirs = captum(
        "Occlusion",
        case,
        sliding_window_shapes=(3, 4, 4),
        strides=4,
        baselines=torch.from_numpy(low.copy()),
    )
    assert_close(ours(explain.Occlusion(window=4, stride=4, baseline="black"), case), theirs)


def test_smoothgrad_with_given_draws():
    case = make("rgb")
    draws = np.random.default_rng(5).normal(size=(6, 3, 18, 18)).astype(np.float32)
    std = 0.2 * np.ptp(case.x, axis=(1, 2, 3), keepdims=True)
    theirs = np.mean([captum("Saliency", case, x=case.x + std * d, abs=False) for d in draws], 0)
    assert_close(ours(explain.SmoothGrad(noise_level=0.2, draws=draws), case), theirs)


def test_smoothgrad_in_distribution():
    """Two means of n random maps differ by √(2/n) of their spread, here and in NoiseTunnel."""
    import captum.attr
    import torch

    case, n = make("tabular", n=1), 1000
    std = float(0.3 * np.ptp(case.x))
    torch.manual_seed(0)
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(case.torch()))
    theirs = tunnel.attribute(
        torch.from_numpy(case.x),
        nt_type="smoothgrad",
        nt_samples=n,
        stdevs=std,
        abs=False,
        target=int(case.y[0]),
    ).numpy()
    smooth = ours(explain.SmoothGrad(n_samples=n, noise_level=0.3), case)

    noise = jax.random.normal(jax.random.key(1), (n, *case.x.shape[1:]))
    maps = jitted(
        explain.Gradient(), case.model, case.x + std * noise, np.repeat(case.y, n), keys(n)
    )
    z = (np.asarray(smooth) - theirs) / (np.asarray(maps).std(0) * np.sqrt(2 / n))
    assert 0.5 < np.sqrt((z**2).mean()) < 1.5
