"""Infidelity and MaxSensitivity: captum.metrics on the same perturbations, with captum's maps."""

import numpy as np
import pytest

import jaxeval as je
from tests import networks

torch = pytest.importorskip("torch", reason="parity needs torch")
pytest.importorskip("captum.metrics", reason="parity needs captum")

from jaxeval_torch import captum_explainer, wrap_torch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor")

N, S, SHAPE = 5, 6, (3, 18, 18)


@pytest.fixture(scope="module")
def case():
    model, params = networks.smooth_cnn(seed=3)
    net = networks.smooth_cnn_torch(params)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (N, *SHAPE)).astype(np.float32)
    y = np.array([0, 1, 2, 3, 4], np.int32)
    draws = rng.uniform(-0.2, 0.2, (N, S, *SHAPE)).astype(np.float32)
    return {"jax": model, "torch": wrap_torch(net)}, net, x, y, draws


@pytest.mark.parametrize("framework", ["jax", "torch"])
@pytest.mark.parametrize("normalised", [False, True])
def test_infidelity(case, framework, normalised):
    from captum.metrics import infidelity

    models, net, x, y, draws = case
    a = 0.1 * np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    ours = je.Infidelity(draws=draws, n_samples=S, normalised=normalised)(
        models[framework], x, y, a
    )
    seen = iter(range(S))

    def perturb(inputs, baselines=None):
        noise = torch.from_numpy(draws[:, next(seen)])
        return noise, inputs - noise

    theirs = infidelity(
        net,
        perturb,
        torch.from_numpy(x),
        torch.from_numpy(a),
        target=torch.from_numpy(y).long(),
        n_perturb_samples=S,
        max_examples_per_batch=N,  # one draw a call
        normalize=normalised,
    )
    assert next(seen, None) is None
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4)


@pytest.mark.parametrize("method", ["Saliency", "IntegratedGradients", "InputXGradient"])
def test_max_sensitivity_of_captums_own_maps(case, method):
    import captum.attr
    from captum.metrics import sensitivity_max

    models, net, x, y, draws = case
    settings = {"n_steps": 6} if method == "IntegratedGradients" else {}
    metric = je.MaxSensitivity(draws=draws, n_samples=S)
    ours = {
        name: metric(models[name], x, y, explainer=captum_explainer(method, net, **settings), key=0)
        for name in models
    }
    seen = iter(range(S))

    def perturb(inputs):
        return inputs + torch.from_numpy(draws[:, next(seen)])

    theirs = sensitivity_max(
        getattr(captum.attr, method)(net).attribute,
        torch.from_numpy(x),
        perturb_func=perturb,
        n_perturb_samples=S,
        norm_ord="fro",
        max_examples_per_batch=N,
        target=torch.from_numpy(y).long(),
        **settings,
    )
    assert next(seen, None) is None
    np.testing.assert_array_equal(ours["jax"], ours["torch"])
    np.testing.assert_allclose(ours["jax"], theirs.detach().numpy(), rtol=1e-4)
